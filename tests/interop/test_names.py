"""Name maps: every parameter has a counterpart, and there and back again is bit-identical."""

import jax
import numpy as np
import pytest
from small import small_config

from jaxvl.errors import UserError
from jaxvl.interop import names
from jaxvl.interop.kinds import KINDS, albef
from jaxvl.models import MODELS


def shapes_of(model_name, *, contrastive="softmax"):
    """Returns (config.model, shapes of the parameters) of a small model."""
    config = small_config()
    config.model.name, config.loss.contrastive = model_name, contrastive
    return config.model, jax.eval_shape(MODELS[model_name].make(config).init, jax.random.key(0))


def random_tree(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


WHOLE = {name: kind for name, kind in KINDS.items() if kind.model}  # others are parts of a model


@pytest.mark.parametrize("name", WHOLE)
def test_every_parameter_has_its_counterpart_and_comes_back_bit_identical(name):
    kind = WHOLE[name]
    sizes, shapes = shapes_of(kind.model)
    layout = kind.layout(sizes)
    params = random_tree(shapes)
    tensors = names.to_torch(params, layout)
    copies = sum(tensors[copy].size for copy, _ in layout.copies)
    assert sum(t.size for t in tensors.values()) - copies == sum(
        leaf.size for leaf in jax.tree.leaves(params)
    )
    back, missing, left_over = names.from_torch(tensors, layout, shapes)
    assert (missing, left_over) == ([], [])
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize("name", WHOLE)
def test_a_layout_has_no_rule_for_what_the_model_does_not_have(name):
    kind = WHOLE[name]
    _, shapes = shapes_of(kind.model)
    _, with_bias = shapes_of(kind.model, contrastive="sigmoid")
    known = names.flatten(shapes) | names.flatten(with_bias)
    sizes, _ = shapes_of(kind.model)
    ours = [rule.ours for rule in kind.layout(sizes).rules]
    assert set(ours) <= set(known) and len(set(ours)) == len(ours)


def test_a_parameter_without_a_rule_is_an_error():
    sizes, shapes = shapes_of("albef", contrastive="sigmoid")
    with pytest.raises(KeyError, match="contrastive/bias"):
        names.to_torch(random_tree(shapes), albef.layout(sizes))


def test_layout_of_albef_has_the_names_and_shapes_of_its_published_checkpoint():
    sizes, shapes = shapes_of("albef")  # one text layer, then fusion layers
    tensors = names.to_torch(random_tree(shapes), albef.layout(sizes))
    width, patch = sizes.image.width, sizes.image.patch_size
    expected = {
        "visual_encoder.cls_token": (1, 1, width),
        "visual_encoder.pos_embed": (1, 17, width),
        "visual_encoder.patch_embed.proj.weight": (width, 3, patch, patch),
        "visual_encoder.blocks.1.attn.qkv.weight": (3 * width, width),
        "visual_encoder.blocks.0.mlp.fc1.weight": (32, width),
        "visual_encoder.norm.weight": (width,),
        "text_encoder.bert.embeddings.word_embeddings.weight": (40, width),
        "text_encoder.bert.encoder.layer.0.attention.self.query.weight": (width, width),
        "text_encoder.bert.encoder.layer.1.crossattention.self.value.bias": (width,),
        "text_encoder.bert.encoder.layer.3.output.dense.weight": (width, 32),
        "text_encoder.cls.predictions.transform.LayerNorm.weight": (width,),
        "text_encoder.cls.predictions.decoder.weight": (40, width),
        "text_proj.weight": (8, width),
        "itm_head.weight": (2, width),
        "temp": (),
    }
    assert {name: tensors[name].shape for name in expected} == expected
    assert "text_encoder.bert.encoder.layer.0.crossattention.self.query.weight" not in tensors
    assert "text_encoder.bert.encoder.layer.4.output.dense.weight" not in tensors


def test_renamed_key_is_missing_and_left_over_and_a_wrong_shape_is_named():
    sizes, shapes = shapes_of("albef")
    layout = albef.layout(sizes)
    tensors = names.to_torch(random_tree(shapes), layout)
    name = "text_encoder.bert.encoder.layer.2.attention.self.key.bias"
    tensors["key_bias_of_two"] = tensors.pop(name)
    _, missing, left_over = names.from_torch(tensors, layout, shapes)
    assert missing == ["fusion/layers/attention/qkv/bias"] and left_over == ["key_bias_of_two"]

    tensors[name] = tensors.pop("key_bias_of_two")
    tensors["text_proj.weight"] = tensors["text_proj.weight"][:, :5]
    with pytest.raises(UserError, match=r"text_proj.weight .*\(8, 5\).*text_projection/kernel"):
        names.from_torch(tensors, layout, shapes)
