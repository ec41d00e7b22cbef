"""VL-CheckList (Zhao et al., EMNLP 2022 system demonstrations)."""

from collections.abc import Mapping

from jaxvl.evals.compositional.benchmark import Benchmark, Row, component
from jaxvl.evals.compositional.fields import BadField, items
from jaxvl.evals.compositional.judging import columns, mean

AREAS = ("Object", "Attribute", "Relation")


def caption_pairs(row: Row) -> list[Row]:
    """Returns a flat row for each pair of captions of [image, {"POS": [...], "NEG": [...]}]."""
    if not isinstance(row, list) or len(row) != 2 or not isinstance(row[1], dict):
        raise BadField('should be [image, {"POS": [...], "NEG": [...]}]')
    image, texts = row
    positives, negatives = items(texts, "POS", of=str), items(texts, "NEG", of=str)
    if len(positives) != len(negatives):
        raise BadField(f'"POS" has {len(positives)} captions and "NEG" {len(negatives)}')
    return [
        {"image": image, "POS": positive, "NEG": negative}
        for positive, negative in zip(positives, negatives)
    ]


def means(share_of: Mapping[str, float]) -> dict[str, float]:
    """Returns the share of each area and their mean.

    Data sources are averaged within a kind, kinds within an area. Subsets are named by their paths:
    Attribute_vg_color, Object_Location_..._vg_subj_center.
    """
    kinds = columns(share_of, lambda name: (name.split("_")[0], name.split("_")[-1]))
    areas = columns(kinds, lambda kind: kind[0])
    return {**areas, "mean": mean(areas)}


VL_CHECKLIST = component(
    Benchmark(
        name="vl_checklist",
        files={area: f"{area}/**/*.json" for area in AREAS},
        images=("image",),
        true=("POS",),
        false=("NEG",),
        unfold=caption_pairs,
        means=means,
    )
)
