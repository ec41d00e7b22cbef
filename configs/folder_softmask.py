"""SoftMask on your own pictures and captions, small enough for two CPU cores.

    python -m jaxvl.prepare folder --images PICTURES --captions PICTURES/metadata.jsonl --out DIR
    python -m jaxvl.main --config=configs/folder_softmask.py --config.data.dir=DIR

Fitted to some thousand pictures and half an hour. For more of both, raise `total_steps` and the
sizes under `model`; configs/coco_softmask.py has the published ones.
"""

from jaxvl.config import base


def get_config():
    """Returns the ConfigDict of a model of 7 M parameters at 128 px."""
    config = base()
    config.data.dir = "data/folder"
    config.data.image_size = 128
    config.data.crop_scale = (0.5, 1.0)
    config.data.color_jitter_probability = 0.5
    config.data.color_jitter = (0.2, 0.2, 0.2, 0.0)  # captions name colours
    config.batch_size = 64
    config.total_steps = 2_400
    config.model.embed_size = 128
    config.model.image.update(patch_size=16, layers=6, width=192, heads=6, mlp_width=768)
    config.model.text.update(
        layers=3, fusion_layers=3, width=192, heads=6, mlp_width=768, positions=32
    )
    config.momentum.queue_size = 1_024  # well below the number of pictures
    config.softmask.layer = 1
    config.optim.update(
        learning_rate=5e-4, warmup_steps=200, weight_decay=0.05, clip_norm=1.0,
        final_learning_rate=1e-6,
    )  # fmt: skip
    config.checkpoint.every_steps = 400
    config.eval.every_steps = 800
    config.evals.retrieval.rerank = 32
    config.evals.hard_negatives = None  # your captions bring neither negatives nor boxes of words
    config.evals.grounding = None
    return config.lock()
