"""Say what a training step takes on machines that are not here: memory, time and price.

  jaxvl plan --config=coco_softmask --on v5e:4x4
  jaxvl plan --config=coco_softmask --on v5p:2x2x2 --on h100:8 --fsdp 1 --fsdp 8 --json

The step is compiled as training compiles it, for TPUs by libtpu (pip install 'jaxvl[plan]'), which
takes minutes at published sizes and no TPU. For GPUs it is compiled for as many CPU devices: the
arguments are then exact, and temporaries and traffic an estimate. The data set need not be there.
Where the batch does not fit, the largest that does is looked for. Exits 1 if one does not fit.
"""

import json
import sys
from collections.abc import Sequence

from jaxvl.cli import common


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits 1 where a batch does not fit, 2 for what the user can put right."""
    flags, changes = common.parse(_parser(), arguments)
    with common.mistakes_in_one_line():
        from jaxvl.cli.train import read_config
        from jaxvl.plan import chips, report, targets

        config = read_config(flags.config, changes)
        table = chips.read(flags.chips or chips.TABLE)
        wanted = [targets.parse(name, table.compilers) for name in flags.on]
        targets.prepare(wanted)
        results = [_plan(flags, config, target, table) for target in wanted]
        if flags.json:
            print(json.dumps(results, indent=1))
        else:
            print(report.assumptions(table))
        sys.exit(0 if all(one["fits"] for one in results) else 1)


def _parser():
    from jaxvl.plan.chips import TABLE

    parser = common.parser("plan", __doc__)
    parser.add_argument("--config", required=True, metavar="NAME[:ARG]", help="as of jaxvl train")
    parser.add_argument(
        "--on",
        required=True,
        action="append",
        metavar="CHIP:SHAPE",
        help="v5e:4x4, v6e:4x4, v5p:2x2x2, h100:8, a100:8, cpu:8; can be given several times",
    )
    parser.add_argument(
        "--fsdp",
        action="append",
        type=common.count,
        metavar="N",
        help="chips that share the parameters; several times: compares (default: mesh.fsdp)",
    )
    parser.add_argument(
        "--largest", action="store_true", help="look for the largest batch that fits in any case"
    )
    parser.add_argument(
        "--chips", metavar="FILE", help=f"another table of chips (default: {TABLE})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    return parser


def _plan(flags, config, target, table):
    """Returns the plans of one target, as JSON, and the best. Each is printed when it is made."""
    from jaxvl.plan import planned, report, search

    plans: list[planned.Plan] = []

    def made(config):
        plans.append(planned.plan(config, target, table))
        _say(flags, report.lines(flags.config, plans[-1]))
        return plans[-1]

    configs = [_on_mesh(config, fsdp) for fsdp in flags.fsdp or [config.mesh.fsdp]]
    best = search.best([made(one) for one in configs])
    if len(configs) > 1:
        kind = "best" if best.fits else "smallest"
        _say(flags, [f"{kind} mesh of those tried on {target.name}: fsdp {best.mesh[1]}"])
    largest = _largest(flags, _on_mesh(config, best.mesh[1]), best, made)
    return {
        "target": target.name,
        "fits": best.fits,
        "fsdp": best.mesh[1],
        "largest": largest,
        "plans": [report.as_json(flags.config, one) for one in plans],
    }


def _largest(flags, config, best, made):
    """Returns the largest batch that fits, or None, and how that is known; prints it."""
    from jaxvl.plan import search

    above = 8 * config.batch_size if best.fits else 0
    sizes = search.possible(config, devices=best.target.count, hosts=best.hosts, above=above)
    compiled = flags.largest or not best.fits
    if compiled:
        found = search.largest(best, sizes, lambda size: made(_with_batch(config, size)))
        batch = found and found.batch
    else:
        batch = search.by_proportion(best, sizes)
    if batch is None:
        line = "no batch was found that fits: try a larger fsdp, model.remat or more chips"
    elif compiled:
        line = f"largest batch {batch}, of those compiled that fit"
    else:
        about = "at least" if batch == sizes[-1] else "about"
        line = f"largest batch {about} {batch}, by proportion; --largest compiles to find out"
    _say(flags, [f"{line} ({best.target.name}, fsdp {best.mesh[1]})"])
    return {"batch": batch, "compiled": compiled, "is_last": batch in sizes[-1:]}


def _say(flags, lines):
    print("\n".join(lines), file=sys.stderr if flags.json else sys.stdout, flush=True)


def _on_mesh(config, fsdp):
    if fsdp == config.mesh.fsdp:
        return config
    config = config.copy_and_resolve_references().unlock()
    config.mesh.update(data=-1, fsdp=fsdp)
    return config.lock()


def _with_batch(config, size):
    config = config.copy_and_resolve_references().unlock()
    config.batch_size = size
    return config.lock()
