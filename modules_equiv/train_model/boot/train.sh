#!/bin/bash
# train: starts the training as a systemd service, which outlives the SSH session.
set -euo pipefail

usage() {
  cat <<'TEXT'
train [--name NAME] [--resume] [OPTION...]   start; further options go to the program as they are (--n_epoch 32)
train status | log | stop

Images are read from /data/imgs/train_val; checkpoints and TensorBoard traces go to /efs/trained_model/NAME
(default: msls-dcgan-128). --resume goes on from the last whole checkpoint there. The log: /var/log/ml-infra/training.log
TEXT
}

fail() {
  echo "train: $*" >&2
  exit 1
}

UNIT=training CODE=/opt/training FOLDER=/usr/local/lib/ml-infra
MODELS=${TRAIN_MODELS:-/efs/trained_model} IMAGES=${TRAIN_IMAGES:-/data/imgs/train_val}
LOG=/var/log/ml-infra/training.log

# last_checkpoint FOLDER: the number of the newest one that is whole; a training that was killed may leave half of one.
last_checkpoint() {
  local number
  while read -r number; do
    # What PyTorch writes is a zip file.
    python3 -c 'import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)' \
      "$1/checkpoint_$number.pt" 2>/dev/null && echo "$number" && return
    echo "train: $1/checkpoint_$number.pt is not whole and is passed over" >&2
  done < <(find "$1" -maxdepth 1 -name 'checkpoint_*.pt' 2>/dev/null | sed -n 's/.*checkpoint_\([0-9]*\)\.pt$/\1/p' | sort -rn)
}

start() {
  local name=msls-dcgan-128 resume='' last options=()
  while (($#)); do
    case $1 in
      --name) name=${2:?"train: --name wants a name"} && shift ;;
      --name=*) name=${1#*=} ;;
      --resume) resume=1 ;;
      *) options+=("$1") ;;
    esac
    shift
  done
  [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "'$name' is no name for a folder: use letters, digits, . _ and -"
  ! systemctl is-active -q $UNIT || fail "a training runs already: train status, train log, train stop"
  mountpoint -q /efs || fail "/efs is not mounted, so checkpoints would be lost: see /var/lib/ml-infra/efs.log, then reboot"
  mountpoint -q /data || fail "/data is not mounted: see /var/lib/ml-infra/data.log, then reboot"
  [[ -n $(find "$IMAGES" -type f -print -quit 2>/dev/null) ]] || fail "there are no files below $IMAGES: copy the images there"

  last=$(last_checkpoint "$MODELS/$name")
  if [[ $resume ]]; then
    [[ $last ]] || fail "$MODELS/$name has no whole checkpoint to go on from: start without --resume"
    # To the program, 0 means: from the beginning.
    ((last > 0)) || fail "the only checkpoint is that of epoch 0, from which the program cannot go on: train --name OTHER"
    echo "Going on from checkpoint $last."
    options+=(--s_epoch "$last")
  elif [[ $last ]]; then
    fail "$MODELS/$name has checkpoints, which a new training would overwrite: train --resume, or train --name OTHER"
  fi
  systemctl reset-failed $UNIT 2>/dev/null || true
  systemd-run -q --unit=$UNIT --uid=1000 --gid=1000 -p Description="Training $name" -p WorkingDirectory=$CODE/model \
    -p StandardOutput=append:$LOG -p StandardError=append:$LOG -p TimeoutStopSec=120 \
    -p LimitNOFILE=65536 --setenv=PYTHONUNBUFFERED=1 -- "$FOLDER/train.sh" run "$name" "${options[@]}"
  echo "Training $name has started; it goes on when you log out. train log follows it, train stop ends it."
}

# run NAME OPTION...: inside the service, as the training user.
run() {
  local name=$1 status=0 program
  shift
  # shellcheck source=/dev/null
  . /etc/ml-infra/boot.env
  program=(-m msls.run_dcgan --dataroot "$IMAGES/" --s3_bucket ""
    --checkpoint_params "{\"name\":\"$name\",\"root\":\"$MODELS/\",\"log_frequency\":50,\"save_frequency\":1}" "$@")
  echo "== $(date -u +%FT%TZ) ${program[*]}"
  if [[ $BOOT_PROFILE == gaudi ]]; then
    # shellcheck source=modules_equiv/train_model/boot/profile_gaudi.sh
    . "$FOLDER/profile_gaudi.sh"
    sudo docker rm -f $UNIT >/dev/null 2>&1 || true
    sudo docker run --rm --name $UNIT --runtime=habana -e HABANA_VISIBLE_DEVICES=all -e PYTHONUNBUFFERED=1 \
      -e OMPI_MCA_btl_vader_single_copy_mechanism=none --cap-add=sys_nice --net=host --ipc=host \
      -v /data:/data:ro -v /efs:/efs -v $CODE:$CODE -w $CODE/model "$HABANA_IMAGE" python3 "${program[@]}" || status=$?
  else
    $CODE/venv/bin/python "${program[@]}" || status=$?
  fi
  if ((status == 0)) && [[ $OUTPUT_S3_URI ]]; then
    # The program's own upload goes to a bucket and key of its author's choice.
    aws s3 sync --only-show-errors "$MODELS/$name" "$OUTPUT_S3_URI/$name" || status=$?
  fi
  echo "== $(date -u +%FT%TZ) ended with exit status $status"
  exit $status
}

case ${1:-} in
  -h | --help | help) usage && exit ;;
  run) shift && run "$@" ;;
  log) exec tail -n 40 -F $LOG ;;
esac
# Starting and stopping services is root's.
((EUID == 0)) || exec sudo -- "$0" "$@"
case ${1:-} in
  status) systemctl status --no-pager $UNIT ;;
  stop) systemctl stop $UNIT ;;
  *) start "$@" ;;
esac
