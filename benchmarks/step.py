"""What a training step costs: compile time, seconds, pictures a second, GFLOP/s, peak memory.

    python benchmarks/step.py --config configs/coco_softmask.py --batch_size 8

Each method and precision runs in a process of its own, one after the other, on random pictures and
captions; the last line is one JSON object. The peak is that of a large float32 matrix product in
the same process.
"""

import argparse
import json
import resource
import subprocess
import sys
import time


def main():
    arguments = _arguments()
    if arguments.one:
        print(json.dumps(measure(arguments, *arguments.one.split(","))))
        return
    rows = {}
    for dtype in arguments.dtypes.split(","):
        for method in arguments.methods.split(","):
            one = [sys.executable, __file__, *sys.argv[1:], "--one", f"{method},{dtype}"]
            output = subprocess.run(one, check=True, stdout=subprocess.PIPE, text=True).stdout
            row = json.loads(output.splitlines()[-1])
            print(f"{method:9} {dtype:9} " + "  ".join(f"{k} {v:.4g}" for k, v in row.items()))
            rows[f"{method}/{dtype}"] = row
    print(json.dumps(rows))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="experiment, FILE.py or FILE.py:ARG")
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3, help="timed after one that is not")
    parser.add_argument("--methods", default="albef,softmask")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--scan", choices=("true", "false"), default="true")
    parser.add_argument("--remat", choices=("true", "false"), default="false")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(arguments, method, dtype):
    """Returns the figures of one method in one precision."""
    import jax
    from benchmarks_common import load_config, make_step, random_batch, unrolled_flops

    config = load_config(arguments.config, method=method, batch_size=arguments.batch_size)
    config.model.product_dtype = dtype
    config.model.scan_layers = arguments.scan == "true"
    config.model.remat = arguments.remat == "true"
    state, step, abstract = make_step(config)
    batch = random_batch(config)
    start = time.perf_counter()
    compiled = step.lower(abstract, batch).compile()
    compile_seconds = time.perf_counter() - start
    flops = unrolled_flops(config)
    state, metrics = compiled(state, batch)
    jax.block_until_ready(metrics)
    start = time.perf_counter()
    for _ in range(arguments.steps):
        state, metrics = compiled(state, batch)
    jax.block_until_ready((state, metrics))
    seconds = (time.perf_counter() - start) / arguments.steps
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
