#!/bin/bash
# Jump host: SSH with keys only, forwarding, security updates, nothing else (but the CLI that reports the status).
# shellcheck source=constructs_lib/boot/lib.sh
. "${ML_INFRA_LIB:-/usr/local/lib/ml-infra/lib.sh}"
# shellcheck source=constructs_lib/boot/memory.sh
. "$FILES/memory.sh"
begin

ssh_server() {
  local config=${ML_INFRA_SSHD:-/etc/ssh/sshd_config.d}/00-ml-infra.conf
  # sshd takes the first value it reads, and this name sorts before the image's own files.
  cat >"$config.new" <<'CONF'
PermitRootLogin no
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitEmptyPasswords no
MaxAuthTries 3
LoginGraceTime 30
AllowTcpForwarding yes
AllowStreamLocalForwarding no
AllowAgentForwarding no
GatewayPorts no
PermitTunnel no
X11Forwarding no
ClientAliveInterval 60
ClientAliveCountMax 10
CONF
  cmp -s "$config.new" "$config" && rm "$config.new" && return
  mv "$config.new" "$config"
  mkdir -p /run/sshd
  if ! sshd -t; then
    rm "$config"
    die "sshd rejected the hardened configuration; it was removed, and the image's own applies"
  fi
  systemctl try-reload-or-restart ssh.service
}

security_updates() {
  apt_install unattended-upgrades
  put_file /etc/apt/apt.conf.d/52ml-infra <<'CONF'
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
Unattended-Upgrade::Automatic-Reboot "false";
CONF
  put_file /etc/systemd/system/ml-infra-reboot.service <<UNIT
[Unit]
Description=Reboot after updates when no one is connected
[Service]
Type=oneshot
ExecStart=$FILES/reboot.sh
UNIT
  put_file /etc/systemd/system/ml-infra-reboot.timer <<'UNIT'
[Timer]
OnCalendar=hourly
RandomizedDelaySec=10min
[Install]
WantedBy=timers.target
UNIT
  systemctl daemon-reload
  systemctl enable --now unattended-upgrades.service apt-daily.timer apt-daily-upgrade.timer ml-infra-reboot.timer
}

stage swap swap
stage every_boot at_every_boot jump.sh
stage ssh_server ssh_server
stage aws_cli install_aws_cli
stage security_updates security_updates
finish
