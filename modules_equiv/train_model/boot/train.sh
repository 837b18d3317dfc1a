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

# checkpoints NAME: its files, whole or not. Fails when it cannot look.
checkpoints() {
  local folder
  folder=$(find "$MODELS/" -maxdepth 1 -name "$1") || return
  [[ -z $folder ]] || find "$folder/" -maxdepth 1 -name 'checkpoint_*.pt'
}

# no_checkpoints NAME: or it is not started.
no_checkpoints() {
  local found
  found=$(checkpoints "$1") || fail "$MODELS/$1 cannot be looked at, and may have checkpoints: nothing was started"
  [[ -z $found ]] ||
    fail "$MODELS/$1 has checkpoints, which a new training would overwrite: train --resume, or train --name OTHER"
}

# last_checkpoint NAME: the number of the newest one that is whole; a training that was killed may leave half of one.
last_checkpoint() {
  local number
  while read -r number; do
    # What PyTorch writes is a zip file.
    python3 -c 'import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)' \
      "$MODELS/$1/checkpoint_$number.pt" 2>/dev/null && echo "$number" && return
    echo "train: $MODELS/$1/checkpoint_$number.pt is not whole and is passed over" >&2
  done < <(checkpoints "$1" | sed -n 's/.*checkpoint_\([0-9]\+\)\.pt$/\1/p' | sort -rn)
}

start() {
  local name=msls-dcgan-128 resume='' last=0 why options=() more=()
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
  case $BOOT_PROFILE in
    # Not left to the docker command, whose end is not the container's.
    gaudi) more=(-p ExecStopPost="+-/usr/bin/docker rm -f $UNIT") ;;
    # Without CUDA, the default program imports what only Habana's container has.
    none | neuron)
      why=$(cd $CODE/model && setpriv --reuid=1000 --regid=1000 --clear-groups ../venv/bin/python -c 'import msls.run_dcgan' \
        2>&1) || fail "msls.run_dcgan needs CUDA or Gaudi, or another training_repository. Here: ${why##*$'\n'}"
      ;;
  esac
  [[ -n $(find "$IMAGES" -type f -print -quit 2>/dev/null) ]] || fail "there are no files below $IMAGES: copy the images there"

  if [[ $resume ]]; then
    last=$(last_checkpoint "$name")
    [[ $last ]] ||
      fail "$MODELS/$name has no whole checkpoint to go on from: start without --resume, or with --name OTHER"
    # To the program, 0 means: from the beginning.
    ((last > 0)) || fail "the only checkpoint is that of epoch 0, from which the program cannot go on: train --name OTHER"
    echo "Going on from checkpoint $last."
  else
    no_checkpoints "$name"
  fi
  systemctl reset-failed $UNIT 2>/dev/null || true
  systemd-run -q --unit=$UNIT --uid=1000 --gid=1000 -p Description="Training $name" -p WorkingDirectory=$CODE/model \
    -p StandardOutput=append:$LOG -p StandardError=append:$LOG -p TimeoutStopSec=120 \
    -p LimitNOFILE=65536 "${more[@]}" --setenv=PYTHONUNBUFFERED=1 -- "$FOLDER/train.sh" run "$name" "$last" "${options[@]}"
  echo "Training $name has started; it goes on when you log out. train log follows it, train stop ends it."
}

# run NAME LAST OPTION...: inside the service, as the training user; LAST: the checkpoint to go on from, or 0.
run() {
  local name=$1 last=$2 status=0 program
  shift 2
  # A service that is started again by something else than train would write over what it made.
  if ((last)); then
    [[ $(last_checkpoint "$name") == "$last" ]] || fail "$MODELS/$name has gone on since checkpoint $last: train --resume"
    set -- "$@" --s_epoch "$last"
  else
    no_checkpoints "$name"
  fi
  # --profile, as its author ran it: with --logging alone, its default, it breaks at the first batch (gpu_dcgan.py:
  # `prof.step() if enable_logging`, where only enable_prof makes prof).
  program=(-m msls.run_dcgan --dataroot "$IMAGES/" --s3_bucket "" --profile True
    --checkpoint_params "{\"name\":\"$name\",\"root\":\"$MODELS/\",\"log_frequency\":50,\"save_frequency\":1}" "$@")
  echo "== $(date -u +%FT%TZ) ${program[*]}"
  if [[ $BOOT_PROFILE == gaudi ]]; then
    # shellcheck source=modules_equiv/train_model/boot/profile_gaudi.sh
    . "$FOLDER/profile_gaudi.sh"
    sudo docker rm -f $UNIT >/dev/null 2>&1 || true
    sudo docker run --rm --init --name $UNIT --runtime=habana -e HABANA_VISIBLE_DEVICES=all -e PYTHONUNBUFFERED=1 \
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

# shellcheck source=/dev/null
. /etc/ml-infra/boot.env
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
