#!/usr/bin/env bash
# Several processes on this machine, over loopback, to try a run that is meant for several machines.
#   launch/local.sh 2 --config=coco_softmask:demo --workdir=runs/two
# After Ctrl-C or SIGTERM all of them finish the step, save and end.
set -euo pipefail

processes=${1:?"usage: launch/local.sh NUMBER_OF_PROCESSES FLAGS_OF_JAXVL_TRAIN..."}
shift
port=${PORT:-12355}
python=${PYTHON:-python}

children=()
stop() {
  kill -TERM "${children[@]}" 2>/dev/null || true
}
trap stop TERM INT

for ((index = 0; index < processes; index++)); do
  "$python" -m jaxvl.main "$@" \
    --coordinator="localhost:$port" --num_processes="$processes" --process_id="$index" &
  children+=($!)
done

status=0
running=$processes
while ((running > 0)); do
  sleep 0.2
  for index in "${!children[@]}"; do
    child=${children[index]}
    kill -0 "$child" 2>/dev/null && continue
    unset "children[index]"
    running=$((running - 1))
    code=0
    wait "$child" || code=$?
    if ((code != 0)); then
      status=$code
      # After 75 (stopped, saved) the others end by themselves.
      ((running == 0 || code == 75)) || stop # the others would wait for this one without end
    fi
  done
done
exit "$status"
