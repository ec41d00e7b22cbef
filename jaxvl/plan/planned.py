"""A plan: one experiment on one target, compiled and judged."""

import importlib.metadata
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxvl.plan import program, targets
from jaxvl.plan.chips import Table
from jaxvl.plan.collectives import Collective, collectives
from jaxvl.plan.compiled import GIB, Compiled, Memory, TooLarge, compile_lowered
from jaxvl.plan.estimate import Estimate, estimate
from jaxvl.plan.operations import operations
from jaxvl.plan.targets import Target
from jaxvl.plan.traffic import traffic


class Plan(NamedTuple):
    """What is known of a step on a target. Bytes are of one chip, operations of all together."""

    target: Target
    hosts: int
    mesh: tuple[int, int]  # data, fsdp
    batch: int
    words: str
    made_by: str
    is_estimate: bool  # of memory and traffic: compiled for CPU devices, which stand for these
    available: float  # bytes that a program can have
    counted_arguments: int  # by shapes and shardings
    next_batch: int  # is on the chip while the step runs
    memory: Memory | None  # None where it was refused
    needed: float | None  # bytes; None where the compiler refuses it and does not say
    operations: dict[str, float]
    compiler_operations: float | None  # of one chip
    traffic: float | None
    collectives: list[Collective]
    seconds: float  # of compiling
    steps: int
    estimate: Estimate | None

    @property
    def fits(self) -> bool:
        """Whether the memory of a chip suffices."""
        return self.memory is not None and self.needed is not None and self.needed <= self.available


def plan(config: ConfigDict, target: Target, table: Table) -> Plan:
    """Returns the Plan; compiles the step, which takes minutes at published sizes.

    To be called after targets.prepare.
    Raises UserError for keys that cannot work there, and where libtpu is missing.
    """
    chip = table.chips[target.kind]
    devices = _devices(target)
    hosts = len({one.process_index for one in devices})
    if target.on == "cpu":
        hosts = math.ceil(target.count / chip.host_chips)
    made = program.make(config, devices, processes=hosts)
    traced = made.train_step.trace(made.abstract, made.batch)
    next_batch = bytes_on_a_chip(made.batch)
    counted = bytes_on_a_chip(made.abstract) + next_batch
    result = compile_lowered(traced.lower(), arguments=counted)
    common: dict[str, Any] = {
        "target": target,
        "hosts": hosts,
        "mesh": tuple(made.mesh.shape.values()),
        "batch": config.batch_size,
        "words": made.words,
        "made_by": _made_by(target),
        "is_estimate": target.kind != "cpu" and target.on == "cpu",
        "available": chip.hbm_gib * GIB,
        "counted_arguments": counted,
        "next_batch": next_batch,
        "operations": operations(traced.jaxpr),
        "seconds": result.seconds,
        "steps": config.total_steps,
    }
    if isinstance(result, TooLarge):
        return _refused(common, result)
    return _judged(common, result, table)


def _refused(common, result: TooLarge):
    return Plan(
        **common,
        memory=None,
        needed=result.needed,
        compiler_operations=None,
        traffic=None,
        collectives=[],
        estimate=None,
    )


def _judged(common, result: Compiled, table):
    target, moved, sent = common["target"], traffic(result.module), collectives(result.module)
    memory = result.memory
    if target.on == "cpu":  # this compiler leaves out what the step does not read
        memory = memory._replace(arguments=common["counted_arguments"])
    return Plan(
        **common,
        memory=memory,
        needed=memory.total + common["next_batch"],
        compiler_operations=result.operations,
        traffic=moved,
        collectives=sent,
        estimate=estimate(
            table.chips[target.kind],
            table.reached,
            chips=target.count,
            steps=common["steps"],
            operations=common["operations"],
            traffic=moved,
            collectives=sent,
        ),
    )


def _devices(target) -> Sequence[Any]:
    if target.on == "tpu":
        return targets.devices_of(target.name)
    return jax.devices("cpu")[: target.count]


def _made_by(target):
    version = importlib.metadata.version
    if target.on == "tpu":
        return f"libtpu {version('libtpu')}, jax {version('jax')}"
    return f"jaxlib {version('jaxlib')} for {target.count} CPU devices, jax {version('jax')}"


def bytes_on_a_chip(tree: Any) -> int:
    """Returns the bytes of the shards that one chip holds of ShapeDtypeStructs with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
