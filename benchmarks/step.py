"""What a training step costs: compile time, seconds, pictures a second, GFLOP/s, peak memory.

    python benchmarks/step.py --config configs/coco_softmask.py --batch_size 8

Each method and precision runs in a process of its own, one after the other, on random pictures and
captions; the last line is one JSON object. The peak is that of a large matrix product in the same
process. With --torch, ALBEF's step in plain PyTorch (step_torch.py) is measured before each and
after the last, so that a machine whose speed drifts is no one's advantage.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from jaxvl.training import host


def main():
    arguments = _arguments()
    if arguments.one:
        print(json.dumps(measure(arguments, *arguments.one.split(","))))
        return
    host.use_huge_pages()  # and so do all processes that are measured
    rows = {}
    ones = [(m, d) for d in arguments.dtypes.split(",") for m in arguments.methods.split(",")]
    before = run_peer(arguments)
    for method, dtype in ones:
        row = run([__file__, *sys.argv[1:], "--one", f"{method},{dtype}"], f"{method} {dtype}")
        rows[f"{method}/{dtype}"] = row
        if arguments.torch:
            after = run_peer(arguments)
            peer = (before["seconds_a_step"] + after["seconds_a_step"]) / 2
            row["seconds_of_torch"], row["ratio_to_torch"] = peer, row["seconds_a_step"] / peer
            print(f"  {row['ratio_to_torch']:.3f} x the time of ALBEF in PyTorch")
            rows["torch"] = before = after
    print(json.dumps(rows))


def run_peer(arguments):
    """Returns the figures of step_torch.py, or None where it was not asked for."""
    if not arguments.torch:
        return None
    peer = str(Path(__file__).with_name("step_torch.py"))
    sizes = ["--batch_size", str(arguments.batch_size), "--steps", str(arguments.steps)]
    return run([peer, *sizes], "torch")


def run(command, name):
    """Returns the figures that a script's last line has, and prints them."""
    output = subprocess.run(
        [sys.executable, *command], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    row = json.loads(output.splitlines()[-1])
    print(f"{name:18} " + "  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
    return row


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="experiment, FILE.py or FILE.py:ARG")
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3, help="timed after one that is not")
    parser.add_argument("--methods", default="albef,softmask")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--scan", choices=("true", "false"), help="default: as the experiment")
    parser.add_argument("--remat", choices=("true", "false"), help="default: as the experiment")
    parser.add_argument("--torch", action="store_true", help="take turns with PyTorch")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(arguments, method, dtype):
    """Returns the figures of one method in one precision."""
    import jax
    from benchmarks_common import load_config, make_step, random_batch, unrolled_flops

    from jaxvl.training.step import compile_step

    config = load_config(arguments.config, method=method, batch_size=arguments.batch_size)
    config.model.product_dtype = dtype
    for key, value in (("scan_layers", arguments.scan), ("remat", arguments.remat)):
        if value is not None:
            config.model[key] = value == "true"
    state, step, abstract = make_step(config)
    batch = random_batch(config)
    start = time.perf_counter()
    compiled = compile_step(step, abstract, batch)
    compile_seconds = time.perf_counter() - start
    flops = unrolled_flops(config)
    state, metrics = compiled(state, batch)
    jax.block_until_ready(metrics)
    steps = []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        state, metrics = compiled(state, batch)
        jax.block_until_ready((state, metrics))
        steps.append(time.perf_counter() - start)
    seconds = statistics.median(steps)
    # Read here: the matrices of the peak's measurement must not count.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    peak = peak_gflops(dtype)
    return {
        "compile_seconds": compile_seconds,
        "seconds_a_step": seconds,
        "images_per_second": arguments.batch_size / seconds,
        "gflops_a_step": flops / 1e9,
        "gflop_per_second": flops / 1e9 / seconds,
        "share_of_peak": flops / 1e9 / seconds / peak,
        "peak_gflop_per_second": peak,
        "peak_memory_gib": memory,
    }


def peak_gflops(dtype):
    """Returns GFLOP/s of a 2048 x 2048 x 2048 product with inputs of `dtype`, float32 sums."""
    import jax
    import jax.numpy as jnp

    size = 2048
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    multiply = jax.jit(lambda a, b: jnp.einsum("ij,jk", a, b, preferred_element_type=jnp.float32))
    multiply(a, a).block_until_ready()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        multiply(a, a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / 1e9 / best


if __name__ == "__main__":
    main()
