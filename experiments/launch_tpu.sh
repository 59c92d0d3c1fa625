#!/usr/bin/env bash
# Trains on a Cloud TPU, from its creation to its deletion: docs/tpu.md.
#
#   launch_tpu.sh ACTION --name=NAME --zone=ZONE --bucket=gs://BUCKET[/FOLDER]
#       [--type=v5litepod-8] [--spot] [--project=PROJECT] [--runtime-version=VERSION]
#       [--dry-run] [-- FLAGS OF train.py]
# --dry-run prints the commands instead of running them. Actions:
set -euo pipefail

# Prints the lines above, and each action with what follows its ##.
help() { sed -n -e '2,7s/^# \{0,1\}//p' -e 's/^\([a-z]*\)() {.* [#]# /  \1: /p' "$0"; }
die() { printf 'launch_tpu.sh: %s\n' "$*" >&2; exit 2; }
execute() { if [[ $dry_run ]]; then printf '%q ' "$@" >&3; echo >&3; else "$@"; fi; }
tpus() { execute gcloud compute tpus "$@" --zone="$zone" ${project:+--project="$project"}; }
on() { tpus tpu-vm ssh "$name" --worker="$1" --command="$2"; }
# ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED (preempted) and so on; nothing if there is no TPU.
state() { tpus queued-resources list --filter="name~/$name\$" --format='value(state.state)'; }
# A word from each machine: running, exited (finished), failed, dead (not started) and so on.
training() { on all 'systemctl show jaxgan --property=SubState --value'; }
halt='{ sudo systemctl stop jaxgan; sudo systemctl reset-failed jaxgan; } 2>/dev/null || true'

create() { ## request a TPU, unless there is one, and wait until it is ready
  local now; now=$(state)
  case $now in FAILED | SUSPENDED) delete; now='' ;; esac
  [[ $now ]] || tpus queued-resources create "$name" --node-id="$name" \
    --accelerator-type="$type" --runtime-version="${runtime:-v2-alpha-tpuv5-lite}" ${spot:+--spot}
  until [[ $dry_run || $now == ACTIVE ]]; do
    sleep "${POLL_SECONDS:-30}"
    now=$(state) || now=unreachable
    echo "$(date +%T) $name is ${now:-gone}"
    case $now in '' | FAILED | SUSPEND*) die "there is no TPU $name: docs/tpu.md says why." ;; esac
  done
}
install() { ## copy the committed code of this checkout to the TPU and install it
  execute git -C "$(dirname "$0")/.." archive --format=tar.gz --output="$tmp/$name.tar.gz" HEAD
  tpus tpu-vm scp "$tmp/$name.tar.gz" "$name:jaxgan.tar.gz" --worker=all
  on all "$halt; set -e; rm -rf ~/jaxgan; mkdir ~/jaxgan; cd ~/jaxgan; tar -xzf ~/jaxgan.tar.gz
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
    ~/.local/bin/uv venv --quiet --allow-existing --python=3.12 ~/jaxgan-env
    ~/.local/bin/uv pip install --quiet --python=\$HOME/jaxgan-env --editable '.[tpu]'"
}
run() { ## train in BUCKET/NAME, from its last checkpoint if there is one
  local flags=("$@" --workdir="$bucket/$name")
  [[ ${type##*-} -le 8 ]] || flags+=(--distributed) # more than 8 chips are several machines
  # A service outlives the connection, and restarts after a crash or when a machine was lost.
  on all "$halt
cd ~/jaxgan && sudo systemd-run --unit=jaxgan --uid=\$USER --same-dir \
--remain-after-exit --setenv=PYTHONUNBUFFERED=1 -p Restart=on-failure -p RestartSec=10 \
-p RestartPreventExitStatus='2 3 4' -p StartLimitBurst=10 -p StartLimitIntervalSec=1h \
~/jaxgan-env/bin/python experiments/train.py$(printf ' %q' "${flags[@]}")"
}
resume() { ## create, install and run, unless it is training
  create
  local now; now=$(training)
  [[ $dry_run || $now =~ dead|failed|exited ]] || return 0
  install; run "$@"
}
keep() { ## resume, and again after each preemption, until training ends
  resume "$@"
  while [[ ! $dry_run ]]; do
    case $(training || echo dead) in
      *dead*) bash "$0" resume "${all[@]:1}" || echo "cannot resume $name yet: trying again" ;;
      *failed*) die "train.py failed. See its last lines with: launch_tpu.sh watch" ;;
      *running* | *start* | *stop*) ;;
      *) echo "$name has finished: $bucket/$name"; return ;;
    esac
    sleep "${POLL_SECONDS:-30}"
  done
}
watch() { on 0 'sudo journalctl -u jaxgan --output=cat --lines=50 --follow'; } ## follow train.py
status() { state; training; } ## show the state of the TPU and of the training
stop() { on all "$halt"; } ## save a checkpoint and stop training
fetch() { ## copy the run from the bucket to runs/NAME
  execute mkdir -p "runs/$name"; execute gcloud storage rsync -r "$bucket/$name" "runs/$name"
}
delete() { tpus queued-resources delete "$name" --force --quiet; } ## delete the TPU, not the bucket

all=("$@") action=${1:-help} name='' zone='' bucket='' project='' type=v5litepod-8
runtime='' spot='' dry_run='' tmp=${TMPDIR:-/tmp}
shift $(($# > 0))
for option in "$@"; do
  shift
  case $option in
    --name=* | --zone=* | --bucket=* | --project=* | --type=*) declare "${option#--}" ;;
    --runtime-version=*) runtime=${option#*=} ;;
    --spot) spot=yes ;;
    --dry-run) dry_run=yes ;;
    --) break ;;
    *) die "unknown option $option: help lists them. train.py's flags go after --." ;;
  esac
done
[[ ! $action =~ ^(help|-h|--help)$ ]] || { help; exit; }
grep -q "^$action() {.*## " "$0" || die "unknown action $action: help lists them."
[[ $name =~ ^[a-z][-a-z0-9]*$ ]] || die "--name=$name: give a-z, 0-9 and -, a letter first."
[[ $zone && $bucket == gs://?* ]] || die "give --zone=ZONE and --bucket=gs://BUCKET."
[[ $# -gt 0 || ! $action =~ ^(run|resume|keep)$ ]] || die "train what? Such as: -- --loss=wgan"
[[ $type =~ ^(v5litepod|v6e)-[0-9]+$ ]] || die "--type=$type: give v5litepod-N or v6e-N (N chips)."
[[ $runtime || $type != v6e-* ]] || runtime=v2-alpha-tpuv6e
"$action" "$@" 3>&1 # `execute` prints there, so that $(state) does not take what it prints
