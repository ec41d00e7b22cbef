"""From ALBEF to SoftMask part by part on easy Scenes, with parts of the image covered; three seeds.

jaxvl prepare scenes --out data/scenes --level 1 --train 10000 --size 64 --seed 0
jaxvl sweep --table softmask --jobs 2
"""

from jaxvl.configs.tables.ahnpl import EVALUATION, RETRIEVAL
from jaxvl.training.sweep import Table

OFF = {
    "softmask.weight": "0.0",
    "softmask.wrong_text": "False",
    "softmask.focal_gamma": "0.0",
    "softmask.text_augmentation": "False",
    "loss.itm_auto_hardness": "False",
}
ON = {
    "softmask.weight": "1.0",
    "softmask.wrong_text": "True",
    "softmask.focal_gamma": "1.0",
    "softmask.text_augmentation": "True",
    "loss.itm_auto_hardness": "True",
}
MASKS = ("softmask.weight", "softmask.wrong_text")
JITTER = (
    "--config.data.color_jitter_probability=0.8",
    "--config.data.color_jitter=(0.2,0.2,0.2,0.0)",  # captions name colours: no change of hue
    "--config.data.blur_probability=0.5",
    "--config.data.blur_sigma=(0.1,1.0)",
)
OWN_MASK = ("--config.softmask.wrong_mask=own",)
COVERED = "--config.evals.occlusion={}"


def row(*parts: str, flags: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Returns the flags of the demo with all parts switched off but these, keys of OFF."""
    chosen = {key: (ON if key in parts else OFF)[key] for key in OFF}
    keys = (f"--config.{key}={value}" for key, value in chosen.items())
    return ("--config=coco_softmask:demo", *EVALUATION, COVERED, *keys, *flags)


def get_table() -> Table:
    """Returns the Table."""
    kinds = ("attribute", "object", "relation")
    covered = {f"{share} % covered": f"patches_{share}" for share in (25, 50, 75)}
    return Table(
        rows={
            "ALBEF": row(flags=("--config.method=albef",)),
            "hard masks": row("softmask.weight", flags=("--config.softmask.mask=hard",)),
            "soft masks": row("softmask.weight"),
            "soft masks, wrong text": row(*MASKS),
            "soft masks, wrong text, its own mask": row(*MASKS, flags=OWN_MASK),
            "+ focal": row(*MASKS, "softmask.focal_gamma"),
            "+ augmentation": row(*MASKS, "softmask.text_augmentation", flags=JITTER),
            "+ adaptive hardness": row(*MASKS, "loss.itm_auto_hardness"),
            "all": row(*ON, flags=JITTER),
        },
        seeds=(0, 1, 2),
        splits=("test",),
        columns={
            "matching": "occlusion/uncovered/matching",
            "hard negatives": "hard_negatives/accuracy",
            **{f"{kind} replaced": f"hard_negatives/replace_{kind}" for kind in kinds},
            "attributes swapped": "hard_negatives/swap_attribute",
            "relation swapped": "hard_negatives/swap_relation",
            "pointing": "grounding/pointing",
            "energy in box": "grounding/energy",
            **RETRIEVAL,
            **{f"matching, {name}": f"occlusion/{key}/matching" for name, key in covered.items()},
            "matching, object covered": "occlusion/object/matching",
            "matching, covered elsewhere": "occlusion/elsewhere/matching",
            **{f"recall, {name}": f"occlusion/{key}/mean_recall" for name, key in covered.items()},
            "recall, object covered": "occlusion/object/mean_recall",
            "recall, covered elsewhere": "occlusion/elsewhere/mean_recall",
        },
    )
