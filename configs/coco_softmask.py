"""SoftMask on COCO captions at published size, and a small model for the Scenes data set.

--config=coco_softmask          ViT-B/16 and BERT-base, 256 px, COCO (make coco)
--config=coco_softmask:demo     minutes on two CPU cores, Scenes (make demo)
"""

from ml_collections import ConfigDict

from jaxvl.config import base
from jaxvl.errors import UserError

ARGUMENTS = ("demo",)  # what may stand behind the colon
CAPTIONS = 414_113  # of COCO's train2014


def get_config(arg: str = "") -> ConfigDict:
    """Returns the ConfigDict; `arg` is what stands behind the colon."""
    if arg not in ("", *ARGUMENTS):
        raise UserError(f"there is no {arg}, only {', '.join(ARGUMENTS)}")
    config = demo() if arg == "demo" else coco()
    return config.lock()


def coco() -> ConfigDict:
    """Returns the published sizes on COCO captions, from DeiT and BERT of Hugging Face.

    What the two lack (cross-attention, projections, match head, temperature) starts at random, and
    what they have in excess is left out.
    """
    config = published(captions=CAPTIONS)
    config.data.dir = "data/coco"
    config.data.tokenizer = "data/bert-base-uncased"
    config.model.init = "data/deit-base-patch16-224,data/bert-base-uncased"
    config.model.image.norm_epsilon = 1e-12  # of DeiT
    config.model.allow_missing = (
        "cross_",
        "projection/",
        "match_head",
        "temperature",
        "pooler",
        "classifier",
        "seq_relationship",
    )
    config.evals.retrieval.rerank = 256
    return config


def published(*, captions: int) -> ConfigDict:
    """Returns 30 epochs of so many captions, with the rates and augmentation of SoftMask and ALBEF.

    A step reads one caption of each of its images. The data set has images and captions only.
    """
    config = base()
    config.data.color_jitter_probability = 0.8
    config.data.greyscale_probability = 0.2
    config.data.blur_probability = 0.5
    config.batch_size = 512
    config.total_steps = 30 * (captions // 512)
    config.optim.decay_temperature = True  # as ALBEF's code does
    config.model.product_dtype = "bfloat16"
    config.model.remat = True
    config.loss.itm_reuse_keys = False  # on many devices, tokens travel at a twelfth of the keys
    config.evals.retrieval.same_caption = "negative"  # as in published results
    config.evals.hard_negatives = None  # needs hard negatives in the data set
    config.evals.grounding = None  # needs boxes of words in the data set
    return config


def demo() -> ConfigDict:
    """Returns a model of 0.7 M parameters for Scenes of level 1 at 48 px.

    It learns matching from scratch: docs/matching.md says how.
    """
    config = base()
    config.data.dir = "data/scenes"
    config.data.image_size = 48
    config.data.crop_scale = (0.9, 1.0)
    config.data.flip_probability = 0.0  # captions say left and right
    config.data.rand_augment_operations = 0  # captions name colours
    config.data.max_tokens = 16
    config.data.max_words = 24
    config.batch_size = 32  # many small steps: from scratch, updates count for more than batches
    config.total_steps = 1_200
    config.model.embed_size = 64
    config.model.scan_layers = False  # a little faster; few layers compile quickly anyway
    config.model.fusion_tokens = "local"
    config.model.match_read = "mean"
    config.model.image.update(patch_size=8, stem="convolutions")
    config.model.image.update(layers=2, width=96, heads=4, mlp_width=384)
    config.model.text.update(
        layers=2, fusion_layers=1, width=96, heads=4, mlp_width=384, positions=32, dropout=0.0
    )
    config.loss.update(itm_hardness=0.0, itm_auto_hardness=True)
    config.softmask.layer = 0
    config.softmask.wrong_text = True
    config.softmask.start_step = 800  # masks lead words away from their objects: docs/results.md
    config.softmask.focal_gamma = 0.0  # this and hidden words slow a short run down
    config.softmask.text_augmentation = False
    # The encoders change fast in a short run. Then the keys of a queue, some steps old, can be
    # discriminated by their age alone: the loss falls and nothing is learned.
    config.momentum.update(queue_size=0, decay=0.9, distill=0.0)
    config.optim.update(
        learning_rate=1e-3,
        warmup_learning_rate=1e-5,
        warmup_steps=30,
        b2=0.98,
        final_learning_rate=1e-5,
        clip_norm=1.0,
    )
    config.eval.update(every_steps=1_200, max_examples=200)
    config.checkpoint.every_steps = 600
    config.evals.retrieval.rerank = 16
    return config
