"""SoftMask pre-training on Conceptual Captions 3M at published size.

Prepare its webdataset tars first:
    jaxvl prepare folder --captions 'CC3M/*.tar' --out data/cc3m --vocabulary_size 30522
"""

from jaxvl.config import base

EXAMPLES = 2_800_000  # about what can still be downloaded of the 3.3 M


def get_config():
    """Returns the ConfigDict: 30 epochs, ViT-B/16 and BERT-base, 256 px."""
    config = base()
    config.data.dir = "data/cc3m"
    config.data.color_jitter_probability = 0.8
    config.data.greyscale_probability = 0.2
    config.data.blur_probability = 0.5
    config.batch_size = 512
    config.total_steps = 30 * EXAMPLES // 512
    config.model.product_dtype = "bfloat16"
    config.model.remat = True
    config.evals.hard_negatives = None  # web captions bring neither negatives nor boxes of words
    config.evals.grounding = None
    return config.lock()
