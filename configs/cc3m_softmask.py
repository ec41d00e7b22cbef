"""SoftMask pre-training on Conceptual Captions 3M at published size.

Prepare its webdataset tars first:
    jaxvl prepare folder --captions 'CC3M/*.tar' --out data/cc3m --vocabulary_size 30522
"""

from ml_collections import ConfigDict

from jaxvl.configs import coco_softmask

EXAMPLES = 2_800_000  # about as many of the 3.3 M images can still be downloaded


def get_config() -> ConfigDict:
    """Returns the ConfigDict: 30 epochs, ViT-B/16 and BERT-base, 256 px."""
    config = coco_softmask.published(captions=EXAMPLES)
    config.data.dir = "data/cc3m"
    return config.lock()
