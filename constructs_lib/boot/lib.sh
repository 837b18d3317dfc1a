# shellcheck shell=bash
# What every boot script shares. Sourcing it changes nothing on the machine; `begin` does.
set -Eeuo pipefail
umask 022
export PATH=${ML_INFRA_PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin}
export HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
FILES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=${ML_INFRA_STATE:-/var/lib/ml-infra}
MEMORY=${ML_INFRA_MEMORY:-/run/ml-infra/state.d}
FSTAB=${ML_INFRA_FSTAB:-/etc/fstab}
# A stage that takes longer hangs.
STAGE_SECONDS=${ML_INFRA_STAGE_SECONDS:-3600}
# STAGE: the process of the stage that runs, - for none, empty while it begins.
FAILED=() HEADS=() ERRORS=() PUBLISHED=0 STAGE=-

log() { printf 'ml-infra: %s\n' "$*"; }
die() {
  log "$*" >&2
  exit 1
}
state() { printf '%s\n' "$*" >"$STATE/state"; }

# put_file FILE: from standard input, in one step and only when it differs: a full disk or a power cut leaves what was there.
put_file() {
  if ! cat >"$1.new"; then
    rm -f "$1.new"
    die "$1 cannot be written and was left as it was: is the root disk full (df)?"
  fi
  if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv -f "$1.new" "$1"; fi
}

# begin: values from boot.env, one run at a time, a fresh status file; the previous boot's stays beside it.
begin() {
  set -a
  # shellcheck source=/dev/null
  . "${ML_INFRA_ENV:-/etc/ml-infra/boot.env}"
  set +a
  BEGAN=$(date -u +%FT%TZ) ENDED=
  rm -rf "$MEMORY"
  room
  exec 9>"$STATE/lock"
  flock -w 1800 9 || die "another run holds $STATE/lock: see what it waits for (ps), then run this again"
  if [[ $STATE != "$MEMORY" ]]; then
    [[ ! -e $STATE/status.jsonl ]] || mv -f "$STATE/status.jsonl" "$STATE/status.previous.jsonl"
    : >"$STATE/status.jsonl"
  fi
  trap '[[ $ENDED ]] || { end_tree ${STAGE:-$!}; room && state failed && publish_last; }' EXIT
}

# room: where the disk has none (4 MB), status and logs go on in memory, and the status says so.
room() {
  local i full="the root disk is full or read-only: free some space (df, du) and reboot. What follows is in $MEMORY"
  [[ $STATE != "$MEMORY" ]] || return 0
  if { mkdir -p "$STATE" && head -c 4M /dev/zero >"$STATE/probe"; } 2>/dev/null; then
    rm -f "$STATE/probe"
    return 0 # said, since a bare return in a trap means the status before the trap
  fi
  # What is still to be put from there is outdated with it.
  rm -f "$STATE/probe" "$STATE/publish.newest" || true
  STATE=$MEMORY
  mkdir -p "$STATE"
  for i in "${!HEADS[@]}"; do record_line "$i"; done
  log "$full"
  record root_disk "$(date -u +%FT%TZ)" 0 "$full"
}

# stage NAME FUNCTION [ARGUMENT...]: runs and records it, and goes on whatever became of it, or when it hangs.
# Never in a condition: bash would switch `set -e` off inside.
stage() {
  local name=$1 file start began=${EPOCHREALTIME/./} rc error='' late=''
  start=$(date -u +%FT%TZ)
  shift
  file=$STATE/$name.log
  state "running $name"
  publish_soon
  # Its exit status comes through a pipe: there, waiting has an end.
  STAGE=
  exec 7< <(
    set +e
    (
      set -e
      exec 9>&- # a daemon started here must not keep the lock
      "$@"
    ) >"$file" 2>&1 </dev/null
    echo $?
  )
  STAGE=$!
  if ! read -r -t "$STAGE_SECONDS" -u 7 rc; then
    rc=124 late="did not end within $STAGE_SECONDS s and was killed"
    end_tree "$STAGE"
  fi
  exec 7<&-
  STAGE=-
  if ((rc)); then
    # The last lines, as one line that needs no more than \ and " escaped.
    error=$(tail -n 15 "$file" | tr '\n\t' '| ' | tr -cd '\40-\176' | tail -c 1000)
    error=$error$late
    error=${error:-exit status $rc}
    tail -n 15 "$file" >&2
    log "$name: FAILED ($rc), see $file"
  else
    log "$name: done"
  fi
  room
  record "$name" "$start" $(((${EPOCHREALTIME/./} - began) / 1000)) "$error"
}

# end_tree [PID]: kills it and what it started, each stopped first, so that it starts nothing meanwhile.
end_tree() {
  local child
  [[ ${1:-} ]] && kill -STOP "$1" 2>/dev/null || return 0
  for child in $(pgrep -P "$1"); do end_tree "$child"; done
  kill -KILL "$1" 2>/dev/null || true
}

# after "STAGE..." stage NAME FUNCTION...: skips, as failed, what stands on a stage that failed.
after() {
  local needed failed now
  for needed in $1; do
    for failed in "${FAILED[@]}"; do
      [[ $failed == "$needed" ]] || continue
      now=$(date -u +%FT%TZ)
      log "$3: skipped, since $needed failed"
      record "$3" "$now" 0 "skipped: needs $needed"
      return
    done
  done
  shift
  "$@"
}

# record NAME START MILLISECONDS ERROR
record() {
  local ok=true
  [[ -z $4 ]] || { ok=false && FAILED+=("$1"); }
  HEADS+=("\"stage\":\"$1\",\"start\":\"$2\",\"end\":\"$(date -u +%FT%TZ)\",\"ms\":$3,\"ok\":$ok")
  ERRORS+=("$4")
  record_line $((${#HEADS[@]} - 1))
}
record_line() { printf '{%s,"error":"%s"}\n' "${HEADS[$1]}" "$(json_text 1000 "${ERRORS[$1]}")" >>"$STATE/status.jsonl"; }

# json_text LIMIT TEXT: its last characters, escaped, and without "{{", which SSM refuses in a value.
json_text() {
  local text=$2
  ((${#text} <= $1)) || text=${text:${#text}-$1}
  text=${text//\\/\\\\}
  text=${text//\{\{/\{\\u007b}
  printf '%s' "${text//\"/\\\"}"
}

# publish_soon: without waiting for it (the CLI takes a second): one after the other, and what is outdated not at all.
publish_soon() {
  local mine=$((++PUBLISHED))
  echo "$mine" >"$STATE/publish.newest"
  (
    flock 8
    # What could not be put is tried again until there is something newer; nothing here outlives the boot for long.
    for _ in {1..20}; do
      [[ $(<"$STATE/publish.newest") == "$mine" ]] || break
      ! publish || break
      sleep 5
    done
  ) 8>"$STATE/publish.lock" 9>&- &
}

# publish_last: after the one that is on its way.
publish_last() {
  echo last >"$STATE/publish.newest"
  flock "$STATE/publish.lock" true
  retry 4 5 publish || log "the status could not be put into $STATUS_PARAMETER: see $STATE/publish.log"
}

# publish: the whole status into this machine's one SSM parameter, at most the 4096 bytes that it takes.
publish() {
  local limit text i
  [[ ${STATUS_PARAMETER:-} ]] && command -v aws >/dev/null || return 0
  for limit in 1000 300 60 0; do
    text=
    for i in "${!HEADS[@]}"; do text+="${text:+,}{${HEADS[i]},\"error\":\"$(json_text $limit "${ERRORS[i]}")\"}"; done
    text="{\"state\":\"$(<"$STATE/state")\",\"machine\":\"$(machine)\",\"boot\":\"$BEGAN\",\"stages\":[$text]}"
    ((${#text} > 4096)) || break
  done
  AWS_MAX_ATTEMPTS=2 timeout -k 5 30 aws ssm put-parameter --region "$AWS_REGION" --name "$STATUS_PARAMETER" --overwrite \
    --cli-connect-timeout 5 --cli-read-timeout 10 --value "$text" >/dev/null 2>"$STATE/publish.log"
}

# machine: the instance id, as cloud-init keeps it.
machine() { cat /var/lib/cloud/data/instance-id 2>/dev/null || uname -n; }

# finish: ready, or degraded and by which stages; then a failure, which cloud-init and systemd show.
finish() {
  ENDED=1
  if ((${#FAILED[@]})); then state "degraded: ${FAILED[*]}"; else state ready; fi
  publish_last
  ((${#FAILED[@]} == 0)) || exit 1
}

# retry TIMES SECONDS COMMAND...: `set -e` is off inside a function called this way.
retry() {
  local times=$1 pause=$2
  shift 2
  until "$@"; do
    ((--times > 0)) || return 1
    sleep "$pause"
  done
}

fetch() { retry 5 10 curl -fsSL --connect-timeout 10 --max-time 300 -o "$2" "$1"; }
apt_get() { retry 5 15 apt_once "$@"; }
apt_once() {
  # What a power cut left half configured: until that is done, apt only says that it must be.
  dpkg --force-confold --configure -a || true
  apt-get -y "$@"
}

# apt_install PACKAGE...: needs no network when all are there.
apt_install() {
  local package
  for package; do
    [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "${package%%=*}" 2>/dev/null) == ii* ]] && continue
    apt_get update
    apt_get install --no-install-recommends "$@"
    return
  done
}

# Ubuntu has no package of it; AWS's snap is signed, and snapd checks that.
install_aws_cli() { command -v aws >/dev/null || retry 5 15 snap install aws-cli --classic --channel=v2/stable; }

# at_every_boot SCRIPT: user data runs once in a machine's life, this unit at each later boot. In an image that is made of
# this machine it is another's, whose user data is still to come: there it does nothing.
at_every_boot() {
  # Whoever runs apt (installers of others do, too) waits for whoever runs it already.
  put_file /etc/apt/apt.conf.d/50ml-infra <<<'DPkg::Lock::Timeout "600";'
  put_file /etc/systemd/system/ml-infra-boot.service <<UNIT
[Unit]
Description=Brings this machine to its state
Wants=network-online.target
After=cloud-init.service network-online.target efs.mount data.mount var-lib-grafana.mount
[Service]
Type=oneshot
# The tunnel that mount.efs started stays.
KillMode=process
ExecCondition=/bin/bash -c '. $FILES/lib.sh; [[ "\$\$(machine)" == "$(machine)" ]]'
ExecStart=$FILES/$1
[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable ml-infra-boot.service
}

# every_minute UNIT COMMAND...: until the machine is off, or somebody stops UNIT.timer. A later one takes its place.
every_minute() {
  systemctl stop "$1.timer" "$1.service" 2>/dev/null || true
  systemd-run -q --collect --unit="$1" --on-calendar=minutely -p Type=oneshot -p LogLevelMax=notice -p StandardOutput=null "${@:2}"
}

# fstab_set DEVICE POINT TYPE OPTIONS PASS: the one line for that mount point; the file is replaced in one step.
fstab_set() {
  local text
  text=$(awk -v point="$2" -v line="$1 $2 $3 $4 0 $5" '
    /^[[:space:]]*#/ || $2 != point { print; next }
    !done++ { print line }
    END { if (!done) print line }' "$FSTAB") || die "$FSTAB cannot be read and was left as it is"
  put_file "$FSTAB" <<<"$text"
  systemctl daemon-reload
}

install_efs_utils() {
  command -v mount.efs >/dev/null && return
  if command -v dnf >/dev/null; then
    retry 5 10 dnf install -y amazon-efs-utils
  else
    fetch https://amazon-efs-utils.aws.com/efs-utils-installer.sh "$STATE/efs-utils-installer.sh"
    retry 5 30 sh "$STATE/efs-utils-installer.sh" --install
  fi
}

efs_mounted() { timeout -k 9 60 mountpoint -q /efs; }

# mount_efs rw|ro: the access point on /efs, over TLS; every request is made as its user.
mount_efs() {
  local options=$1,_netdev,nofail,tls,iam,accesspoint=$EFS_ACCESS_POINT_ID fallback
  mkdir -p /efs
  if ! efs_mounted; then
    install_efs_utils
    # By id first: given an address, the mount helper never asks DNS.
    for fallback in "" ",mounttargetip=$EFS_MOUNT_TARGET_IP"; do
      fstab_set "$EFS_FILE_SYSTEM_ID" /efs efs "$options$fallback" 0
      retry 3 5 timeout -k 10 90 mount /efs && break
    done
  fi
  efs_mounted || die "/efs is not mounted: see /var/log/amazon/efs/mount.log, and whether $EFS_MOUNT_TARGET_IP:2049" \
    "answers and this machine's role may use $EFS_ACCESS_POINT_ID"
  # NFS read-ahead in KB: the kernel's 128 starves training.
  echo 15000 >"/sys/class/bdi/$(mountpoint -d /efs)/read_ahead_kb"
}
