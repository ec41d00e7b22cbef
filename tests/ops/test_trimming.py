"""Texts truncated to the longest one of the batch: the same numbers with less computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_clip import LENGTH, small_clip_batch, small_clip_config

from jaxvl import sharding, state
from jaxvl.data import schema
from jaxvl.methods import METHODS, clip
from jaxvl.models import MODELS
from jaxvl.ops import trimming
from jaxvl.training import optim, step

pytestmark = pytest.mark.slow

LENGTHS = (5, 8)


def batch_of(longest, *, negative=None, second=None):
    place = np.arange(LENGTH)[None]
    mask = np.repeat(place < 2, 3, axis=0)
    mask[1] = place[0] < longest
    batch = {"token_ids": np.zeros((3, LENGTH), np.int32), "token_mask": mask, "image_id": place[0]}
    if negative:
        batch["negative_mask"] = np.broadcast_to(place < negative, (3, 2, LENGTH))
    if second:
        batch["second_mask"] = np.repeat(place < second, 3, axis=0)
        batch["second_ids"] = batch["token_ids"]
    return batch


def chosen(batch, lengths=LENGTHS):
    """Returns the length that was chosen; asserts that all texts of the batch have it."""

    def see(batch):
        for name in trimming.TEXTS:
            assert name not in batch or batch[name].shape[-1] == batch["token_ids"].shape[-1]
        assert batch["image_id"].shape == (LENGTH,)
        return jnp.int32(batch["token_ids"].shape[-1])

    return int(jax.jit(lambda batch: trimming.at_length(see, batch, lengths))(batch))


def test_the_shortest_length_that_fits_the_longest_text_is_chosen():
    found = [chosen(batch_of(longest)) for longest in (2, 5, 6, 8, 9, LENGTH)]
    assert found == [5, 5, 8, 8, LENGTH, LENGTH]
    assert chosen(batch_of(6), (5, LENGTH, 99)) == LENGTH  # longer ones are ignored


def test_negatives_and_second_captions_must_fit_too():
    assert [chosen(batch_of(3, negative=n)) for n in (4, 6)] == [5, 8]
    assert [chosen(batch_of(3, second=n)) for n in (4, 6)] == [5, 8]


def test_embeddings_and_gradients_are_those_of_the_whole_batch():
    config = small_clip_config()
    config.model.text.layers = config.model.image.layers = 1
    model = MODELS["clip"].make(config)
    params = jax.jit(model.init)(jax.random.key(0))

    def forward(params, batch):
        z = clip.encode(model, params, batch, negatives=True)
        zn_GxKxE = jnp.where(batch["negative_valid"][..., None], z.zn_GxKxE, 0)
        loss = (z.zt_GxE[:, None] * jnp.cos(7 * zn_GxKxE)).sum() + (z.zi_GxE * z.zt_GxE).sum()
        return loss, (z.zt_GxE, zn_GxKxE)

    def run(batch, lengths):
        def loss_and_gradient(batch):
            return jax.value_and_grad(forward, has_aux=True)(params, batch)

        call = jax.jit(lambda batch: trimming.at_length(loss_and_gradient, batch, lengths))
        return call(batch)

    batch = small_clip_batch(longest=6)
    assert trimming.longest(batch) == 6
    (_, embedded), gradient = run(batch, (6,))
    (_, whole_embedded), whole_gradient = run(batch, ())
    for a, b in zip(embedded, whole_embedded):
        np.testing.assert_allclose(a, b, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-6 * np.abs(b).max()),
        gradient,
        whole_gradient,
    )


@pytest.mark.parametrize("lengths", [(), LENGTHS])
def test_a_training_step_makes_the_choice(toy_config, lengths):
    toy_config.data.token_lengths = lengths
    model = MODELS["toy"].make(toy_config)
    method = METHODS["toy"].make(toy_config, model, steps_per_epoch=5)
    seen = []
    counting = method._replace(
        forward=lambda p, slots, batch, **k: (
            seen.append(batch["token_ids"].shape[-1]) or method.forward(p, slots, batch, **k)
        )
    )
    optimizer = optim.make_optimizer(toy_config.optim, total_steps=9)
    begin = state.make_begin(toy_config, method=method, optimizer=optimizer)
    mesh = sharding.make_mesh(toy_config.mesh)
    abstract = state.abstract_state(begin, model=model, method=method, mesh=mesh)
    train_step = step.make_train_step(
        toy_config,
        method=counting,
        optimizer=optimizer,
        abstract=abstract,
        schedule=optim.make_schedule(toy_config.optim, total_steps=9),
    )
    jax.eval_shape(train_step, abstract, schema.empty_batch(toy_config))
    assert set(seen) == {*lengths, LENGTH}
