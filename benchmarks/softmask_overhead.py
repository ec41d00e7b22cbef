"""Compare SoftMask with ALBEF: operations and wall time of a step of the same configuration.

    python benchmarks/softmask_overhead.py --config coco_softmask --batch_size 8

Operations are those of the compiled program with unrolled layers (cost_analysis), so operations
that XLA removes are not counted. The steps of both methods take turns. The last line is a JSON
object.
"""

import argparse
import json
import statistics
import time

import jax
from benchmarks_common import load_config, make_step, random_batch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="experiment, NAME_OR_FILE[:ARG]")
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--steps", type=int, default=5, help="timed of each; 0: operations only")
    flags = parser.parse_args()
    runs = {name: Run(flags, name) for name in ("albef", "softmask")}
    for _ in range(flags.steps):
        for run in runs.values():
            run.take_step()
    result = {name: run.figures() for name, run in runs.items()}
    albef, softmask = result["albef"], result["softmask"]
    result["ratio"] = {key: softmask[key] / albef[key] for key in albef}
    for name, row in result.items():
        print(f"{name:9}", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    print(json.dumps(result))


class Run:
    """The compiled step of one method, and its times."""

    def __init__(self, flags: argparse.Namespace, method: str) -> None:
        """Compiles the step."""
        config = load_config(flags.config, method=method, batch_size=flags.batch_size)
        config.model.update(scan_layers=False, remat=False, product_dtype="float32")
        self.state, step, abstract = make_step(config, initialise=flags.steps > 0)
        self.batch = random_batch(config)
        self.compiled = step.lower(abstract, self.batch).compile()
        self.seconds = []

    def take_step(self) -> None:
        """Takes one step and adds its time."""
        start = time.perf_counter()
        self.state, metrics = self.compiled(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        self.seconds.append(time.perf_counter() - start)

    def figures(self) -> dict[str, float]:
        """Returns the operations, and the median time of the steps after the first."""
        figures = {"gflops": self.compiled.cost_analysis()["flops"] / 1e9}
        if len(self.seconds) > 1:
            figures["seconds"] = statistics.median(self.seconds[1:])
        return figures


if __name__ == "__main__":
    main()
