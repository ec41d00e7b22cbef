"""Name maps: every parameter has its counterpart, both directions undo each other bit for bit."""

import jax
import numpy as np
import pytest
from small import small_config

from jaxvl.errors import UserError
from jaxvl.interop import layouts, names
from jaxvl.models import MODELS


def shapes_of(model_name):
    config = small_config()
    config.model.name = model_name
    return config.model, jax.eval_shape(MODELS[model_name].make(config).init, jax.random.key(0))


def random_tree(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


EVERY = [(model, name) for model, made in layouts.LAYOUTS.items() for name in made]


@pytest.mark.parametrize("model,layout_name", EVERY)
def test_every_parameter_has_its_counterpart_and_comes_back_bit_for_bit(model, layout_name):
    sizes, shapes = shapes_of(model)
    layout = layouts.LAYOUTS[model][layout_name](sizes)
    params = random_tree(shapes)
    tensors = names.to_torch(params, layout)
    copies = sum(tensors[name].size for name, _ in layout.copies)
    assert sum(t.size for t in tensors.values()) - copies == sum(
        leaf.size for leaf in jax.tree.leaves(params)
    )
    back, missing, left_over = names.from_torch(tensors, layout, shapes)
    assert (missing, left_over) == ([], [])
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_every_model_has_a_layout_and_no_layout_speaks_of_more_than_the_model_has():
    assert set(layouts.LAYOUTS) >= set(MODELS) - {"toy"}
    for model, layout_name in EVERY:
        sizes, shapes = shapes_of(model)
        rules = layouts.LAYOUTS[model][layout_name](sizes).rules
        assert sorted(rule.ours for rule in rules) == sorted(names.flatten(shapes))


def test_layout_of_albef_has_the_names_and_shapes_of_its_published_checkpoint():
    sizes, shapes = shapes_of("albef")  # one text layer, then fusion layers
    tensors = names.to_torch(random_tree(shapes), layouts.albef(sizes))
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


def test_training_state_of_albef_goes_both_ways():
    sizes, shapes = shapes_of("albef")
    from jaxvl.methods.encoders import MOMENTUM_PARTS

    slots = {"twins": {name: random_tree(shapes)[name] for name in MOMENTUM_PARTS}}
    slots["queue"] = {
        "image": np.arange(32.0, dtype=np.float32).reshape(4, 8),
        "text": np.ones((4, 8), np.float32),
        "position": np.int32(2),
    }
    layout = layouts.albef_slots(sizes)
    tensors = names.to_torch(slots, layout)
    assert tensors["image_queue"].shape == (8, 4) and tensors["queue_ptr"].shape == (1,)
    assert "visual_encoder_m.pos_embed" in tensors and "temp" not in tensors
    back, missing, left_over = names.from_torch(tensors, layout, jax.eval_shape(lambda: slots))
    assert (missing, left_over) == ([], [])
    jax.tree.map(np.testing.assert_array_equal, back, slots)


def test_renamed_key_is_missing_and_left_over_and_a_wrong_shape_is_named():
    sizes, shapes = shapes_of("albef")
    layout = layouts.albef(sizes)
    tensors = names.to_torch(random_tree(shapes), layout)
    name = "text_encoder.bert.encoder.layer.2.attention.self.key.bias"
    tensors["key_bias_of_two"] = tensors.pop(name)
    _, missing, left_over = names.from_torch(tensors, layout, shapes)
    assert missing == ["fusion/layers/attention/qkv/bias"] and left_over == ["key_bias_of_two"]

    tensors[name] = tensors.pop("key_bias_of_two")
    tensors["text_proj.weight"] = tensors["text_proj.weight"][:, :5]
    with pytest.raises(UserError, match=r"text_proj.weight .*\(8, 5\).*text_projection/kernel"):
        names.from_torch(tensors, layout, shapes)
