# shellcheck shell=bash
# NVIDIA: Deep Learning AMIs bring the driver; stock Ubuntu, for p3 and p3dn, gets it here.
# 580 is the last branch for Volta: https://docs.nvidia.com/datacenter/tesla/drivers/
DRIVER=580-server

accelerator() {
  local found
  if ! command -v nvidia-smi >/dev/null; then
    apt_install "linux-headers-$(uname -r)" linux-headers-aws nvidia-headless-$DRIVER nvidia-utils-$DRIVER
    modprobe nvidia
  fi
  found=$(timeout -k 9 120 nvidia-smi -L) || die "the NVIDIA driver does not answer: $found. Reboot once; then see dmesg for NVRM"
  found=$(grep -c '^GPU ' <<<"$found" || true)
  ((found == ACCELERATOR_COUNT)) || die "$found of $ACCELERATOR_COUNT GPUs: see nvidia-smi and dmesg; stop and start for another host"
}
