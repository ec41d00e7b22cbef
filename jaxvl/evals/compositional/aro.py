"""ARO: relation, attribution and order (Yuksekgonul et al., ICLR 2023)."""

from jaxvl.evals.compositional.benchmark import Benchmark, Row, component
from jaxvl.evals.compositional.fields import get, items, text


def attribute_pair(row: Row) -> str:
    """Returns the two attributes that were exchanged, as one name."""
    return "_".join(items(row, "attributes", of=str))


def captions_of_image(row: Row) -> list[Row]:
    """Returns a flat row for each caption of an image."""
    image = get(row, "image")
    return [{"image": image, "caption": caption} for caption in items(row, "caption", of=str)]


ARO_RELATION = component(
    Benchmark(
        name="aro_relation",
        files={"relation": "visual_genome_relation.json"},
        published={"relation": 23_937},
        images=("image_path",),
        true=("true_caption",),
        false=("false_caption",),
        box=True,
        group=lambda row: text(row, "relation_name"),
        headline="macro",
    )
)

ARO_ATTRIBUTION = component(
    Benchmark(
        name="aro_attribution",
        files={"attribution": "visual_genome_attribution.json"},
        published={"attribution": 28_748},
        images=("image_path",),
        true=("true_caption",),
        false=("false_caption",),
        box=True,
        group=attribute_pair,
        least=25,
        headline="macro",
    )
)

ARO_ORDER = component(
    Benchmark(
        name="aro_order",
        files={"coco": "coco_karpathy_test.json", "flickr30k": "flickr30k_test.json"},
        published={"coco": 25_010, "flickr30k": 5_000},
        images=("image",),
        true=("caption",),
        false=(),
        unfold=captions_of_image,
        shuffled=True,
        chance={"": 1 / 5},
    )
)
