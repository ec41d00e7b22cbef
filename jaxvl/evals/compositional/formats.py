"""The benchmarks as published, one table each: files, fields, what a row is, how it is judged."""

from collections.abc import Callable
from typing import NamedTuple

from jaxvl.evals.compositional import judging
from jaxvl.evals.compositional.fields import BadField, get, items, text


class Format(NamedTuple):
    """How a benchmark is published and scored.

    files: {subset: file below the annotations folder}; a name with * stands for many subsets, each
      named by its path. published: {subset: rows}, where they are known.
    pictures: fields that name a row's pictures, put into picture_name. true, false: fields of
      captions. box: whether the picture is cropped to bbox_x, bbox_y, bbox_w, bbox_h first.
    unfold: (published row) -> flat rows. keep: (flat row) -> whether it counts.
    shuffled: the false captions are shuffles of the true one (see `shuffles`).
    group: (flat row) -> what the macro average is over; least: rows a group must have.
    judges: {measure: (scores_RxPxC, true captions) -> bool [R]}; chance: {measure: of a random
      scorer}. paraphrase: whether two true captions must also be nearest to each other.
    means: {subset: share} -> named means. headline: the metric to quote.
    """

    files: dict
    pictures: tuple
    true: tuple
    false: tuple
    published: dict = {}
    picture_name: str = "{}"
    box: bool = False
    unfold: Callable = lambda row: [row]
    keep: Callable = lambda row: True
    shuffled: bool = False
    group: Callable | None = None
    least: int = 1
    judges: dict = {"": judging.all_above}
    chance: dict = {"": 1 / 2}
    paraphrase: bool = False
    means: Callable = judging.mean_of_all
    headline: str = "mean"


def caption_groups(row):
    """BLA: four captions of a picture lie in a list of their own."""
    image = get(row, "image_id")
    return [{**group, "image_id": image} for group in items(row, "caption_group", of=dict)]


def checklist_pairs(row):
    """VL-CheckList: [picture, {"POS": [...], "NEG": [...]}], captions pairing up."""
    if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], dict):
        raise BadField('should be [picture, {"POS": [...], "NEG": [...]}]')
    image, texts = row
    positives, negatives = items(texts, "POS", of=str), items(texts, "NEG", of=str)
    if len(positives) != len(negatives):
        raise BadField(f'"POS" has {len(positives)} captions and "NEG" {len(negatives)}')
    return [
        {"image": image, "POS": positive, "NEG": negative}
        for positive, negative in zip(positives, negatives)
    ]


def captions_of_picture(row):
    """ARO's order: each of a picture's captions is a row."""
    image = get(row, "image")
    return [{"image": image, "caption": caption} for caption in items(row, "caption", of=str)]


def is_valid(row):
    """VALSE: at least two of three annotators chose the caption alone."""
    votes = get(get(row, "mturk", of=dict), "caption", within="mturk")
    if not isinstance(votes, int):
        raise BadField(f'"mturk.caption" is {votes!r}, not a number')
    return votes >= 2


def attribute_pair(row):
    """ARO's attribution: the two attributes that were exchanged."""
    return "_".join(items(row, "attributes", of=str))


SUGARCREPE_ROWS = dict(
    replace_obj=1652,
    replace_att=788,
    replace_rel=1406,
    swap_obj=245,
    swap_att=666,
    add_obj=2062,
    add_att=692,
)
VALSE_SPLITS = (
    "existence",
    "plurals",
    "counting-hard",
    "counting-small-quant",
    "counting-adversarial",
    "relations",
    "action-replacement",
    "actant-swap",
    "coreference-standard",
    "coreference-hard",
    "foil-it",
)
ARO = dict(
    pictures=("image_path",),
    true=("true_caption",),
    false=("false_caption",),
    box=True,
    headline="macro",
)

FORMATS = {
    "sugarcrepe": Format(
        files={name: f"{name}.json" for name in SUGARCREPE_ROWS},
        published=SUGARCREPE_ROWS,
        pictures=("filename",),
        true=("caption",),
        false=("negative_caption",),
    ),
    "sugarcrepe_pp": Format(
        files={name: f"{name}.json" for name in SUGARCREPE_ROWS if "add" not in name},
        published={name: rows for name, rows in SUGARCREPE_ROWS.items() if "add" not in name},
        pictures=("filename",),
        true=("caption", "caption2"),
        false=("negative_caption",),
        judges={"itt": judging.all_above},
        chance={"itt": 1 / 3, "tot": 1 / 2},
        paraphrase=True,
        headline="itt_mean",
    ),
    "aro_relation": Format(
        files={"relation": "visual_genome_relation.json"},
        published={"relation": 23_937},
        group=lambda row: text(row, "relation_name"),
        **ARO,
    ),
    "aro_attribution": Format(
        files={"attribution": "visual_genome_attribution.json"},
        published={"attribution": 28_748},
        group=attribute_pair,
        least=25,
        **ARO,
    ),
    "aro_order": Format(
        files={"coco": "coco_karpathy_test.json", "flickr30k": "flickr30k_test.json"},
        published={"coco": 25_010, "flickr30k": 5_000},
        pictures=("image",),
        true=("caption",),
        false=(),
        unfold=captions_of_picture,
        shuffled=True,
        chance={"": 1 / 5},
    ),
    "valse": Format(
        files={name: f"{name}.json" for name in VALSE_SPLITS},
        pictures=("image_file",),
        true=("caption",),
        false=("foil",),
        keep=is_valid,
        means=judging.valse_means,
    ),
    "winoground": Format(
        files={"winoground": "examples.jsonl"},
        published={"winoground": 400},
        pictures=("image_0", "image_1"),
        picture_name="{}.png",
        true=("caption_0",),
        false=("caption_1",),
        judges={
            "text": judging.right_caption,
            "image": judging.right_picture,
            "group": judging.right_both,
        },
        chance={"text": 1 / 4, "image": 1 / 4, "group": 1 / 6},
        headline="group",
    ),
    "bla": Format(
        files={
            "active_passive": "active_passive_captions.json",
            "coordination": "coordination_captions.json",
            "relative_clause": "relative_clause_captions.json",
        },
        published={"coordination": 654},
        pictures=("image_id",),
        picture_name="{}.jpg",
        true=("True1", "True2"),
        false=("False1", "False2"),
        unfold=caption_groups,
        chance={"": 1 / 6},
    ),
    "vl_checklist": Format(
        files={area: f"{area}/**/*.json" for area in ("Object", "Attribute", "Relation")},
        pictures=("image",),
        true=("POS",),
        false=("NEG",),
        unfold=checklist_pairs,
        means=judging.checklist_means,
    ),
}
