# shellcheck shell=bash
# Block devices. Nothing here ever formats a disk that holds anything.
DEV=${ML_INFRA_DEV:-/dev}

# volume_device vol-ID: the whole disk that is this EBS volume. Device names are not stable, ids are.
volume_device() {
  local link=$DEV/disk/by-id/nvme-Amazon_Elastic_Block_Store_${1/-/} name
  [[ ! -e $link ]] || { readlink -f "$link" && return; }
  # Xen (p3) shows no ids and has no NVMe disks: there the attachment's name, /dev/sdh, is all there is.
  compgen -G "$DEV/nvme*" >/dev/null && return 1
  for name in xvdh sdh; do
    [[ ! -e $DEV/$name ]] || { echo "$DEV/$name" && return; }
  done
  return 1
}

# why_not_blank DEVICE: says what is on it; says nothing only when there is nothing at all.
why_not_blank() {
  local device=$1 found rc=0 size probe=$((16 * 1024 * 1024))
  found=$(blkid -p -o export "$device" 2>&1) || rc=$?
  # blkid(8): 2 is "nothing found", but also "cannot be opened", which the reads below tell apart.
  ((rc == 2)) || { echo "blkid (exit $rc): ${found//$'\n'/ }" && return; }
  found=$(wipefs -n "$device" 2>&1) || found="cannot tell: $found"
  [[ -z $found ]] || { echo "wipefs: ${found//$'\n'/ }" && return; }
  size=$(blockdev --getsize64 "$device" 2>/dev/null || stat -Lc %s "$device") || size=0
  ((size > 0)) || { echo "a size that cannot be read" && return; }
  ((size > probe)) || probe=$size
  # What no tool here knows is still bytes at the start or end; new volumes and instance store read as zeros.
  if ! cmp -s -n "$probe" "$device" /dev/zero || ! cmp -s -i "$((size - probe)):0" -n "$probe" "$device" /dev/zero; then
    echo "bytes that are not zero or cannot be read, without a signature that blkid or wipefs knows"
  fi
}

# need_blank DEVICE...: ends the stage unless there is nothing on any of them.
need_blank() {
  local device why
  for device; do
    why=$(why_not_blank "$device")
    [[ -z $why ]] || die "$device is not blank and was left as it is. Found: $why. Attach the right volume or," \
      "if nothing on this one is needed, empty it yourself (wipefs -a, blkdiscard); then reboot"
    [[ $(blockdev --getro "$device" 2>/dev/null) != 1 ]] || die "$device is blank but read-only: no file system can be made"
  done
}

# format_if_blank DEVICE LABEL: XFS, which grows while mounted, and whose mkfs itself refuses a disk that holds something.
format_if_blank() {
  need_blank "$1"
  command -v mkfs.xfs >/dev/null || apt_install xfsprogs
  log "$1 is blank: making an XFS file system"
  mkfs.xfs -q -L "$2" "$1"
}

# mount_disk DEVICE POINT LABEL [fstab]: formats if blank, mounts, grows to the disk's size. fstab: by UUID at boot too, and
# grows whenever the disk does: EC2 enlarges volumes that are in use.
mount_disk() {
  local device=$1 point=$2 type uuid mounted grow
  type=$(blkid -p -s TYPE -o value "$device" || true)
  if [[ -z $type ]]; then
    format_if_blank "$device" "$3"
    type=xfs
  fi
  [[ $type == ext4 || $type == xfs ]] ||
    die "$device holds $type and was left as it is: only ext4 and XFS are mounted. Attach the right volume and reboot"
  mkdir -p "$point"
  # systemd may be mounting it from fstab at this very moment: then the second look finds it.
  mountpoint -q "$point" || mount -t "$type" -o noatime "$device" "$point" || mountpoint -q "$point"
  mounted=$(findmnt -nro SOURCE --mountpoint "$point")
  [[ $mounted -ef $device ]] || die "$point holds $mounted instead of $device: unmount it and reboot"
  if [[ ${4:-} == fstab ]]; then
    uuid=$(blkid -p -s UUID -o value "$device")
    fstab_set "UUID=$uuid" "$point" "$type" noatime,nofail,x-systemd.device-timeout=60s 2
  fi
  # Nothing to do unless the volume was enlarged.
  grow=(xfs_growfs "$point")
  [[ $type == xfs ]] || grow=(resize2fs "$device")
  "${grow[@]}"
  [[ ${4:-} != fstab ]] || every_minute "ml-infra-grow-$3" "${grow[@]}"
}

# mount_volume vol-ID POINT LABEL: the EBS volume, now and at every boot.
mount_volume() {
  local device
  # EC2 attaches the volume after the machine has started.
  retry 300 2 volume_device "$1" >/dev/null ||
    die "$1 did not appear within 10 minutes: attach it to this machine and reboot"
  device=$(volume_device "$1")
  mount_disk "$device" "$2" "$3" fstab
  warm_up "$1" "$device" "$2" "$3"
}

# warm_up vol-ID DEVICE POINT LABEL: reads all of the volume, once in its life, in the background of a machine that is
# ready. What comes from a snapshot is in S3 until then: https://docs.aws.amazon.com/ebs/latest/userguide/initalize-volume.html
warm_up() {
  # A snapshot has this file too, but the volume that is made of it another id.
  local last id=$3/.ml-infra-warmed-up unit=ml-infra-warm-up-$4
  ! grep -qsx "$1" "$id" && ! systemctl is-active -q "$unit" || return 0
  last=$((($(blockdev --getsize64 "$2") - 1) >> 20))
  log "all of $2 is read once in the background: systemctl status $unit"
  systemd-run -q --collect --unit="$unit" -p Nice=19 -p IOSchedulingClass=idle bash -c "flock '$STATE/lock' true
    seq 0 1024 $last | xargs -P 4 -I {} dd if=$2 bs=1M count=1024 skip={} iflag=direct status=none >/dev/null && echo $1 >$id"
}

# instance_store: the disks of the machine itself, one a line; nothing where there are none.
instance_store() {
  local link
  for link in "$DEV"/disk/by-id/nvme-Amazon_EC2_NVMe_Instance_Storage_*; do
    [[ ! -e $link || $link == *-part* ]] || readlink -f "$link"
  done | sort -u
}

# mount_striped POINT LABEL DISK...: the disks as one file system, striped (btrfs: two disks or more). Made anew where
# all are blank, as after a stop.
mount_striped() {
  local point=$1 label=$2 disk made=0 options=noatime,nodatacow
  shift 2
  command -v mkfs.btrfs >/dev/null || apt_install btrfs-progs
  mkdir -p "$point"
  ! mountpoint -q "$point" || return 0
  for disk; do
    [[ $(blkid -p -s TYPE -o value "$disk" || true)/$(blkid -p -s LABEL -o value "$disk" || true) != "btrfs/$label" ]] ||
      made=$((made + 1))
  done
  if ((made < $#)); then
    # A stripe with a disk missing is no file system any more, and not ours to clear away.
    ((made == 0)) || die "$made of $# disks ($*) hold the file system $label: it is incomplete and was left as it is." \
      "If it is not needed, stop and start the machine"
    need_blank "$@"
    log "$* are blank: making one striped btrfs file system"
    mkfs.btrfs -q -d raid0 -m raid0 -L "$label" "$@"
  fi
  # Scratch: no checksums nor copies of what is read once and can be fetched again.
  for disk; do options+=,device=$disk; done
  mount -t btrfs -o "$options" "$1" "$point"
}
