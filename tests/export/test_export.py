"""jaxvl export: folders that PyTorch loads, equal to JAX, or nothing at all."""

import ast
import errno
import functools
import io
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from finished import make_run
from PIL import Image

from jaxvl import preprocessing
from jaxvl.cli import export
from jaxvl.data.text import tokenizer
from jaxvl.export import check, formats, read
from jaxvl.interop import layouts, names, tensor_files
from jaxvl.interop.weights import open_weights

torch = pytest.importorskip("torch")


@pytest.fixture
def softmask_run(tmp_path_factory, tiny_config):
    return make_run(tmp_path_factory, tiny_config)


@pytest.fixture
def clip_run(tmp_path_factory, tiny_config):
    tiny_config.model.name = tiny_config.method = "clip"
    tiny_config.model.activation = "quick_gelu"
    tiny_config.data.add_sep = True
    return make_run(tmp_path_factory, tiny_config, name="clip_run")


OPEN_RUN, IN_JAX = export.open_run, check.in_jax  # before a test replaces them


@functools.cache
def opened(run):
    return OPEN_RUN(run, weights=None)


@functools.cache
def answers(run):
    return IN_JAX(opened(run))


@pytest.fixture
def quick(monkeypatch):
    """Call with a run: what JAX says of it is computed once for all tests."""

    def use(run):
        monkeypatch.setattr(export, "open_run", lambda workdir, *, weights: opened(run))
        monkeypatch.setattr(check, "in_jax", lambda exported: answers(run))

    return use


def refused(capsys, run, out, *flags, form="torch"):
    """Returns the one line on stderr of an export that leaves nothing behind."""
    with pytest.raises(SystemExit) as stop:
        export.main(["--workdir", str(run), "--format", form, "--out", str(out), *flags])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and len(error.splitlines()) == 1
    assert not out.exists() or not any(out.iterdir())
    assert not list(out.parent.glob(".*partial*"))
    return error


def test_a_folder_for_plain_pytorch(softmask_run, tmp_path, capsys):
    out = tmp_path / "exports" / "mine"
    export.main(["--workdir", str(softmask_run), "--format", "torch", "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors",
        "config.json",
        "preprocessing.json",
        "tokenizer.json",
        "modeling_jaxvl.py",
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
    ):
        assert max(differences[quantity].values()) <= 1e-4 and quantity in printed
    assert differences["pixels"]["absolute"] == differences["token ids"]["absolute"] == 0
    card = (out / "README.md").read_text()
    for told in (
        "scenes; pictures: train 40, val 12",
        "3 of 4",
        "bicubic-antialias-32-clip",
        "to be filled in",
        "not evaluated",
        "heat-maps",
    ):
        assert told in card
    model, prepare = read.modeling().load(out)
    image = model.encode_image(prepare.images([Image.new("L", (50, 20))] * 2))
    text = model.encode_text(prepare.texts(["A red cube!", "two"]))
    assert model.match(image, text).shape == (2,)
    maps = model.word_heatmaps(image, text)
    assert [[one.word for one in row] for row in maps] == [["a", "red", "cube"], ["two"]]
    assert maps[0][0].relevance.shape == (2, 2) and (maps[0][0].relevance >= 0).all()


def test_what_serves_needs_neither_jax_nor_jaxvl():
    tree = ast.parse(formats.MODELING.read_text())
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


def test_albefs_own_layout_with_twins(softmask_run, tmp_path, quick):
    quick(softmask_run)
    report = export.export(softmask_run, name="albef", out=tmp_path / "out")
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
    params = opened(softmask_run).params
    layout = layouts.albef(opened(softmask_run).config.model)
    tensors = tensor_files.open_tensors(tmp_path / "out" / "ALBEF.pth")
    again, missing, left_over = names.from_torch(tensors, layout, params)
    assert not missing and all("_m." in name for name in left_over)
    jax.tree.map(np.testing.assert_array_equal, again, params)


@pytest.mark.parametrize("form", ["hf", "open_clip"])
def test_clip_with_the_tokenizer_of_its_data_set(clip_run, tmp_path, quick, form):
    quick(clip_run)
    report = export.export(clip_run, name=form, out=tmp_path / "out")
    assert set(report) == {"token ids", "normalised pixels", "image embeddings", "text embeddings"}
    assert not check.failed(report) and report["token ids"].absolute == 0
    assert open_weights(tmp_path / "out").settings["data.eval_crop"] == "none"


@pytest.mark.parametrize("form", ["hf", "open_clip"])
def test_clip_that_sees_the_middle_of_pictures(clip_run, tmp_path, monkeypatch, form):
    exported = opened(clip_run)
    config = exported.config.copy_and_resolve_references().unlock()
    config.data.eval_crop = "center"
    exported = exported._replace(config=config)
    monkeypatch.setattr(export, "open_run", lambda workdir, *, weights: exported)
    report = export.export(clip_run, name=form, out=tmp_path / "out")
    assert report["normalised pixels"].absolute < 1e-6  # of pictures that are not square
    assert not check.failed(report)
    assert open_weights(tmp_path / "out").settings["data.eval_crop"] == "center"
    assert "the square in the middle" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("crop", ["none", "center"])
def test_what_serves_takes_pictures_as_evaluation_does(crop):
    prepare = read.modeling().Prepare({}, {"size": 33, "crop": crop}, None)
    for picture in check.pictures():
        assert (prepare.resized(picture) == preprocessing.resized(picture, 33, crop=crop)).all()


def test_clips_own_tokenizer_goes_out_as_its_files(clip_run, tmp_path):
    from transformers import CLIPProcessor, CLIPTokenizer

    bpe = small_bpe(tmp_path)
    (tmp_path / "out").mkdir()
    formats.write_hf(tmp_path / "out", opened(clip_run)._replace(tokenizer=bpe))
    theirs = CLIPProcessor.from_pretrained(tmp_path / "out").tokenizer
    assert isinstance(theirs, CLIPTokenizer)
    captions = list(check.CAPTIONS)
    ids = theirs(captions, padding="max_length", max_length=12, truncation=True)["input_ids"]
    tokens = tokenizer.encode(bpe, captions, max_tokens=12, max_words=99, add_sep=True)
    assert (np.array(ids) == tokens.ids).all()
    again = tokenizer.load(tmp_path / "out" / "vocab.json")
    assert again.encode("bad cab").ids == bpe.encode("bad cab").ids


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
    export.export(clip_run, name="open_clip", out=tmp_path / "out")
    with safe_open(tmp_path / "out" / "open_clip_model.safetensors", "np") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
    stored = json.loads((Path(__file__).parents[1] / "golden" / "open_clip_tiny.json").read_text())
    assert shapes == stored


def test_a_tensor_that_differs_fails_the_export(softmask_run, tmp_path, quick, monkeypatch, capsys):
    from safetensors.numpy import load_file, save_file

    def write(folder, exported):
        formats.write_torch(folder, exported)
        tensors = load_file(folder / "model.safetensors")
        name = "text_encoder.bert.encoder.layer.1.crossattention.self.query.weight"
        tensors[name] = 1.5 * tensors[name]
        save_file(tensors, folder / "model.safetensors")

    quick(softmask_run)
    monkeypatch.setitem(formats.FORMATS, "torch", formats.Format("albef", write))
    error = refused(capsys, softmask_run, tmp_path / "out")
    assert "heat-maps" in error and "nothing was exported" in error
    assert "image embeddings" not in error


def test_a_tensor_that_is_missing_fails_the_export(
    softmask_run, tmp_path, quick, monkeypatch, capsys
):
    from safetensors.numpy import load_file, save_file

    def write(folder, exported):
        formats.write_torch(folder, exported)
        tensors = load_file(folder / "model.safetensors")
        tensors["renamed"] = tensors.pop("itm_head.weight")
        save_file(tensors, folder / "model.safetensors")

    quick(softmask_run)
    monkeypatch.setitem(formats.FORMATS, "torch", formats.Format("albef", write))
    assert "itm_head.weight" in refused(capsys, softmask_run, tmp_path / "out")


def test_a_full_disk_leaves_nothing(softmask_run, tmp_path, quick, monkeypatch, capsys):
    def write(folder, exported):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    quick(softmask_run)
    monkeypatch.setitem(formats.FORMATS, "torch", formats.Format("albef", write))
    assert "the disk is full" in refused(capsys, softmask_run, tmp_path / "out")


def test_a_disk_that_fills_up_under_torch_leaves_nothing(
    softmask_run, tmp_path, quick, monkeypatch, capsys
):
    """Torch closes its archive after the failed write, fails again, and tells of that alone."""
    import builtins

    class Full(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path, *arguments, **keys):
        return Full() if str(path).endswith(".pth") else open_file(path, *arguments, **keys)

    quick(softmask_run)
    open_file = builtins.open
    monkeypatch.setattr(builtins, "open", opened)
    assert "the disk is full" in refused(capsys, softmask_run, tmp_path / "out", form="albef")


def test_a_checkpoint_that_is_cut_off_is_named(softmask_run, tmp_path, capsys):
    run = shutil.copytree(softmask_run, tmp_path / "run")
    for file in (run / "checkpoints" / "3" / "params").rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "checkpoints/3 cannot be read" in refused(capsys, run, tmp_path / "out")


def test_a_place_that_cannot_be_written_is_named(softmask_run, tmp_path, quick, capsys):
    quick(softmask_run)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(capsys, softmask_run, tmp_path / "file" / "out")


def test_what_is_there_is_not_overwritten(softmask_run, tmp_path, quick, capsys):
    quick(softmask_run)
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(SystemExit):
        export.main(["--workdir", str(softmask_run), "--format", "torch", "--out", str(tmp_path)])
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_wrong_wishes_are_named(softmask_run, clip_run, tmp_path, quick, capsys, monkeypatch):
    out = tmp_path / "out"
    assert tuple(formats.FORMATS) == export.FORMATS  # said twice: --help imports little
    assert "no running mean" in refused(capsys, softmask_run, out, "--weights", "ema")
    assert "no config.json" in refused(capsys, tmp_path, out)
    quick(softmask_run)
    assert "torch, albef" in refused(capsys, softmask_run, out, form="hf")
    assert "--format torch" in refused(capsys, softmask_run, out, "--onnx", form="albef")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'jaxvl[onnx]'" in refused(capsys, softmask_run, out, "--onnx")


def test_onnx_beside_it(softmask_run, tmp_path, quick):
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library)
    quick(softmask_run)
    report = export.export(softmask_run, name="torch", out=tmp_path / "out", onnx=True)
    assert not check.failed(report) and "onnx match logits" in report
    graphs = {path.name for path in (tmp_path / "out").glob("*.onnx")}
    assert graphs == {"image_encoder.onnx", "text_encoder.onnx", "match.onnx"}


def test_running_mean_or_last_step(tmp_path_factory, tiny_config):
    run = make_run(tmp_path_factory, tiny_config, name="run_with_ema", with_ema=True)
    found = {weights: export.open_run(run, weights=weights) for weights in ("ema", "online", None)}
    assert [one.weights for one in found.values()] == ["ema", "online", "ema"]
    sizes = [float(np.abs(one.params["match_head"]["kernel"]).sum()) for one in found.values()]
    assert sizes[0] == sizes[2] == 0 < sizes[1]


def test_differences_are_absolute_and_relative():
    small = {"x": np.array([1e-6, 0.0])}
    report = check.compare(small, {"x": np.array([1.5e-6, 0.0])})
    assert report["x"].absolute == pytest.approx(5e-7)
    assert check.failed(report) == ["x"]  # small, but half of all there is
    nothing = check.compare({"x": np.zeros(2)}, {"x": np.zeros(2)})
    assert not check.failed(nothing)
    assert check.failed(check.compare(small, {"x": np.array([np.nan, 0])}))
