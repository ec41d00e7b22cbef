"""What the chips send each other in a step, read from the compiled program."""

import math
import re
from typing import NamedTuple

from jaxvl.plan import hlo

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


class Collective(NamedTuple):
    """A transfer between chips. size: bytes of its whole array. times: how often in a step."""

    kind: str
    size: int
    chips: int  # that take part in one
    times: int

    @property
    def sent(self) -> float:
        """Bytes that each chip sends in a step, on a ring."""
        share = (self.chips - 1) / self.chips
        each = {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.kind, share)
        return self.times * self.size * each


def collectives(module: hlo.Module) -> list[Collective]:
    """Returns the collectives of a step, the costliest first; equal ones are one, with `times`."""
    found: dict[tuple[str, int, int], int] = {}
    seen: set[str] = set()

    def visit(computation: hlo.Computation, times: int) -> None:
        for line in computation.values():
            kind = line.opcode.removesuffix("-start")
            if kind not in KINDS:
                continue
            channel = re.findall(r"channel_id=(\d+)", line.rest)
            if seen.intersection(channel):  # a piece of one that is split, to overlap with others
                continue
            seen.update(channel)
            chips = _chips(line.rest, module.devices)
            size = sum(hlo.size_of(computation[name].type) for name in line.operands)
            key = (kind, size * (chips if kind == "all-gather" else 1), chips)
            found[key] = found.get(key, 0) + times

    hlo.walk(module, visit, through_fusions=True)
    every = [Collective(*key, times) for key, times in found.items()]
    return sorted(every, key=lambda one: (-one.sent, one.kind))


def _chips(rest, devices):
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]<=", rest):
        return int(found[1])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return len(found[1].split(","))
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", rest):
        sides = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(sides[name]) for name in re.findall(r"'(\w+)'", found[2]))
    return devices
