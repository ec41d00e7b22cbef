"""SugarCrepe (Hsieh et al., NeurIPS 2023) and SugarCrepe++ (Dumpala et al., NeurIPS 2024)."""

from jaxvl.evals.compositional import judging
from jaxvl.evals.compositional.benchmark import Benchmark, component

ROWS = {
    "replace_obj": 1652,
    "replace_att": 788,
    "replace_rel": 1406,
    "swap_obj": 245,
    "swap_att": 666,
    "add_obj": 2062,
    "add_att": 692,
}

SUGARCREPE = component(
    Benchmark(
        name="sugarcrepe",
        files={subset: f"{subset}.json" for subset in ROWS},
        published=ROWS,
        images=("filename",),
        true=("caption",),
        false=("negative_caption",),
    )
)

SUGARCREPE_PP = component(
    Benchmark(
        name="sugarcrepe_pp",
        files={subset: f"{subset}.json" for subset in ROWS if "add" not in subset},
        published={subset: rows for subset, rows in ROWS.items() if "add" not in subset},
        images=("filename",),
        true=("caption", "caption2"),
        false=("negative_caption",),
        judges={"itt": judging.all_above},
        chance={"itt": 1 / 3, "tot": 1 / 2},
        paraphrase=True,
        headline="itt_mean",
    )
)
