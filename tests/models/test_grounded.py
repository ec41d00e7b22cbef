"""The choices of a model by which words are grounded: local patches, tokens read, convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from small import small_batch, small_config

from jaxvl.errors import UserError
from jaxvl.models import MODELS
from jaxvl.models.patches import windows
from jaxvl.validate import validate

pytestmark = pytest.mark.slow


def changed(**keys) -> ConfigDict:
    config = small_config()
    config.update_from_flattened_dict(keys)
    return config


class Small:
    """A model with these keys, its parameters, and its outputs for a batch."""

    def __init__(self, **keys):
        config = changed(**keys)
        self.model = MODELS["albef"].make(config)
        self.params = self.model.init(jax.random.key(0))
        self.batch = small_batch(4)

    def tokens(self, image=None):
        image = self.batch["image"] if image is None else image
        return self.model.encode_image(self.params, image)

    def fused(self, v, **options):
        ids, mask = self.batch["token_ids"], self.batch["token_mask"]
        t = self.model.encode_text(self.params, ids, mask, key=None)
        call = {"key": None, "keep_GxN": None, "probe": None, "layer": None, "first_only": False}
        keys = self.model.image_keys(self.params, v)
        return self.model.fuse(self.params, keys, t, mask, **{**call, **options})


@pytest.mark.parametrize("tokens, seen", [("all", True), ("patches", False), ("local", False)])
def test_the_fusion_encoder_sees_the_class_token_only_with_all_tokens(tokens, seen):
    small = Small(**{"model.fusion_tokens": tokens})
    v = small.tokens()
    states, attention = small.fused(v, layer=1)
    other, _ = small.fused(v.at[:, 0].add(1.0), layer=1)
    assert bool(jnp.abs(states - other).max() > 1e-3) == seen
    assert bool((attention[..., 0] > 0).any()) == seen
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("tokens, alone", [("all", False), ("patches", False), ("local", True)])
def test_a_local_token_depends_on_its_own_patch_alone(tokens, alone):
    small = Small(**{"model.fusion_tokens": tokens})
    image = small.batch["image"]
    other = image.at[:, :4, :4].set(255 - image[:, :4, :4])  # the first patch
    moved = jnp.abs(small.tokens(image) - small.tokens(other)).max((0, 2)) > 1e-6
    assert moved[1] and moved[0]  # its own token, and the class token, which sees the whole image
    assert not moved[2:].any() if alone else moved[2:].all()


def test_the_embedding_of_an_image_does_not_depend_on_what_the_fusion_encoder_sees():
    small = [Small(**{"model.fusion_tokens": tokens}) for tokens in ("all", "local")]
    embeddings = [one.model.project_image(one.params, one.tokens()) for one in small]
    np.testing.assert_array_equal(*embeddings)


def test_matching_reads_the_mean_of_all_tokens_and_no_padding():
    first, mean = Small(), Small(**{"model.match_read": "mean"})
    v, mask = first.tokens(), first.batch["token_mask"]
    states, read = first.fused(v)[0], mean.fused(v)[0]
    expected = [states[row, mask[row]].mean(0) for row in range(4)]
    np.testing.assert_allclose(read[:, 0], jnp.stack(expected), atol=1e-5)
    np.testing.assert_array_equal(read[:, 1:], states[:, 1:])
    alone, _ = mean.fused(v, first_only=True)
    np.testing.assert_allclose(alone, read[:, :1], atol=1e-5)


def test_the_last_fusion_layer_can_be_explained_where_matching_reads_all_tokens():
    config = changed(**{"softmask.layer": 2})
    config.data.dir = "somewhere"
    with pytest.raises(UserError, match="model.match_read='mean'"):
        validate(config, devices=1, processes=1)
    config.model.match_read = "mean"
    validate(config, devices=1, processes=1)


def test_a_dense_layer_of_windows_is_a_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    kernel = jax.random.normal(jax.random.key(1), (48, 5))
    expected = jax.lax.conv_general_dilated(
        x,
        kernel.reshape(4, 4, 3, 5),
        window_strides=(2, 2),
        padding=((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(windows(x) @ kernel, expected, atol=1e-5)


def test_a_token_of_convolutions_sees_the_patches_around_it_and_no_others():
    keys = {"model.image.stem": "convolutions", "model.fusion_tokens": "local"}
    small = Small(**keys)
    image = small.batch["image"]
    other = image.at[:, :4, :4].set(255 - image[:, :4, :4])  # patch 0, 0 of 4 x 4
    moved = jnp.abs(small.tokens(image) - small.tokens(other)).max((0, 2))[1:].reshape(4, 4) > 1e-6
    np.testing.assert_array_equal(moved, np.outer([1, 1, 0, 0], [1, 1, 0, 0]).astype(bool))


@pytest.mark.parametrize("patch", [10, 1])
def test_convolutions_need_a_patch_of_a_power_of_two(patch):
    config = changed(**{"model.image.stem": "convolutions", "model.image.patch_size": patch})
    config.data.dir, config.data.image_size = "somewhere", 20
    with pytest.raises(UserError, match="model.image.patch_size"):
        validate(config, devices=1, processes=1)
