"""The configuration: every key of the program and of its components; experiment files override.

Keys that belong to no component stand here. A component (a method, a model, a loss, a data source,
an evaluator) brings its own, beside its code. Library code reads keys and has no default of its
own; `jaxvl.validate` checks the values.
"""

from typing import Any

from ml_collections import ConfigDict

from jaxvl import keys as keys_lib
from jaxvl.keys import Key

TOP = {
    "seed": Key(0, "parameters, data order and every random draw follow from it", low=0),
    "method": Key("softmask", "what a step computes: a name in jaxvl.methods.METHODS"),
    "total_steps": Key(33_000, "updates until training ends", low=0),
    "batch_size": Key(512, "examples in a step, over all devices and processes", low=1),
}

DATA = {
    "source": Key("prepared", "where data comes from: a name in jaxvl.data.sources.SOURCES"),
    "dir": Key("", "the prepared data set, or the data_dir of a TFDS builder"),
    "split": Key("train", "split to train on"),
    "mixture": Key((), "((dir, weight), ...) of prepared data sets; replaces `dir` for training"),
    "image_size": Key(256, "side of the square that the model sees, in pixels", low=1),
    "eval_crop": Key(
        "none",
        "evaluation sees the whole image, or only the square in the middle, as CLIP's authors do",
        choices=("none", "center"),
    ),
    "crop_scale": Key(
        (0.2, 1.0), "share of the image's area kept by a random crop", above=0, high=1
    ),
    "flip_probability": Key(0.5, "of a mirror image; 0 where captions say left and right", 0, 1),
    "rand_augment_operations": Key(2, "operations of RandAugment on an image", low=0),
    "rand_augment_magnitude": Key(7, "strength of RandAugment, of 10", low=0, high=10),
    "rand_augment_probability": Key(0.5, "that an operation is applied", 0, 1),
    "color_jitter": Key(
        (0.4, 0.4, 0.4, 0.1), "largest change of brightness, contrast, saturation, hue", 0, 1
    ),
    "color_jitter_probability": Key(0.0, "that an image's colours are changed", 0, 1),
    "greyscale_probability": Key(0.0, "that an image loses its colours", 0, 1),
    "blur_sigma": Key((0.1, 2.0), "range of the blur, in pixels", above=0),
    "blur_probability": Key(0.0, "that an image is blurred", 0, 1),
    "tokenizer": Key("", "name, folder or tokenizer.json; empty: the one stored with the data"),
    "max_words": Key(30, "words of a caption that are read", low=1),
    "max_tokens": Key(25, "tokens of a caption that are read, with [CLS]", low=2),
    "add_sep": Key(False, "end a caption with [SEP]: the original ALBEF does not, CLIP must"),
    "token_lengths": Key(
        (),
        "CLIP: allowed text lengths in tokens, ascending; a batch uses the shortest that fits",
        low=1,
    ),
    "negatives": Key("", 'hard negatives: "" none, "own" the data set\'s, or a folder of them'),
    "negative_kinds": Key(
        ("relation", "adj_swap", "adj", "noun", "verb"), "kinds of hard negatives: K columns"
    ),
    "second_view": Key(False, "a second caption and another crop of each image"),
    "prefetch_batches": Key(4, "batches prepared ahead", low=1),
    "loader_threads": Key(2, "threads that read records", low=1),
}

_TOWER = {
    "layers": Key(12, "transformer layers", low=1),
    "width": Key(768, "width of a token", low=1),
    "heads": Key(12, "attention heads; they divide the width", low=1),
    "mlp_width": Key(3072, "hidden width of the feed-forward layers", low=1),
    "norm_epsilon": Key(0.0, "of LayerNorm; 0: the model's own", low=0, below=1),
}

MODEL = {
    "name": Key("albef", "a name in jaxvl.models.MODELS"),
    "init": Key("", "weights to start from; PATH,PATH where they come in parts; empty: random"),
    "allow_missing": Key((), "regular expressions of tensors that `init` may lack or leave over"),
    "embed_size": Key(256, "size of the embeddings that image and text share", low=1),
    "temperature": Key(0.07, "of the similarities, at the start; it is learned", above=0),
    "scan_layers": Key(True, "compile one layer instead of all; the parameters are the same"),
    "remat": Key(False, "recompute all but dense products in the backward pass: half the memory"),
    "product_dtype": Key(
        "float32",
        "inputs of matrix products; they accumulate in float32",
        choices=("float32", "bfloat16"),
    ),
    "activation_dtype": Key(
        "float32", "values between the products", choices=("float32", "bfloat16")
    ),
    "image": {
        "patch_size": Key(16, "side of a patch, in pixels; it divides the image size", low=1),
        **_TOWER,
    },
    "text": {
        **_TOWER,
        "layers": Key(6, "transformer layers of the text encoder", low=1),
        "vocabulary_size": Key(0, "token ids; 0: the tokenizer's", low=0),
        "positions": Key(512, "longest text that has position embeddings, in tokens", low=2),
    },
}

LOSS = {
    "contrastive": Key("softmax", "the contrastive loss: a name in jaxvl.losses.CONTRASTIVE"),
    "itc_chunk": Key(
        0, "keys at a time in the contrastive loss, which saves memory; 0: all", low=0
    ),
}

OPTIM = {
    "learning_rate": Key(1e-4, "of AdamW, after the warm-up", low=0),
    "warmup_learning_rate": Key(1e-5, "at step 0", low=0),
    "warmup_steps": Key(2_000, "steps of linear warm-up", low=0),
    "final_learning_rate": Key(1e-5, "at the end of the cosine, at total_steps", low=0),
    "weight_decay": Key(0.02, "none on biases, norms and the temperature", low=0),
    "b1": Key(0.9, "decay of the gradient's mean", low=0, below=1),
    "b2": Key(0.999, "decay of the squared gradient's mean", low=0, below=1),
    "eps": Key(1e-8, "added to the root of the squared mean", above=0),
    "clip_norm": Key(0.0, "largest global norm of the gradient; 0: no clipping", low=0),
    "ema_decay": Key(
        0.0, "of the running mean of the parameters, used in evaluation; 0: none", low=0, below=1
    ),
}

RUN = {
    "mesh": {
        "data": Key(-1, "devices that share the batch; -1: all that fsdp leaves", low=-1),
        "fsdp": Key(1, "devices that parameters and optimizer are sharded over", low=1),
    },
    "checkpoint": {
        "every_steps": Key(1_000, "steps from one checkpoint to the next; 0: only the last", low=0),
        "keep": Key(2, "newest checkpoints that are kept", low=1),
        "best_metric": Key(
            "retrieval/mean_recall", "the best checkpoint by this is kept too; empty: none"
        ),
    },
    "log": {
        "every_steps": Key(50, "steps from one log line to the next", low=1),
        "tensorboard": Key(True, "write event files for TensorBoard"),
        "panel_images": Key(
            4, "held-out images whose word heat-maps are drawn at each evaluation", low=0
        ),
    },
    "eval": {
        "every_steps": Key(
            5_000, "steps between evaluations, and after the last step; 0: never", low=0
        ),
        "split": Key("val", "split to evaluate on"),
        "batch_size": Key(64, "images at once, over all devices", low=1),
        "max_examples": Key(0, "images evaluated; 0: all", low=0),
    },
}


def keys() -> dict[str, Any]:
    """Returns the tree of all keys, those of every component among them (see jaxvl.keys)."""
    core = {**TOP, "data": DATA, "model": MODEL, "loss": LOSS, "optim": OPTIM, **RUN}
    return keys_lib.merged([core, *(component.keys for component in components())])


def components() -> list[Any]:
    """Returns every component of every package, in use or not."""
    from jaxvl.data.sources import SOURCES
    from jaxvl.evals import EVALUATORS
    from jaxvl.losses import CONTRASTIVE
    from jaxvl.methods import METHODS
    from jaxvl.models import MODELS

    packages = (SOURCES, MODELS, CONTRASTIVE, METHODS, EVALUATORS)
    return [component for package in packages for component in package.values()]


def base() -> ConfigDict:
    """Returns the ConfigDict of all keys, with the papers' values where they give one."""
    return ConfigDict(keys_lib.defaults(keys()))


def resolve(
    config: ConfigDict, *, vocabulary_size: int, mask_token: int, end_token: int = -1
) -> ConfigDict:
    """Returns a copy with what depends on the tokenizer filled in, where it was left open."""
    config = config.copy_and_resolve_references()
    if config.model.text.vocabulary_size == 0:
        config.model.text.vocabulary_size = vocabulary_size
    if config.model.text.mask_token == -1:
        config.model.text.mask_token = mask_token
    if config.model.text.end_token == -1:
        config.model.text.end_token = end_token
    return config
