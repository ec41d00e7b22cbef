"""jaxvl export: folders that PyTorch loads, equal to JAX, or nothing at all."""

import ast
import errno
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch_side
from finished import make_run
from huggingface_hub import ModelCard
from PIL import Image

from jaxvl import preprocessing
from jaxvl.cli import export as command
from jaxvl.data.images.upright import upright_rgb
from jaxvl.data.text import tokenizer
from jaxvl.export import (
    FORMATS,
    check,
    examples,
    hf,
    model_card,
    modeling_jaxvl,
    pytorch,
    reader,
    serving_tokenizer,
    torch_folder,
)
from jaxvl.export import run as run_lib
from jaxvl.interop import load, names, tensor_files
from jaxvl.interop.kinds import albef as albef_kind
from jaxvl.interop.kinds import open_weights
from jaxvl.models import MODELS
from jaxvl.sharding import make_mesh
from jaxvl.training import experiment

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def no_jax_and_no_tensorflow_beside_pytorch(tmp_path_factory, monkeypatch):
    """In PyTorch's process an import of either fails, and so does the export."""
    stubs = tmp_path_factory.mktemp("stubs")
    for name in ("tensorflow", "jax"):
        (stubs / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    monkeypatch.setenv("PYTHONPATH", str(stubs))


@pytest.fixture
def softmask_run(tmp_path_factory, tiny_config):
    return make_run(tmp_path_factory, tiny_config)


@pytest.fixture
def grounded_run(tmp_path_factory, tiny_config):
    tiny_config.model.update(fusion_tokens="local", match_read="mean")
    tiny_config.model.image.stem = "convolutions"
    tiny_config.softmask.layer = tiny_config.model.text.fusion_layers - 1
    return make_run(tmp_path_factory, tiny_config, name="grounded_run")


@pytest.fixture
def clip_run(tmp_path_factory, tiny_config):
    return make_run(tmp_path_factory, as_clip(tiny_config), name="clip_run")


@pytest.fixture
def sigmoid_run(tmp_path_factory, tiny_config):
    tiny_config.loss.contrastive, tiny_config.loss.sigmoid_bias = "sigmoid", -7.5
    return make_run(tmp_path_factory, as_clip(tiny_config), name="sigmoid_run")


def as_clip(config):
    config.model.name = config.method = "clip"
    config.model.activation = "quick_gelu"
    config.data.add_sep = True
    return config


OPEN_RUN, IN_JAX = run_lib.open_run, check.in_jax  # before a test replaces them


@functools.cache
def opened(run, weights=None):
    """Returns (Run, params) of a working directory."""
    basis = experiment.open_basis(experiment.load_run(run))
    return OPEN_RUN(
        run,
        config=basis.config,
        model=basis.model,
        mesh=basis.mesh,
        tokenizer=basis.tokenizer,
        weights=weights,
    )


@functools.cache
def answers(run):
    return IN_JAX(*opened(run))


@pytest.fixture
def quick(monkeypatch):
    """Call with a working directory: what JAX computes for it is shared by all tests."""

    def use(run):
        monkeypatch.setattr(run_lib, "open_run", lambda workdir, **_: opened(run))
        monkeypatch.setattr(check, "in_jax", lambda *_: answers(run))

    return use


def export(run, out, name, **options):
    """Returns the report of an export."""
    return run_lib.export(*opened(run), out, name=name, **options)


def refused(capsys, run, out, *flags, form="torch"):
    """Returns the one line on stderr of an export that leaves nothing behind."""
    with pytest.raises(SystemExit) as stop:
        command.main(["--workdir", str(run), "--format", form, "--out", str(out), *flags])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("jaxvl: ") and len(error.splitlines()) == 1
    assert not out.exists() or not any(out.iterdir())
    assert not list(out.parent.glob(".*partial*"))
    return error


def with_format(monkeypatch, name, **changes):
    """Changes fields of a format, in this process and in PyTorch's."""
    monkeypatch.setitem(FORMATS, name, FORMATS[name]._replace(**changes))


def test_a_folder_for_plain_pytorch(softmask_run, tmp_path, capsys):
    out = tmp_path / "exports" / "mine"
    command.main(["--workdir", str(softmask_run), "--format", "torch", "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors",
        "config.json",
        "preprocessing.json",
        "tokenizer.json",
        "modeling_jaxvl.py",
        "jaxvl_images.py",
        "jaxvl_texts.py",
        "README.md",
        "export_report.json",
    }
    report = json.loads((out / "export_report.json").read_text())
    assert report["step"] == 3 and report["weights"] == "online"
    assert report["preprocessing"] == "bicubic-antialias-32-clip"
    differences, printed = report["differences"], capsys.readouterr().out
    for quantity in (
        "pixels",
        "token ids",
        "heat-maps",
        "match logits",
        "fused states",
        "image embeddings",
        "text embeddings",
        "word logits",
        "temperature",
    ):
        assert max(differences[quantity].values()) <= 1e-4 and quantity in printed
    assert differences["pixels"]["absolute"] == differences["token ids"]["absolute"] == 0
    card = (out / "README.md").read_text()
    for told in (
        "scenes; images: train 40, val 12",
        "3 of 4",
        "bicubic-antialias-32-clip",
        "to be filled in",
        "not evaluated",
        "heat-maps",
    ):
        assert told in card
    model, prepare = torch_folder.module_in(out).load(out)
    image = model.encode_image(prepare.images([Image.new("L", (50, 20))] * 2))
    text = model.encode_text(prepare.texts(["A red cube!", "two"]))
    assert model.match(image, text).shape == (2,)
    maps = model.word_heatmaps(image, text)
    assert [[one.word for one in row] for row in maps] == [["a", "red", "cube"], ["two"]]
    assert maps[0][0].relevance.shape == (2, 2) and (maps[0][0].relevance >= 0).all()


def test_local_patches_convolutions_and_the_mean_of_all_tokens(grounded_run, tmp_path, capsys):
    report = export(grounded_run, tmp_path / "out", "torch")
    assert not check.failed(report) and report["heat-maps"].absolute > 0
    run, params = opened(grounded_run)
    tensors = tensor_files.open_tensors(tmp_path / "out" / "model.safetensors")
    layout = albef_kind.layout(run.config.model)
    again, missing, left_over = names.from_torch(tensors, layout, params)
    assert not missing and not left_over
    jax.tree.map(np.testing.assert_array_equal, again, params)
    error = refused(capsys, grounded_run, tmp_path / "albef", form="albef")
    assert "model.fusion_tokens=local" in error and "--format torch" in error


def test_what_serves_needs_neither_jax_nor_jaxvl():
    tree = ast.parse(torch_folder.MODELING.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    libraries = imported - set(sys.stdlib_module_names)
    assert libraries == {"numpy", "safetensors", "tokenizers", "torch", "PIL"}


def test_albefs_own_layout_with_momentum_encoders(softmask_run, tmp_path, quick):
    quick(softmask_run)
    report = export(softmask_run, tmp_path / "out", "albef")
    assert not check.failed(report) and "heat-maps" in report
    state = torch.load(tmp_path / "out" / "ALBEF.pth", weights_only=True)["model"]
    for name in (
        "visual_encoder.blocks.0.attn.qkv.weight",
        "text_proj.weight",
        "itm_head.bias",
        "text_encoder.bert.encoder.layer.2.crossattention.self.key.weight",
        "text_encoder.cls.predictions.decoder.weight",
        "temp",
    ):
        assert name in state
    for name in (
        "visual_encoder.pos_embed",
        "text_proj.bias",
        "text_encoder.bert.embeddings.word_embeddings.weight",
    ):
        first, _, rest = name.partition(".")
        assert torch.equal(state[name], state[f"{first}_m.{rest}"])
    parts = {name.partition(".")[0] for name in state}
    assert {part for part in parts if f"{part}_m" in parts} == {
        "visual_encoder",
        "text_encoder",
        "vision_proj",
        "text_proj",
    }
    run, params = opened(softmask_run)
    layout = albef_kind.layout(run.config.model)
    tensors = tensor_files.open_tensors(tmp_path / "out" / "ALBEF.pth")
    again, missing, left_over = names.from_torch(tensors, layout, params)
    assert not missing and all("_m." in name for name in left_over)
    jax.tree.map(np.testing.assert_array_equal, again, params)


@pytest.mark.parametrize("form", ["hf", "open_clip"])
def test_clip_with_the_tokenizer_of_its_data_set(clip_run, tmp_path, quick, form):
    quick(clip_run)
    report = export(clip_run, tmp_path / "out", form)
    assert set(report) == {
        "token ids",
        "normalised pixels",
        "image embeddings",
        "text embeddings",
        "logit scale",
    } | ({"heat-maps"} if form == "hf" else set())
    assert not check.failed(report) and report["token ids"].absolute == 0
    assert form == "open_clip" or report["heat-maps"].absolute > 0  # those that are computed
    assert open_weights(tmp_path / "out").start["data.eval_crop"] == "none"


@pytest.mark.parametrize("form", ["hf", "open_clip"])
def test_clip_that_sees_the_middle_of_images(clip_run, tmp_path, form):
    run, params = opened(clip_run)
    config = run.config.copy_and_resolve_references().unlock()
    config.data.eval_crop = "center"
    run = run._replace(config=config, preprocessing=preprocessing.numbers_of(config))
    report = run_lib.export(run, params, tmp_path / "out", name=form)
    assert report["normalised pixels"].absolute < 1e-6  # of images that are not square
    assert not check.failed(report)
    assert open_weights(tmp_path / "out").start["data.eval_crop"] == "center"
    assert "the square in the middle" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("crop", ["none", "center"])
def test_what_serves_resizes_images_as_evaluation_does(crop):
    prepare = modeling_jaxvl.Prepare({"size": 33, "crop": crop}, None, upright_rgb)
    for image in examples.images():
        assert (prepare.resized(image) == preprocessing.resized(image, 33, crop=crop)).all()


def test_clips_own_tokenizer_goes_out_as_its_files(clip_run, tmp_path):
    bpe, captions = small_bpe(tmp_path), list(examples.CAPTIONS)
    (tmp_path / "out").mkdir()
    run = opened(clip_run)[0]._replace(tokenizer=bpe)
    functions = [hf.write, torch_side.clip_token_ids]
    found = pytorch.answers(tmp_path / "out", run, {"x": np.zeros(1)}, functions)
    tokens = tokenizer.encode(bpe, captions, max_tokens=12, max_words=99, add_sep=True)
    assert found["is_clip"] and (found["ids"] == tokens.ids).all()
    again = tokenizer.load(tmp_path / "out" / "vocab.json")
    assert again.encode("bad cab").ids == bpe.encode("bad cab").ids


SPELT = (
    "A red cube, left of the <person>'s well-known [SEP] ball!",
    "[MASK]\tcat  don't / cat",
    "bad cab <|endoftext|> cat",
    "",
    "-",
    "acacacacacacacacacacacac cut",
)


@pytest.mark.parametrize("own", [True, False], ids=["of the data set", "CLIP's"])
def test_what_explains_clip_reads_words_as_training_does(clip_run, tmp_path, own):
    run, data = opened(clip_run)[0], opened(clip_run)[0].config.data
    words = run.tokenizer if own else small_bpe(tmp_path)
    served = serving_tokenizer.make(words, data)
    serves = reader.Reader(
        torch_folder.tokens_of(run._replace(tokenizer=words)), served.backend_tokenizer
    )
    every = tokenizer.encode_for(words, SPELT, data)
    ids = served(list(SPELT), padding="max_length", truncation=True)["input_ids"]
    assert ids == every.ids.tolist()  # a special token that is spelt is plain letters
    for caption, ids_L, mask_L, words_L in zip(SPELT, *every):
        found = serves.read(caption)
        assert found.ids == ids_L[mask_L].tolist(), caption
        assert found.words == words_L[mask_L].tolist(), caption
        assert found.spelt + found.truncated == tokenizer.read_as(words, caption).split()
        assert len(found.spelt) == words_L.max() + 1, caption


def small_bpe(folder):
    from tokenizers.pre_tokenizers import ByteLevel

    from jaxvl.data.text import clip_bpe

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "ca", "cat</w>"]
    words += [clip_bpe.START, clip_bpe.END]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    return tokenizer.load(folder / "vocab.json")


def test_open_clip_finds_the_names_and_shapes_of_its_own(clip_run, tmp_path, quick):
    """The list was made by open_clip 3.3.0's create_model of the same sizes."""
    from safetensors import safe_open

    quick(clip_run)
    export(clip_run, tmp_path / "out", "open_clip")
    with safe_open(tmp_path / "out" / "open_clip_model.safetensors", "np") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
    stored = json.loads((Path(__file__).parents[1] / "golden" / "open_clip_tiny.json").read_text())
    assert shapes == stored


def test_a_tensor_that_differs_fails_the_export(softmask_run, tmp_path, quick, monkeypatch, capsys):
    larger = names.TRANSPOSED._replace(to_theirs=lambda array, _: [1.5 * array.T])
    with_format(monkeypatch, "torch", layout=changed_layout(transform=larger))
    quick(softmask_run)
    error = refused(capsys, softmask_run, tmp_path / "out")
    assert "heat-maps" in error and "nothing was exported" in error
    assert "image embeddings" not in error


def test_a_tensor_that_is_missing_fails_the_export(
    softmask_run, tmp_path, quick, monkeypatch, capsys
):
    with_format(monkeypatch, "torch", layout=changed_layout(theirs=("renamed.{}",)))
    quick(softmask_run)
    error = refused(capsys, softmask_run, tmp_path / "out")
    assert (
        "PyTorch could not write or load" in error and "crossattention.self.query.weight" in error
    )


def changed_layout(**changes):
    """The names of --format torch, except for the rule of the cross-attention's queries."""

    def layout(config):
        made = torch_folder.layout(config)
        ours = "fusion/layers/cross_attention/query/kernel"
        rules = (r._replace(**changes) if r.ours == ours else r for r in made.rules)
        return made._replace(rules=tuple(rules))

    return layout


def test_a_process_that_dies_is_one_line(softmask_run, tmp_path, quick, monkeypatch, capsys):
    with_format(monkeypatch, "torch", write=torch_side.die)
    quick(softmask_run)
    error = refused(capsys, softmask_run, tmp_path / "out")
    assert "the process that has PyTorch died (Segmentation fault)" in error


def test_a_full_disk_leaves_nothing(softmask_run, tmp_path, quick, monkeypatch, capsys):
    def save(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    quick(softmask_run)
    monkeypatch.setattr("safetensors.numpy.save_file", save)
    assert "the disk is full" in refused(capsys, softmask_run, tmp_path / "out")


def test_a_disk_that_fills_up_under_torch_leaves_nothing(
    softmask_run, tmp_path, quick, monkeypatch, capsys
):
    with_format(monkeypatch, "albef", write=torch_side.write_albef_on_a_full_disk)
    quick(softmask_run)
    assert "the disk is full" in refused(capsys, softmask_run, tmp_path / "out", form="albef")


def test_a_truncated_checkpoint_is_named(softmask_run, tmp_path, capsys):
    run = shutil.copytree(softmask_run, tmp_path / "run")
    for file in (run / "checkpoints" / "3" / "params").rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "checkpoints/3 is damaged" in refused(capsys, run, tmp_path / "out")


def test_a_place_that_cannot_be_written_is_named(softmask_run, tmp_path, quick, capsys):
    quick(softmask_run)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(capsys, softmask_run, tmp_path / "file" / "out")


def test_what_is_there_is_not_overwritten(softmask_run, tmp_path, quick, capsys):
    quick(softmask_run)
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(SystemExit):
        command.main(["--workdir", str(softmask_run), "--format", "torch", "--out", str(tmp_path)])
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_wrong_wishes_are_named(softmask_run, clip_run, tmp_path, quick, capsys, monkeypatch):
    out = tmp_path / "out"
    assert "no running mean" in refused(capsys, softmask_run, out, "--weights", "ema")
    assert "no config.json" in refused(capsys, tmp_path, out)
    quick(softmask_run)
    assert "torch, albef" in refused(capsys, softmask_run, out, form="hf")
    assert "goes with --format torch" in refused(capsys, softmask_run, out, "--onnx", form="albef")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'jaxvl[onnx]'" in refused(capsys, softmask_run, out, "--onnx")


def test_onnx_beside_it(softmask_run, tmp_path, quick):
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library)
    quick(softmask_run)
    report = export(softmask_run, tmp_path / "out", "torch", options=["onnx"])
    assert not check.failed(report) and "onnx match logits" in report
    graphs = {path.name for path in (tmp_path / "out").glob("*.onnx")}
    assert graphs == {"image_encoder.onnx", "text_encoder.onnx", "match.onnx"}


def test_running_mean_or_last_step(tmp_path_factory, tiny_config):
    run = make_run(tmp_path_factory, tiny_config, name="run_with_ema", with_ema=True)
    found = [opened(run, weights) for weights in ("ema", "online", None)]
    assert [run.weights for run, _ in found] == ["ema", "online", "ema"]
    sizes = [float(np.abs(params["match_head"]["kernel"]).sum()) for _, params in found]
    assert sizes[0] == sizes[2] == 0 < sizes[1]


def test_the_bias_of_a_sigmoid_loss_goes_out_and_in_with_open_clip(
    sigmoid_run, tmp_path, tiny_config
):
    out = tmp_path / "out"
    report = export(sigmoid_run, out, "open_clip")
    assert report["logit bias"].absolute == 0
    told = json.loads((out / "open_clip_config.json").read_text())
    assert told["model_cfg"]["init_logit_bias"] == -7.5
    assert json.loads((out / "export_report.json").read_text())["left_out"] == []

    weights = open_weights(out)
    assert weights.start["loss.contrastive"] == "sigmoid"
    config = as_clip(tiny_config)
    config.model.text.vocabulary_size = opened(sigmoid_run)[0].config.model.text.vocabulary_size
    config.model.text.positions = config.data.max_tokens
    config.loss.contrastive = "sigmoid"
    params, report = loaded(config, out)
    assert params["contrastive"]["bias"] == -7.5 and not report.new


def loaded(config, path):
    config.model.init = str(path)
    model = MODELS["clip"].make(config)
    return load.load(config, model=model, mesh=make_mesh(config.mesh))


def test_a_format_that_knows_no_bias_leaves_it_out_and_says_so(sigmoid_run, tmp_path, capsys):
    out = tmp_path / "out"
    report = export(sigmoid_run, out, "hf")
    assert "hf has no place for contrastive/bias" in capsys.readouterr().out
    assert not check.failed(report) and "logit bias" not in report
    assert json.loads((out / "export_report.json").read_text())["left_out"] == ["contrastive/bias"]
    assert "Not in this folder: `contrastive/bias`" in (out / "README.md").read_text()
    assert "loss.contrastive" not in open_weights(out).start


def test_the_hub_can_index_the_model_card(clip_run):
    scores = {"step": 3, "retrieval/i2t_r1": 0.25, "false_match/rate": "nan"}
    run = opened(clip_run)[0]._replace(scores=scores)
    card = ModelCard(model_card.card(run, form=FORMATS["hf"], report={}))
    assert (card.data.library_name, card.data.license) == ("transformers", "unknown")
    assert card.data.pipeline_tag == "zero-shot-image-classification"
    assert {"jaxvl", "clip"} <= set(card.data.tags)
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.dataset_split) == ("scenes", "val")
    assert (result.metric_name, result.metric_value) == ("retrieval/i2t_r1", 0.25)
    assert "| `retrieval/i2t_r1` | 0.2500 |" in card.text


def test_the_model_card_tells_where_the_weights_come_from(clip_run, tmp_path):
    run, _ = opened(clip_run)

    def training(**changes):
        text = model_card.card(run._replace(**changes), form=FORMATS["hf"], report={})
        assert ("trained by jaxvl with clip" in text) == (changes.get("step") != 0)
        return text.partition("## Training")[2].partition("##")[0]

    converted = shutil.copytree(clip_run, tmp_path / "run")
    (converted / "init.json").write_text('{"loaded": [["logit_scale", "folder/ViT-B-32.pt"]]}')
    assert (run.start, opened(converted)[0].start) == ([], ["ViT-B-32.pt"])
    assert "starting weights: random" in training()
    assert "starting weights: `ViT-B-32.pt`" in training(start=["ViT-B-32.pt"])
    told = training(step=0, start=["ViT-B-32.pt"])
    assert "did not train its weights. They were read from `ViT-B-32.pt`" in told


def test_a_format_can_come_from_outside_the_package(clip_run, tmp_path, quick, monkeypatch):
    quick(clip_run)
    mine = FORMATS["hf"]._replace(write=torch_side.write_mine, read=torch_side.read_mine)
    monkeypatch.setitem(FORMATS, "mine", mine)
    export(clip_run, tmp_path / "out", "mine")
    assert (tmp_path / "out" / "mine.safetensors").exists()


def test_help_lists_every_format_and_imports_nothing_heavy():
    code = (
        "import sys; from jaxvl.cli import export\n"
        "try: export.main(['--help'])\n"
        "finally: print({'jax', 'tensorflow', 'torch', 'transformers'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert all(form.about in told for form in FORMATS.values()) and "--onnx" in told
    assert told.endswith("set()\n")


def test_differences_are_absolute_and_relative():
    small = {"x": np.array([1e-6, 0.0])}
    report = check.compare(small, {"x": np.array([1.5e-6, 0.0])})
    assert report["x"].absolute == pytest.approx(5e-7)
    assert check.failed(report) == ["x"]  # small, but half of all there is
    nothing = check.compare({"x": np.zeros(2)}, {"x": np.zeros(2)})
    assert not check.failed(nothing)
    assert check.failed(check.compare(small, {"x": np.array([np.nan, 0])}))
