"""SoftMask on COCO captions at published size, and the same in small on the embedded data set.

--config=configs/coco_softmask.py          ViT-B/16 and BERT-base, 256 px, TFDS coco_captions
--config=configs/coco_softmask.py:demo     minutes on two CPU cores, Scenes (make demo)
"""

from jaxvl.config import base

ARGUMENTS = ("demo",)  # what may stand behind the colon


def get_config(arg=""):
    """Returns the ConfigDict; `arg` is what stands behind the colon."""
    if arg not in ("", *ARGUMENTS):
        raise ValueError(f"configs/coco_softmask.py:{arg}: it knows {ARGUMENTS}")
    config = demo() if arg == "demo" else coco()
    return config.lock()


def coco():
    """30 epochs of the 82,783 training pictures; rates and augmentation of the paper and ALBEF."""
    config = base()
    config.data.dir = "data/tfds"
    config.data.update(source="tfds", name="coco_captions")
    config.data.tokenizer = "bert-base-uncased"
    config.data.color_jitter_probability = 0.8
    config.data.greyscale_probability = 0.2
    config.data.blur_probability = 0.5
    config.batch_size = 512
    config.total_steps = 30 * 82_783 // 512
    config.model.product_dtype = "bfloat16"
    config.model.remat = True
    config.evals.hard_negatives = None  # COCO brings neither negatives nor boxes of words
    config.evals.grounding = None
    return config


def demo():
    """A model of 1 M parameters on Scenes at 60 px."""
    config = base()
    config.data.dir = "data/scenes"
    config.data.image_size = 60
    config.data.crop_scale = (0.9, 1.0)
    config.data.flip_probability = 0.0  # captions say left and right
    config.data.rand_augment_operations = 0  # and name colours
    config.data.max_tokens = 16
    config.data.max_words = 24
    config.batch_size = 64
    config.total_steps = 700
    config.model.embed_size = 64
    config.model.scan_layers = False  # a little faster a step; few layers compile quickly anyway
    config.model.image.update(patch_size=10, layers=2, width=96, heads=4, mlp_width=384)
    config.model.text.update(
        layers=2, fusion_layers=2, width=96, heads=4, mlp_width=384, positions=32, dropout=0.0
    )
    config.softmask.layer = 0
    config.softmask.focal_gamma = 1.0
    # In a short run the towers move so fast that a queue's keys, some steps old, are told apart
    # from fresh ones by their age: the loss falls and nothing is learned.
    config.momentum.update(queue_size=0, decay=0.9, distill=0.0)
    config.optim.update(
        learning_rate=1e-3,
        warmup_learning_rate=1e-5,
        warmup_steps=30,
        b2=0.98,
        final_learning_rate=1e-5,
        clip_norm=1.0,
    )
    config.eval.update(every_steps=700, max_examples=200)
    config.checkpoint.every_steps = 350
    config.evals.retrieval.rerank = 0  # matching is learned later than minutes allow
    config.evals.hard_negatives.match = False
    return config
