"""The Python interface: the numbers of evaluation and of the PyTorch export, for any input."""

import io
import json
import subprocess
import sys
from importlib.util import find_spec

import jax
import numpy as np
import pytest
from finished import make_run
from PIL import Image

import jaxvl
from jaxvl import sharding
from jaxvl.data import sources
from jaxvl.evals import trained
from jaxvl.evals.examples import make_examples
from jaxvl.evals.scoring import make_scorer
from jaxvl.training import experiment

pytestmark = pytest.mark.slow

TEXTS = ["A red cube!", "two blue balls left of a green cone", "a cone"]
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture
def albef_run(tmp_path_factory, tiny_config):
    return make_run(tmp_path_factory, tiny_config)


@pytest.fixture
def clip_run(tmp_path_factory, tiny_config):
    tiny_config.model.name = tiny_config.method = "clip"
    tiny_config.model.activation = "quick_gelu"
    tiny_config.data.add_sep = True
    return make_run(tmp_path_factory, tiny_config, name="clip_run")


@pytest.fixture
def run(request):
    return request.getfixturevalue(request.param)


both_kinds = pytest.mark.parametrize("run", ["albef_run", "clip_run"], indirect=True)


def noise(count, size=(40, 60)):
    """Returns images uint8 [H, W, 3] of noise, each with a bright rectangle of its own."""
    made = []
    for seed in range(count):
        image = np.random.default_rng(seed).integers(0, 90, (*size, 3), np.uint8)
        image[seed % 20 : 20, seed % 30 : 35, seed % 3] = 255
        made.append(image)
    return made


def in_child(code, *arguments):
    """Returns what a Python process prints; it may import what this one should not."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_is_light():
    loaded = in_child(
        "import sys, jaxvl; jaxvl.load, jaxvl.train, jaxvl.UserError, jaxvl.__version__\n"
        "print([m for m in ('jax', 'tensorflow', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_a_model_is_loaded_and_used_without_tensorflow(albef_run, tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(1)[0]).save(path)
    printed = in_child(
        "import sys, jaxvl; model = jaxvl.load(sys.argv[1])\n"
        "image, text = model.encode_image(sys.argv[2]), model.encode_text('a red cube')\n"
        "print(model.match(image, text).shape, 'tensorflow' in sys.modules)",
        albef_run,
        path,
    )
    assert printed.strip() == "(1,) False"


def held_out(config):
    """Returns (PIL images, one caption of each) of the held-out split, and its Source."""
    source = sources.open_source(config.data, split="val")
    annotations = sources.annotations(source)
    records = [source.parse(raw) for raw in source.read(np.arange(source.num_examples))]
    images = [Image.open(io.BytesIO(record["image"].numpy())) for record in records]
    return images, [record["captions"][0] for record in annotations], source


@both_kinds
def test_the_numbers_are_those_of_evaluation(run):
    basis = experiment.open_basis(experiment.load_run(run))
    images, captions, source = held_out(basis.config)
    model = jaxvl.load(run)
    image, text = model.encode_image(images), model.encode_text(captions)

    config, params = basis.config, model._params
    scorer = make_scorer(config, model=basis.model, mesh=basis.mesh, batch_size=8)
    examples = make_examples(config, source=source, tokenizer=basis.tokenizer)
    count, tokens = len(images), examples.tokenize(captions)
    expected = scorer.images(params, examples.images(), count=count, progress=False)
    texts = scorer.texts(params, tokens, progress=False)
    np.testing.assert_allclose(image.embedding, expected.embeddings_IxE, **CLOSE)
    np.testing.assert_allclose(text.embedding, texts.embeddings_TxE, **CLOSE)
    cosines = expected.embeddings_IxE @ texts.embeddings_TxE.T
    np.testing.assert_allclose(model.similarity(image, text), cosines, **CLOSE)
    if scorer.match is None:
        return
    pairs = np.argwhere(np.ones((count, count)))[::5]
    logits = scorer.match(params, expected, texts, pairs, progress=False)
    np.testing.assert_allclose(model.match_logits(image, text, pairs), logits, **CLOSE)
    match = model.match(image, text, pairs)
    maps = list(scorer.word_maps(params, expected, texts, tokens, pairs, progress=False))
    explanations = model.explain(image, text, pairs)
    for (relevance, probability), explained, matched in zip(maps, explanations, match):
        assert explained.probability == pytest.approx(probability, abs=1e-6)
        assert matched == pytest.approx(probability, abs=1e-6)
        first = explained.heatmaps[0].relevance.reshape(-1)  # of the first word, token 1
        np.testing.assert_allclose(first, relevance[1], **CLOSE)


IN_TORCH = """
import json, sys
import numpy as np
from jaxvl.cli import export
run, out, images, texts, kind = sys.argv[1:]
export.main(["--workdir", run, "--format", kind, "--out", out])
from PIL import Image
pictures, texts = [Image.fromarray(x) for x in np.load(images)], json.loads(texts)
found = {}
if kind == "torch":
    sys.path.insert(0, out)
    from modeling_jaxvl import load
    model, prepare = load(out)
    image = model.encode_image(prepare.images(pictures))
    text = model.encode_text(prepare.texts(texts))
    found |= {"match": model.match(image, text), "logits": model.match_logits(image, text)}
    maps = model.word_heatmaps(image, text)
    assert [one.word for one in maps[0]] == ["a", "red", "cube"] == text.texts.spelt[0]
    found |= {f"map{k}": np.stack([one.relevance for one in row]) for k, row in enumerate(maps)}
    found["one_image"] = model.match(model.encode_image(prepare.images(pictures[:1])), text)
    image, text = image.embedding, text.embedding
else:
    import torch
    from transformers import CLIPModel, CLIPProcessor
    model, processor = CLIPModel.from_pretrained(out), CLIPProcessor.from_pretrained(out, backend="pil")
    given = processor(text=texts, images=pictures, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        all_found = model(**given)
    image, text = all_found.image_embeds, all_found.text_embeds
np.savez(out + ".npz", image=image, text=text, **found)
"""  # noqa: E501


@pytest.mark.skipif(find_spec("torch") is None, reason="the export needs torch")
@pytest.mark.parametrize(
    "run, kind", [("albef_run", "torch"), ("clip_run", "hf")], indirect=["run"]
)
def test_the_numbers_are_those_of_the_pytorch_export(run, kind, tmp_path):
    images = noise(len(TEXTS))
    np.save(tmp_path / "images.npy", images)
    out = tmp_path / "exported"
    in_child(IN_TORCH, run, out, tmp_path / "images.npy", json.dumps(TEXTS), kind)
    expected = np.load(f"{out}.npz")
    model = jaxvl.load(run)
    image, text = model.encode_image(images), model.encode_text(TEXTS)
    close = {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_allclose(image.embedding, expected["image"], **close)
    np.testing.assert_allclose(text.embedding, expected["text"], **close)
    if kind == "hf":
        return
    np.testing.assert_allclose(model.match(image, text), expected["match"], **close)
    np.testing.assert_allclose(model.match_logits(image, text), expected["logits"], **close)
    for k, words in enumerate(model.word_heatmaps(image, text)):
        maps = np.stack([one.relevance for one in words])
        np.testing.assert_allclose(maps, expected[f"map{k}"], **close)
    alone = model.match(model.encode_image(images[0]), text)
    np.testing.assert_allclose(alone, expected["one_image"], **close)


@both_kinds
def test_neither_batch_size_nor_order_changes_a_number(run):
    images, texts = noise(19), [f"{k} red cube{'s' * (k % 2)}" for k in range(19)]
    found = []
    for batch_size, order in ((64, np.arange(19)), (8, np.random.default_rng(0).permutation(19))):
        model, back = jaxvl.load(run, batch_size=batch_size), np.argsort(order)
        image = model.encode_image([images[k] for k in order])
        text = model.encode_text([texts[k] for k in order])
        numbers = [image.embedding, text.embedding]
        if image.states is not None:
            numbers += [image.states, model.match(image, text)]
        found.append([values[back] for values in numbers])
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, **CLOSE)


def test_a_shape_is_compiled_once(albef_run):
    basis = experiment.open_basis(experiment.load_run(albef_run))
    traced = []

    def counted(name):
        def call(*given, **named):
            traced.append(name)
            return getattr(basis.model, name)(*given, **named)

        return call

    names = ("encode_image", "encode_text", "match_logits")
    model = trained.TrainedModel(
        basis.config,
        model=basis.model._replace(**{name: counted(name) for name in names}),
        params=jax.jit(basis.model.init)(jax.random.key(0)),
        tokenizer=basis.tokenizer,
        mesh=sharding.make_mesh(basis.config.mesh),
        batch_size=32,
    )
    for count in (1, 3, 8):  # on 8 devices a batch of 8
        image, text = model.encode_image(noise(count)), model.encode_text(["a red cube"] * count)
        model.match(image, text)
    assert sorted(traced) == sorted(names)
    for count in (17, 30, 90):  # and batches of 32, however many there are
        model.encode_image(noise(count))
    assert traced.count("encode_image") == 2


def test_paths_images_and_arrays_are_alike(albef_run, tmp_path):
    (array,) = noise(1)
    path = tmp_path / "a.png"
    Image.fromarray(array).save(path)
    model = jaxvl.load(albef_run)
    expected = model.encode_image(array)
    assert expected.states.shape == (1, 5, 16) and expected.embedding.shape == (1, 16)
    np.testing.assert_allclose(np.linalg.norm(expected.embedding, axis=1), 1, rtol=1e-5)
    for given in (str(path), path, Image.fromarray(array), [path], [array], array[None], (path,)):
        np.testing.assert_array_equal(model.encode_image(given).embedding, expected.embedding)


def test_an_image_is_upright_and_on_white(albef_run):
    (array,) = noise(1)
    model = jaxvl.load(albef_run)
    turned = Image.fromarray(np.rot90(array))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    stored = io.BytesIO()
    turned.save(stored, "PNG", exif=exif)
    clear = Image.fromarray(np.dstack([array, np.full(array.shape[:2], 255, np.uint8)]), "RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    on_white = array.copy()
    on_white[0, 0] = 255
    for given, expected in ((Image.open(stored), array), (clear, on_white)):
        found = model.encode_image(given).embedding
        np.testing.assert_array_equal(found, model.encode_image(expected).embedding)


def test_a_text_alone_is_a_list_of_one(albef_run):
    model = jaxvl.load(albef_run)
    one, several = model.encode_text("A red cube!"), model.encode_text(["A red cube!"])
    np.testing.assert_array_equal(one.embedding, several.embedding)
    assert one.texts.spelt == [["a", "red", "cube"]] and one.texts.truncated == [[]]


def test_truncated_words_are_reported(albef_run):
    text = jaxvl.load(albef_run).encode_text(["a cube", "a red cube " * 6 + "zebra"])
    spelt, truncated = text.texts.spelt[1], text.texts.truncated[1]
    assert " ".join([*spelt, *truncated]) == "a red cube " * 6 + "zebra"
    assert text.texts.truncated[0] == [] and truncated[-1] == "zebra"
    assert len(spelt) == text.texts.words[1].max() + 1


def test_pairs(albef_run):
    model = jaxvl.load(albef_run)
    image, text = model.encode_image(noise(3)), model.encode_text(TEXTS)
    pairs = np.argwhere(np.ones((3, 3)))
    every = model.match(image, text, pairs).reshape(3, 3)
    assert ((0 < every) & (every < 1)).all() and len(np.unique(every)) == 9
    np.testing.assert_allclose(model.match(image, text), np.diag(every), **CLOSE)
    one_image, one_text = model.encode_image(noise(1)), model.encode_text(TEXTS[0])
    np.testing.assert_allclose(model.match(one_image, text), every[0], **CLOSE)
    np.testing.assert_allclose(model.match(image, one_text), every[:, 0], **CLOSE)
    maps = model.word_heatmaps(image, text, pairs)
    assert [[one.word for one in row] for row in maps[:3]] == text.texts.spelt
    assert {one.relevance.shape for row in maps for one in row} == {(2, 2)}
    assert min(one.relevance.min() for row in maps for one in row) >= 0


@pytest.mark.parametrize(
    "pairs, said",
    [
        (None, "3 images and 2 texts are no pairs"),
        ([[0, 2]], "2 texts lack"),
        ([[-1, 0]], "lack"),
        ([[0, 0, 0]], "integers"),
        ([[0.0, 1.0]], "integers"),
        ([], "integers"),
    ],
)
def test_pairs_that_do_not_exist_are_refused(albef_run, pairs, said):
    model = jaxvl.load(albef_run)
    image, text = model.encode_image(noise(3)), model.encode_text(TEXTS[:2])
    for method in (model.match, model.match_logits, model.word_heatmaps, model.explain):
        with pytest.raises(jaxvl.UserError, match=said):
            method(image, text, pairs)


def test_a_model_without_fusion_compares_and_does_not_match(clip_run):
    model = jaxvl.load(clip_run)
    image, text = model.encode_image(noise(2)), model.encode_text(TEXTS)
    assert model.similarity(image, text).shape == (2, 3)
    assert image.states is None and text.states is None
    with pytest.raises(jaxvl.UserError, match="'clip' has no fusion encoder.*'albef'"):
        model.match(image, text)


def test_a_model_without_fusion_explains_words_where_the_states_of_images_were_kept(clip_run):
    model = jaxvl.load(clip_run)
    text = model.encode_text(TEXTS[:2])
    with pytest.raises(jaxvl.UserError, match=r"encode_image\(..., states=True\)"):
        model.explain(model.encode_image(noise(2)), text)
    image = model.encode_image(noise(2), states=True)
    for pair, explained in enumerate(model.explain(image, text)):
        assert explained.probability is None
        cosine = model.similarity(image, text)[pair, pair]
        assert explained.similarity == pytest.approx(cosine, abs=1e-6)
        assert [one.word for one in explained.heatmaps] == text.texts.spelt[pair]
        maps = np.stack([one.relevance for one in explained.heatmaps])
        assert (maps >= 0).all() and maps.any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    "images, said",
    [
        ([], "no image"),
        ("none.jpg", "image none.jpg: .*No such file"),
        (["text.jpg"], "image text.jpg: not an image"),
        ([np.zeros((4, 4, 3), np.float32)], r"image 0 is an array float32 \[4, 4, 3\]"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((3, 4, 4), np.uint8)], "image 1 is an array"),
        (np.zeros((4, 4), np.uint8), "image 0 is an array uint8"),
        (np.zeros((0, 4, 3), np.uint8), "image 0 is an array uint8"),
        ([7], "image 0 is int"),
        (None, "image 0 is NoneType"),
        ([Image.new("F", (3, 3))], "image 0: floating-point"),
    ],
)
def test_what_is_no_image_is_named(albef_run, tmp_path, monkeypatch, images, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jpg").write_text("not an image")
    model = jaxvl.load(albef_run)
    with pytest.raises(jaxvl.UserError, match=said):
        model.encode_image(images)


@pytest.mark.parametrize(
    "texts, said",
    [
        ([], "no text"),
        ("", "text 0, '', has no words"),
        (["a cube", "?!"], "text 1, .* has no words"),
        ("\u200b", "text 0, .* has no words"),  # a sign that the tokenizer drops
        (["a cube", b"a cube"], "text 1 is bytes"),
        (None, "texts are NoneType"),
    ],
)
def test_what_is_no_text_is_named(albef_run, texts, said):
    with pytest.raises(jaxvl.UserError, match=said):
        jaxvl.load(albef_run).encode_text(texts)


def test_what_is_no_run_is_refused(albef_run, tmp_path):
    with pytest.raises(jaxvl.UserError, match="nowhere is not a run"):
        jaxvl.load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["CLIPModel"]}))
    with pytest.raises(jaxvl.UserError, match="jaxvl convert"):
        jaxvl.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_bytes((albef_run / "config.json").read_bytes())
    with pytest.raises(jaxvl.UserError, match="no checkpoint"):
        jaxvl.load(tmp_path)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"step": 9}, "no step 9, only 3"),
        ({"weights": "ema"}, "no running mean"),
        ({"weights": "best"}, "'ema', 'online'"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_weights_that_are_not_there_are_refused(albef_run, given, said):
    with pytest.raises(jaxvl.UserError, match=said):
        jaxvl.load(albef_run, **given)


def test_the_running_mean_is_taken_where_there_is_one(tmp_path_factory, tiny_config, albef_run):
    averaged = make_run(tmp_path_factory, tiny_config, name="averaged_run", with_ema=True)
    found = {
        weights: jaxvl.load(averaged, weights=weights, step=3).encode_text(TEXTS).embedding
        for weights in (None, "ema", "online")
    }
    assert not found["ema"].any() and not found[None].any()  # zeros are this run's mean
    expected = jaxvl.load(albef_run).encode_text(TEXTS).embedding
    np.testing.assert_array_equal(found["online"], expected)


def test_training_from_python(toy_config, tmp_path, monkeypatch):
    toy_config.total_steps = 2
    jaxvl.train(toy_config, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    monkeypatch.setattr("jaxvl.training.loop.train", lambda config, workdir: 1)
    with pytest.raises(FloatingPointError, match="nonfinite"):
        jaxvl.train(toy_config, tmp_path / "run")
