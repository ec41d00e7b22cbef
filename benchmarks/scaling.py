"""What of a training step is communication, from 1 chip to 256: a fixed number of pairs on each.

    python benchmarks/scaling.py --config coco_softmask --rows 32 --json scaling.json
    python benchmarks/scaling.py --draw scaling.json --plot docs/scaling.png

Each step is compiled and none is run: the bytes that chips send are the compiler's, the times are
those of `jaxvl plan`, by the products and the links alone. By default the step is compiled for as
many CPU devices as there are chips, which takes a minute for each number; --exact compiles for the
chips, by libtpu, which takes several. Nothing is assumed to overlap.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

SLICES = {1: "1x1", 4: "2x2", 16: "4x4", 64: "8x8", 256: "16x16"}
PARTS = {"products": "#4c72b0", "sums over all chips": "#dd8452", "other transfers": "#c44e52"}


def main():
    arguments = _arguments()
    if arguments.draw:
        draw(json.loads(Path(arguments.draw).read_text()), arguments.plot)
        return
    found = measure(arguments)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1))
    if arguments.plot:
        draw(found, arguments.plot)


def _arguments():
    parser = argparse.ArgumentParser(description="What of a step is communication")
    parser.add_argument("--config", default="coco_softmask", help="experiment, NAME_OR_FILE[:ARG]")
    parser.add_argument("--chip", default="v5e", help="a TPU of jaxvl/plan/chips.toml")
    parser.add_argument("--chips", default="1,4,16,64,256", help="how many, from 1,4,16,64,256")
    parser.add_argument("--rows", type=int, default=32, help="pairs on a chip")
    parser.add_argument("--blocks", type=int, default=0, help="loss.itm_negative_blocks")
    parser.add_argument("--fsdp", type=int, default=1, help="mesh.fsdp, where there are as many")
    parser.add_argument("--exact", action="store_true", help="compile for the chips, by libtpu")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--draw", help="figures that were written, to draw without compiling")
    parser.add_argument("--plot", help="a PNG file")
    return parser.parse_args()


def measure(arguments):
    """Returns {chips: figures} and prints a line for each."""
    from jaxvl.cli.train import read_config
    from jaxvl.plan import chips, targets
    from jaxvl.plan.planned import plan

    table = chips.read()
    on = "tpu" if arguments.exact else "cpu"
    sides = {
        count: tuple(int(side) for side in SLICES[count].split("x"))
        for count in (int(count) for count in arguments.chips.split(","))
    }
    wanted = {
        count: targets.Target(f"{arguments.chip}:{SLICES[count]}", arguments.chip, shape, on)
        for count, shape in sides.items()
    }
    targets.prepare(list(wanted.values()))
    found = {}
    for count, target in wanted.items():
        config = read_config(arguments.config, []).copy_and_resolve_references().unlock()
        config.batch_size = config.eval.batch_size = arguments.rows * count
        config.loss.itm_negative_blocks = arguments.blocks
        config.mesh.fsdp = min(arguments.fsdp, count)
        found[count] = figures(plan(config.lock(), target, table))
        print(json.dumps({"chips": count, **found[count]}), flush=True)
    return found


def figures(planned):
    """Returns what is drawn of a plan: MiB that a chip sends, by kind, and seconds by their cause.

    Sums over all chips are those of gradients, but for a few numbers.
    """
    sent, sums = Counter(), 0.0
    for one in planned.collectives:
        sent[one.kind] += one.sent / 2**20
        if one.kind in ("all-reduce", "reduce-scatter") and one.chips == planned.target.count:
            sums += one.sent
    everything = sum(one.sent for one in planned.collectives)
    time = planned.estimate
    return {
        "batch": planned.batch,
        "mib_sent": {kind: round(mib, 2) for kind, mib in sent.items()},
        "largest_mib": [
            f"{one.times} {one.kind} of {one.size / 2**20:.1f} among {one.chips}"
            for one in planned.collectives[:6]
        ],
        "products": time.products,
        "links": time.links,
        "share_of_sums": sums / everything if everything else 0.0,
        "seconds_compiling": planned.seconds,
    }


def draw(found, path):
    """Draws one bar for each number of chips: seconds of a step, by what takes them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    names = [f"{count}\n{one['batch']:,}" for count, one in found.items()]
    heights = [
        [1e3 * one["products"] for one in found.values()],
        [1e3 * one["links"] * one["share_of_sums"] for one in found.values()],
        [1e3 * one["links"] * (1 - one["share_of_sums"]) for one in found.values()],
    ]
    base = [0.0] * len(names)
    for (label, color), part in zip(PARTS.items(), heights):
        axes.bar(names, part, bottom=base, label=label, color=color, width=0.6)
        base = [one + more for one, more in zip(base, part)]
    for place, (one, total) in enumerate(zip(found.values(), base)):
        axes.annotate(f"{1e3 * one['links'] / total:.0%}", (place, total), ha="center", va="bottom")
    axes.set_ylim(0, 1.25 * max(base))
    axes.set_xlabel("chips, and pairs in the batch")
    axes.set_ylabel("ms a step, estimated")
    axes.set_title("The share of communication, at a fixed number of pairs on a chip", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
