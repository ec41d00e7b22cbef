"""From ALBEF to SoftMask piece by piece on Scenes, and hard negatives on top; three seeds each."""

from jaxvl.cli.sweep import Table

SHARED = (
    "--config.total_steps=300",  # fewer than the demo's: these are eighteen runs
    "--config.eval.every_steps=0",
    "--config.eval.max_examples=1000",
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


def row(*pieces, flags=()):
    """Returns the flags of SoftMask with every piece switched off but these."""
    off = [f"--config.{key}={value}" for key, value in OFF.items() if key not in pieces]
    return ("--config=configs/coco_softmask.py:demo", *SHARED, *off, *flags)


def get_table():
    """Returns the Table."""
    return Table(
        rows={
            "ALBEF": row(*OFF, flags=["--config.method=albef"]),
            "+ soft mask": row("softmask.weight"),
            "+ focal": row("softmask.focal_gamma"),
            "+ augmentation": row("softmask.text_augmentation", flags=JITTER),
            "all": row(*OFF, flags=JITTER),
            "all + hard negatives": (
                "--config=configs/coco_softmask_ahnpl.py:demo",
                *SHARED,
                *JITTER,
            ),
        },
        seeds=(0, 1, 2),
        splits=("test", "unseen"),
        columns={
            "pointing": "grounding/pointing",
            "energy in box": "grounding/energy",
            "hard negatives": "hard_negatives/accuracy",
            "by ITC": "hard_negatives/itc_accuracy",
            "i2t R@1": "retrieval/i2t_r1",
            "t2i R@1": "retrieval/t2i_r1",
            "i2t R@10": "retrieval/i2t_r10",
            "t2i R@10": "retrieval/t2i_r10",
        },
    )
