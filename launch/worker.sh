#!/usr/bin/env bash
# What launch/tpu_vm.sh does on each worker of a slice. A worker has one run at a time, in ~/run.
#   worker.sh install FOLDER   bring Python 3.12 and install jaxvl from FOLDER, into ~/venv
#   worker.sh start FLAGS...   start a run that goes on when the connection ends
#   worker.sh state            print one line: running, or how it ended
#   worker.sh end              wait until the run has ended, then as state
#   worker.sh follow           print the log until the run ends
#   worker.sh stop             SIGTERM: it saves, and ends; wait for that
set -euo pipefail

run=$HOME/run
python=$HOME/venv/bin/python

running() {
  [[ -f $run/pid ]] || return 1
  local process command=""
  process=/proc/$(<"$run/pid")
  # Its command is compared too: after a restart of the machine another process may have its number.
  # A command is empty for a moment while a program starts another one in its place.
  for _ in {1..5}; do
    command=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline") || return 1
    [[ -z $command ]] || break
    sleep 0.1
  done
  [[ $command == *supervise* || $command == *--distributed* ]]
}

install() {
  # The image's own Python is 3.10, and jaxvl needs 3.11; uv comes by pip and downloads a newer one.
  python3 -m pip install --quiet --user uv
  "$HOME/.local/bin/uv" venv --quiet --clear --python 3.12 "$HOME/venv"
  "$HOME/.local/bin/uv" pip install --quiet --python "$python" "$1[tpu,gcs]"
}

start() {
  if running; then
    echo "$HOSTNAME: a run is running; stop it first" >&2
    exit 2
  fi
  mkdir -p "$run"
  rm -f "$run/pid" "$run/code"
  setsid nohup bash "$0" supervise "$@" >>"$run/log" 2>&1 </dev/null &
  until [[ -f $run/pid ]]; do sleep 0.1; done
}

supervise() {
  "$python" -m jaxvl.main --distributed "$@" &
  echo "$!" >"$run/pid"
  code=0
  wait "$!" || code=$?
  echo "$code" >"$run/code"
}

state() {
  if running; then
    echo "$HOSTNAME: running"
  elif [[ -f $run/code ]]; then
    echo "$HOSTNAME: ended with $(<"$run/code")"
  else
    echo "$HOSTNAME: no run"
  fi
}

end() {
  while running; do sleep 0.5; done
  for _ in {1..20}; do # its exit code is written a moment later
    [[ -f $run/code || ! -f $run/pid ]] || sleep 0.2
  done
  state
}

stop() {
  if running; then kill -TERM "$(<"$run/pid")"; fi
  end
}

follow() {
  if running; then tail --pid="$(<"$run/pid")" --lines=100 --follow "$run/log"; fi
}

case ${1:-} in
  install | start | supervise | state | end | stop | follow) "$@" ;;
  *)
    sed -n '3,8s/^# *//p' "$0" >&2
    exit 2
    ;;
esac
