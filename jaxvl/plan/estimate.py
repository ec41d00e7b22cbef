"""How long a step takes and what a run costs, by the roofline: an estimate with its assumptions."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxvl.plan.chips import Chip, Reached
from jaxvl.plan.collectives import Collective
from jaxvl.plan.operations import ROUNDED

ASSUMPTIONS = (
    "A step takes the longer of its products and its traffic with the memory, and then its "
    "collectives: nothing overlaps, and the chips never wait for data. The products run at {0:.0%} "
    "of the peak, memory at {1:.0%}, links at {2:.0%}; the time at least is that at 100 %, all at "
    "once. Evaluation, checkpoints and the compiling are left out. Figures and prices of chips are "
    "of {3}: check prices before you pay."
)


class Estimate(NamedTuple):
    """Seconds of a step, by what takes them, and of all steps the hours and US dollars."""

    products: float
    memory: float
    links: float
    at_least: float
    hours: float
    dollars: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return max(self.products, self.memory) + self.links


def estimate(
    chip: Chip,
    reached: Reached,
    *,
    chips: int,
    steps: int,
    operations: Mapping[str, float],
    traffic: float,
    collectives: Sequence[Collective],
) -> Estimate:
    """Returns the Estimate.

    operations: of all chips, by kind. traffic, collectives: of one chip.
    """
    peaks = {"bfloat16": chip.peak_bf16, ROUNDED: chip.peak_rounded}
    products = sum(count / peaks.get(kind, chip.peak_f32) for kind, count in operations.items())
    leaves_host = chips > chip.host_chips and chip.network
    link = chip.network if leaves_host else chip.link
    peak = (products / chips, traffic / chip.hbm, sum(one.sent for one in collectives) / link)
    on_products, on_memory, on_links = (time / part for time, part in zip(peak, reached))
    hours = (max(on_products, on_memory) + on_links) * steps / 3600
    dollars = hours * chips * chip.price
    return Estimate(on_products, on_memory, on_links, max(peak), hours, dollars)
