"""SoftMask on your own images and captions, small enough for two CPU cores.

    jaxvl prepare folder --images IMAGES --captions IMAGES/metadata.jsonl --out DIR
    jaxvl train --config=folder_softmask --config.data.dir=DIR

For some thousand images and twenty minutes, from random weights: the word maps are good in so short
a run with the soft masks off (docs/results.md); `--config.softmask.weight=1` switches them on.
With more of both, raise `total_steps` and the sizes under `model`; coco_softmask has the published
ones.
"""

from ml_collections import ConfigDict

from jaxvl.config import base


def get_config() -> ConfigDict:
    """Returns the ConfigDict of a model of 2 M parameters at 112 px."""
    config = base()
    config.data.dir = "data/folder"
    config.data.image_size = 112
    config.data.crop_scale = (0.5, 1.0)
    config.data.rand_augment_operations = 1
    config.data.max_tokens = 20
    config.data.max_words = 20
    config.batch_size = 64
    config.total_steps = 1_800
    config.model.embed_size = 128
    config.model.scan_layers = False  # a little faster; few layers compile quickly anyway
    config.model.fusion_tokens, config.model.match_read = "local", "mean"
    config.model.image.stem = "convolutions"
    config.model.image.update(patch_size=16, layers=3, width=128, heads=4, mlp_width=512)
    config.model.text.update(
        layers=2, fusion_layers=1, width=128, heads=4, mlp_width=512, positions=32, dropout=0.0
    )
    config.softmask.layer = 0
    config.softmask.update(weight=0.0, wrong_text=True)
    config.softmask.update(focal_gamma=0.0, text_augmentation=False)  # both slow a short run down
    # From scratch, matching is not learned with ALBEF's negatives: docs/matching.md.
    config.loss.update(itm_hardness=0.0, itm_auto_hardness=True)
    # The encoders change fast in a short run. Then the keys of a queue, some steps old, can be
    # discriminated by their age alone: the loss falls and nothing is learned.
    config.momentum.update(queue_size=0, decay=0.95, distill=0.0)
    config.optim.update(
        learning_rate=1e-3,
        warmup_steps=100,
        weight_decay=0.05,
        clip_norm=1.0,
        final_learning_rate=1e-6,
    )
    config.checkpoint.every_steps = 600
    config.eval.every_steps = 600
    config.evals.retrieval.rerank = 0  # image-text matching is not learned in so short a run
    config.evals.hard_negatives = None  # needs hard negatives in the data set
    config.evals.grounding = None  # needs boxes of words in the data set
    return config.lock()
