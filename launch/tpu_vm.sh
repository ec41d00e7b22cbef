#!/usr/bin/env bash
# Train on a slice of TPU VMs, with gcloud. What to run where stands in launch/generated/tpu_vm.env,
# written from launch/spec.yaml; SETTINGS=FILE takes another one.
#   launch/tpu_vm.sh create    ask for the slice, wait until it is there, install jaxvl on it
#   launch/tpu_vm.sh start     start the run on all workers; flags of `jaxvl train` are added
#   launch/tpu_vm.sh status    the state of the slice, and of the run on each worker
#   launch/tpu_vm.sh attach    the log until the run ends; then its exit code (Ctrl-C ends the log only)
#   launch/tpu_vm.sh logs 3    the log of worker 3 up to now
#   launch/tpu_vm.sh stop      save and end the run
#   launch/tpu_vm.sh delete    give the slice back
#   launch/tpu_vm.sh keep      all of it, again and again, until the run is finished or fails
# Not tried on a TPU: tests/launch has a stand-in for gcloud.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=launch/generated/tpu_vm.env
source "${SETTINGS:-launch/generated/tpu_vm.env}"
where=(--project="$PROJECT" --zone="$ZONE")
pause=${PAUSE:-30} # seconds between two looks at the queue

tpus() {
  gcloud compute tpus "$@" "${where[@]}"
}

on_workers() {
  # $1: all, or a number. The rest: a command of launch/worker.sh. Without the flag of ssh a
  # connection to a worker that was taken away would not end.
  tpus tpu-vm ssh "$NAME" --worker="$1" --ssh-flag=-oServerAliveInterval=30 \
    --command="bash jaxvl/launch/worker.sh$(printf ' %q' "${@:2}")"
}

queue_state() {
  tpus queued-resources describe "$NAME" --format="value(state.state)"
}

create() {
  tpus queued-resources create "$NAME" --node-id="$NAME" ${SPOT:+"$SPOT"} \
    --accelerator-type="$ACCELERATOR" --runtime-version="$IMAGE"
  until [[ $(queue_state) == ACTIVE ]]; do
    if [[ $(queue_state) =~ FAILED|SUSPEND ]]; then
      echo "the slice was refused; see: gcloud compute tpus queued-resources describe $NAME" >&2
      exit 1
    fi
    sleep "$pause"
  done
  local archive
  archive=$(mktemp --suffix=.tar.gz)
  git archive --format=tar.gz --prefix=jaxvl/ --output="$archive" HEAD
  tpus tpu-vm scp "$archive" "$NAME:jaxvl.tar.gz" --worker=all
  rm "$archive"
  tpus tpu-vm ssh "$NAME" --worker=all --command="tar xzf jaxvl.tar.gz"
  on_workers all install ./jaxvl
}

# 0: every worker finished. 75: some were stopped, and all saved. Else the code of the first that
# failed, and 1 where one does not answer or has no run. $1: state, or end, which waits.
outcome() {
  local line code result=0 count=0
  while read -r line; do
    echo "$line"
    code=${line##* ended with }
    [[ $code =~ ^[0-9]+$ ]] || code=1
    count=$((count + 1))
    if ((code != 0 && (result == 0 || result == 75) && !(code == 75 && result == 75))); then
      result=$code
    fi
  done < <(on_workers all "$1" | sort --version-sort)
  ((count == WORKERS)) || result=1
  return "$result"
}

attach() {
  on_workers 0 follow
  outcome end
}

keep() {
  local code attempt
  for ((attempt = 0; attempt <= RESTARTS; attempt++)); do
    if [[ $(queue_state 2>/dev/null) != ACTIVE ]]; then
      delete 2>/dev/null || true # what is left of a slice that was taken away
      create
    fi
    on_workers all start "${FLAGS[@]}" "$@"
    code=0
    attach || code=$?
    ((code != 0 && code != 2)) || break
  done
  return "$code"
}

delete() {
  tpus queued-resources delete "$NAME" --force --quiet
}

command=${1:-}
shift || true
case $command in
  create | attach | delete | keep) "$command" "$@" ;;
  start) on_workers all start "${FLAGS[@]}" "$@" ;;
  stop) on_workers all stop ;;
  status)
    echo "slice: $(queue_state)"
    outcome state || true
    ;;
  logs) tpus tpu-vm ssh "$NAME" --worker="${1:-0}" --command="cat run/log" ;;
  *)
    sed -n '4,11s/^# *//p' "$0" >&2
    exit 2
    ;;
esac
