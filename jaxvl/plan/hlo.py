"""A compiled program as text, read into computations, and how often each of them runs in a step."""

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_LINE = re.compile(r"^\s*(ROOT )?%([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"\b(pred|bf16|[sufc]\d+\w*)\[([\d,]*)\](\{[^}]*\})?")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|branch_computations)=(\{[^}]*\}|%[\w.\-]+)")


class Instruction(NamedTuple):
    """A line of a computation. type: as text. arguments: what stands in its parentheses."""

    name: str
    type: str
    opcode: str
    arguments: str
    rest: str
    is_root: bool

    @property
    def operands(self) -> list[str]:
        """The names of the results that it takes."""
        return re.findall(r"%([\w.\-]+)", self.arguments)

    @property
    def called(self) -> list[str]:
        """The names of the computations that it runs; of a choice, one for each branch."""
        groups = _CALLED.findall(self.rest)
        return [name for group in groups for name in re.findall(r"[\w.\-]+", group)]


Computation = Mapping[str, Instruction]  # by name


class Module(NamedTuple):
    """A program: its computations by name."""

    computations: dict[str, Computation]
    entry: str
    devices: int


def parse(text: str) -> Module:
    """Returns the Module of what `compiled.as_text()` returns."""
    computations, entry, current = {}, "", {}
    for line in text.splitlines():
        if found := _LINE.match(line):
            instruction = _instruction(*found.groups())
            current[instruction.name] = instruction
        elif found := _HEADER.match(line):
            current = computations[found[2]] = {}
            entry = found[2] if found[1] else entry
    devices = re.search(r"num_partitions=(\d+)", text)
    return Module(computations, entry, int(devices[1]) if devices else 1)


def _instruction(root, name, text):
    end = _closing(text) if text.startswith("(") else text.index(" ")
    kind, text = text[:end], text[end:].lstrip()
    opcode = text.partition("(")[0]
    end = _closing(text)
    return Instruction(name, kind, opcode, text[len(opcode) + 1 : end - 1], text[end:], bool(root))


def _closing(text):
    """Returns the place after the parenthesis that closes the first one of a text."""
    depth = 0
    for found in re.finditer(r"[()]", text):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return found.end()
    return len(text)


def size_of(kind: str) -> int:
    """Returns the bytes of the arrays of a type."""
    return sum(_size(dtype, shape) for dtype, shape, _ in _ARRAY.findall(kind))


def sizes_in_memory(kind: str) -> list[int]:
    """Returns the bytes of each array of a type; 0 where it lies in the chip's own fast memory."""
    return [
        0 if re.search(r"S\([1-9]\d*\)", layout) else _size(dtype, shape)
        for dtype, shape, layout in _ARRAY.findall(kind)
    ]


def _size(dtype, shape):
    bits = 8 if dtype == "pred" else int(re.findall(r"\d+", dtype)[0])
    return math.ceil(math.prod(int(side) for side in shape.split(",") if side) * bits / 8)


def walk(
    module: Module, visit: Callable[[Computation, int], None], *, through_fusions: bool
) -> None:
    """Calls visit(computation, how often it runs in a step) for all that the program runs.

    The body of a loop runs as often as its condition says: the compiler's own figures count it
    once. Of a choice the last branch counts, that of the longest texts. through_fusions: enters the
    computations inside of instructions too.
    """

    def enter(name: str, times: int) -> None:
        visit(module.computations[name], times)
        for line in module.computations[name].values():
            if line.opcode == "while":
                enter(line.called[0], times * _trips(module, line))
            elif line.opcode == "conditional":
                enter(line.called[-1], times)
            elif line.opcode in ("call", "async-start") or through_fusions:
                for inner in line.called:
                    enter(inner, times)

    enter(module.entry, 1)


def _trips(module, line):
    if found := re.search(r'known_trip_count":\{"n":"(\d+)"', line.rest):
        return int(found[1])
    condition = re.findall(r"condition=%([\w.\-]+)", line.rest)[0]
    lines = module.computations[condition].values()
    bounds = [int(one.arguments) for one in lines if _is_bound(one)]
    return max(bounds, default=1)


def _is_bound(line):
    return line.opcode == "constant" and line.arguments.isdigit()
