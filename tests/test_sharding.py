"""Rules from path names to PartitionSpecs, and batches as global arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from jaxvl import sharding
from jaxvl.errors import UserError

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
