"""Published weights as they are: sparse configurations, heads, tokenizers, preprocessors."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from jaxvl.errors import UserError
from jaxvl.interop import fitting, hugging_face
from jaxvl.interop.kinds import bert, clip, open_clip, vit
from jaxvl.interop.tensor_files import Tensors
from jaxvl.interop.weights import Opened, Weights

NO_TENSORS = Tensors({})

# As published: what differs from the defaults, in the file of openai/clip-vit-large-patch14-336.
LARGE_336 = {
    "model_type": "clip",
    "projection_dim": 768,
    "text_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "projection_dim": 768,
    },
    "vision_config": {
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
    },
}


def settings_of(config, tmp_path):
    return clip.open_clip_model(Opened(str(tmp_path), NO_TENSORS, config))


def test_a_key_that_is_absent_has_the_other_library_s_default(tmp_path):
    large = settings_of(LARGE_336, tmp_path)
    told = {key.removeprefix("model."): value for key, value in large.settings.items()}
    assert (told["text.vocabulary_size"], told["text.positions"], told["text.layers"]) == (
        49_408,
        77,
        12,
    )
    assert (told["image.layers"], told["image.patch_size"], told["image.heads"]) == (24, 14, 16)
    assert told["activation"] == "quick_gelu" and large.start["data.image_size"] == 336

    base = settings_of({"model_type": "clip", "text_config": None, "vision_config": {}}, tmp_path)
    assert base.settings["model.embed_size"] == 512 and base.settings["model.text.width"] == 512
    assert base.settings["model.image.patch_size"] == 32
    older = {"model_type": "clip", "text_config_dict": {"num_hidden_layers": 3}}
    assert settings_of(older, tmp_path).settings["model.text.layers"] == 3


def test_the_defaults_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    theirs = {
        transformers.CLIPTextConfig: clip.TEXT_DEFAULTS,
        transformers.CLIPVisionConfig: clip.IMAGE_DEFAULTS,
        transformers.ViTConfig: vit.DEFAULTS,
        transformers.BertConfig: bert.DEFAULTS["bert"],
        transformers.RobertaConfig: bert.DEFAULTS["roberta"],
    }
    for make, ours in theirs.items():
        default = make().to_dict()
        assert {key: default[key] for key in ours} == ours
    assert transformers.CLIPConfig().projection_dim == clip.EMBED_SIZE


def state_dict(width, text_width, *, layers=1):
    """An open_clip state dict of these widths, as shapes: its arrays are views of one zero."""
    shapes = {
        "positional_embedding": (77, text_width),
        "text_projection": (text_width, 32),
        "token_embedding.weight": (49_408, text_width),
        "ln_final.weight": (text_width,),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (257, width),
        "visual.conv1.weight": (width, 3, 14, 14),
        "visual.transformer.resblocks.0.mlp.c_fc.bias": (4 * width,),
        "transformer.resblocks.0.mlp.c_fc.bias": (4 * text_width,),
    }
    return Tensors(
        {name: lambda shape=shape: np.broadcast_to(0.0, shape) for name, shape in shapes.items()}
    )


@pytest.mark.parametrize(
    "name, width, heads, text_width, text_heads",
    [
        ("B/32", 768, 12, 512, 8),
        ("L/14", 1024, 16, 768, 12),
        ("H/14", 1280, 16, 1024, 16),
        ("g/14", 1408, 16, 1024, 16),
        ("bigG/14", 1664, 16, 1280, 20),
    ],
)
def test_the_heads_of_published_models_are_known(name, width, heads, text_width, text_heads):
    opened = Opened("weights.pt", state_dict(width, text_width), {})
    found = open_clip.open_state_dict(opened)
    assert found.guesses == {"model.image.heads": heads, "model.text.heads": text_heads}
    assert not any(key.endswith("heads") for key in found.settings)  # a run may have others


def words(*names, end="<|endoftext|>"):
    vocabulary = {name: number for number, name in enumerate([*names, "<|startoftext|>", end])}
    return Tokenizer(models.WordLevel(vocabulary, unk_token=names[0]))


def weights(rows, *, end=None, tokenizer=""):
    settings = {"model.name": "clip", "model.text.vocabulary_size": rows}
    settings |= {} if end is None else {"model.text.end_token": end}
    return Weights("weights", "CLIP", NO_TENSORS, lambda _: None, settings, tokenizer=tokenizer)


def test_a_tokenizer_that_the_weights_have_not_learned_is_refused(tmp_path):
    given = words("a", "b")
    fitting.check(weights(4), given)
    fitting.check(weights(100), given)  # a table of a round size
    for source, message in [
        (weights(49_408), "has 49408 words, the tokenizer has 4"),
        (weights(3), "has 3 words, the tokenizer has 4"),
        (weights(4, end=1), "ends a text with the id 1, the tokenizer with 3"),
    ]:
        with pytest.raises(UserError, match=message):
            fitting.check(source, given)
    words("b", "a").save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="another tokenizer: 'a', which is 0 here, is 1 there"):
        fitting.check(weights(4, tokenizer=str(tmp_path)), given)


def test_the_weights_of_a_run_are_read_with_its_words_only(tmp_path):
    fitting.check_own(tmp_path, words("a"))  # of an older version
    words("a").save(str(tmp_path / "tokenizer.json"))
    fitting.check_own(tmp_path, words("a"))
    with pytest.raises(UserError, match="'b', which is 0 here, has no id there"):
        fitting.check_own(tmp_path, words("b"))


@pytest.mark.parametrize(
    "processor, told",
    [
        ({"do_normalize": False}, "do_normalize=False"),
        ({"do_rescale": False}, "do_rescale=False"),
        ({"do_resize": False}, "do_resize=False"),
        ({"resample": 2}, "resample=2"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor=0.00784"),
        ({"image_std": [1, 1, 1]}, "image_std="),
        ({"do_normalize": True, "resample": 3, "rescale_factor": 0.00392156862745098}, ""),
        ({}, ""),
    ],
)
def test_a_preprocessor_that_gives_other_pixels_is_refused(tmp_path, processor, told):
    assert told in "; ".join(hugging_face.other_pixels(processor))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    if told:
        with pytest.raises(UserError, match=f"gives other pixels than jaxvl can.*{told[:9]}"):
            settings_of(LARGE_336, tmp_path)
    else:
        settings_of(LARGE_336, tmp_path)


@pytest.mark.parametrize(
    "config, told",
    [
        ({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}, "image_mean"),
        ({"interpolation": "bilinear"}, "interpolation"),
        ({"resize_mode": "longest"}, "resize_mode"),
    ],
)
def test_so_is_one_of_open_clip(config, told):
    opened = Opened("weights.pt", state_dict(768, 512), {"preprocess_cfg": config})
    with pytest.raises(UserError, match=f"gives other pixels than jaxvl can: {told}"):
        open_clip.open_state_dict(opened)
