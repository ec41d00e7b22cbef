"""Rules from path names to PartitionSpecs, and batches as global arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxvl import sharding
from jaxvl.errors import UserError
from jaxvl.plan import targets

RULES = ((r"query/kernel$", P("fsdp", None)), (r"kernel$", P(None, "fsdp")), (r"bias$", P()))


def mesh_of(data, fsdp):
    return sharding.make_mesh(
        ConfigDict(dict(data=data, fsdp=fsdp)), devices=jax.devices()[: data * fsdp]
    )


def test_the_first_rule_that_matches_decides_wherever_the_path_lies():
    layer = {"query": {"kernel": jnp.zeros((4, 8))}, "out": {"kernel": jnp.zeros((4, 8))}}
    tree = {"params": layer, "opt_state": ({"mu": layer}, jnp.zeros(()))}
    specs = sharding.specs(tree, RULES, mesh=mesh_of(2, 4))
    assert specs["params"]["query"]["kernel"] == P("fsdp", None)
    assert specs["params"]["out"]["kernel"] == P(None, "fsdp")
    assert specs["opt_state"][0]["mu"] == specs["params"]
    assert specs["opt_state"][1] == P()  # a scalar needs no rule


def test_a_path_without_a_rule_is_named():
    with pytest.raises(ValueError, match=r"head/scale of shape \(8,\)"):
        sharding.specs({"head": {"scale": jnp.zeros(8)}}, RULES, mesh=mesh_of(2, 4))


def test_a_dimension_that_the_mesh_does_not_divide_is_replicated():
    tree = {"kernel": jnp.zeros((4, 6))}
    assert sharding.specs(tree, RULES, mesh=mesh_of(2, 4))["kernel"] == P(None, None)
    assert sharding.specs(tree, RULES, mesh=mesh_of(4, 2))["kernel"] == P(None, "fsdp")


def test_minus_one_takes_the_devices_that_are_left():
    mesh = sharding.make_mesh(ConfigDict(dict(data=-1, fsdp=2)))
    assert dict(mesh.shape) == {"data": 4, "fsdp": 2}


def test_a_mesh_that_does_not_cover_the_devices_is_refused():
    with pytest.raises(UserError, match="mesh.data=3 x mesh.fsdp=2 does not cover the 8 devices"):
        sharding.make_mesh(ConfigDict(dict(data=3, fsdp=2)))


def test_a_batch_becomes_one_global_array_a_row_a_device():
    rows = np.arange(16, dtype=np.int32).reshape(8, 2)
    array = sharding.to_global({"rows": rows}, mesh_of(2, 4))["rows"]
    np.testing.assert_array_equal(array, rows)
    assert [shard.data.shape for shard in array.addressable_shards] == [(1, 2)] * 8


class Device:
    """A device of another machine, of which a mesh knows the process alone."""

    platform = device_kind = "cpu"

    def __init__(self, process):
        self.process_index = process


# The processes of the devices along a mesh: side by side; of 16 chips of TPU v5e, which come back
# to process 0 and 2; and of 8 chips of v5p, in turns.
ORDERS = {
    "side by side": [0, 0, 1, 1],
    "v5e:4x4": [0, 0, 1, 1, 1, 1, 0, 2, 3, 3, 3, 3, 2, 2, 2, 0],
    "v5p:2x2x2": [0, 1, 0, 1, 0, 1, 0, 1],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("fsdp", [1, 2])
def test_a_process_has_the_rows_of_its_devices_wherever_they_lie_in_the_mesh(order, fsdp):
    devices = [Device(process) for process in order]
    mesh = Mesh(np.array(devices).reshape(-1, fsdp), sharding.AXES)
    place = np.repeat(order, 2)  # of 2 rows a device
    for process in set(order):
        rows = sharding.rows_of_process(mesh, len(place), process=process)
        np.testing.assert_array_equal(rows, np.flatnonzero(place == process))


@pytest.mark.skipif(not targets.is_installed(), reason="needs libtpu: jaxvl[plan]")
@pytest.mark.parametrize("name", ["v5e:4x4", "v6e:4x4", "v5p:2x2x4"])
@pytest.mark.parametrize("fsdp", [1, 4])
def test_the_processes_of_a_tpu_slice_have_each_row_once(name, fsdp):
    devices = targets.devices_of(name)
    mesh = sharding.make_mesh(ConfigDict(dict(data=-1, fsdp=fsdp)), devices=devices)
    place = np.array([device.process_index for device in mesh.devices.ravel()]).repeat(4)
    for process in range(4):
        rows = sharding.rows_of_process(mesh, 64, process=process)
        np.testing.assert_array_equal(rows, np.flatnonzero(place == process))


def test_rows_that_the_devices_do_not_share_equally_are_refused():
    with pytest.raises(UserError, match="batch_size: 12 is not divisible by the 8 devices"):
        sharding.rows_of_process(mesh_of(2, 4), 12)


def test_a_batch_is_in_its_own_order_on_devices_in_any_other():
    devices = np.random.default_rng(0).permutation(np.array(jax.devices()))
    mesh = Mesh(devices.reshape(4, 2), sharding.AXES)
    rows = np.arange(32).reshape(16, 2)
    array = sharding.to_global({"rows": rows}, mesh)["rows"]
    np.testing.assert_array_equal(array, rows)
    np.testing.assert_array_equal(sharding.rows_of_process(mesh, 16), np.arange(16))
