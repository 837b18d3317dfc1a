#!/bin/bash
# First-generation Gaudi (dl1): driver, container runtime and image of the last software for it, and a metrics loop.
# https://docs.habana.ai/en/latest/Support_Matrix/Support_Matrix.html
HABANA=1.21.3-57
HABANA_IMAGE=vault.habana.ai/gaudi-docker/${HABANA%-*}/ubuntu22.04/habanalabs/pytorch-installer-2.6.0:$HABANA

accelerator() {
  local found
  if ! command -v hl-smi >/dev/null; then
    apt_install "linux-headers-$(uname -r)"
    fetch https://vault.habana.ai/artifactory/gaudi-installer/${HABANA%-*}/habanalabs-installer.sh "$STATE/habana.sh"
    bash "$STATE/habana.sh" install --type base -y
  fi
  apt_install docker.io habanalabs-container-runtime=$HABANA
  if ! docker info -f '{{json .Runtimes}}' | grep habana; then
    echo '{"runtimes":{"habana":{"path":"/usr/bin/habana-container-runtime","runtimeArgs":[]}}}' >/etc/docker/daemon.json
    systemctl restart docker
  fi
  found=$(timeout -k 9 120 hl-smi -Q index -f csv,noheader | grep -c '[0-9]' || true)
  ((found == ACCELERATOR_COUNT)) ||
    die "$found of $ACCELERATOR_COUNT Gaudi devices: see hl-smi, dmesg; stop and start for another host"
  put_file /etc/systemd/system/gaudi-metrics.service <<UNIT
[Unit]
Description=Gaudi metrics
[Service]
ExecStart=/bin/bash $FILES/profile_gaudi.sh
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable --now gaudi-metrics.service
  docker image inspect "$HABANA_IMAGE" >/dev/null 2>&1 || retry 3 30 docker pull -q "$HABANA_IMAGE"
}

# From hl-smi's lines, one per device: index, then these four, each perhaps with its unit.
to_statsd() {
  awk -F, '{
    gsub(/[^0-9.,]/, "")
    n = split("utilization memory_used temperature power_draw", name, " ")
    for (i = 1; i <= n; i++) printf "gaudi_%s:%s|g|#index:%s\n", name[i], $(i + 1), $1
  }'
}

# Run by itself: the agent has no Gaudi plugin, but listens for statsd.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  while sleep 60; do
    hl-smi -Q index,utilization.aip,memory.used,temperature.aip,power.draw -f csv,noheader | to_statsd >/dev/udp/127.0.0.1/8125
  done
fi
