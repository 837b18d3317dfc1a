#!/bin/bash
# Reboots the jump host when an update asks for that and nobody is connected, after two weeks in any case. Run every hour.
# unattended-upgrades' own reboot spares those in utmp only: tunnels, ssh -J, scp and rsync are not there.
set -euo pipefail
RUN=${ML_INFRA_RUN:-/run} STATE=${ML_INFRA_STATE:-/var/lib/ml-infra} PORT=${ML_INFRA_SSH_PORT:-22}
WAITS_MINUTES=$((14 * 24 * 60))

[[ -e $RUN/reboot-required ]] || exit 0
# Each further update writes reboot-required anew; this says since when.
mkdir -p "$RUN/ml-infra"
since=$RUN/ml-infra/reboot-required-since
[[ -e $since ]] || touch "$since"
if [[ $(<"$STATE/state") == running* ]] || systemctl is-active -q apt-daily-upgrade.service; then
  echo "not rebooted: a boot or an update is still running"
  exit 0
fi
if [[ -z $(find "$since" -mmin "+$WAITS_MINUTES") ]]; then
  connected=$(ss -Htn state established "sport = :$PORT")
  if [[ $connected ]]; then
    echo "not rebooted: $(wc -l <<<"$connected") SSH connections are open"
    exit 0
  fi
fi
echo "rebooting: an update requires it"
systemctl reboot
