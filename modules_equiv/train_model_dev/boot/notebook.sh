#!/bin/bash
# SageMaker notebook (Amazon Linux 2023), at every start. SageMaker gives up on a notebook whose script fails or takes five
# minutes, so this only starts the work and returns. The rest is in `journalctl -u ml-infra-notebook` and /var/lib/ml-infra.
# shellcheck source=constructs_lib/boot/lib.sh
. "${ML_INFRA_LIB:-/usr/local/lib/ml-infra/lib.sh}"
if [[ ${1:-} != work ]]; then
  # KillMode: the tunnel that mount.efs started stays.
  systemd-run --unit=ml-infra-notebook --collect --no-block -p KillMode=process "$FILES/notebook.sh" work ||
    log "the set-up could not be started: run '$FILES/notebook.sh work' as root"
  exit 0
fi
begin

efs() {
  mount_efs rw
  # Jupyter shows this folder only.
  [[ ! -d /home/ec2-user/SageMaker ]] || ln -sfnT /efs /home/ec2-user/SageMaker/efs
}

agent() {
  local ctl=/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl
  [[ -x $ctl ]] || retry 5 10 dnf install -y amazon-cloudwatch-agent
  # Appended: with fetch-config, the configuration with which SageMaker ships the notebook's own logs would be gone.
  # https://github.com/aws-samples/amazon-sagemaker-notebook-instance-lifecycle-config-samples/pull/87
  retry 3 10 "$ctl" -a append-config -m ec2 -s -c "ssm:$CLOUDWATCH_AGENT_PARAMETER"
  [[ ${CLOUDWATCH_GPU_PARAMETER:-} ]] || return 0
  retry 3 10 "$ctl" -a append-config -m ec2 -s -c "ssm:$CLOUDWATCH_GPU_PARAMETER"
}

stage efs efs
stage agent agent
finish
