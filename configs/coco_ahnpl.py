"""AHNPL on COCO captions as published, its baselines, and the same in small on Scenes.

    --config=configs/coco_ahnpl.py              AHNPL: CLIP ViT-B/32, TFDS coco_captions
    --config=configs/coco_ahnpl.py:clip         plain CLIP on the same data
    --config=configs/coco_ahnpl.py:negclip      hard negatives in the contrastive loss alone
    --config=configs/coco_ahnpl.py:ceclip       CE-CLIP: and the losses CMR and IMC
    --config=configs/coco_ahnpl.py:released     AHNPL by the formulas of its released code
    --config=configs/coco_ahnpl.py:demo         AHNPL in minutes on two CPU cores, Scenes
    --config=configs/coco_ahnpl.py:demo,clip    and so on: the others there

The published ones start from OpenAI's weights and need negatives of the captions:
    jaxvl negatives --data data/tfds --name coco_captions --out data/coco_negatives
"""

from jaxvl.config import base

ONLY_ITC = dict(multimodal_weight=0.0, margin_weight=0.0, alignment_weight=0.0, adaptive_beta=0.0)
RELEASED = dict(as_released=True, margin_reset=True, alignment_weight=0.0, adaptive_beta=0.0)
SETTINGS = {  # of config.ahnpl; weights as in the released code
    "clip": dict(itc_negatives=False, **ONLY_ITC),
    "negclip": ONLY_ITC,
    "ceclip": dict(RELEASED, multimodal_weight=0.0, intra_modal_weight=0.2),
    "released": RELEASED,
}
ARGUMENTS = ("demo", *SETTINGS)  # what may stand behind the colon; "demo,NAME" too


def get_config(arg=""):
    """Returns the ConfigDict; `arg` is what stands behind the colon."""
    names = arg.split(",") if arg else []
    if not set(names) <= set(ARGUMENTS):
        raise ValueError(f"configs/coco_ahnpl.py:{arg}: it knows {ARGUMENTS}")
    config = demo() if "demo" in names else coco()
    for name in names:
        config.ahnpl.update(SETTINGS.get(name, {}))
    if "clip" in names:
        config.method, config.data.negatives = "clip", ""
    return config.lock()


def coco():
    """10 epochs of the 82,783 training pictures, one caption of each a time."""
    config = base()
    config.method, config.model.name = "ahnpl", "clip"
    config.model.init = "data/clip-vit-base-patch32"  # from Hugging Face; brings its tokenizer
    config.model.activation = "quick_gelu"
    config.model.embed_size = 512
    config.model.image.update(patch_size=32)
    config.model.text.update(layers=12, width=512, heads=8, mlp_width=2048, positions=77)
    config.data.dir = "data/tfds"
    config.data.update(source="tfds", name="coco_captions")
    config.data.negatives = "data/coco_negatives"
    config.data.update(image_size=224, crop_scale=(0.9, 1.0), flip_probability=0.0)
    config.data.rand_augment_operations = 0
    config.data.eval_crop = "center"  # as CLIP was trained to see
    config.data.update(max_words=77, max_tokens=77, add_sep=True, token_lengths=(16, 24, 32))
    config.batch_size = 128
    config.total_steps = 10 * 82_783 // 128
    config.optim.update(
        learning_rate=2e-5,
        warmup_learning_rate=0.0,
        warmup_steps=50,
        final_learning_rate=0.0,
        weight_decay=0.1,
        b2=0.98,
        eps=1e-6,
    )
    config.eval.every_steps = 82_783 // 128
    config.evals.hard_negatives = None  # COCO brings neither negatives nor boxes of words
    config.evals.grounding = None
    return config


def demo():
    """A model of 0.5 M parameters on Scenes at 60 px, with the negatives that Scenes brings."""
    config = base()
    config.method, config.model.name = "ahnpl", "clip"
    config.model.embed_size = 64
    config.model.scan_layers = False  # a little faster a step; few layers compile quickly anyway
    config.model.image.update(patch_size=10, layers=2, width=96, heads=4, mlp_width=384)
    config.model.text.update(layers=2, width=96, heads=4, mlp_width=384, positions=32)
    config.data.dir = "data/scenes"
    config.data.negatives = "own"
    swapped, replaced = ("attribute", "relation"), ("attribute", "object", "relation")
    config.data.negative_kinds = (
        *(f"swap_{what}" for what in swapped),
        *(f"replace_{what}" for what in replaced),
    )
    config.data.update(image_size=60, crop_scale=(0.9, 1.0))
    config.data.flip_probability = 0.0  # captions say left and right
    config.data.rand_augment_operations = 0  # and name colours
    config.data.update(max_tokens=20, max_words=24, add_sep=True)
    config.ahnpl.start_step = 150  # this model starts from nothing, not from CLIP's weights
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
    config.evals.grounding = None  # needs a fusion encoder
    config.evals.retrieval.rerank = 0
    return config
