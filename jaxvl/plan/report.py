"""A plan for people, and as JSON."""

from typing import Any

from jaxvl.plan.chips import Table
from jaxvl.plan.compiled import GIB
from jaxvl.plan.estimate import ASSUMPTIONS
from jaxvl.plan.planned import Plan

MIB = 2**20


def headline(name: str, plan: Plan) -> str:
    """Returns the line that says what is planned."""
    count, (data, fsdp) = plan.target.count, plan.mesh
    chips = f"{count} {_plural('chip', count)} of {plan.hosts} {_plural('host', plan.hosts)}"
    return (
        f"{name} on {plan.target.name}: {chips}, mesh data {data} x fsdp {fsdp}, "
        f"batch {plan.batch} ({plan.batch // count} a chip)"
    )


def _plural(word, count):
    return word if count == 1 else f"{word}s"


def lines(name: str, plan: Plan) -> list[str]:
    """Returns the lines of a plan."""
    return [headline(name, plan), *(f"  {line}" for line in _figures(plan))]


def _figures(plan):
    yield _verdict(plan)
    if plan.memory:
        parts = plan.memory._asdict() | {"next batch": plan.next_batch}
        figures = ", ".join(f"{part} {size / GIB:.3f}" for part, size in parts.items())
        yield f"memory       GiB a chip: {figures}"
    else:
        size = plan.counted_arguments / GIB
        yield f"memory       GiB a chip: arguments {size:.3f}, by their shapes"
    yield f"compiled     in {plan.seconds:.0f} s by {plan.made_by}"
    yield f"vocabulary   {plan.words}"
    by_kind = "; ".join(f"{kind}: {n / 1e12:.4g}" for kind, n in plan.operations.items())
    yield f"operations   1e12 a step of all chips, in products: {by_kind}"
    if plan.compiler_operations is not None:
        figure = plan.compiler_operations * plan.target.count / 1e12
        yield f"             the compiler says {figure:.4g}, which has the body of a loop once"
    if plan.traffic is not None:
        yield f"memory moves {plan.traffic / 1e9:.4g} GB a step a chip"
        yield from _collectives(plan)
    if plan.estimate:
        yield from _run(plan)


def _verdict(plan):
    about = ", an estimate" if plan.is_estimate else ""
    have = f"{plan.available / GIB:.2f} GiB a chip{about}"
    if plan.fits:
        return f"fits         {(plan.needed or 0) / GIB:.2f} of {have}"
    needed = f"{plan.needed / GIB:.2f} of " if plan.needed else "the compiler refuses it; there is "
    return f"DOES NOT FIT {needed}{have}"


def _collectives(plan):
    if not plan.collectives:
        yield "collectives  none"
    kinds = dict.fromkeys(one.kind for one in plan.collectives)
    for number, kind in enumerate(kinds):
        ones = [one for one in plan.collectives if one.kind == kind]
        largest = max(ones, key=lambda one: one.size)
        sent, times = sum(one.sent for one in ones), sum(one.times for one in ones)
        yield (
            f"{'' if number else 'collectives':12} {kind}: {times} a step, a chip sends "
            f"{sent / MIB:.4g} MiB; the largest has {largest.size / MIB:.4g} MiB"
        )


def _run(plan):
    one = plan.estimate
    yield (
        f"step         {one.step:.4g} s: products {one.products:.4g}, memory {one.memory:.4g}, "
        f"links {one.links:.4g}; at least {one.at_least:.4g} s, an estimate"
    )
    per_host = plan.batch / one.step / plan.hosts
    yield f"data         each host must read {per_host:.0f} images a second to keep up"
    yield f"run          {plan.steps:,} steps: {one.hours:.3g} hours, ${one.dollars:,.2f}"


def assumptions(table: Table) -> str:
    """Returns what the estimates take for granted."""
    return ASSUMPTIONS.format(*table.reached, table.dated)


def as_json(name: str, plan: Plan) -> dict[str, Any]:
    """Returns a plan as what JSON can hold. Bytes are of one chip, operations of all together."""
    result = plan._asdict() | {"config": name, "target": plan.target.name, "fits": plan.fits}
    result["chips"], result["mesh"] = plan.target.count, dict(zip(("data", "fsdp"), plan.mesh))
    result["memory"] = plan.memory and plan.memory._asdict()
    result["collectives"] = [one._asdict() | {"sent": one.sent} for one in plan.collectives]
    if plan.estimate:
        result["estimate"] = plan.estimate._asdict() | {"step": plan.estimate.step}
    return result
