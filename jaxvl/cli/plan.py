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
from typing import TYPE_CHECKING

from jaxvl.cli import common

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from jaxvl.plan.planned import Plan


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
        plans = [one for target in wanted for one in _plans(flags, config, target, table)]
        if flags.json:
            print(json.dumps([report.as_json(flags.config, one) for one in plans], indent=1))
        else:
            print(report.assumptions(table))
        sys.exit(0 if all(one.fits for one in plans) else 1)


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


def _plans(flags, config, target, table) -> "list[Plan]":
    """Returns the plans of one target, which are printed as they are made, best of meshes last."""
    from jaxvl.plan import planned, report, search

    def made(config):
        plan = planned.plan(config, target, table)
        _say(flags, report.lines(flags.config, plan))
        return plan

    configs = [_on_mesh(config, fsdp) for fsdp in flags.fsdp or [None]]
    plans = [made(one) for one in configs]
    best = search.best(plans)
    if len(plans) > 1:
        kind = "best" if best.fits else "smallest"
        _say(flags, [f"{kind} mesh of those tried on {target.name}: fsdp {best.mesh[1]}"])
    config = configs[plans.index(best)]
    _say_largest(flags, best, _search(flags, config, best, made))
    return plans


def _search(flags, config, plan, made):
    from jaxvl.plan import search

    above = 8 * config.batch_size if plan.fits else 0
    sizes = search.possible(config, devices=plan.target.count, hosts=plan.hosts, above=above)
    if plan.fits and not flags.largest:
        return search.by_proportion(plan, sizes)
    return search.largest(plan, sizes, lambda size: made(_with_batch(config, size)))


def _say_largest(flags, plan, found):
    if isinstance(found, int):
        line = f"largest batch about {found}, by proportion; --largest compiles to find out"
    elif found is None:
        line = "no batch was found that fits; try a larger fsdp, model.remat or more chips"
    else:
        line = f"largest batch {found.batch} of those compiled that fit"
    _say(flags, [f"{line} ({plan.target.name}, fsdp {plan.mesh[1]})"])


def _say(flags, lines):
    print("\n".join(lines), file=sys.stderr if flags.json else sys.stdout, flush=True)


def _on_mesh(config: "ConfigDict", fsdp: int | None) -> "ConfigDict":
    if fsdp is None:
        return config
    config = config.copy_and_resolve_references().unlock()
    config.mesh.update(data=-1, fsdp=fsdp)
    return config.lock()


def _with_batch(config, size):
    config = config.copy_and_resolve_references().unlock()
    config.batch_size = size
    return config.lock()
