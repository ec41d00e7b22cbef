"""Stands for `python -m jaxvl.main` on a host of a cluster: it trains the toy of tests/toy.py.

JAX finds the other processes by its own code for Slurm, TPU VMs and GKE. JAX knows a host of TPUs
by its devices; where TPU_HOST is set, it is told that they are there, and computes on the CPU. At
the end a file in SEEN says what this process saw.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import jax
import toy
from jax._src import xla_bridge
from jax._src.clusters import cloud_tpu_cluster, cluster

from jaxvl.cli import train

if os.environ.get("TPU_HOST"):
    cluster.running_in_cloud_tpu_vm = cloud_tpu_cluster.running_in_cloud_tpu_vm = True
    if "TPU_WORKER_ID" not in os.environ:  # a TPU VM, not a pod of GKE
        del os.environ["TPU_SKIP_MDS_QUERY"]  # set by JAX, which found no TPU

toy.register()
try:
    train.main()
finally:
    seen = {
        "process": f"{jax.process_index()} of {jax.process_count()}",
        "gpus": xla_bridge.CUDA_VISIBLE_DEVICES.value,
        "cpus": os.environ.get("SLURM_CPUS_PER_TASK"),
        "flags": sys.argv[1:],
    }
    with (Path(os.environ["SEEN"]) / f"{jax.process_index()}.jsonl").open("a") as file:
        file.write(json.dumps(seen) + "\n")
