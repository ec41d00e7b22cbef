"""AHNPL on COCO captions as published, its baselines, and small models for Scenes.

    --config=coco_ahnpl              AHNPL: CLIP ViT-B/32, COCO
    --config=coco_ahnpl:clip         CLIP on the same data
    --config=coco_ahnpl:negclip      NegCLIP: hard negatives in the contrastive loss alone
    --config=coco_ahnpl:ceclip       CE-CLIP by its released code, with its own recipe
    --config=coco_ahnpl:released     AHNPL by the formulas of its released code
    --config=coco_ahnpl:demo         AHNPL in minutes on two CPU cores, Scenes
    --config=coco_ahnpl:demo,clip    a baseline there; the others in the same way

The published ones start from OpenAI's weights and need negatives of the captions:
    jaxvl negatives --data data/coco --out data/coco_negatives
"""

from ml_collections import ConfigDict

from jaxvl.config import base
from jaxvl.configs.coco_softmask import CAPTIONS
from jaxvl.errors import UserError

ONLY_ITC = dict(multimodal_weight=0.0, margin_weight=0.0, alignment_weight=0.0, adaptive_beta=0.0)
RELEASED = dict(as_released=True, margin_reset=True, alignment_weight=0.0, adaptive_beta=0.0)
SETTINGS = {  # of config.ahnpl; weights as in the released code
    "clip": dict(itc_negatives=False, **ONLY_ITC),
    "negclip": ONLY_ITC,
    "ceclip": dict(
        RELEASED, multimodal_weight=0.0, intra_modal_weight=0.2, intra_modal_positive=False
    ),
    "released": RELEASED,
}
ARGUMENTS = ("demo", *SETTINGS)  # what may stand behind the colon; "demo,NAME" too


def get_config(arg: str = "") -> ConfigDict:
    """Returns the ConfigDict; `arg` is what stands behind the colon."""
    names = arg.split(",") if arg else []
    for name in names:
        if name not in ARGUMENTS:
            raise UserError(f"there is no {name}, only {', '.join(ARGUMENTS)}")
    config = demo() if "demo" in names else coco()
    if "ceclip" in names and "demo" not in names:
        follow_ce_clip(config)
    for name in names:
        config.ahnpl.update(SETTINGS.get(name, {}))
    if not {"ceclip", "released"}.isdisjoint(names):
        config.loss.same_caption = "negative"
    if "clip" in names:
        config.method, config.data.negatives = "clip", ""
    return config.lock()


def coco() -> ConfigDict:
    """Returns AHNPL's recipe: 10 epochs of all captions of COCO."""
    config = base()
    config.method, config.model.name = "ahnpl", "clip"
    config.model.init = "data/clip-vit-base-patch32"  # from Hugging Face; brings its tokenizer
    config.model.activation = "quick_gelu"
    config.model.embed_size = 512
    config.model.image.update(patch_size=32)
    config.model.text.update(layers=12, width=512, heads=8, mlp_width=2048, positions=77)
    config.data.dir = "data/coco"
    config.data.negatives = "data/coco_negatives"
    config.data.update(image_size=224, crop_scale=(0.9, 1.0), flip_probability=0.0)
    config.data.rand_augment_operations = 0
    config.data.eval_crop = "center"  # as in CLIP's training
    config.data.update(max_words=77, max_tokens=77, add_sep=True, token_lengths=(16, 24, 32))
    config.batch_size = 128
    train_for(config, epochs=10)
    config.optim.update(
        learning_rate=2e-5,
        warmup_learning_rate=0.0,
        warmup_steps=50,
        final_learning_rate=0.0,
        weight_decay=0.1,
        b2=0.98,
        eps=1e-6,
    )
    config.evals.retrieval.same_caption = "negative"  # as in published results
    config.evals.hard_negatives = None  # needs hard negatives in the data set
    config.evals.grounding = None  # needs boxes of words in the data set
    return config


def train_for(config: ConfigDict, *, epochs: int) -> None:
    """Sets the steps of so many epochs and an evaluation after each.

    An epoch has every caption once, as in the released codes, which leave out a last batch that is
    not full. A batch takes one caption of each of its images.
    """
    epoch = CAPTIONS // config.batch_size
    config.total_steps, config.eval.every_steps = epochs * epoch, epoch


def follow_ce_clip(config: ConfigDict) -> None:
    """Changes AHNPL's recipe on COCO to that of CE-CLIP's released script."""
    config.batch_size = 256  # 128 on each of two GPUs
    train_for(config, epochs=5)
    config.optim.learning_rate = 5e-6
    config.data.negative_kinds = ("relation", "adj", "noun", "verb")


def demo() -> ConfigDict:
    """Returns a model of 0.5 M parameters for Scenes at 60 px, with the negatives of Scenes."""
    config = base()
    config.method, config.model.name = "ahnpl", "clip"
    config.model.embed_size = 64
    config.model.scan_layers = False  # a little faster; few layers compile quickly anyway
    config.model.image.update(patch_size=10, layers=2, width=96, heads=4, mlp_width=384)
    config.model.text.update(layers=2, width=96, heads=4, mlp_width=384, positions=32)
    config.data.dir = "data/scenes"
    read_negatives_of_scenes(config)
    config.data.update(image_size=60, crop_scale=(0.9, 1.0))
    config.data.flip_probability = 0.0  # captions say left and right
    config.data.rand_augment_operations = 0  # captions name colours
    config.data.update(max_tokens=20, max_words=24, add_sep=True)
    config.ahnpl.start_step = 150  # this model starts from random weights, not from CLIP's
    config.batch_size = 64
    config.total_steps = 400
    config.optim.update(
        learning_rate=1e-3,
        warmup_learning_rate=1e-5,
        warmup_steps=30,
        b2=0.98,
        final_learning_rate=1e-5,
        clip_norm=1.0,
    )
    config.eval.update(every_steps=400, max_examples=200)
    config.checkpoint.every_steps = 200
    config.evals.retrieval.rerank = 0
    return config


def read_negatives_of_scenes(config: ConfigDict) -> None:
    """Adds to each batch the hard negatives that Scenes has of its captions."""
    config.data.negatives = "own"
    config.data.negative_kinds = (
        "swap_attribute",
        "swap_relation",
        "replace_attribute",
        "replace_object",
        "replace_relation",
    )
