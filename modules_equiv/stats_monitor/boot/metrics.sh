#!/bin/bash
# Metrics host: Grafana over CloudWatch on :3000, TensorBoard over the checkpoints on :6006, both on the private address.
# shellcheck source=constructs_lib/boot/lib.sh
. "${ML_INFRA_LIB:-/usr/local/lib/ml-infra/lib.sh}"
# shellcheck source=constructs_lib/boot/disks.sh
. "$FILES/disks.sh"
# shellcheck source=constructs_lib/boot/memory.sh
. "$FILES/memory.sh"
begin

# The user Grafana's image runs as.
GRAFANA_UID=472
# TensorBoard 2.20 imports pkg_resources, which setuptools 82 took away. The plugin shows what torch.profiler writes
# (*.pt.trace.json); 0.4.3 is its last. These versions were run together, over a trace of PyTorch 2.6.
# https://pypi.org/project/torch-tb-profiler/
PLUGINS=(setuptools==80.9.0 torch_tb_profiler==0.4.3 pandas==3.1.1)

packages() { apt_install docker.io python3-venv; }

# Dashboards and users that a person makes in Grafana outlive the machine.
grafana_data() {
  mount_volume "$GRAFANA_VOLUME_ID" /var/lib/grafana grafana
  chown $GRAFANA_UID:0 /var/lib/grafana
  chmod 0750 /var/lib/grafana
}

# This may be the first to mount the access point, and may only read. Nothing says that EFS makes the folder of an access
# point for one that may not write: https://docs.aws.amazon.com/efs/latest/ug/enforce-root-directory-access-point.html
# The first worker or notebook makes it; until then, this is tried again every minute, and is no failure.
efs() {
  trap efs_later EXIT
  mount_efs ro
  trap - EXIT
}

efs_later() {
  every_minute ml-infra-efs bash -c "mount /efs && systemctl stop --no-block ml-infra-efs.timer && flock '$STATE/lock' true &&
    systemctl start --no-block ml-infra-boot"
  log "mounting /efs is tried again every minute; once that succeeds, all of this is done again"
  if grep -q 'reason given by server: No such file or directory' "$STATE/efs.log"; then
    log "its folder is not there: the first worker or notebook makes it"
    exit 0
  fi
}

private_ip() { ip -4 route get 169.254.169.254 | sed -n 's/.* src \([0-9.]*\).*/\1/p'; }

grafana() {
  local run=/run/ml-infra etc=/etc/ml-infra/grafana address
  address=$(private_ip)
  # The password stays in memory, for Grafana alone.
  install -d $run
  (
    umask 077
    retry 5 10 aws ssm get-parameter --region "$AWS_REGION" --name "$GRAFANA_PASSWORD_PARAMETER" --with-decryption \
      --query Parameter.Value --output text >$run/password.new
  )
  chown $GRAFANA_UID:0 $run/password.new
  mv -f $run/password.new $run/grafana_password
  echo "PRIVATE_IP=$address" >$run/grafana.env

  install -D -m 0644 "$FILES/grafana_datasource.yaml" $etc/datasources/cloudwatch.yaml
  install -D -m 0644 -t $etc/dashboards "$FILES/grafana_dashboards.yaml" "$FILES/machines.json"
  install -m 0644 "$FILES/grafana.service" /etc/systemd/system/
  systemctl daemon-reload
  docker image inspect "$GRAFANA_IMAGE" >/dev/null 2>&1 || retry 5 15 docker pull -q "$GRAFANA_IMAGE"
  systemctl restart grafana.service
  retry 60 3 curl -fsS -m 5 -o /dev/null "http://$address:3000/api/health" ||
    die "Grafana does not answer on $address:3000: see journalctl -u grafana"
  retry 5 5 set_password || die "the password of $GRAFANA_PASSWORD_PARAMETER could not be set: see $STATE/grafana.log"
  retry 10 6 cloudwatch_answers "$address" || die "Grafana cannot read CloudWatch (see above what its data source says):" \
    "see journalctl -u grafana, and whether this machine's role still has its rights"
}

# cloudwatch_answers ADDRESS: metrics and logs, as the button "Save & test" tries them.
cloudwatch_answers() {
  local rc=0
  # The password is in no list of processes.
  curl -sS --fail-with-body -m 30 -K - "http://$1:3000/api/datasources/uid/cloudwatch/health" <<END || rc=$?
user = "admin:$(</run/ml-infra/grafana_password)"
END
  echo
  return $rc
}

# The container's variable counts only where there is no database yet; the volume outlives machine and password.
set_password() {
  docker exec -i grafana grafana cli --homepath /usr/share/grafana admin reset-admin-password --password-from-stdin \
    </run/ml-infra/grafana_password
}

tensorboard() {
  local venv=/opt/tensorboard packages="tensorboard==$TENSORBOARD_VERSION ${PLUGINS[*]}"
  if [[ $(cat $venv/packages 2>/dev/null) != "$packages" ]]; then
    python3 -m venv --clear $venv
    retry 5 10 $venv/bin/pip install -q "tensorboard==$TENSORBOARD_VERSION" "${PLUGINS[@]}"
    $venv/bin/python -c 'import torch_tb_profiler.plugin'
    echo "$packages" >$venv/packages
  fi
  id tensorboard >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin tensorboard
  install -m 0644 "$FILES/tensorboard.service" /etc/systemd/system/
  systemctl daemon-reload
  systemctl enable tensorboard.service
  efs_mounted || { log "TensorBoard starts when /efs is mounted" && return; }
  systemctl restart tensorboard.service
  retry 30 3 curl -fsS -m 5 -o /dev/null "http://$(private_ip):6006/" ||
    die "TensorBoard does not answer on :6006: see journalctl -u tensorboard"
}

stage swap swap
stage every_boot at_every_boot metrics.sh
stage aws_cli install_aws_cli
stage packages packages
stage efs efs
stage grafana_data grafana_data
after "aws_cli packages grafana_data" stage grafana grafana
after "packages efs" stage tensorboard tensorboard
finish
