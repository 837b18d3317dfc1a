# shellcheck shell=bash
# Hosts with little memory. t3.nano leaves 416 MB, of which snapd, updates and the AWS CLI at once want more.

# swap: 1 GiB, now and at every boot, unless the image brings some of its own.
swap() {
  local file=${ML_INFRA_SWAP:-/swapfile}
  # There is no firmware to update on a virtual machine, and looking for some takes 100 MB and more.
  systemctl mask --now fwupd-refresh.timer fwupd-refresh.service
  [[ -z $(swapon --noheadings --show=NAME) ]] || return 0
  if [[ ! -e $file ]]; then
    if ! (umask 077 && fallocate -l 1GiB "$file.new" && mkswap "$file.new"); then
      rm -f "$file.new"
      die "no swap of 1 GiB: is the root disk full (df)?"
    fi
    mv "$file.new" "$file"
  fi
  if ! swapon "$file"; then
    rm -f "$file"
    die "$file cannot be used as swap and was removed: reboot to create it again"
  fi
  fstab_set "$file" none swap sw 0
}
