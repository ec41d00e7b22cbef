"""What the compiler says of a program: its memory, its text, or that it does not fit."""

import re
import time
from typing import Any, NamedTuple

import jax
from jax.stages import Lowered

from jaxvl.plan import hlo
from jaxvl.training import host

GIB = 2**30


class Memory(NamedTuple):
    """Bytes of a chip's memory that a program takes while it runs."""

    arguments: int  # state and batch; the new state takes the place of the old one
    outputs: int  # without those that take the place of arguments
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


class Compiled(NamedTuple):
    """A program that was compiled. operations: the compiler's own count, loops counted once."""

    memory: Memory
    module: hlo.Module
    operations: float
    seconds: float


class TooLarge(NamedTuple):
    """A program that the compiler refuses. needed: bytes of a chip's memory, as far as it says."""

    needed: float | None
    reason: str
    seconds: float


def compile_lowered(lowered: Lowered, *, arguments: int) -> Compiled | TooLarge:
    """Returns the Compiled, or TooLarge where the memory of a chip does not suffice.

    arguments: bytes of a chip, for a compiler that gives up before it has placed them.
    """
    start = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return TooLarge(_needed(str(error), arguments), _first(error), time.monotonic() - start)
    seconds = time.monotonic() - start
    host.give_back()
    cost = compiled.cost_analysis() or {}
    module = hlo.parse(compiled.as_text() or "")
    return Compiled(memory_of(compiled), module, float(cost.get("flops", 0.0)), seconds)


def memory_of(compiled: jax.stages.Compiled) -> Memory:
    """Returns the Memory of a compiled program, the compiler's own figures."""
    found: Any = compiled.memory_analysis()
    return Memory(
        arguments=found.argument_size_in_bytes,
        outputs=found.output_size_in_bytes - found.alias_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        code=found.generated_code_size_in_bytes,
    )


def _needed(message: str, arguments: int) -> float | None:
    """Returns the bytes that a compiler's message names.

    It is "Used 20.30G of 15.75G hbm" of a program, or of its temporaries "(28.63G) exceeds".
    """
    if found := re.search(r"Used ([\d.]+)([MG]) of [\d.]+[MG]? hbm", message):
        return _bytes(*found.groups())
    if found := re.search(r"temporaries \(([\d.]+)([MG])\) exceeds", message):
        return arguments + _bytes(*found.groups())
    return None


def _bytes(number, unit):
    return float(number) * (GIB if unit == "G" else 2**20)


def _first(error):
    return str(error).strip().splitlines()[0]
