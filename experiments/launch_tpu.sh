#!/usr/bin/env bash
# Trains on a Cloud TPU, from its creation to its deletion. See docs/tpu.md.

set -euo pipefail

usage() {
  cat <<'END'
experiments/launch_tpu.sh ACTION --name=NAME --zone=ZONE --bucket=gs://BUCKET[/FOLDER]
    [--type=v5litepod-8] [--spot] [--project=PROJECT] [--data=gs://BUCKET/FOLDER]
    [--runtime-version=VERSION] [--dry-run] [-- FLAGS OF train.py]

  create    request a TPU and wait until it is there
  install   put the committed code of this checkout, and what it needs, on the TPU
  run       start training, from the bucket's checkpoint if there is one
  resume    what is needed of the above for the training to go on
  keep      resume, again after each preemption, until the training ends
  watch     follow what train.py prints
  status    say how the TPU and the training are
  stop      save a checkpoint and stop training
  fetch     copy the run from the bucket to runs/NAME here
  delete    delete the TPU; what is in the bucket stays

run, resume and keep need train.py's flags after --, such as -- --loss=wgan.
--dry-run prints the commands instead of running them. --name is the TPU's and the run's.
END
}

readonly POLL_SECONDS=${LAUNCH_TPU_POLL_SECONDS:-30}
readonly UPLOAD_SECONDS=60
[[ ${BASH_SOURCE[0]} == */* ]] && HERE=${BASH_SOURCE[0]%/*} || HERE=.
readonly HERE

main() {
  action=${1:-help} name='' zone='' bucket='' project='' data=''
  accelerator=v5litepod-8 runtime='' spot=no dry_run=no
  options=()
  [[ $# -eq 0 ]] || shift
  while [[ $# -gt 0 ]]; do
    case $1 in
      --) shift && break ;;
      --name=*) name=${1#*=} ;;
      --zone=*) zone=${1#*=} ;;
      --bucket=*) bucket=${1#*=} ;;
      --project=*) project=${1#*=} ;;
      --data=*) data=${1#*=} ;;
      --type=*) accelerator=${1#*=} ;;
      --runtime-version=*) runtime=${1#*=} ;;
      --spot) spot=yes ;;
      --dry-run) dry_run=yes ;;
      --help | -h) action=help ;;
      *) die "unknown option $1. train.py's flags go after --; --help lists the others." ;;
    esac
    options+=("$1")
    shift
  done
  case $action in
    create | install | run | resume | keep | watch | status | stop | fetch | delete | worker) ;;
    help | --help | -h) usage && exit 0 ;;
    *) die "unknown action $action. --help lists them." ;;
  esac
  check "$@"
  "$action" "$@"
}

check() {
  [[ $name =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
    die "--name=$name: give lower-case letters, digits and hyphens, a letter first."
  [[ -n $zone || $action == fetch ]] ||
    die "which --zone? Such as us-west4-a; docs/tpu.md says how to list them."
  bucket=${bucket%/} data=${data%/}
  case $action in
    run | resume | keep | worker | fetch)
      [[ $bucket == gs://?* ]] ||
        die "--bucket=$bucket: give a bucket, or a folder in one, as gs://NAME."
      ;;
  esac
  [[ -z $data || $data == gs://?* ]] || die "--data=$data: give a folder in a bucket, as gs://NAME."

  [[ $accelerator =~ ^(v5litepod|v6e)-[1-9][0-9]*$ ]] ||
    die "--type=$accelerator: give v5litepod-N or v6e-N, for N chips."
  if [[ -z $runtime ]]; then
    runtime=v2-alpha-tpuv5-lite
    [[ $accelerator != v6e-* ]] || runtime=v2-alpha-tpuv6e
  fi
  # Up to 8 chips are one virtual machine; larger slices are machines of 4 chips each.
  local chips=${accelerator##*-}
  hosts=1
  [[ $chips -le 8 ]] || hosts=$((chips / 4))

  case $action in
    run | resume | keep | worker)
      [[ $# -gt 0 ]] || die "train what? Put train.py's flags after --, such as -- --loss=wgan."
      local flag
      for flag in "$@"; do
        case ${flag//_/-} in
          --workdir* | --data-dir*) die "${flag%%=*} is set by --name, --bucket and --data." ;;
        esac
      done
      ;;
  esac
  [[ $dry_run == yes ]] || command -v gcloud >/dev/null ||
    die "gcloud is not installed. See https://cloud.google.com/sdk/docs/install."
}

# Actions.

create() {
  local tier=() now='' before=''
  [[ $spot == no ]] || tier=(--spot)
  tpus queued-resources create "$name" --node-id="$name" --accelerator-type="$accelerator" \
    --runtime-version="$runtime" ${tier[@]+"${tier[@]}"}
  created=yes
  while true; do
    now=$(state)
    case $now in
      ACTIVE) break ;;
      '' | FAILED | SUSPEND*) die "$name is ${now:-gone}. Look at it with: $(describe)" ;;
    esac
    [[ $now == "$before" ]] || say "$name is $now"
    before=$now
    sleep "$POLL_SECONDS"
  done
}

install() {
  # shellcheck disable=SC2016  # the machine expands these
  local archive=${TMPDIR:-/tmp}/jaxgan-$name.tar.gz steps='set -e
rm -rf ~/jaxgan && mkdir ~/jaxgan && tar -xzf ~/jaxgan.tar.gz -C ~/jaxgan && cd ~/jaxgan
PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
~/.local/bin/uv venv --quiet --allow-existing --python=3.12 ~/jaxgan-env
~/.local/bin/uv pip install --quiet --python="$HOME/jaxgan-env" --editable ".[tpu]"
~/jaxgan-env/bin/python -c "import jax; print(jax.local_device_count(), jax.devices()[0])"'
  execute git -C "$HERE/.." archive --format=tar.gz --output="$archive" HEAD
  tpus tpu-vm scp "$archive" "$name:jaxgan.tar.gz" --worker=all
  on_workers all "$steps"
}

run() {
  local flags=(--name="$name" --zone="$zone" --bucket="$bucket" --type="$accelerator")
  [[ -z $data ]] || flags+=(--data="$data")
  # `keep` must not take the end of an earlier run, which this one extends, for the end of this.
  local tell=(gcloud storage cp - "$bucket/$name.status")
  if [[ $dry_run == yes ]]; then
    printf 'printf starting |%s\n' "$(quoted "${tell[@]}")"
  else
    printf starting | "${tell[@]}"
  fi
  # A system unit: it outlives the connection, refuses to run twice and is told of a shutdown.
  # SIGTERM goes to `worker` alone, which passes it on once: train.py takes a second for haste.
  on_workers all "cd ~/jaxgan && sudo systemctl reset-failed jaxgan 2>/dev/null
sudo systemd-run --unit=jaxgan --uid=\"\$USER\" --working-directory=\"\$PWD\" \
--property=KillMode=mixed --property=TimeoutStopSec=90 --setenv=PATH=\"\$PATH\" \
--setenv=PYTHONUNBUFFERED=1 bash experiments/launch_tpu.sh worker$(quoted "${flags[@]}" -- "$@")"
}

resume() {
  local now
  now=$(state)
  case $now in
    ACTIVE)
      if [[ $(training) == active ]]; then
        say "$name is training"
        return
      fi
      ;;
    '' | FAILED | SUSPEND*)
      [[ -z $now ]] || delete
      create
      ;;
    *) die "$name is $now. Wait, or look at it with: $(describe)" ;;
  esac
  install
  run "$@"
}

keep() {
  local now ended
  resume "$@"
  while true; do
    # What fails to answer is asked again: a lost connection says nothing about the training.
    now=$(state) || now=unknown
    ended=$(exit_status) || ended=''
    case $now/$ended in
      */0) break ;;
      # Interrupted; or, of several hosts, another was lost: 75 if train.py noticed, 134 if jax did.
      */130 | */143 | */75 | */134) again "$@" ;;
      */[1-9]*) die "train.py ended with status $ended. See its last lines with: $0 watch" ;;
      ACTIVE/*) [[ $(training) == active ]] || again "$@" ;;
      /* | FAILED/* | SUSPEND*/*) again "$@" ;;
    esac
    sleep "$POLL_SECONDS"
  done
  say "$name has finished: $bucket/$name"
}

# In a process of its own, so that what goes wrong ends this try and not `keep`.
again() {
  say "$name has stopped: going on"
  "${BASH:-bash}" "${BASH_SOURCE[0]}" resume "${options[@]}" -- "$@" || say "that failed: trying again"
}

watch() {
  on_workers 0 'sudo journalctl --unit=jaxgan --output=cat --lines=50 --follow'
}

status() {
  local now
  now=$(state)
  say "the TPU is ${now:-not there}"
  [[ $now != ACTIVE ]] || say "the training is $(training)"
}

stop() {
  on_workers all 'sudo systemctl stop jaxgan'
}

fetch() {
  execute mkdir -p "runs/$name"
  execute gcloud storage rsync --recursive "$bucket/$name" "runs/$name"
}

delete() {
  tpus queued-resources delete "$name" --force --quiet
}

# What `run` starts on the machine itself: trains in a local folder, which the bucket follows.
# Checkpoints of several hosts are written by all of them, so those train in the bucket.
worker() {
  local place=$bucket/$name folder=$HOME/runs/$name flags=() listing train uploads status=0
  # First of all, so that the listing is never empty: gcloud takes that for a failure. A failure
  # here must end the start, or a new run would take the place of the one in the bucket.
  tell running
  if [[ $hosts -gt 1 ]]; then
    flags+=(--distributed --workdir="$place")
  else
    flags+=(--workdir="$folder")
    mkdir -p "$folder"
    listing=$(gcloud storage ls "${place%/*}/")
    if [[ $listing == *"$place/"* ]]; then
      gcloud storage rsync --recursive --skip-if-dest-has-newer-mtime "$place" "$folder"
    fi
  fi
  if [[ -n $data ]]; then
    mkdir -p "$HOME/data"
    gcloud storage rsync --recursive "$data" "$HOME/data"
    flags+=(--data-dir="$HOME/data")
  fi
  "$HOME/jaxgan-env/bin/python" "$HERE/train.py" "${flags[@]}" "$@" &
  train=$!
  trap 'kill -TERM "$train" 2>/dev/null || true' TERM INT
  # Silent, so that the one left behind at the end holds no output open.
  while sleep "$UPLOAD_SECONDS" >/dev/null 2>&1 3>&-; do upload "$folder" "$place" || true; done &
  uploads=$!
  wait "$train" || status=$?
  # A signal ends the wait while train.py still saves its state.
  while kill -0 "$train" 2>/dev/null; do
    status=0
    wait "$train" || status=$?
  done
  kill "$uploads" 2>/dev/null || true
  upload "$folder" "$place"
  tell "$status"
  exit "$status"
}

# Writes how the training is to the bucket. Of several hosts the first does: the service refuses
# many writes to one object at once.
tell() {
  local attributes=http://metadata.google.internal/computeMetadata/v1/instance/attributes worker=0
  if [[ $hosts -gt 1 ]]; then
    worker=$(curl --silent --fail --header 'Metadata-Flavor: Google' \
      "$attributes/agent-worker-number")
  fi
  [[ $worker -ne 0 ]] || printf '%s' "$1" | gcloud storage cp - "$bucket/$name.status"
}

# Checkpoints first, so that the metrics in the bucket are never behind them. Those that are still
# being written have names of their own; those that train.py deletes go from the bucket too.
upload() {
  [[ $hosts -eq 1 ]] || return 0
  local mirror=(gcloud storage rsync --recursive --delete-unmatched-destination-objects)
  if [[ -d $1/checkpoints ]]; then
    "${mirror[@]}" --exclude='.*orbax-checkpoint-tmp.*' "$1/checkpoints" "$2/checkpoints"
  fi
  "${mirror[@]}" --exclude='^checkpoints/.*|\.lock$' "$1" "$2"
}

# Tools.

die() {
  printf 'launch_tpu.sh: %s\n' "$*" >&2
  exit 2
}

say() {
  [[ $dry_run == yes ]] || printf '%s\n' "$*"
}

# Each argument after a space, as one would type it.
quoted() {
  local word mark="'"
  for word in "$@"; do
    if [[ $word =~ ^[-A-Za-z0-9_./:=@,~+]+$ ]]; then
      printf ' %s' "$word"
    else
      printf " '%s'" "${word//$mark/$mark\\$mark$mark}"
    fi
  done
}

# Runs a command, or with --dry-run prints it.
execute() {
  if [[ $dry_run == yes ]]; then
    local line
    line=$(quoted "$@")
    printf '%s\n' "${line# }"
  else
    "$@"
  fi
}

tpus() {
  execute gcloud compute tpus "$@" --zone="$zone" ${project:+--project="$project"}
}

on_workers() {
  tpus tpu-vm ssh "$name" --worker="$1" --command="$2"
}

# A dry run of the next three prints the question, and takes the answer with which the action goes
# the whole way: no TPU before it is created, then one whose training has ended well.

# The request's state, such as WAITING_FOR_RESOURCES, ACTIVE or SUSPENDED; nothing without one.
state() {
  ask tpus queued-resources list --filter="name~/queuedResources/$name\$" \
    --format='value(state.state)' || return
  if [[ $dry_run == yes && ($created == yes || $action == status) ]]; then
    printf 'ACTIVE\n'
  fi
}

# As systemd says it: active, inactive, failed.
training() {
  ask on_workers 0 'systemctl is-active jaxgan || true'
}

# How the training is: "starting", "running", or ended with that exit status of train.py.
exit_status() {
  ask execute gcloud storage cat "$bucket/$name.status" || return
  [[ $dry_run == no ]] || printf '0\n'
}

ask() {
  if [[ $dry_run == yes ]]; then
    "$@" >&3
  else
    "$@"
  fi
}

describe() {
  local line
  line=$(quoted gcloud compute tpus queued-resources describe "$name" --zone="$zone")
  printf '%s' "${line# }"
}

created=no
exec 3>&1
main "$@"
