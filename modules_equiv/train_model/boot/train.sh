#!/bin/bash
# train: starts the training as a systemd service, which outlives the SSH session.
set -euo pipefail

usage() {
  cat <<'TEXT'
train [--name NAME] [--resume] [OPTION...]   start; further options go to the program as they are (--n_epoch 32)
train status | log | stop

Images are read from the folders in /data/imgs/train_val; checkpoints and TensorBoard traces go to
/efs/trained_model/NAME (default: msls-dcgan-128). --resume goes on after the last whole checkpoint there. The log:
/var/log/ml-infra/training.log
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

# asked NAME OPTION...: what the program will make of its options, one a line: images, epochs, the checkpoints' settings.
# Options and defaults: https://github.com/DMW2151/msls-pytorch-dcgan/blob/0ca5ec37/model/msls/run_dcgan.py
asked() {
  python3 - "$IMAGES/" "$MODELS/" "$@" <<'PYTHON'
import argparse, json, sys
parser = argparse.ArgumentParser("train", usage="train --help", add_help=False)
parser.add_argument("-d", "--dataroot", default=sys.argv[1])
parser.add_argument("-ne", "--n_epoch", type=int, default=16)
parser.add_argument("-c", "--checkpoint_params", type=json.loads, default={})
known = parser.parse_known_args(sys.argv[4:])[0]
params = {"name": sys.argv[3], "root": sys.argv[2]}
if params.keys() & known.checkpoint_params.keys():
    parser.error("name and root in --checkpoint_params: use --name")
params |= {"log_frequency": 50, "save_frequency": 1} | known.checkpoint_params
print(known.dataroot, known.n_epoch, json.dumps(params), sep="\n")
PYTHON
}

# need_images FOLDER: laid out as the program reads them, which takes each folder in it for a class:
# https://docs.pytorch.org/vision/0.21/generated/torchvision.datasets.ImageFolder.html
need_images() {
  local folder found=''
  [[ -n $(find -L "$1" -type f -print -quit 2>/dev/null) ]] || fail "there are no files below $1: copy the images there"
  for folder in "$1"/{.[!.],}*/; do
    [[ -d $folder ]] || continue
    found=$(find -L "$folder" -type f -iregex '.*\.\(jpe?g\|png\|p[gp]m\|bmp\|tiff?\|webp\)' -print -quit)
    [[ $found ]] || fail "each folder in $1 is a class to the program, and $folder has no images: add some or remove it"
  done
  [[ $found ]] || fail "the images are in $1 itself, and the program reads only folders in it. One is enough:" \
    "cd $1 && mkdir all && find . -maxdepth 1 -type f -exec mv -t all {} +"
}

start() {
  local name=msls-dcgan-128 resume='' last=none why wanted final options=() more=()
  while (($#)); do
    case $1 in
      --name) name=${2:?"train: --name needs a value"} && shift ;;
      --name=*) name=${1#*=} ;;
      --resume) resume=1 ;;
      *) options+=("$1") ;;
    esac
    shift
  done
  [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "'$name' is not a valid folder name: use letters, digits, . _ and -"
  ! systemctl is-active -q $UNIT || fail "a training is already running: train status, train log, train stop"
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
  wanted=$(asked "$name" "${options[@]}") || exit
  mapfile -t wanted <<<"$wanted"
  need_images "${wanted[0]%/}"

  if [[ $resume ]]; then
    last=$(last_checkpoint "$name")
    [[ $last ]] ||
      fail "$MODELS/$name has no whole checkpoint to go on from: start without --resume, or with --name OTHER"
    # On Gaudi, the program counts its epochs from 1.
    final=${wanted[1]}
    [[ $BOOT_PROFILE == gaudi ]] || ((final -= 1))
    if ((last >= final)); then
      echo "$MODELS/$name is finished: $last is the last of ${wanted[1]} epochs. --n_epoch adds more."
      exit
    fi
    echo "Going on from checkpoint $last, with epoch $((last + 1))."
  else
    no_checkpoints "$name"
  fi
  systemctl reset-failed $UNIT 2>/dev/null || true
  systemd-run -q --unit=$UNIT --uid=1000 --gid=1000 -p Description="Training $name" -p WorkingDirectory=$CODE/model \
    -p StandardOutput=append:$LOG -p StandardError=append:$LOG -p TimeoutStopSec=120 \
    -p LimitNOFILE=65536 "${more[@]}" --setenv=PYTHONUNBUFFERED=1 -- "$FOLDER/train.sh" run "$name" "$last" "${options[@]}"
  echo "Training $name has started; it goes on when you log out. train log follows it, train stop ends it."
}

# run NAME LAST OPTION...: inside the service, as the training user; LAST: the checkpoint to go on from, or none.
run() {
  local name=$1 last=$2 status=0 wanted program
  shift 2
  wanted=$(asked "$name" "$@") || exit
  # What sitecustomize.py goes by: there, the programs' torch.save and torch.load are changed.
  export ML_INFRA_OUT=$MODELS/$name ML_INFRA_RESUME=''
  # A service that is started again by something else than train would write over what it made.
  if [[ $last != none ]]; then
    [[ $(last_checkpoint "$name") == "$last" ]] || fail "$MODELS/$name has gone on since checkpoint $last: train --resume"
    ML_INFRA_RESUME=$ML_INFRA_OUT/checkpoint_$last.pt
    # The program reads the checkpoint of this number, and begins with the epoch that is written in it.
    set -- "$@" --s_epoch $((last + 1))
  else
    no_checkpoints "$name"
  fi
  # What a training that was killed left of the checkpoint that it was writing.
  rm -rf "$ML_INFRA_OUT"/.part-*
  # --profile, as its author ran it: with --logging alone, its default, it breaks at the first batch (gpu_dcgan.py:
  # `prof.step() if enable_logging`, where only enable_prof makes prof).
  program=(-m msls.run_dcgan --dataroot "$IMAGES/" --s3_bucket "" --profile True "$@"
    --checkpoint_params "${wanted##*$'\n'}")
  echo "== $(date -u +%FT%TZ) ${program[*]}"
  if [[ $BOOT_PROFILE == gaudi ]]; then
    # shellcheck source=modules_equiv/train_model/boot/profile_gaudi.sh
    . "$FOLDER/profile_gaudi.sh"
    sudo docker rm -f $UNIT >/dev/null 2>&1 || true
    sudo docker run --rm --init --name $UNIT --runtime=habana -e HABANA_VISIBLE_DEVICES=all -e PYTHONUNBUFFERED=1 \
      -e OMPI_MCA_btl_vader_single_copy_mechanism=none --cap-add=sys_nice --net=host --ipc=host \
      -e ML_INFRA_OUT -e ML_INFRA_RESUME -v /data:/data:ro -v /efs:/efs -v $CODE:$CODE -v $FOLDER:$FOLDER:ro \
      -w $CODE/model "$HABANA_IMAGE" bash -c 'PYTHONPATH=$0:$PYTHONPATH exec python3 "$@"' $FOLDER "${program[@]}" ||
      status=$?
  else
    PYTHONPATH=$FOLDER $CODE/venv/bin/python "${program[@]}" || status=$?
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
  stop)
    systemctl stop $UNIT
    # What was ended has not said so, and who asks whether a training runs goes by the last line.
    [[ ! -e $LOG || $(tail -n 1 $LOG) == "== "*" ended "* ]] || echo "== $(date -u +%FT%TZ) ended by train stop" >>$LOG
    ;;
  *) start "$@" ;;
esac
