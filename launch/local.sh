#!/usr/bin/env bash
# Several processes on this machine, over loopback: to try what runs on several machines.
#   launch/local.sh 2 --config=configs/coco_softmask.py:demo --workdir=runs/two
# Ctrl-C or SIGTERM: all of them finish the step, save and end.
set -euo pipefail

processes=${1:?"usage: launch/local.sh NUMBER_OF_PROCESSES FLAGS_OF_JAXVL_MAIN..."}
shift
port=${PORT:-12355}
python=${PYTHON:-python}

children=()
signalled=
stop() {
  signalled=yes
  kill -TERM "${children[@]}" 2>/dev/null || true
}
trap stop TERM INT

for ((index = 0; index < processes; index++)); do
  "$python" -m jaxvl.main "$@" \
    --coordinator="localhost:$port" --num_processes="$processes" --process_id="$index" &
  children+=($!)
done

status=0
for child in "${children[@]}"; do
  while true; do # a wait that a signal ended is taken up again
    signalled=
    code=0
    wait "$child" || code=$?
    [[ $signalled ]] || break
  done
  if ((code != 0)); then
    status=$code
    stop # the others would wait for this one for ever
  fi
done
exit "$status"
