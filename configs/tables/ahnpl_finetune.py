"""The ladder from plain CLIP to AHNPL as it is meant: each row fine-tunes one trained CLIP.

First the CLIP that all rows start from, on Scenes:

    jaxvl prepare scenes --out data/hard_scenes --train 10000 --size 64 --seed 0
    jaxvl train --config=coco_ahnpl:demo,clip --config.data.dir=data/hard_scenes \
        --config.total_steps=2500 --config.loss.same_caption=negative --workdir=runs/clip
    jaxvl sweep --table ahnpl_finetune --jobs 2 -- --config.data.dir=data/hard_scenes

Another run to start from: behind `--`, as in `jaxvl sweep --table ahnpl_finetune --
--config.model.init=runs/other`.
"""

from jaxvl.configs.tables import ahnpl
from jaxvl.training.sweep import Table

PAPERS = (  # a caption of two images is right for one of them only
    "--config.loss.same_caption=negative",
    "--config.evals.retrieval.same_caption=negative",
)
FINE_TUNING = (
    "--config.model.init=runs/clip",
    "--config.ahnpl.start_step=0",
    "--config.optim.learning_rate=3e-4",
    "--config.optim.warmup_steps=20",
    "--config.total_steps=400",
    *PAPERS,
)


def row(argument: str, *changes: str) -> tuple[str, ...]:
    """Returns the flags of a setting of coco_ahnpl with changes of keys of config.ahnpl."""
    return (*ahnpl.row(argument), *FINE_TUNING, *(f"--config.ahnpl.{key}" for key in changes))


def get_table() -> Table:
    """Returns the Table."""
    return ahnpl.get_table()._replace(
        rows={
            **{name: row(argument) for name, argument in ahnpl.METHODS.items()},
            "without multimodal": row("demo", "multimodal_weight=0"),
            "without margin": row("demo", "margin_weight=0"),
            "without alignment": row("demo", "alignment_weight=0"),
            "without adaptive weights": row("demo", "adaptive_beta=0"),
            "a tenth of each weight": row(
                "demo", "multimodal_weight=0.02", "margin_weight=0.02", "alignment_weight=0.02"
            ),
            "positive cross": row("demo", "positive=cross"),
            "positive cross, alignment in logits": row(
                "demo", "positive=cross", "alignment_units=logit"
            ),
            "positive cross, little multimodal, no alignment": row(
                "demo", "positive=cross", "multimodal_weight=0.02", "alignment_weight=0"
            ),
        }
    )
