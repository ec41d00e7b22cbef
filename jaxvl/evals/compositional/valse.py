"""VALSE (Parcalabescu et al., ACL 2022)."""

from collections.abc import Mapping

from jaxvl.evals.compositional.benchmark import Benchmark, Row, component
from jaxvl.evals.compositional.fields import BadField, get
from jaxvl.evals.compositional.judging import columns, mean, mean_of_all

SPLITS = (
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


def is_valid(row: Row) -> bool:
    """Returns whether at least two of three annotators chose the caption alone."""
    votes = get(get(row, "mturk", of=dict), "caption", within="mturk")
    if not isinstance(votes, int):
        raise BadField(f'"mturk.caption" is {votes!r}, not a number')
    return votes >= 2


def means(share_of: Mapping[str, float]) -> dict[str, float]:
    """Returns the mean of all splits (11), and of 9 columns, in which counting is one."""
    by_column = columns(share_of, lambda name: "counting" if "counting" in name else name)
    return {**mean_of_all(share_of), "mean_counting_as_one": mean(by_column)}


VALSE = component(
    Benchmark(
        name="valse",
        files={split: f"{split}.json" for split in SPLITS},
        images=("image_file",),
        true=("caption",),
        false=("foil",),
        keep=is_valid,
        means=means,
    )
)
