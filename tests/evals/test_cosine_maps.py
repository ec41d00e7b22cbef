"""Heat-maps of words in CLIP: what of the image answers to what a word adds to its text."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from small_clip import END, START, small_clip_batch, small_clip_config

from jaxvl import sharding
from jaxvl.data.text.tokenizer import Tokens
from jaxvl.evals import cosine_maps
from jaxvl.evals.features import ImageFeatures
from jaxvl.evals.scoring import make_scorer
from jaxvl.models import MODELS
from jaxvl.ops.gradcam import relevance_to_directions

IDS = np.array([[START, 5, 6, 7, END, 0], [START, 8, END, 0, 0, 0]], np.int32)
TOKENS = Tokens(IDS, IDS > 0, np.array([[-1, 0, 0, 1, -1, -1], [-1, 0, -1, -1, -1, -1]]))


def test_each_word_is_left_out_with_all_its_tokens_and_the_rest_moves_up():
    without, text, word = cosine_maps.without_each_word(TOKENS)
    assert (text.tolist(), word.tolist()) == ([0, 0, 1], [0, 1, 0])
    assert without.ids.tolist() == [
        [START, 7, END, END, END, END],
        [START, 5, 6, END, END, END],
        [START, END, END, END, END, END],
    ]
    assert without.mask.sum(axis=1).tolist() == [3, 4, 2]
    assert without.words[0].tolist() == [-1, 1, -1, -1, -1, -1]


def test_a_text_without_padding_keeps_its_end():
    full = Tokens(*(field[:1, :5] for field in TOKENS))
    without, _, _ = cosine_maps.without_each_word(full)
    assert without.ids[1].tolist() == [START, 5, 6, END, END]


def test_relevance_of_a_linear_image_tower_is_attention_times_its_positive_weights():
    weight_hxNxE = jax.random.normal(jax.random.key(0), (2, 5, 3))

    def look(params, v_GxhxN, probe):
        attention = jax.nn.softmax(v_GxhxN)
        seen = attention if probe is None else attention + probe
        return jnp.einsum("ghn,hne->ge", seen, weight_hxNxE), attention

    model = SimpleNamespace(look=look)
    v = jax.random.normal(jax.random.key(1), (4, 2, 5))
    directions_GxWxE = jax.random.normal(jax.random.key(2), (4, 2, 3))
    found = relevance_to_directions(model, {}, v, directions_GxWxE)
    gradient = jnp.einsum("hne,gwe->gwhn", weight_hxNxE, directions_GxWxE)
    expected = (jax.nn.softmax(v)[:, None] * jax.nn.relu(gradient)).mean(2)[..., 1:]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_relevance_agrees_with_finite_differences():
    model, params, batch = small()
    v = model.encode_image(params, batch["image"])
    direction = jax.random.normal(jax.random.key(3), (len(v), 1, 8))
    found = relevance_to_directions(model, params, v, direction)[:, 0]
    _, attention = model.look(params, v, None)
    step, slope = 1e-2, np.zeros(attention.shape)

    @jax.jit
    def score(probe):
        return (model.look(params, v, probe)[0] * direction[:, 0]).sum(-1)

    for head, patch in np.ndindex(attention.shape[1:]):
        probe = jnp.zeros(attention.shape).at[:, head, patch].set(step)
        slope[:, head, patch] = (score(probe) - score(-probe)) / (2 * step)
    expected = (np.asarray(attention) * np.maximum(slope, 0)).mean(1)[:, 1:]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5)
    assert found.max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("mesh, batch_size", [((1, 1), 3), ((2, 2), 4)])
def test_any_pairs_in_any_batches_have_the_map_of_their_word_and_their_cosine(mesh, batch_size):
    model, params, batch = small()
    config = ConfigDict({"data": {"token_lengths": ()}})
    devices = jax.devices()[: mesh[0] * mesh[1]]
    mesh = sharding.make_mesh(ConfigDict({"data": mesh[0], "fsdp": mesh[1]}), devices=devices)
    scorer = make_scorer(config, model=model, mesh=mesh, batch_size=batch_size)
    v = model.encode_image(params, batch["image"])
    images = ImageFeatures(np.asarray(v), np.asarray(model.project_image(params, v)))
    texts = scorer.texts(params, TOKENS, progress=False)
    pairs = np.array([[0, 1], [3, 0], [2, 0], [1, 1], [3, 1]])
    found = list(scorer.word_maps(params, images, texts, TOKENS, pairs, progress=False))

    def embedded(ids):
        ids = jnp.asarray([ids])
        return model.project_text(params, model.encode_text(params, ids, None, key=None), ids)

    added = embedded(IDS[0]) - embedded([START, 5, 6, END, 0, 0])  # by the word of token 3
    relevance_LxM, cosine = found[1]
    expected = relevance_to_directions(model, params, v[3:4], added[:, None])[0, 0]
    np.testing.assert_allclose(relevance_LxM[3], expected, atol=1e-6)
    np.testing.assert_array_equal(relevance_LxM[1], relevance_LxM[2])  # two tokens of one word
    assert not relevance_LxM[[0, 4, 5]].any() and relevance_LxM[3].any()
    assert cosine == pytest.approx(images.embeddings_IxE[3] @ texts.embeddings_TxE[0], abs=1e-6)


def small():
    model = MODELS["clip"].make(small_clip_config())
    params = jax.jit(model.init)(jax.random.key(0))
    # Kernels are small at the start, and so are their gradients.
    return model, jax.tree.map(lambda x: 1.5 * x, params), small_clip_batch(4)
