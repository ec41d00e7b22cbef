"""The largest batch that fits, found by few compilations; and the best of some meshes."""

from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from jaxvl.errors import UserError
from jaxvl.plan.planned import Plan
from jaxvl.validate import validate

COMPILATIONS = 5  # at most, each of minutes
LARGEST = 2**20


def by_proportion(plan: Plan, sizes: Sequence[int]) -> int | None:
    """Returns the largest of the batch sizes that fits if what is not the state grows with them.

    sizes: ascending. None where not even the smallest does, or nothing is known of the memory.
    """
    state = plan.counted_arguments - plan.next_batch
    if plan.needed is None or plan.needed <= state:
        return None
    largest = plan.batch * (plan.available - state) / (plan.needed - state)
    return max((size for size in sizes if size <= largest), default=None)


def possible(config: ConfigDict, *, devices: int, hosts: int, above: int = 0) -> list[int]:
    """Returns the batch sizes that the configuration allows, ascending.

    Beside the devices and hosts, queues and blocks of negatives decide. above: as far as it goes,
    beyond config.batch_size, in multiples of it.
    """
    config = config.copy_and_resolve_references().unlock()
    most = min(max(config.batch_size, above), LARGEST)
    step = devices * max(1, most // devices // 256)  # 256 sizes are enough
    sizes = []
    for size in range(step, most + 1, step):
        config.batch_size = size
        try:
            validate(config, devices=devices, processes=hosts)
        except UserError:
            continue
        sizes.append(size)
    return sizes


def largest(first: Plan, sizes: Sequence[int], plan_of: Callable[[int], Plan]) -> Plan | None:
    """Returns the Plan of the largest batch size that fits, as far as few compilations tell.

    first: of a size that is known already. sizes: ascending. plan_of: compiles for a size. Each try
    is where proportion says, or else in the middle. None where none was found.
    """
    fitting, refused = (first, None) if first.fits else (None, first)
    for _ in range(COMPILATIONS):
        low = fitting.batch if fitting else 0
        left = [size for size in sizes if low < size and (not refused or size < refused.batch)]
        if not left:
            break
        guess = by_proportion(refused or fitting or first, left)
        if guess is None or fitting and refused:
            guess = left[len(left) // 2]
        tried = plan_of(guess)
        fitting, refused = (tried, refused) if tried.fits else (fitting, tried)
    return fitting


def best(plans: Sequence[Plan]) -> Plan:
    """Returns the Plan with the shortest step of those that fit, else the one that needs least."""
    fitting = [plan for plan in plans if plan.fits and plan.estimate]
    if fitting:
        return min(fitting, key=lambda plan: plan.estimate.step if plan.estimate else 0.0)
    return min(plans, key=lambda plan: plan.needed or float("inf"))
