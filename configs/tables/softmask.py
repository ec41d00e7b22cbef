"""From ALBEF to SoftMask part by part on Scenes, then with hard negatives; three seeds each."""

from collections.abc import Sequence

from jaxvl.configs.tables.ahnpl import EVALUATION, RETRIEVAL
from jaxvl.training.sweep import Table

SHARED = (
    "--config.total_steps=300",  # fewer than in the demo: these are eighteen runs
    *EVALUATION,
    "--config.evals.hard_negatives.match=True",  # beside the similarity, which decides in the demo
)
OFF = {
    "softmask.weight": "0.0",
    "softmask.focal_gamma": "0.0",
    "softmask.text_augmentation": "False",
}
JITTER = (
    "--config.data.color_jitter_probability=0.8",
    "--config.data.color_jitter=(0.2,0.2,0.2,0.0)",  # captions name colours: no change of hue
    "--config.data.blur_probability=0.5",
    "--config.data.blur_sigma=(0.1,1.0)",
)


def row(*parts: str, flags: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the flags of SoftMask with all parts switched off but these, keys of OFF."""
    off = [f"--config.{key}={value}" for key, value in OFF.items() if key not in parts]
    return ("--config=coco_softmask:demo", *SHARED, *off, *flags)


def get_table() -> Table:
    """Returns the Table."""
    return Table(
        rows={
            "ALBEF": row(*OFF, flags=["--config.method=albef"]),
            "+ soft mask": row("softmask.weight"),
            "+ focal": row("softmask.focal_gamma"),
            "+ augmentation": row("softmask.text_augmentation", flags=JITTER),
            "all": row(*OFF, flags=JITTER),
            "all + hard negatives": ("--config=coco_softmask_ahnpl:demo", *SHARED, *JITTER),
        },
        seeds=(0, 1, 2),
        splits=("test", "unseen"),
        columns={
            "pointing": "grounding/pointing",
            "energy in box": "grounding/energy",
            "hard negatives": "hard_negatives/accuracy",
            "by ITC": "hard_negatives/itc_accuracy",
            **RETRIEVAL,
        },
    )
