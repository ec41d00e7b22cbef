"""SoftMask with hard negatives. No published system has both, so there are no published values.

    --config=coco_softmask_ahnpl          ViT-B/16 and BERT-base, 256 px, COCO
    --config=coco_softmask_ahnpl:demo     minutes on two CPU cores, Scenes (make demo)

Hard negatives take part in SoftMask's contrast and matching, and AHNPL's terms act on its
embeddings. In the demo the soft masks are off. The large one needs negatives of the captions:
    jaxvl negatives --data data/coco --out data/coco_negatives
"""

from ml_collections import ConfigDict

from jaxvl.configs import coco_ahnpl, coco_softmask
from jaxvl.errors import UserError

ARGUMENTS = ("demo",)  # what may stand behind the colon


def get_config(arg: str = "") -> ConfigDict:
    """Returns the ConfigDict; `arg` is what stands behind the colon."""
    if arg not in ("", *ARGUMENTS):
        raise UserError(f"there is no {arg}, only {', '.join(ARGUMENTS)}")
    if arg == "demo":
        config = coco_softmask.demo()
        coco_ahnpl.read_negatives_of_scenes(config)
        config.ahnpl.start_step = 600  # this model starts from random weights
        config.softmask.weight = 0.0  # soft masks would lead the words away from their objects
    else:
        config = coco_softmask.coco()
        config.data.negatives = "data/coco_negatives"
    config.method = "softmask_ahnpl"
    return config.lock()
