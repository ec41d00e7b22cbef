"""Missing parts: equal to retrieval and hard negatives at 0 %, at chance at 100 %."""

import json

import jax
import numpy as np
import pytest
import table_model
from finished import make_run
from ml_collections import ConfigDict
from PIL import Image

from jaxvl import evals, sharding
from jaxvl.cli import evaluate
from jaxvl.config import base
from jaxvl.data import sources
from jaxvl.errors import UserError
from jaxvl.evals import covering, hard_negatives, occlusion, occlusion_curves, retrieval
from jaxvl.evals.scoring import Scorer, make_scorer
from jaxvl.sharding import make_mesh
from jaxvl.training import experiment
from jaxvl.validate import validate

IMAGES = 21
IMAGE_OF_TEXT = [-1 if c % 3 == 2 else c // 3 for c in range(3 * IMAGES)]
SHARES = (0.0, 0.25, 0.5, 1.0)
RECALLS = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]


def make_records(images=IMAGES):
    """Two true captions an image, and a false text; the first caption names an object."""
    return [
        {
            "captions": [str(3 * i), str(3 * i + 1)],
            "negatives": [str(3 * i + 2)],
            "negative_kinds": ["swap"],
            "negative_captions": np.array([0]),
            "boxes": np.array([[0.0, 0.0, 0.5, 0.5]], np.float32),
            "mentions": np.array([[0, 0, 0]]),
        }
        for i in range(images)
    ]


def table_config(*, batch_size=8, rerank=0, seed=0, **options):
    """The table model sees the upper left pixel alone, one of four patches."""
    config = table_model.make_config(rerank=rerank, batch_size=batch_size)
    config.seed, config.evals.occlusion = seed, ConfigDict({"shares": SHARES, **options})
    config.evals.retrieval.same_caption = "negative"  # records share captions; chance is then k / n
    config.data.image_size = 2
    config.model = ConfigDict({"image": {"patch_size": 1}})
    return config


def parts_of(config, *, records=None, mesh=(1, 1), fusion=True):
    records = make_records() if records is None else records
    batch_size = config.eval.batch_size
    greys = range(len(records))
    examples = table_model.make_examples(records, greys=greys, batch_size=batch_size)
    devices = jax.devices()[: mesh[0] * mesh[1]]
    scorer = make_scorer(
        config,
        model=table_model.make_model(fusion),
        mesh=make_mesh(ConfigDict({"data": mesh[0], "fsdp": mesh[1]}), devices=devices),
        batch_size=batch_size,
    )
    return {"scorer": scorer, "examples": examples}


def run(kind="perfect", *, config=None, records=None, mesh=(1, 1), fusion=True):
    config = config or table_config(ways=("patches",))
    parts = parts_of(config, records=records, mesh=mesh, fusion=fusion)
    params = table_model.make_params(IMAGE_OF_TEXT, kind=kind)
    return occlusion.make(config, **parts).run(params)


def is_seen(seed, share):
    """Whether the table model still sees each image."""
    orders = [covering.patch_order(seed, i, 4) for i in range(IMAGES)]
    return np.array([0 not in order[: round(4 * share)] for order in orders])


# What is measured.


@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("rerank", [0, 8])
def test_uncovered_equals_retrieval_and_hard_negatives(rerank, fusion):
    config = table_config(rerank=rerank, ways=("patches",))
    found = run("random", config=config, fusion=fusion)
    params = table_model.make_params(IMAGE_OF_TEXT, kind="random")
    parts = parts_of(config, fusion=fusion)
    expected = retrieval.make(config, **parts).run(params)
    for name in [*RECALLS, "mean_recall"]:
        assert found[f"patches_0/{name}"] == expected[name]
    expected = hard_negatives.make(config, **parts).run(params)
    assert found["patches_0/hard_negatives"] == expected["accuracy"]
    assert ("patches_0/matching" in found) == fusion


@pytest.mark.parametrize("rerank", [0, 1000])
def test_with_everything_covered_retrieval_and_matching_are_at_chance(rerank):
    found = run(config=table_config(rerank=rerank, ways=("patches",)))
    assert found["patches_0/mean_recall"] == 1.0 and found["patches_0/matching"] > 0.6
    # The products of equal embeddings differ by rounding with their place, on each machine in a way
    # of its own; match logits do not.
    rounding = 1e-6 if rerank else 0.12
    for k in (1, 5, 10):
        assert found[f"patches_100/t2i_r{k}"] == pytest.approx(k / IMAGES, abs=rounding)
        assert found[f"patches_100/i2t_r{k}"] <= k / IMAGES + rounding
    assert found["patches_100/i2t_r1"] == pytest.approx(1 / IMAGES, abs=rounding)
    assert found["patches_100/matching"] == 0.5


def test_matching_counts_true_and_wrong_pairs_alike():
    rows, wrong = np.array([4, 7, 9]), np.array([[0, 1], [1, 2], [2, 0]])
    asked = {}

    def match(encoded, images, texts, pairs, *, progress):
        asked["pairs"] = pairs.tolist()
        yes = np.isin(np.arange(6), [0, 1, 3])  # right, right, wrong; wrong, right, right
        return np.stack([~yes, yes], axis=1).astype(float)

    scorer = Scorer(None, None, match, None)
    encoded = occlusion.Encoded(None, None, {})
    assert occlusion.matching(scorer, encoded, None, wrong, rows, progress=False) == 4 / 6
    assert asked["pairs"] == [[0, 4], [1, 7], [2, 9], [0, 7], [1, 9], [2, 4]]


def test_what_is_lost_is_what_the_model_no_longer_sees():
    found = run()
    for share in (0.25, 0.5):
        seen = is_seen(0, share)
        assert 0 < seen.sum() < IMAGES
        for way in ("i2t", "t2i"):
            # Images that are not seen are all the same one.
            above = found[f"patches_{100 * share:g}/{way}_r1"] - seen.mean()
            assert -1e-9 <= above <= 1 / IMAGES


@pytest.mark.parametrize("batch_size, mesh", [(1, (1, 1)), (64, (1, 1)), (8, (4, 2))])
def test_neither_batch_size_nor_mesh_changes_a_number(batch_size, mesh):
    config = table_config(batch_size=batch_size, ways=("patches", "object"))
    other = table_config(ways=("patches", "object"))
    assert run("random", config=config, mesh=mesh) == run("random", config=other)


def test_another_seed_covers_other_patches():
    one, other = (run(config=table_config(seed=seed, ways=("patches",))) for seed in (0, 1))
    assert one["patches_50/t2i_r1"] != other["patches_50/t2i_r1"]
    assert one["patches_0/t2i_r1"] == other["patches_0/t2i_r1"]


def test_a_covered_object_is_lost_and_a_box_elsewhere_costs_nothing():
    """The box is the pixel that the model sees."""
    records = make_records()
    for record in records[:9]:
        record["mentions"] = []
    found = run(config=table_config(ways=("object",)), records=records)
    assert found["uncovered/images"] == IMAGES - 9
    for name in ("uncovered", "elsewhere"):
        assert {found[f"{name}/{recall}"] for recall in RECALLS} == {1.0}
        assert found[f"{name}/matching"] > 0.6
    assert found["object/t2i_r1"] == pytest.approx(1 / (IMAGES - 9), abs=0.05)  # by rounding
    assert found["object/matching"] == 0.5
    assert not any(name.startswith(("patches", "heatmap")) for name in found)
    assert not any(name.endswith("hard_negatives") for name in found)


def test_the_heatmap_of_the_drawn_word_is_covered_where_it_is_highest():
    config = table_config(ways=("heatmap",))
    parts = parts_of(config)
    asked = []

    def word_maps(params, images, texts, words_TxL, pairs_Px2, *, progress):
        asked.extend(pairs_Px2.tolist())
        for image in pairs_Px2[:, 0]:
            relevance_LxM = np.zeros((12, 4))
            relevance_LxM[1, 0 if image % 2 else 3] = 1.0  # token 1 is the word
            yield relevance_LxM, 0.5

    parts["scorer"] = parts["scorer"]._replace(word_maps=word_maps)
    params = table_model.make_params(IMAGE_OF_TEXT, kind="perfect")
    found = occlusion.make(config, **parts).run(params)
    assert asked == [[i, i] for i in range(IMAGES)]
    seen = np.mean(np.arange(IMAGES) % 2 == 0)
    assert seen <= found["heatmap/i2t_r1"] <= seen + 1 / IMAGES
    assert found["elsewhere/mean_recall"] == 1.0


def test_ways_without_words_or_fusion_are_left_out_and_named(capsys):
    found = run(config=table_config(ways=("patches", "object", "heatmap")), fusion=False)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "'heatmap' is left out: the words of this model cannot be explained" in line
    assert "remove it from evals.occlusion.ways" in line
    assert "object/mean_recall" in found and "heatmap/mean_recall" not in found

    records = [{**record, "mentions": []} for record in make_records()]
    found = run(config=table_config(ways=("object", "heatmap")), records=records)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2 and all("no caption of the data set names" in line for line in lines)
    assert found == {}


def test_negatives_are_judged_where_there_are_any_and_they_are_switched_on():
    records = [{**record, "negatives": []} for record in make_records()]
    assert "patches_0/hard_negatives" not in run(records=records)
    config = table_config(ways=("patches",))
    config.evals.hard_negatives = None
    assert "patches_0/hard_negatives" not in run(config=config)


# Areas and the drawing.


def test_an_area_is_the_mean_height_of_a_curve_that_starts_at_1():
    points = {
        0.0: {"i2t_r1": 0.6, "t2i_r1": 0.2, "matching": 0.5, "mean_recall": 0.0},
        0.25: {"i2t_r1": 0.2, "t2i_r1": 0.2, "matching": 0.5, "mean_recall": 0.0},
        0.75: {"i2t_r1": 0.0, "t2i_r1": 0.0, "matching": 0.5, "mean_recall": 0.0},
    }
    found = occlusion_curves.areas(points)
    expected = (0.25 * (1 + 0.5) / 2 + 0.5 * (0.5 + 0) / 2) / 0.75
    assert found == {"r1_auc": pytest.approx(expected), "matching_auc": pytest.approx(1.0)}
    assert occlusion_curves.areas({}) == {}


def test_the_areas_of_a_run_are_those_of_its_points():
    found = run()
    values = [
        np.mean([found[f"patches_{100 * s:g}/{way}_r1"] for way in ("i2t", "t2i")]) for s in SHARES
    ]
    area = np.trapezoid(np.array(values) / values[0], SHARES)
    assert found["patches/r1_auc"] == pytest.approx(area)
    names = {"r1", "r5", "r10", "mean_recall", "matching", "hard_negatives"}
    assert {name for name in found if name.startswith("patches/")} == {
        f"patches/{name}_auc" for name in names
    }


def test_the_curves_are_drawn_from_the_scores(tmp_path):
    scores = {f"occlusion/{name}": value for name, value in run().items()}
    path = occlusion_curves.draw_curves(scores, tmp_path / "curves.png")
    assert Image.open(path).width > 600
    assert occlusion_curves.draw_curves({"retrieval/i2t_r1": 1.0}, tmp_path / "no.png") is None
    assert not (tmp_path / "no.png").exists()


# The configuration.


def test_it_is_off_by_default():
    assert base().evals.occlusion is None


@pytest.mark.parametrize(
    "given, message",
    [
        (1, "evals.occlusion=1 is not None"),
        ({"way": ("patches",)}, "evals.occlusion needs None, or dict"),
        ({"ways": "patches"}, "evals.occlusion.ways='patches' is not of type tuple"),
        ({"ways": ("patch",)}, "evals.occlusion.ways=.* are not some of patches, object, heatmap"),
        ({"ways": ()}, "evals.occlusion.ways"),
        ({"shares": 0.5}, "evals.occlusion.shares=0.5 is not of type tuple"),
        ({"shares": (0.0,)}, "evals.occlusion.shares=.* are not two or more numbers"),
        ({"shares": (0.1, 0.5)}, "evals.occlusion.shares"),
        ({"shares": (0.0, 0.5, 0.25)}, "evals.occlusion.shares"),
        ({"shares": (0.0, 1.5)}, "evals.occlusion.shares"),
        ({"shares": (0.0, "a")}, "evals.occlusion.shares"),
        ({"shares": (0.0, float("nan"))}, "evals.occlusion.shares"),
    ],
)
def test_what_cannot_be_covered_is_named(tiny_config, given, message):
    for right in ({}, {"ways": ("object",)}, {"shares": [0, 1]}):
        tiny_config.evals.occlusion = right
        validate(tiny_config, devices=1, processes=1)
        tiny_config.evals.occlusion = None
    tiny_config.evals.occlusion = given
    with pytest.raises(UserError, match=message):
        validate(tiny_config, devices=1, processes=1)


def test_retrieval_must_be_on(tiny_config):
    tiny_config.evals.occlusion, tiny_config.evals.retrieval = {}, None
    with pytest.raises(UserError, match="evals.occlusion needs evals.retrieval"):
        validate(tiny_config, devices=1, processes=1)


# A real model on Scenes.


@pytest.fixture
def scenes_config(tiny_config):
    tiny_config.model.image.patch_size = 8
    tiny_config.evals.retrieval.rerank = 5
    tiny_config.evals.occlusion = {"shares": (0.0, 0.5, 1.0)}
    return tiny_config


@pytest.mark.slow
def test_a_real_model_uncovered_equals_the_evaluators_and_all_ways_are_measured(scenes_config):
    basis = experiment.open_basis(scenes_config)
    mesh = sharding.make_mesh(ConfigDict({"data": 1, "fsdp": 1}), devices=jax.devices()[:1])
    evaluators = evals.make_evaluators(
        basis.config,
        model=basis.model,
        source=sources.open_prepared(basis.config.data.dir, split="val"),
        tokenizer=basis.tokenizer,
        mesh=mesh,
    )
    params = jax.jit(basis.model.init)(jax.random.key(1))
    found = evals.run_all(evaluators, params, progress=False)
    for group in ("patches_0", "uncovered"):  # every image of Scenes has a named object
        for name in [*RECALLS, "mean_recall"]:
            assert found[f"occlusion/{group}/{name}"] == found[f"retrieval/{name}"]
    assert found["occlusion/patches_0/hard_negatives"] == found["hard_negatives/accuracy"]
    assert found["occlusion/uncovered/matching"] == found["occlusion/patches_0/matching"]
    assert found["occlusion/uncovered/images"] == 12
    for k in (1, 5, 10):
        at_chance = pytest.approx(found[f"retrieval/r{k}_chance"], abs=0.12)  # by rounding
        assert found[f"occlusion/patches_100/t2i_r{k}"] == at_chance
    assert found["occlusion/patches_100/matching"] == 0.5
    for group in ("object", "heatmap", "elsewhere"):
        assert {f"occlusion/{group}/{name}" for name in [*RECALLS, "matching"]} <= set(found)


@pytest.mark.slow
def test_jaxvl_evaluate_switches_it_on_and_draws(tmp_path_factory, scenes_config, tmp_path, capsys):
    scenes_config.evals.occlusion = None
    run = make_run(tmp_path_factory, scenes_config, name="occluded_run")
    out = tmp_path / "results_covered.json"
    flag = "--config.evals.occlusion={'ways': ('patches',), 'shares': (0, 0.5)}"
    evaluate.main(["--workdir", str(run), flag, "--out", str(out)])
    written = json.loads(out.read_text())
    assert written["occlusion/patches_0/i2t_r1"] == written["retrieval/i2t_r1"]
    assert "occlusion/patches_50/i2t_r1" in written
    assert str(tmp_path / "occlusion_covered.png") in capsys.readouterr().out
    assert Image.open(tmp_path / "occlusion_covered.png").width > 600
