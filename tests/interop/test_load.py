"""Starting weights: sizes are read from the file, and what becomes of every tensor is reported."""

import errno
import json
import os
import shutil
import warnings

import jax
import numpy as np
import pytest
from small import small_config

torch = pytest.importorskip("torch", reason="jaxvl[torch] is not installed")
transformers = pytest.importorskip("transformers")
import hugging_face as hf  # noqa: E402  needs torch
from safetensors.numpy import load_file, save_file  # noqa: E402

from jaxvl import checkpoint, workdir  # noqa: E402
from jaxvl.cli import convert  # noqa: E402
from jaxvl.errors import UserError  # noqa: E402
from jaxvl.interop import convert as convert_lib  # noqa: E402
from jaxvl.interop import load, names  # noqa: E402
from jaxvl.interop.kinds import clip as clip_kind  # noqa: E402
from jaxvl.interop.kinds import open_weights  # noqa: E402
from jaxvl.interop.tensor_files import open_tensors  # noqa: E402
from jaxvl.models import MODELS, vit  # noqa: E402
from jaxvl.sharding import make_mesh  # noqa: E402

pytestmark = pytest.mark.slow


def write_tokenizer(folder):
    """A tokenizer of hf.WORDS words with CLIP's special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [f"word{n}" for n in range(hf.WORDS - 2)] + ["<|startoftext|>", "<|endoftext|>"]
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="word0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    config = hf.clip_config("quick_gelu")
    _, folder = hf.saved(transformers.CLIPModel(config), tmp_path_factory.mktemp("clip"))
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of a ViT of 16 px, a DeiT with a distillation token and a BERT of 4 layers."""
    root = tmp_path_factory.mktemp("parts")
    image = hf.IMAGE | {"patch_size": 4}
    models = {
        "vit": transformers.ViTModel(transformers.ViTConfig(**image, layer_norm_eps=1e-6)),
        "deit": transformers.DeiTModel(transformers.DeiTConfig(**image, layer_norm_eps=1e-6)),
        "bert": transformers.BertForMaskedLM(hf.bert_config(num_hidden_layers=4)),
    }
    for name, model in models.items():
        hf.saved(model, root / name)
    return root


def albef_config(*paths):
    """The configuration that the parts fit, at 32 px instead of 16."""
    config = small_config()
    config.data.image_size = 32
    config.model.text.update(vocabulary_size=hf.WORDS, positions=12)
    config.model.init = ",".join(map(str, paths))
    return config


FRESH = ("cross_", "projection/", "match_head", "temperature", "pooler")


def loaded(config):
    model = MODELS[config.model.name].make(config)
    return load.load(config, model=model, mesh=make_mesh(config.mesh, devices=jax.devices()[:1]))


def test_vit_and_bert_become_an_albef(parts):
    config = albef_config(parts / "vit", parts / "bert")
    with pytest.raises(UserError, match="missing: .*; left over: pooler.dense.bias.*allow_missing"):
        loaded(config)
    config.model.allow_missing = FRESH
    params, report = loaded(config)
    bert = open_tensors(parts / "bert")
    for ours, layer in (("text", 0), ("fusion", 1), ("fusion", 3)):
        kernel = params[ours]["layers"]["mlp"]["up"]["kernel"]
        theirs = bert[f"bert.encoder.layer.{layer}.intermediate.dense.weight"].T
        np.testing.assert_array_equal(kernel[max(layer - 1, 0)], theirs)
    fresh = jax.jit(MODELS["albef"].make(config).init)(jax.random.key(config.seed))
    cross = [tree["fusion"]["layers"]["cross_attention"] for tree in (params, fresh)]
    jax.tree.map(np.testing.assert_array_equal, *cross)
    assert report.interpolated == [(load.POSITIONS, str(parts / "vit"))]
    assert {name for name, _ in report.left_over} == {"pooler.dense.bias", "pooler.dense.weight"}
    assert "fusion/layers/cross_norm/scale" in report.new
    assert len(report.loaded + report.interpolated + report.new) == len(names.flatten(params))
    told = load.table(report)
    for line in ("left over     pooler.dense.bias", "new           match_head/kernel", "  loaded"):
        assert line in told


def test_configuration_of_an_albef_follows_from_its_parts(parts):
    changes = {"data.tokenizer": "vocab.txt", "model.allow_missing": "cross_"}
    config = convert_lib.configuration([str(parts / "vit"), str(parts / "bert")], changes)
    assert (config.method, config.data.image_size) == ("albef", 16)
    assert (config.model.text.layers, config.model.text.fusion_layers) == (2, 2)
    assert config.softmask.layer == 0  # the last but one of the two
    assert config.model.allow_missing == ("cross_",)


def test_deit_loses_its_distillation_token_only_when_told_to(parts):
    config = albef_config(parts / "deit")
    config.data.image_size = 16
    config.model.allow_missing = (*FRESH, "^(text|fusion|word_head)/")
    with pytest.raises(UserError, match="left over: embeddings.distillation_token"):
        loaded(config)
    config.model.allow_missing = (*config.model.allow_missing, "distillation_token")
    params, _ = loaded(config)
    theirs = open_tensors(parts / "deit")["embeddings.position_embeddings"]
    np.testing.assert_array_equal(params["image"]["embedding"]["positions"][0, 0], theirs[0, 0])
    np.testing.assert_array_equal(params["image"]["embedding"]["positions"][0, 1:], theirs[0, 2:])


def test_bert_of_other_sizes_is_refused_and_told_what_fits(parts):
    config = albef_config(parts / "bert")
    config.model.text.update(width=32, mlp_width=64)
    with pytest.raises(UserError, match=r"width is 16 there and 32 here.*text.mlp_width=32"):
        loaded(config)
    config = albef_config(parts / "bert")
    config.model.text.layers = 2
    with pytest.raises(UserError, match="has 4 layers, .* need 5; their sum can be 4 at most"):
        loaded(config)


def clip_config(path, contrastive="softmax"):
    """A configuration that the CLIP folder fits."""
    config = small_config()
    for key, value in open_weights(path).settings.items():
        config.update_from_flattened_dict({key: value})
    config.model.init, config.loss.contrastive = str(path), contrastive
    config.loss.sigmoid_bias = -6.5
    return config


def test_weights_without_the_bias_of_the_loss_begin_at_its_first_value(clip_folder):
    config = clip_config(clip_folder, "sigmoid")
    with pytest.raises(UserError, match="missing: contrastive/bias.*allow_missing"):
        loaded(config)
    config.model.allow_missing = ("^contrastive/",)
    params, report = loaded(config)
    assert params["contrastive"]["bias"] == -6.5 and report.new == ["contrastive/bias"]


def test_a_run_of_another_loss_is_a_start_where_the_bias_may_be_missing(clip_folder, tmp_path):
    runs = {}
    for contrastive in ("softmax", "sigmoid"):
        config = clip_config(clip_folder, contrastive)
        config.model.allow_missing = ("^contrastive/",)
        params, _ = loaded(config)
        runs[contrastive] = tmp_path / contrastive
        runs[contrastive].mkdir()
        workdir.save_config(config, runs[contrastive])
        checkpoint.save_params(runs[contrastive], params)
    for stored, wanted in (("softmax", "sigmoid"), ("sigmoid", "softmax")):
        config = clip_config(clip_folder, wanted)
        config.model.init = str(runs[stored])
        with pytest.raises(UserError, match="(missing|left over): contrastive/bias"):
            loaded(config)
        config.model.allow_missing = ("^contrastive/",)
        params, report = loaded(config)
        if wanted == "sigmoid":
            assert params["contrastive"]["bias"] == -6.5 and report.new == ["contrastive/bias"]
        else:
            assert "contrastive" not in params
            assert report.left_over == [("contrastive/bias", str(runs[stored]))]


@pytest.mark.parametrize("have,want", [(2, 4), (5, 3), (14, 24)])
def test_positions_are_interpolated_as_torch_does(have, want):
    grid = np.random.default_rng(0).normal(size=(1, have**2 + 1, 3)).astype(np.float32)
    ours = vit.interpolate_positions(grid, want**2 + 1)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(grid[:, 1:]).reshape(1, have, have, 3).permute(0, 3, 1, 2),
        size=(want, want),
        mode="bicubic",
        align_corners=False,
    )
    expected = theirs.permute(0, 2, 3, 1).reshape(1, want**2, 3).numpy()
    np.testing.assert_array_equal(ours[:, 0], grid[:, 0])
    np.testing.assert_allclose(ours[:, 1:], expected, atol=1e-5)


def test_converted_folder_is_a_start_that_needs_nothing_else(clip_folder, tmp_path, capsys):
    out = tmp_path / "run"
    convert.main(["--from", str(clip_folder), "--out", str(out)])
    assert "loaded        image: " in capsys.readouterr().out
    config = workdir.load_config(out).unlock()
    assert (config.method, config.model.activation) == ("clip", "quick_gelu")
    assert config.model.image.norm_epsilon == 1e-3 and config.data.image_size == 16
    assert config.data.tokenizer == str(out / "tokenizer.json") and config.model.init == ""
    assert config.data.token_lengths == clip_kind.TOKEN_LENGTHS
    assert config.model.text.end_token == hf.WORDS - 1
    assert len(json.loads((out / "init.json").read_text())["loaded"]) > 20
    assert sorted(os.listdir(tmp_path)) == ["run"]

    config.model.init = str(out)
    params, _ = loaded(config)
    kernel = params["text"]["layers"]["mlp"]["up"]["kernel"][1]
    theirs = open_tensors(clip_folder)["text_model.encoder.layers.1.mlp.fc1.weight"]
    np.testing.assert_array_equal(kernel, theirs.T)
    assert load.tokenizer_of_init(str(out)) == config.data.tokenizer

    config.data.image_size = 32
    params, report = loaded(config)
    assert report.interpolated[0][0] == load.POSITIONS
    assert params["image"]["embedding"]["positions"].shape == (1, 17, 16)

    with pytest.raises(SystemExit):
        convert.main(["--from", str(clip_folder), "--out", str(out)])
    assert "run: exists and is not empty; name another --out" in capsys.readouterr().err


def test_images_are_cropped_as_the_file_says(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "in")
    assert "data.eval_crop" not in open_weights(folder).start
    told = folder / "preprocessor_config.json"
    for size, crop in (
        (224, "center"),
        ({"shortest_edge": 20}, "center"),
        ({"height": 16, "width": 16}, "none"),
    ):
        told.write_text(json.dumps({"do_center_crop": True, "size": size}))
        assert open_weights(folder).start["data.eval_crop"] == crop
    told.write_text('{"do_center_crop": true, "size": {"shortest_edge": 20}}')
    assert "resized to 20 pixels and then cropped to 16" in open_weights(folder).notes[0]
    told.write_text('{"do_center_crop": true, "size": 16}')
    assert not open_weights(folder).notes
    told.rename(folder / "processor_config.json")
    assert "data.eval_crop" not in open_weights(folder).start
    (folder / "processor_config.json").write_text('{"image_processor": {"do_center_crop": true}}')
    assert open_weights(folder).start["data.eval_crop"] == "center"
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    with pytest.raises(UserError, match="gives other pixels than jaxvl can: image_mean=.0.5"):
        open_weights(folder)


def test_files_in_parts_and_pickled_files_hold_the_same(clip_folder, tmp_path):
    whole = load_file(clip_folder / "model.safetensors")
    listed = list(whole)
    half = {name: whole[name] for name in listed[:30]}, {n: whole[n] for n in listed[30:]}
    for number, tensors in enumerate(half, 1):
        save_file(tensors, tmp_path / f"model-0000{number}-of-00002.safetensors")
    got = open_tensors(tmp_path)
    assert sorted(got) == sorted(whole)

    index = {"weight_map": {name: "model-00001-of-00002.safetensors" for name in half[0]}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert sorted(open_tensors(tmp_path)) == sorted(half[0])

    (tmp_path / "bin").mkdir()
    tensors = {name: torch.from_numpy(value) for name, value in whole.items()}
    torch.save(tensors, tmp_path / "bin" / "pytorch_model.bin")
    for name, value in open_tensors(tmp_path / "bin").items():
        np.testing.assert_array_equal(value, whole[name])


class Code:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def spoil_bytes(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def spoil_tensors(change):
    def spoil(folder):
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file)

    return spoil


def reshaped(tensors):
    name = "text_model.encoder.layers.1.mlp.fc1.weight"
    return tensors | {name: tensors[name][:, :7].copy()}


def renamed(tensors):
    old = "vision_model.encoder.layers.1.self_attn.k_proj.bias"
    return {name.replace(old, "k_projection"): tensor for name, tensor in tensors.items()}


def spoil_config(**changes):
    def spoil(folder):
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def spoil_index(folder):
    index = {"weight_map": {"logit_scale": "../clip0/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def spoil_pickle(folder):
    os.remove(folder / "model.safetensors")
    torch.save({"logit_scale": torch.ones(()), "code": Code()}, folder / "pytorch_model.bin")


def spoil_by_removing(name):
    return lambda folder: os.remove(folder / name)


def spoil_by_writing(name, text):
    return lambda folder: (folder / name).write_text(text)


def spoil_by_cutting(folder):
    tensors = load_file(folder / "model.safetensors")
    os.remove(folder / "model.safetensors")
    file = folder / "pytorch_model.bin"
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, file)
    file.write_bytes(file.read_bytes()[:-100])


def spoil_by_halving(folder):
    os.rename(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")


def spoil_by_program(folder):
    os.remove(folder / "model.safetensors")
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "pytorch_model.bin"))


def spoil_by_shapes(folder):
    """A state dict with the names of ALBEF, of other shapes."""
    for file in list(folder.iterdir()):
        os.remove(file)
    tensors = {
        "visual_encoder.pos_embed": torch.ones(5),
        "visual_encoder.patch_embed.proj.weight": torch.ones(8, 3, 4, 4),
        "text_encoder.embeddings.word_embeddings.weight": torch.ones(5, 8),
    }
    torch.save(tensors, folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text("{}")


def spoil_by_omitting(folder):
    """A state dict with few of the names of open_clip."""
    spoil_by_shapes(folder)
    tensors = {"visual.class_embedding": torch.ones(5), "ln_final.weight": torch.ones(5)}
    torch.save(tensors, folder / "open_clip_pytorch_model.bin")


SPOILT = {
    "truncated": (spoil_bytes, "model.safetensors is not a complete safetensors file"),
    "truncated pickle": (spoil_by_cutting, "pytorch_model.bin is not a complete file of tensors"),
    "half of it": (spoil_by_halving, "has 1 of 2 files model-00001-of-00002.safetensors"),
    "incomplete": (spoil_by_omitting, "lacks the tensor 'positional_embedding'"),
    "wrong shape": (spoil_tensors(reshaped), "layers.1.mlp.fc1.weight of shape (32, 7)"),
    "other shapes": (spoil_by_shapes, "has the names of a known model, but not its shapes"),
    "renamed": (spoil_tensors(renamed), "k_proj.bias is absent); left over: k_projection"),
    "architecture": (spoil_config(model_type="flava"), "model_type 'flava' is not known, only"),
    "no sizes": (spoil_config(text_config={}), "has 49408 words, the tokenizer has 50"),
    "null sizes": (spoil_config(text_config=None), "has 49408 words, the tokenizer has 50"),
    "a number": (spoil_config(text_config=5), "config.json has a value of the wrong type"),
    "zero size": (
        spoil_config(vision_config=hf.IMAGE | {"num_attention_heads": 0}),
        "model.image.heads cannot be 0",
    ),
    "end": (
        spoil_config(
            text_config=hf.TOWER
            | {"vocab_size": hf.WORDS, "eos_token_id": 9999, "max_position_embeddings": hf.LENGTH}
        ),
        "the vocabulary has no end token 9999",
    ),
    "pickle": (spoil_pickle, "pytorch_model.bin would run code (posix.system) and is refused"),
    "program": (spoil_by_program, "is a TorchScript archive, which can run code, and is refused"),
    "no config": (spoil_by_removing("config.json"), "has no config.json"),
    "no JSON": (spoil_by_writing("config.json", "{"), "config.json cannot be read as JSON"),
    "no tokens": (spoil_by_writing("tokenizer.json", "{"), "tokenizer.json: not a tokenizer file"),
    "no weights": (spoil_by_removing("model.safetensors"), "has no weights: none of"),
    "no tokenizer": (spoil_by_removing("tokenizer.json"), "brings no tokenizer; name its folder"),
    "path": (spoil_index, "names ../clip0/model.safetensors, which is not in its folder"),
    "index": (
        spoil_by_writing("model.safetensors.index.json", '{"weight_map": []}'),
        "does not tell which tensor is in which file",
    ),
}


def refused(arguments, capsys, message):
    with pytest.raises(SystemExit) as exit:
        convert.main(arguments)
    error = capsys.readouterr().err
    assert exit.value.code == 2 and error.startswith("jaxvl: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("what", SPOILT)
def test_bad_weights_are_one_clear_line_and_leave_nothing(clip_folder, tmp_path, capsys, what):
    spoil, message = SPOILT[what]
    shutil.copytree(clip_folder, tmp_path / "in")
    spoil(tmp_path / "in")
    refused(["--from", str(tmp_path / "in"), "--out", str(tmp_path / "out")], capsys, message)
    assert sorted(os.listdir(tmp_path)) == ["in"] and not os.path.exists("hacked")


def test_a_disk_without_room_is_one_line_before_anything_is_written(
    clip_folder, tmp_path, capsys, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=9_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(load, "load", lambda *_, **__: pytest.fail("the weights were read"))
    refused(
        ["--from", str(clip_folder), "--out", str(tmp_path / "out")],
        capsys,
        "the disk is full: the weights take 0 MB, 0 MB are free",
    )
    assert os.listdir(tmp_path) == []


FULL = {
    "tokenizer": ("tokenizers.Tokenizer.save", Exception("No space left on device (os error 28)")),
    "config": ("jaxvl.workdir.save_config", OSError(errno.ENOSPC, "No space left on device")),
    "weights": (
        "orbax.checkpoint.AsyncCheckpointer.save",
        ValueError("RESOURCE_EXHAUSTED: write: No space left on device [OS error 28]"),
    ),
}


@pytest.mark.parametrize("what", FULL)
def test_a_disk_that_fills_up_leaves_nothing(clip_folder, tmp_path, capsys, monkeypatch, what):
    name, error = FULL[what]

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(name, fail)
    refused(
        ["--from", str(clip_folder), "--out", str(tmp_path / "out")],
        capsys,
        "out: the disk is full; nothing was written",
    )
    assert os.listdir(tmp_path) == []


def test_what_a_killed_conversion_left_is_removed(clip_folder, tmp_path):
    (tmp_path / ".run.partial" / "checkpoints").mkdir(parents=True)
    convert.main(["--from", str(clip_folder), "--out", str(tmp_path / "run")])
    assert os.listdir(tmp_path) == ["run"] and load.is_own(tmp_path / "run")


def test_other_activation_than_the_file_says_is_an_error(clip_folder, tmp_path, capsys):
    arguments = ["--from", str(clip_folder), "--out", str(tmp_path / "out")]
    for change, message in {
        "model.activation=gelu": "model.activation is 'quick_gelu' there and 'gelu' here",
        "model.text.widht=3": "--set model.text.widht: there is no such key; did you mean",
    }.items():
        with pytest.raises(SystemExit):
            convert.main([*arguments, "--set", change])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_guess_of_the_heads_yields_to_the_user_and_says_that_it_is_one(
    tmp_path, capsys, clip_folder
):
    """A state dict 64 wide: a head of its own is a guess, two are the user's knowledge."""
    from test_state_dicts import drawn

    config = small_config()
    config.model.name, config.model.activation = "clip", "gelu"
    for tower in ("image", "text"):
        config.model[tower].update(width=64, heads=1, mlp_width=128)
    config.model.text.update(vocabulary_size=hf.WORDS)
    path = tmp_path / "clip.pt"
    torch.save(drawn(config), path)
    arguments = ["--from", str(path), "--set", "model.activation=gelu"]
    arguments += ["--set", f"data.tokenizer={clip_folder / 'tokenizer.json'}"]
    convert.main([*arguments, "--out", str(tmp_path / "guess")])
    assert "does not tell model.image.heads; 1 is a guess" in capsys.readouterr().out
    known = [part for tower in ("image", "text") for part in ("--set", f"model.{tower}.heads=2")]
    convert.main([*arguments, *known, "--out", str(tmp_path / "known")])
    assert "model.image.heads; 2 is not 1, the usual number" in capsys.readouterr().out
    assert workdir.load_config(tmp_path / "known").model.image.heads == 2


def test_weights_that_are_not_finite_are_refused(clip_folder, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(clip_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"] = np.full_like(tensors["visual_projection.weight"], np.nan)
    save_file(tensors, folder / "model.safetensors")
    config = convert_lib.configuration([str(folder)], {})
    with pytest.raises(UserError, match="visual_projection.weight holds values that are not finit"):
        loaded(config)
