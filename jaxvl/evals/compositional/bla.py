"""BLA: active and passive, coordination, relative clauses (Chen et al., EMNLP 2023)."""

from jaxvl.evals.compositional.benchmark import Benchmark, Row, component
from jaxvl.evals.compositional.fields import get, items


def caption_groups(row: Row) -> list[Row]:
    """Returns a flat row for each group of four captions of an image."""
    image = get(row, "image_id")
    return [{**group, "image_id": image} for group in items(row, "caption_group", of=dict)]


BLA = component(
    Benchmark(
        name="bla",
        files={
            "active_passive": "active_passive_captions.json",
            "coordination": "coordination_captions.json",
            "relative_clause": "relative_clause_captions.json",
        },
        published={"coordination": 654},
        images=("image_id",),
        image_name="{}.jpg",
        true=("True1", "True2"),
        false=("False1", "False2"),
        unfold=caption_groups,
        chance={"": 1 / 6},
    )
)
