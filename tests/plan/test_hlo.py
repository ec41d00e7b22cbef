"""What is read from a compiled program: loops, collectives, traffic with the memory."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from small_step import mesh_of

from jaxvl.plan import hlo
from jaxvl.plan.collectives import Collective, collectives
from jaxvl.plan.traffic import traffic

# As libtpu writes it: two pieces of one all-gather, a loop of 12 around an all-reduce, an array in
# the chip's fast memory (S(1)), a fusion that takes a slice, one that changes a slice in place.
TEXT = (Path(__file__).parent / "step.hlo").read_text()


def test_collectives_count_as_often_as_their_loop_runs_and_pieces_of_one_once():
    assert collectives(hlo.parse(TEXT)) == [
        Collective("all-reduce", size=400, chips=4, times=12),
        Collective("all-gather", size=2 * 64 * 2 * 16, chips=16, times=1),
        Collective("all-to-all", size=2 * 64 * 2, chips=2, times=1),
    ]


@pytest.mark.parametrize(
    "kind, sent",
    [
        ("all-reduce", 2 * 300),
        ("all-gather", 300),
        ("reduce-scatter", 300),
        ("all-to-all", 300),
        ("collective-permute", 400),
    ],
)
def test_a_chip_sends_what_a_ring_of_chips_needs(kind, sent):
    assert Collective(kind, size=400, chips=4, times=12).sent == 12 * sent


def test_traffic_counts_slices_and_only_what_lies_in_the_memory():
    row, gathered = 100 * 4, 2 * 64 * 2
    taken = row + row + 4  # a slice, written; the number of the row is read
    summed = row  # read; written into the fast memory
    changed = row + 4  # a slice is written in place, the number of the row is read
    # Both pieces of the all-gather read what they gather, and so does the all-to-all.
    assert traffic(hlo.parse(TEXT)) == 12 * (taken + summed + changed) + 3 * gathered


def test_what_jax_compiles_is_read_too():
    """Scanned layers whose weights are sharded: each layer gathers its own."""
    mesh = mesh_of(1, 4)

    def losses(w, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0].sum()

    w = jax.ShapeDtypeStruct((6, 8, 8), jnp.float32, sharding=NamedSharding(mesh, P(None, "fsdp")))
    x = jax.ShapeDtypeStruct((4, 8), jnp.float32, sharding=NamedSharding(mesh, P()))
    module = hlo.parse(jax.jit(losses).lower(w, x).compile().as_text())
    found = collectives(module)
    assert module.devices == 4 and found
    assert {(one.chips, one.times) for one in found if one.size > 4} == {(4, 6)}
