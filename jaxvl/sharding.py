"""Where arrays live: a mesh, rules from path names to PartitionSpecs, batches as global arrays.

The mesh has two axes: `data` splits the batch, `fsdp` splits the batch and the parameters too.
Everything else in jaxvl sees global arrays. Only this file and the partition rules of models and
methods name a mesh axis.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jaxvl.errors import UserError

AXES = ("data", "fsdp")
Rules = Sequence[tuple[str, PartitionSpec]]  # (regular expression, spec); the first match decides


def make_mesh(mesh: ConfigDict, *, devices: Sequence | None = None) -> Mesh:
    """Returns a Mesh over all devices of all processes.

    mesh: config.mesh, the number of devices along `data` and `fsdp`; data = -1 takes all that fsdp
    leaves. devices: None for all of them.
    Raises UserError where the product is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    data = len(devices) // mesh.fsdp if mesh.data == -1 else mesh.data
    if data * mesh.fsdp != len(devices):
        raise UserError(
            f"config: mesh.data={mesh.data} x mesh.fsdp={mesh.fsdp} does not cover the "
            f"{len(devices)} devices"
        )
    auto = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh((data, mesh.fsdp), AXES, axis_types=auto, devices=devices)


def path_name(path: tuple) -> str:
    """Returns a key path of jax.tree_util joined with '/': `params/text/layers/query/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def specs(tree: Any, rules: Rules, *, mesh: Mesh) -> Any:
    """Returns a tree of PartitionSpecs for a tree of arrays or ShapeDtypeStructs.

    rules: each is searched in the '/'-joined path, so that a rule for `query/kernel$` covers the
    parameter, its optimizer moments, its running mean and its momentum encoder. Scalars are
    replicated and need no rule. A dimension that its mesh axis does not divide is replicated too,
    so that tiny models run on any mesh.
    Raises ValueError naming a path that no rule matches.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _spec(path_name(path), leaf.shape, rules, mesh), tree
    )


def shardings(tree: Any, rules: Rules, *, mesh: Mesh) -> Any:
    """Returns `specs` as NamedShardings on the mesh."""
    return jax.tree.map(
        lambda spec: NamedSharding(mesh, spec),
        specs(tree, rules, mesh=mesh),
        is_leaf=lambda node: isinstance(node, PartitionSpec),
    )


def _spec(name, shape, rules, mesh):
    if not shape:
        return PartitionSpec()
    for pattern, spec in rules:
        if re.search(pattern, name):
            return _fitting(name, shape, spec, mesh)
    raise ValueError(f"no partition rule matches {name} of shape {shape}")


def _fitting(name, shape, spec, mesh):
    if len(spec) > len(shape):
        raise ValueError(f"the partition rule {spec} of {name} has too many axes for {shape}")
    axes = [
        axis if axis is not None and size % _axis_size(axis, mesh) == 0 else None
        for size, axis in zip(shape, spec)
    ]
    return PartitionSpec(*axes)


def _axis_size(axis, mesh):
    names = axis if isinstance(axis, tuple) else (axis,)
    return math.prod(mesh.shape[name] for name in names)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its first dimension over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def rows_of_process(mesh: Mesh, batch_size: int, *, process: int | None = None) -> np.ndarray:
    """Returns the rows of a global batch that the devices of a process hold, int [g], ascending.

    They need not be neighbours: on a TPU slice the devices are in the order in which they are
    wired, and that comes back to a process. process: None for this one.
    Raises UserError where the devices do not divide the batch, or none of them is the process's.
    """
    if batch_size % mesh.size:
        raise UserError(f"batch_size: {batch_size} is not divisible by the {mesh.size} devices")
    process = jax.process_index() if process is None else process
    slices = batch_sharding(mesh).devices_indices_map((batch_size,)).items()
    held = [np.arange(batch_size)[at] for device, at in slices if device.process_index == process]
    if not held:
        raise UserError(f"config: mesh has no device of process {process}")
    return np.sort(np.concatenate(held))


def to_global(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Returns the rows of all processes as global arrays [G, ...].

    batch: arrays [g, ...], the rows of this process in the order of `rows_of_process`.
    """
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, np.asarray(rows))
        for name, rows in batch.items()
    }
