"""Where arrays live: a mesh, rules from path names to PartitionSpecs, batches as global arrays.

The mesh has two axes: `data` splits the batch, `fsdp` splits the batch and the parameters too.
Everything else in jaxvl sees global arrays; nothing outside this file names a mesh axis except
the partition rules of models and methods.
"""

import math
import re

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxvl.errors import UserError

AXES = ("data", "fsdp")


def make_mesh(mesh, *, devices=None):
    """Returns a Mesh over all devices of all processes.

    mesh: config.mesh, devices along `data` and `fsdp`; data = -1 takes what is left.
    devices: None for all of them. Raises UserError where the product is not their number.
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


def path_name(path):
    """Joins a key path of jax.tree_util with '/': `params/text/layers/query/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def specs(tree, rules, *, mesh):
    """Returns a tree of PartitionSpecs for a tree of arrays or ShapeDtypeStructs.

    rules: ((regex, PartitionSpec), ...), searched in the '/'-joined path; the first match decides.
    A rule written for `query/kernel$` so covers the parameter, its optimizer moments, its running
    mean and its momentum twin. Scalars are replicated and need no rule. A dimension that its mesh
    axis does not divide is replicated, so that tiny models run on any mesh.
    Raises ValueError naming a path that no rule matches.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: _spec(path_name(path), leaf.shape, rules, mesh), tree
    )


def shardings(tree, rules, *, mesh):
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


def replicated(mesh):
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh):
    """Returns the sharding of a batch: its first dimension over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def to_global(batch, mesh):
    """Turns this process's rows into global arrays.

    batch: dict of NumPy arrays [g, ...], g rows a process. Returns dict of jax.Array [G, ...].
    """
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, np.asarray(rows))
        for name, rows in batch.items()
    }
