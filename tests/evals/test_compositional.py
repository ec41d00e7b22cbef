"""Benchmarks of composition: protocols, means, row counts; perfect, constant and random scorers."""

import json
from pathlib import Path

import jax
import numpy as np
import published
import pytest
import table_model
from ml_collections import ConfigDict
from PIL import Image

from jaxvl import config as config_lib
from jaxvl.cli import evaluate
from jaxvl.errors import UserError
from jaxvl.evals import EVALUATORS, benchmarks
from jaxvl.evals.compositional import (
    annotations,
    images,
    judging,
    scores,
    shuffles,
    valse,
    vl_checklist,
    winoground,
)
from jaxvl.evals.compositional.benchmark import Benchmark, component
from jaxvl.evals.scoring import make_scorer
from jaxvl.sharding import make_mesh

CAPTIONS = 10 * 2 * published.ROWS
IMAGE_OF_TEXT = [c // 10 if c % 10 < 5 else -1 for c in range(CAPTIONS)]
BENCHMARKS = benchmarks()
REAL_FILES = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def words_are_tagged(monkeypatch):
    """Shuffles of captions that are numbers: every kind puts another number in its place."""

    def shuffle(words, tags):
        return [str(10 * (int(words[0]) // 10) + 5 + kind) for kind in range(4)]

    monkeypatch.setattr(shuffles, "_tagged", lambda captions: [([c], ["NN"]) for c in captions])
    monkeypatch.setattr(shuffles, "shuffle", shuffle)


def config_of(name, keys, batch_size=4):
    return ConfigDict(
        {
            "evals": {name: keys},
            "data": {
                "image_size": 2,
                "eval_crop": "none",
                "prefetch_batches": 1,
                "loader_threads": 1,
                "token_lengths": (),
            },
            "softmask": {"layer": 0, "score": "logit"},
            "eval": {"batch_size": batch_size},
        }
    )


def run(name, keys, kind, *, batch_size=4, mesh=(1, 1), fusion=True, seed=0, findings=False):
    config = config_of(name, keys, batch_size)
    devices = jax.devices()[: mesh[0] * mesh[1]]
    scorer = make_scorer(
        config,
        model=table_model.make_model(fusion),
        mesh=make_mesh(ConfigDict({"data": mesh[0], "fsdp": mesh[1]}), devices=devices),
        batch_size=batch_size,
    )
    examples = table_model.make_examples([], greys=[], batch_size=batch_size)
    made = EVALUATORS[name].make(config, scorer=scorer, examples=examples)
    params = table_model.make_params(IMAGE_OF_TEXT, kind=kind, seed=seed)
    return made.findings(params) if findings else made.run(params)


def shares(found):
    """The shares that a scorer can be right in: no counts, chances or scorers of another kind."""
    other = ("chance", "blind", "shorter", "false_match", "rows", "groups")
    return {name: value for name, value in found.items() if not any(o in name for o in other)}


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_a_perfect_scorer_is_right_and_a_constant_one_never(name, tmp_path):
    keys = published.write(tmp_path, name)
    perfect = shares(run(name, keys, "perfect"))
    assert set(perfect.values()) == {1.0}
    assert any(metric.startswith("itc_") for metric in perfect)
    constant = run(name, keys, "constant", fusion=False)
    assert set(shares(constant).values()) == {0.0}  # a tie is a failure
    assert not any("itc" in metric for metric in constant)


def test_a_benchmark_of_ones_own_is_one_entry_in_the_dict(tmp_path, monkeypatch, capsys):
    products = Benchmark(
        "products", files={"": "products.json"}, images=("photo",), true=("good",), false=("bad",)
    )
    monkeypatch.setitem(EVALUATORS, "products", component(products))
    config = config_lib.base()
    assert config.evals.products is None
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    assert "products" in capsys.readouterr().out
    rows = [{"photo": f"{i}.png", "good": str(10 * i), "bad": str(10 * i + 5)} for i in (1, 2)]
    (tmp_path / "products.json").write_text(json.dumps(rows))
    for i in (1, 2):
        published.write_image(tmp_path / f"{i}.png", i)
    found = run("products", {"annotations": str(tmp_path), "images": str(tmp_path)}, "perfect")
    assert (found["accuracy"], found["chance"], found["rows"]) == (1.0, 0.5, 2)
    config.evals.products = {"annotations": "only"}
    with pytest.raises(UserError, match="evals.products needs dict"):
        EVALUATORS["products"].check(config)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_random_scorer_is_at_chance(name):
    benchmark = BENCHMARKS[name]
    rows, count = 20_000, len(benchmark.images)
    captions = len(benchmark.true) + (4 if benchmark.shuffled else len(benchmark.false))
    drawn = np.random.default_rng(0).random((rows, count, captions))
    for measure, judge in benchmark.judges.items():
        found = judge(drawn, len(benchmark.true)).mean()
        assert found == pytest.approx(benchmark.chance[measure], abs=0.012)


@pytest.mark.parametrize("name", ["sugarcrepe_pp", "winoground"])
def test_neither_batch_size_nor_mesh_nor_pieces_change_a_number(name, tmp_path, monkeypatch):
    keys = published.write(tmp_path, name)
    expected = run(name, keys, "random")
    assert run(name, keys, "random", batch_size=64) == expected
    assert run(name, keys, "random", batch_size=8, mesh=(4, 2)) == expected
    monkeypatch.setattr(scores, "IMAGES_AT_ONCE", 2)
    assert run(name, keys, "random") == expected


def test_every_split_is_reported_with_their_mean_and_the_share_of_all_rows(tmp_path):
    keys = published.write(tmp_path, "sugarcrepe")
    path = Path(keys["annotations"], "swap_obj.json")
    path.write_text(json.dumps(dict(list(json.loads(path.read_text()).items())[:2])))
    found = run("sugarcrepe", keys, "random", fusion=False, seed=3)
    add, swap = found["add_att"], found["swap_obj"]
    assert add != swap
    assert found["mean"] == pytest.approx((add + swap) / 2)
    assert found["micro"] == pytest.approx((7 * add + 2 * swap) / 9)
    assert found["rows"] == 9


def test_winoground_needs_both_images_and_both_captions():
    both = [[0.9, 0.1], [0.2, 0.8]]
    caption_only = [[0.9, 0.1], [0.95, 0.97]]  # image 1 suits either caption better
    image_only = [[0.9, 0.95], [0.2, 0.97]]
    second_caption_only = [[0.9, 0.8], [0.1, 0.7]]  # image 0 suits caption 1 better
    second_image_only = [[0.9, 0.1], [0.8, 0.7]]
    s = np.array([both, caption_only, image_only, second_caption_only, second_image_only])
    assert winoground.right_caption(s, 1).tolist() == [True, True, False, True, False]
    assert winoground.right_image(s, 1).tolist() == [True, False, True, False, True]
    assert winoground.right_both(s, 1).tolist() == [True, False, False, False, False]


def test_both_true_captions_must_be_above_both_false_ones():
    s = np.array([[[0.9, 0.8, 0.7, 0.1]], [[0.9, 0.6, 0.7, 0.1]], [[0.9, 0.7, 0.7, 0.1]]])
    assert judging.all_above(s, 2).tolist() == [True, False, False]


def test_scores_that_are_not_numbers_are_failures():
    assert not judging.all_above(np.array([[[np.nan, 0.0]], [[0.0, np.nan]]]), 1).any()


def test_valse_means_of_eleven_splits_and_of_nine_columns():
    shares_of = dict.fromkeys(BENCHMARKS["valse"].files, 0.5)
    shares_of |= {"counting-hard": 1.0, "counting-small-quant": 1.0, "counting-adversarial": 1.0}
    means = valse.means(shares_of)
    assert means["mean"] == pytest.approx((8 * 0.5 + 3) / 11)
    assert means["mean_counting_as_one"] == pytest.approx((8 * 0.5 + 1) / 9)


def test_checklist_means_weigh_kinds_not_files():
    means = vl_checklist.means(
        {
            "Attribute_vg_color": 1.0,
            "Attribute_vaw_color": 0.0,
            "Attribute_vg_size": 1.0,
            "Relation_swig_action": 0.2,
            "Relation_vg_action": 0.4,
            "Relation_vg_spatial": 0.9,
        }
    )
    assert means["Attribute"] == pytest.approx((0.5 + 1) / 2)
    assert means["Relation"] == pytest.approx((0.3 + 0.9) / 2)
    assert means["mean"] == pytest.approx((0.75 + 0.6) / 2)


def test_a_macro_average_weighs_groups_not_rows_and_leaves_small_ones_out():
    right, group = np.array([1, 1, 1, 0, 0]), ["a", "a", "a", "a", "b"]
    assert judging.macro(right, group, least=1) == (0.375, 2)
    assert judging.macro(right, group, least=2) == (0.75, 1)
    assert BENCHMARKS["aro_attribution"].least == 25


def test_attribution_without_a_pair_of_25_rows_has_no_macro_average(tmp_path):
    found = run("aro_attribution", published.write(tmp_path, "aro_attribution"), "perfect")
    assert found["groups"] == 0 and "macro" not in found and found["accuracy"] == 1.0


def test_only_rows_that_annotators_agreed_on_count(tmp_path):
    keys = published.write(tmp_path, "valse")
    path = Path(keys["annotations"], "existence.json")
    rows = json.loads(path.read_text())
    rows["key0"]["mturk"]["caption"] = 1
    path.write_text(json.dumps(rows))
    found = run("valse", keys, "perfect")
    assert (found["rows"], found["rows_not_valid"]) == (13, 1)


def test_the_text_only_task_compares_the_captions_alone(tmp_path):
    keys = published.write(tmp_path, "sugarcrepe_pp")
    for image in Path(keys["images"]).iterdir():
        published.write_image(image, 255)  # suits no caption
    found = run("sugarcrepe_pp", keys, "perfect")
    assert found["itt_mean"] < 1.0
    assert found["tot_mean"] == 1.0 and "itc_tot_mean" not in found
    assert found["tot_chance"] == 0.5


def test_a_scorer_that_does_not_look_is_reported_beside(tmp_path):
    keys = published.write(tmp_path, "winoground")
    found = run("winoground", keys, "perfect")
    assert (found["blind_group"], found["shorter_group"]) == (0.0, 0.0)
    keys = published.write(tmp_path, "sugarcrepe")
    path = Path(keys["annotations"], "add_att.json")
    rows = json.loads(path.read_text())
    for row in rows.values():  # numbers with a longer text: "0005"
        row["negative_caption"] = row["negative_caption"].zfill(9)
    path.write_text(json.dumps(rows))
    path.with_name("swap_obj.json").unlink()
    assert run("sugarcrepe", keys, "perfect")["shorter_mean"] == 1.0


def test_captions_that_the_model_reads_as_one_are_counted(tmp_path):
    keys = published.write(tmp_path, "sugarcrepe")
    path = Path(keys["annotations"], "add_att.json")
    rows = json.loads(path.read_text())
    rows["key0"]["negative_caption"] = f"0{rows['key0']['caption']}"  # the same number
    path.write_text(json.dumps(rows))
    found = run("sugarcrepe", keys, "perfect")
    assert found["rows_read_alike"] == 1
    assert found["add_att"] == pytest.approx(6 / 7)


def spoil(folder, what):
    image = folder / "3.png"
    if what == "truncated":
        image.write_bytes(image.read_bytes()[:-30])
    elif what == "no_image":
        image.write_text("not an image")
    else:
        image.unlink()
        if what == "link":
            Image.new("RGB", (8, 8)).save(folder.parent / "outside.png")
            image.symlink_to(folder.parent / "outside.png")


@pytest.mark.parametrize("what", ["missing", "truncated", "no_image", "link"])
def test_rows_without_their_image_are_counted_and_named(what, tmp_path, capsys):
    keys = published.write(tmp_path, "sugarcrepe")
    spoil(Path(keys["images"]), what)
    results, findings = run("sugarcrepe", keys, "perfect", findings=True)
    assert (results["rows"], results["rows_without_image"]) == (12, 2)
    assert results["rows_not_valid"] == 0
    assert list(findings.left_out) == ["3.png"]
    line = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(line) == 1 and "2 of 14 rows" in line[0] and "3.png" in line[0]


def test_an_image_is_cropped_as_in_every_evaluation(tmp_path):
    pixels = np.zeros((4, 20, 3), np.uint8)
    pixels[:, 4:16] = 200  # the square in the middle, and what antialiasing takes in
    Image.fromarray(pixels).save(tmp_path / "a.png")
    config = config_of("bla", {}).data
    config.eval_crop = "center"
    assert (images.pixels(tmp_path, ("a.png", None), config) == 200).all()


def test_an_image_outside_the_folder_is_not_opened(tmp_path):
    keys = published.write(tmp_path, "sugarcrepe")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    path = Path(keys["annotations"], "add_att.json")
    path.write_text(path.read_text().replace("3.png", "../secret.png"))
    _, findings = run("sugarcrepe", keys, "perfect", findings=True)
    assert findings.left_out == {"../secret.png": "the path leaves the folder"}


def test_without_any_image_nothing_is_evaluated(tmp_path):
    keys = published.write(tmp_path, "bla")
    with pytest.raises(UserError, match="no image can be read.*0.jpg"):
        run("bla", {**keys, "images": str(tmp_path)}, "perfect")


def set_field(name, rows, field, value):
    """Sets a (nested) field of row 2; value None: takes it away."""
    row = rows["key2"] if name in published.AS_OBJECT else rows[2]
    *parents, last = field
    for key in parents:
        row = row[key]
    if value is None:
        del row[last]
    else:
        row[last] = value


@pytest.mark.parametrize(
    "name, field, value, said",
    [
        ("sugarcrepe", ["negative_caption"], None, "'negative_caption'"),
        ("sugarcrepe", ["caption"], " ", "empty text.*'caption'"),
        ("sugarcrepe", ["filename"], [1], "'filename'"),
        ("sugarcrepe_pp", ["caption2"], 7, "'caption2'"),
        ("aro_relation", ["bbox_w"], 0, "'bbox_w'"),
        ("aro_relation", ["bbox_x"], "3", "'bbox_x'"),
        ("aro_relation", ["relation_name"], None, "'relation_name'"),
        ("aro_attribution", ["attributes"], [], "'attributes'"),
        ("aro_order", ["caption"], "one text", "'caption'"),
        ("valse", ["mturk"], None, "'mturk'"),
        ("valse", ["mturk", "caption"], "3", "mturk.caption"),
        ("bla", ["caption_group", 0, "False2"], None, "'False2'"),
        ("vl_checklist", [1, "NEG"], ["a", "b"], '1 captions and "NEG" 2'),
        ("vl_checklist", [1], "text", "should be"),
    ],
)
def test_a_row_of_another_shape_is_named_with_file_and_field(name, field, value, said, tmp_path):
    keys = published.write(tmp_path, name)
    file = published.PUBLISHED[name][1][0]
    path = Path(keys["annotations"], file)
    rows = json.loads(path.read_text())
    set_field(name, rows, field, value)
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=rf"{name}: .*{path.name}, row (key)?2 .*{said}"):
        annotations.read(BENCHMARKS[name], keys["annotations"])


@pytest.mark.parametrize("content", ["", "{", "7", "[1, 2]", "[]", "\udcff"])
def test_a_file_that_holds_no_rows_is_named(content, tmp_path):
    path = tmp_path / "add_att.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="sugarcrepe: .*add_att.json|sugarcrepe: .* has no rows"):
        annotations.read(BENCHMARKS["sugarcrepe"], tmp_path)


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="replace_obj.json"):
        annotations.read(BENCHMARKS["sugarcrepe"], tmp_path)
    with pytest.raises(UserError, match="no folder"):
        annotations.read(BENCHMARKS["sugarcrepe"], tmp_path / "none")
    keys = published.write(tmp_path, "valse")
    (note,) = annotations.read(BENCHMARKS["valse"], keys["annotations"]).notes
    assert "plurals.json" in note and "existence.json" not in note


def test_one_of_the_files_can_be_given(tmp_path):
    keys = published.write(tmp_path, "sugarcrepe")
    path = f"{keys['annotations']}/add_att.json"
    found = annotations.read(BENCHMARKS["sugarcrepe"], path)
    assert {case.subset for case in found.cases} == {"add_att"}
    other = Path(keys["annotations"], "mine.json")
    other.write_text("[]")
    with pytest.raises(UserError, match="none of its published files"):
        annotations.read(BENCHMARKS["sugarcrepe"], other)


def test_the_number_of_rows_is_held_against_the_published_one(tmp_path):
    keys = published.write(tmp_path, "winoground")
    benchmark = BENCHMARKS["winoground"]._replace(published={"winoground": 7})
    assert annotations.read(benchmark, keys["annotations"]).notes == []
    (note,) = annotations.read(BENCHMARKS["winoground"], keys["annotations"]).notes
    assert "examples.jsonl 7 of 400" in note
    counted = benchmark._replace(published={"winoground": 6})  # an earlier edition
    (note,) = annotations.read(counted, keys["annotations"]).notes
    assert "another edition" in note and "examples.jsonl 7 of 6" in note


@pytest.mark.parametrize(
    "name, rows, cases",
    [
        ("sugarcrepe", 14, 14),  # two files of 7 rows
        ("sugarcrepe_pp", 14, 14),
        ("aro_relation", 7, 7),
        ("aro_attribution", 7, 7),
        ("aro_order", 14, 14),  # two captions an image
        ("valse", 14, 12),  # one row of each file is not valid
        ("winoground", 7, 7),
        ("bla", 14, 14),  # two groups of four captions an image
        ("vl_checklist", 28, 28),  # two files, two pairs of captions an image
    ],
)
def test_every_row_of_every_file_is_read(name, rows, cases, tmp_path):
    keys = published.write(tmp_path, name, varied=True)
    found = annotations.read(BENCHMARKS[name], keys["annotations"])
    assert (found.rows, len(found.cases)) == (rows, cases)
    true, false = len(BENCHMARKS[name].true), len(BENCHMARKS[name].false)
    assert {len(case.true) for case in found.cases} == {true}
    assert {len(case.false) for case in found.cases} == {4 if name == "aro_order" else false}


@pytest.mark.skipif(
    not REAL_FILES.is_dir(), reason="an extra that reads published files in ../shared/data"
)
@pytest.mark.parametrize(
    "name, folder, rows, counted",
    [
        ("sugarcrepe", "sugarcrepe", 240, 240),
        ("sugarcrepe_pp", "sugarcrepe_pp", 150, 150),
        ("valse", "valse", 123, 109),
        ("bla", "bla_160", 654, 654),
        ("vl_checklist", "formats/vl_checklist", 420, 420),
    ],
)
def test_published_files_are_read_whole(name, folder, rows, counted):
    found = annotations.read(BENCHMARKS[name], REAL_FILES / folder)
    assert (found.rows, len(found.cases)) == (rows, counted)
