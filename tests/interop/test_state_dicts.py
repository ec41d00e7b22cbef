"""ALBEF's and OpenAI's own checkpoints give the outputs of plain PyTorch functions of them."""

import jax
import numpy as np
import pytest
from small import LENGTH, small_batch, small_config

torch = pytest.importorskip("torch", reason="jaxvl[torch] is not installed")
import plain_torch  # noqa: E402  needs torch

from jaxvl.errors import UserError  # noqa: E402
from jaxvl.interop import convert, load, names  # noqa: E402
from jaxvl.interop.kinds import albef as albef_kind  # noqa: E402
from jaxvl.interop.kinds import open_clip, open_weights  # noqa: E402
from jaxvl.models import MODELS, vit  # noqa: E402
from jaxvl.sharding import make_mesh  # noqa: E402

pytestmark = pytest.mark.slow


def drawn(config):
    """Random tensors in the layout of the model's own checkpoint, no bias zero, no scale one."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(MODELS[config.model.name].make(config).init, jax.random.key(0))
    layout = {"albef": albef_kind.layout, "clip": open_clip.layout}[config.model.name]
    params = jax.tree.map(lambda x: 0.3 * rng.normal(size=x.shape).astype(np.float32), shapes)
    tensors = names.to_torch(params, layout(config.model))
    return {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}


def loaded(config, path):
    config.model.init = str(path)
    model = MODELS[config.model.name].make(config)
    return model, *load.load(config, model=model, mesh=make_mesh(config.mesh))


def albef_config():
    config = small_config()
    config.mesh.update(data=4, fsdp=2)
    return config


def clip_config():
    config = albef_config()
    config.model.name, config.model.activation = "clip", "quick_gelu"
    return config


@pytest.fixture(scope="module")
def albef(tmp_path_factory):
    """(state dict, path of a checkpoint as ALBEF's training leaves it)."""
    tensors = drawn(albef_config())
    path = tmp_path_factory.mktemp("albef") / "ALBEF.pth"
    state = tensors | momentum_of(tensors) | queues() | position_ids("bert.")
    torch.save({"model": state, "epoch": 29, "config": {"a": 1}}, path)
    return tensors, path


@pytest.fixture(scope="module")
def expected(albef, tmp_path_factory):
    """The parameters of this checkpoint's weights alone."""
    path = tmp_path_factory.mktemp("bare") / "ALBEF.pth"
    torch.save(albef[0], path)
    return loaded(albef_config(), path)[1]


def momentum_of(tensors):
    """Tensors of the momentum encoders, which are not the weights."""
    parts = {name: name.partition(".") for name in tensors if "." in name and "itm_" not in name}
    return {f"{tower}_m.{rest}": 7 * tensors[name] for name, (tower, _, rest) in parts.items()}


def queues():
    return {
        "image_queue": torch.ones(8, 4),
        "text_queue": torch.ones(8, 4),
        "queue_ptr": torch.zeros(1, dtype=torch.long),
    }


def position_ids(bert):
    return {f"text_encoder.{bert}embeddings.position_ids": torch.arange(16)[None]}


def pixels_of(batch):
    return torch.from_numpy(np.array(vit.normalise_pixels(batch["image"])).transpose(0, 3, 1, 2))


def test_checkpoint_of_albef_gives_the_same_states_embeddings_and_logits(albef):
    tensors, path = albef
    config = albef_config()
    model, params, report = loaded(config, path)
    assert not (report.new or report.left_over)
    lines = " ".join(load.table(report).split())
    count = sum("itm_" not in name and name != "temp" for name in tensors)
    assert (
        f"not read momentum encoders: {count} tensors a run's momentum encoders start as copies"
        in lines
    )
    assert "not read queues: 3 tensors a run fills its queues with its own" in lines
    batch = small_batch(2)

    @jax.jit
    def ours(params, image, ids, mask):
        v = model.encode_image(params, image)
        t = model.encode_text(params, ids, mask, key=None)
        states, _ = model.fuse(
            params,
            model.image_keys(params, v),
            t,
            mask,
            key=None,
            keep_GxN=None,
            probe=None,
            layer=None,
            first_only=False,
        )
        return (
            v,
            model.project_image(params, v),
            model.project_text(params, t, ids),
            model.match_logits(params, states),
            model.word_logits(params, states),
        )

    got = ours(params, batch["image"], batch["token_ids"], batch["token_mask"])
    ids, mask = (torch.from_numpy(np.array(batch[n])) for n in ("token_ids", "token_mask"))
    v = plain_torch.albef_image(tensors, pixels_of(batch), heads=2, layers=2)
    t = plain_torch.albef_text_layers(
        tensors, plain_torch.albef_embed(tensors, ids.long()), mask, range(1), 2
    )
    fused = plain_torch.albef_text_layers(tensors, t, mask, range(1, 4), 2, image=v)

    def unit(name, x):
        return torch.nn.functional.normalize(plain_torch.dense(tensors, name, x[:, 0]), dim=-1)

    expected = (
        v,
        unit("vision_proj", v),
        unit("text_proj", t),
        plain_torch.dense(tensors, "itm_head", fused[:, 0]),
        plain_torch.albef_words(tensors, fused),
    )
    for one, other in zip(got, expected):
        real = np.asarray(batch["token_mask"]) if one.shape[1] == LENGTH else slice(None)
        np.testing.assert_allclose(np.asarray(one)[real], other.numpy()[real], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    "what",
    ["published", "wrapped", "momentum", "queues", "parallel", "downstream", "downstream queues"],
)
def test_every_variant_of_a_checkpoint_reads_to_the_same_parameters(
    albef, expected, tmp_path, what
):
    tensors, published = albef
    variants = {
        "published": torch.load(published, weights_only=True),
        "wrapped": {"model": tensors},
        "momentum": {"model": tensors | momentum_of(tensors)},
        "queues": tensors | queues(),
        "parallel": {"model": {f"module.{name}": tensor for name, tensor in tensors.items()}},
        "downstream": {"model": downstream(tensors | momentum_of(tensors) | position_ids("bert."))},
        "downstream queues": downstream(tensors)
        | queues()
        | {"idx_queue": torch.full((1, 4), -100), "ptr_queue": torch.zeros(1)},
    }
    torch.save(variants[what], tmp_path / "variant.pth")
    config = albef_config()
    if what.startswith("downstream"):
        config.model.allow_missing = ("^word_head/",)
    _, params, report = loaded(config, tmp_path / "variant.pth")
    if what.startswith("downstream"):
        expected = {name: part for name, part in expected.items() if name != "word_head"}
        del params["word_head"]
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    unread = {what for what, _, _ in report.unread}
    assert unread == {
        "published": {"momentum encoders", "queues"},
        "momentum": {"momentum encoders"},
        "queues": {"queues"},
        "downstream": {"momentum encoders"},
        "downstream queues": {"queues"},
    }.get(what, set())
    assert not report.left_over


def downstream(tensors):
    """As fine-tuned for retrieval: no head for masked words, no `bert.` in the names."""
    return {
        name.replace(".bert.", "."): tensor
        for name, tensor in tensors.items()
        if "cls.predictions" not in name
    }


def test_downstream_checkpoint_without_bert_and_word_head(albef, tmp_path):
    tensors, _ = albef
    torch.save(downstream(tensors), tmp_path / "retrieval.pth")  # and without the wrapper
    config = albef_config()
    with pytest.raises(UserError, match="missing: word_head/bias.*allow_missing"):
        loaded(config, tmp_path / "retrieval.pth")
    config.model.allow_missing = ("^word_head/",)
    _, params, report = loaded(config, tmp_path / "retrieval.pth")
    assert [path.split("/")[0] for path in report.new] == ["word_head"] * 5
    query = params["fusion"]["layers"]["cross_attention"]["query"]["kernel"]
    name = "text_encoder.bert.encoder.layer.2.crossattention.self.query.weight"
    np.testing.assert_array_equal(query[1], tensors[name].numpy().T)


def test_each_parameter_lies_on_its_shards_alone(albef):
    _, params, _ = loaded(albef_config(), albef[1])
    kernel = params["image"]["layers"]["mlp"]["up"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(2, 8, 32)}
    assert kernel.shape == (2, 16, 32)


def test_tied_tensors_that_differ_are_refused(albef, tmp_path):
    tensors, _ = albef
    changed = tensors | {"text_encoder.cls.predictions.decoder.weight": torch.zeros(40, 16)}
    torch.save(changed, tmp_path / "untied.pth")
    with pytest.raises(UserError, match="decoder.weight differs from .*word_embeddings"):
        loaded(albef_config(), tmp_path / "untied.pth")


def test_state_dict_of_openai_gives_the_same_embeddings(tmp_path):
    config = clip_config()
    tensors = drawn(config)
    told = {
        "input_resolution": torch.tensor(16),
        "context_length": torch.tensor(16),
        "vocab_size": torch.tensor(40),
    }
    path = tmp_path / "ViT.pt"
    torch.save(tensors | told, path)
    model, params, _ = loaded(config, path)
    batch = small_batch(2)

    @jax.jit
    def ours(params, image, ids):
        v, t = model.encode_image(params, image), model.encode_text(params, ids, None, key=None)
        return model.project_image(params, v), model.project_text(params, t, ids)

    got = ours(params, batch["image"], batch["token_ids"])
    ids = torch.from_numpy(np.array(batch["token_ids"])).long()
    expected = (
        plain_torch.clip_image(tensors, pixels_of(batch), heads=2, layers=2),
        plain_torch.clip_text(tensors, ids, heads=2, layers=1),
    )
    for one, other in zip(got, expected):
        other = torch.nn.functional.normalize(other, dim=-1)
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5, rtol=1e-5)

    config.model.activation = "gelu"
    with pytest.raises(UserError, match="activation is 'quick_gelu' there and 'gelu' here"):
        loaded(config, path)


def test_open_clip_says_its_activation_only_beside_its_config(tmp_path):
    config = clip_config()
    torch.save(
        {"state_dict": {f"module.{n}": t for n, t in drawn(config).items()}},
        tmp_path / "open_clip_pytorch_model.bin",
    )
    bare = open_weights(tmp_path / "open_clip_pytorch_model.bin")
    assert "model.activation" not in bare.settings and bare.start["data.image_size"] == 16
    changes = {"data.tokenizer": "bpe.gz"}
    with pytest.raises(UserError, match="does not tell model.activation; add --set"):
        convert.configuration([bare.path], changes)
    changes |= {"model.activation": "quick_gelu"}
    with pytest.raises(UserError, match="model.image.heads; add --set .*divides its width of 16"):
        convert.configuration([bare.path], changes)
    changes |= {"model.image.heads": 2, "model.text.heads": 2}
    config = convert.configuration([bare.path], changes)
    assert config.model.activation == "quick_gelu" and config.data.eval_crop == "center"
    told = '{"model_cfg": {"quick_gelu": true, "text_cfg": {"heads": 2}}}'
    (tmp_path / "open_clip_config.json").write_text(told)
    assert open_weights(tmp_path).settings["model.activation"] == "quick_gelu"
    assert open_weights(tmp_path).settings["model.text.heads"] == 2
