#!/usr/bin/env bash
# The job that launch/generated/slurm.sbatch asks Slurm for: one process on each node, with all its
# GPUs. sbatch runs it; JAX finds the other processes by itself.
#   sbatch launch/generated/slurm.sbatch              what the spec says
#   sbatch launch/generated/slurm.sbatch --config.batch_size=1024    with other values
# It uses the environment in VENV (default: .venv of the folder where sbatch was called).
# Not tried on a cluster: tests/launch has a stand-in for Slurm.
set -euo pipefail

: "${SLURM_JOB_ID:?"start it with sbatch launch/generated/slurm.sbatch"}"
: "${SLURM_GPUS_ON_NODE:?"Slurm gave this job no GPUs"}"
# shellcheck source=/dev/null
source "${VENV:-.venv}/bin/activate"

# Without this line JAX takes one GPU of each node: that with the number of the process on its node.
JAX_LOCAL_DEVICE_IDS=$(seq --separator=, 0 "$((SLURM_GPUS_ON_NODE - 1))")
export JAX_LOCAL_DEVICE_IDS

# --cpus-per-task: since Slurm 22.05 srun does not take it from sbatch.
# --kill-on-bad-exit=0: a process that has saved and ends first must not end those that still save.
# --wait: what has not ended three minutes after the first one is ended.
code=0
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 --wait=180 \
  python -m jaxvl.main --distributed "$@" || code=$?

# 75: stopped before the last step, and saved. The same job goes back into the queue.
if ((code == 75 && ${SLURM_RESTART_COUNT:-0} < ${RESTARTS:-20})); then
  echo "stopped and saved; back into the queue (restart $((${SLURM_RESTART_COUNT:-0} + 1)))"
  scontrol requeue "$SLURM_JOB_ID"
  sleep 60 # Slurm ends this script when the job is back in the queue
fi
exit "$code"
