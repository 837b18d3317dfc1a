#!/bin/bash
# Training machine: data on /data, checkpoints on /efs, accelerators, metrics, the training code.
# shellcheck source=constructs_lib/boot/lib.sh
. "${ML_INFRA_LIB:-/usr/local/lib/ml-infra/lib.sh}"
# shellcheck source=constructs_lib/boot/disks.sh
. "$FILES/disks.sh"
begin
# shellcheck source=/dev/null
. "$FILES/profile_$BOOT_PROFILE.sh"

# The user of Ubuntu's images and of the EFS access point.
OWNER=1000
AGENT=/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl
CODE=/opt/training
TRAINING_LOG=/var/log/ml-infra/training.log
# Where the image has no PyTorch. 2.6 is the last whose wheels (CUDA 12.4) run on Volta, p3's GPU, and has Python 3.12.
TORCH=2.6.0
TORCHVISION=0.21.0
# What the program imports beside it. TensorBoard 2.20 wants pkg_resources, which setuptools 82 took away.
PYTHON_PACKAGES=(tensorboard==2.20.0 setuptools==80.9.0 packaging==25.0 boto3==1.43.123)
# The key: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/verify-CloudWatch-Agent-Package-Signature.html
AGENT_VERSION=1.300072.0b1766
AGENT_KEY=937616F3450B7D806CBD9725D58167303B789C72

data() {
  mount_volume "$DATA_VOLUME_ID" /data data
  chown $OWNER:$OWNER /data
}

# Instance store, empty again after a stop. Deep Learning AMIs make one volume of all of it themselves.
scratch() {
  local disks made=/opt/dlami/nvme
  mapfile -t disks < <(instance_store)
  ((${#disks[@]})) || return 0
  if [[ -d /opt/dlami ]] && retry 60 2 mountpoint -q $made; then
    install -d -o $OWNER -g $OWNER $made/scratch
    ln -sfnT $made/scratch /scratch
    return
  fi
  if ((${#disks[@]} == 1)); then
    mount_disk "${disks[0]}" /scratch scratch
  else
    mount_striped /scratch scratch "${disks[@]}"
  fi
  chown $OWNER:$OWNER /scratch
}

packages() { apt_install git gnupg python3-venv; }

efs() {
  mount_efs rw
  # Made as the access point's user, whoever asks.
  mkdir -p /efs/trained_model
  [[ $(stat -c %u /efs/trained_model) == "$OWNER" ]] || chown $OWNER:$OWNER /efs/trained_model
}

# With a kernel that has no module of the driver, the accelerators are gone at the next start: automatic updates leave
# both alone, and bring everything else. What runs containers is no driver.
hold() {
  local packages
  [[ $BOOT_PROFILE != none ]] || return 0
  mapfile -t packages < <(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 'linux-aws*' 'linux-image*' 'linux-headers*' \
    'linux-modules*' '*nvidia*' 'cuda-drivers*' 'aws-neuronx*' 'habanalabs*' 2>/dev/null | sed -n '/container/d; s/^ii //p')
  # Those that are held already are not among them.
  ((${#packages[@]} == 0)) || retry 5 15 apt-mark hold "${packages[@]}"
}

install_agent() {
  local base=https://amazoncloudwatch-agent.s3.amazonaws.com deb=$STATE/amazon-cloudwatch-agent.deb
  fetch $base/assets/amazon-cloudwatch-agent.gpg "$STATE/agent.gpg"
  fetch $base/ubuntu/amd64/$AGENT_VERSION/amazon-cloudwatch-agent.deb "$deb"
  fetch $base/ubuntu/amd64/$AGENT_VERSION/amazon-cloudwatch-agent.deb.sig "$deb.sig"
  gpg --batch --yes --dearmor -o "$STATE/agent.key" "$STATE/agent.gpg"
  gpgv --status-fd 1 --keyring "$STATE/agent.key" "$deb.sig" "$deb" | grep "VALIDSIG.*$AGENT_KEY" ||
    die "the CloudWatch agent's package is not signed by $AGENT_KEY: not installed"
  apt_get install "$deb"
}

agent() {
  local logs=/etc/ml-infra/agent_logs.json
  [[ -x $AGENT ]] || install_agent
  retry 3 10 "$AGENT" -a fetch-config -m ec2 -s -c "ssm:$CLOUDWATCH_AGENT_PARAMETER"
  put_file $logs <<JSON
{"logs":{"logs_collected":{"files":{"collect_list":[
  {"file_path":"$TRAINING_LOG","log_group_name":"$TRAINING_LOG_GROUP","log_stream_name":"{instance_id}"}]}}}}
JSON
  retry 3 10 "$AGENT" -a append-config -m ec2 -s -c "file:$logs"
  [[ $CLOUDWATCH_GPU_PARAMETER ]] || return 0
  timeout -k 9 120 nvidia-smi -L || die "no GPU metrics: nvidia-smi does not work; repair the driver and reboot"
  retry 3 10 "$AGENT" -a append-config -m ec2 -s -c "ssm:$CLOUDWATCH_GPU_PARAMETER"
}

as_owner() {
  runuser -u "$(id -nu $OWNER)" -- env HOME="$(getent passwd $OWNER | cut -d: -f6)" "$@"
}

# The pinned revision, once: what a person does there afterwards stays.
training_code() {
  install -d -o $OWNER -g $OWNER $CODE
  as_owner git -C $CODE rev-parse -q --verify HEAD && return
  # What a git that was killed leaves, and no git goes on over.
  rm -f $CODE/.git/*.lock
  as_owner git init -q $CODE
  retry 5 10 as_owner git -C $CODE fetch --depth 1 "$TRAINING_REPOSITORY" "$TRAINING_REVISION"
  as_owner git -C $CODE checkout -qf --detach FETCH_HEAD
}

# A virtual environment of the training's own, over the image's PyTorch where the image has one.
training_environment() {
  local venv=$CODE/venv site ready=$CODE/venv/.ready needs=$CODE/requirements.txt cuda=cu124
  local check='import torch, tensorboard, boto3'
  [[ ! -e $ready ]] || return 0
  if [[ $BOOT_PROFILE == gaudi ]]; then
    log "training runs in Habana's container, which has its own"
    return
  fi
  # Neuron's PyTorch is no package of PyPI's, and CUDA's would be of no use.
  [[ $BOOT_PROFILE/$(image_python) != neuron/python3 ]] ||
    die "this image has no PyTorch for Neuron (/opt/aws_neuronx_venv_*): set ami to one that has it for this instance type"
  as_owner "$(image_python)" -m venv --clear $venv
  if [[ $(image_python) != python3 ]]; then
    # Not --system-site-packages: the image's Python is itself a virtual environment, whose packages that leaves out.
    site=$("$(image_python)" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$site" | as_owner tee "$(as_owner $venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/image.pth"
  else
    [[ $BOOT_PROFILE != none ]] || cuda=cpu
    retry 3 20 as_owner $venv/bin/pip install -q --extra-index-url https://download.pytorch.org/whl/$cuda \
      "torch==$TORCH+$cuda" "torchvision==$TORCHVISION+$cuda"
  fi
  # Last, so that what the image or PyTorch brought is taken as it is.
  retry 3 20 as_owner $venv/bin/pip install -q "${PYTHON_PACKAGES[@]}"
  [[ ! -f $needs ]] || retry 3 20 as_owner $venv/bin/pip install -q -r $needs
  case $BOOT_PROFILE in
    none) check+=', torchvision' ;;
    neuron) check+=', torch_neuronx' ;;
    nvidia)
      check+=", torchvision; n = torch.cuda.device_count(); "
      check+="assert n == $ACCELERATOR_COUNT, f'PyTorch sees {n} GPUs: compare nvidia-smi'"
      ;;
  esac
  as_owner $venv/bin/python -c "$check"
  as_owner touch $ready
}

image_python() {
  local python
  # https://awsdocs-neuron.readthedocs-hosted.com/en/v2.33.0/setup/pytorch/update-dlami.html
  for python in /opt/pytorch/bin/python /opt/aws_neuronx_venv_{torch_neuronx,pytorch_[0-9]}*/bin/python; do
    [[ ! -x $python ]] || { echo "$python" && return; }
  done
  echo python3
}

train_command() {
  install -d -o $OWNER -g $OWNER "${TRAINING_LOG%/*}"
  ln -sfnT "$FILES/train.sh" /usr/local/bin/train
  # After an update of libraries, services are restarted (Ubuntu 24.04): https://github.com/liske/needrestart
  mkdir -p /etc/needrestart/conf.d
  put_file /etc/needrestart/conf.d/ml-infra.conf <<'PERL'
$nrconf{override_rc}{qr(^(training|ml-infra))} = 0;
PERL
}

stage every_boot at_every_boot worker.sh
stage aws_cli install_aws_cli
stage data data
stage scratch scratch
stage packages packages
stage efs efs
stage accelerator accelerator
stage hold hold
after packages stage agent agent
after packages stage training_code training_code
after "packages training_code" stage training_environment training_environment
stage train_command train_command
finish
