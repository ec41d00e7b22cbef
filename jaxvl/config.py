"""The configuration: every key of the program and of its components, with its default.

This file defines the keys that belong to no component. A component (a method, a model, a loss, a
data source, an evaluator) defines its own keys next to its code. An experiment file starts from
`base()` and overrides some of them. Other code reads keys and has no defaults of its own.
`jaxvl.validate` checks the values.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxvl import keys as keys_lib
from jaxvl.data.text.words import WORDS
from jaxvl.keys import Key

TOP = {
    "seed": Key(0, "seed of the initial parameters, the data order and every random draw", low=0),
    "method": Key("softmask", "the training method: a name in jaxvl.methods.METHODS"),
    "total_steps": Key(33_000, "training steps", low=0),
    "batch_size": Key(512, "examples in a step, on all devices together", low=1, high=10**7),
}

DATA = {
    "source": Key("prepared", "kind of data set: a name in jaxvl.data.sources.SOURCES"),
    "dir": Key("", "directory of the prepared data set, or data_dir of a TFDS builder"),
    "split": Key("train", "split to train on"),
    "mixture": Key((), "((dir, weight), ...): prepared data sets to train on instead of `dir`"),
    "image_size": Key(256, "side of the square image that the model sees, in pixels", 1, 8192),
    "eval_crop": Key(
        "none",
        "what evaluation sees: the whole image, or the square in its centre, as CLIP's authors do",
        choices=("none", "center"),
    ),
    "crop_scale": Key(
        (0.2, 1.0), "share of the image's area that a random crop keeps", low=0.01, high=1
    ),
    "flip_probability": Key(
        0.5, "probability of mirroring an image; set 0 if captions say left and right", 0, 1
    ),
    "rand_augment_operations": Key(2, "operations of RandAugment per image", 0, 100),
    "rand_augment_magnitude": Key(7, "strength of RandAugment", low=0, high=10),
    "rand_augment_probability": Key(0.5, "probability of each of these operations", 0, 1),
    "color_jitter": Key(
        (0.4, 0.4, 0.4, 0.1), "largest change of brightness, contrast, saturation and hue", 0, 1
    ),
    "color_jitter_probability": Key(0.0, "probability of changing the colours of an image", 0, 1),
    "greyscale_probability": Key(0.0, "probability of making an image greyscale", 0, 1),
    "blur_sigma": Key(
        (0.1, 2.0), "range of the blur's standard deviation, in pixels", high=100, above=0
    ),
    "blur_probability": Key(0.0, "probability of blurring an image", 0, 1),
    "tokenizer": Key(
        "", "name, folder or tokenizer.json; empty: the tokenizer stored with the data"
    ),
    "words": Key(
        "",
        "how words are found: between blanks, or by a segmenter; empty: as stored with the data",
        choices=("", *WORDS),
    ),
    "max_words": Key(30, "words of a caption that are read at most", low=1),
    "max_tokens": Key(25, "tokens of a caption that are read at most, [CLS] included", low=2),
    "add_sep": Key(False, "end a caption with [SEP]; CLIP needs it, ALBEF was trained without"),
    "token_lengths": Key(
        (),
        "CLIP: allowed text lengths in tokens, ascending; each batch uses the shortest that fits",
        low=1,
        items=int,
    ),
    "negatives": Key(
        "", 'hard negatives: "" for none, "own" for those of the data set, or a folder of them'
    ),
    "negative_kinds": Key(
        ("relation", "adj_swap", "adj", "noun", "verb"), "kinds of hard negatives, one column each"
    ),
    "second_view": Key(False, "add a second caption and a second crop of each image"),
    "prefetch_batches": Key(4, "batches that are prepared in advance", 1, 1000),
    "loader_threads": Key(2, "threads that read records", 1, 1000),
}

_TOWER = {
    "layers": Key(12, "transformer layers", 1, 1000),
    "width": Key(768, "width of a token", 1, 2**17),
    "heads": Key(12, "attention heads; the width must be a multiple of them", 1, 2**17),
    "mlp_width": Key(3072, "hidden width of the feed-forward layers", 1, 2**20),
    "norm_epsilon": Key(
        0.0, "epsilon of LayerNorm; 0: the published one of the model", low=0, below=1
    ),
}

MODEL = {
    "name": Key("albef", "the model: a name in jaxvl.models.MODELS"),
    "init": Key(
        "", "weights to start from, PATH,PATH if they come in parts; empty: random weights"
    ),
    "allow_missing": Key(
        (), "regular expressions of tensors that `init` may lack or may have in excess", items=str
    ),
    "embed_size": Key(256, "size of the embeddings of image and text", 1, 2**17),
    "temperature": Key(
        0.07, "temperature of the contrastive loss at the start; it is learned", above=0
    ),
    "scan_layers": Key(
        True, "compile one layer instead of all of them; the parameters are the same"
    ),
    "remat": Key(
        False, "recompute all but dense products in the backward pass, which halves the memory"
    ),
    "product_dtype": Key(
        "float32",
        "type of the inputs of matrix products, which accumulate in float32",
        choices=("float32", "bfloat16"),
    ),
    "activation_dtype": Key(
        "float32", "type of the values between the products", choices=("float32", "bfloat16")
    ),
    "image": {
        "patch_size": Key(
            16, "side of a patch, in pixels; the image size must be a multiple of it", 1, 8192
        ),
        "stem": Key(
            "linear",
            "what makes a token of a patch: a linear map, or convolutions, which see the patches "
            "beside it too",
            choices=("linear", "convolutions"),
        ),
        **_TOWER,
    },
    "text": {
        **_TOWER,
        "layers": Key(6, "transformer layers of the text encoder", 1, 1000),
        "vocabulary_size": Key(0, "number of token ids; 0: that of the tokenizer", 0, 10**7),
        "positions": Key(
            512, "longest possible text, in tokens: the number of position embeddings", 2, 10**5
        ),
    },
}

LOSS = {
    "contrastive": Key("softmax", "the contrastive loss: a name in jaxvl.losses.CONTRASTIVE"),
    "same_caption": Key(
        "positive",
        "an image and the caption of another one, where that caption is the image's own word for "
        "word: positive, they belong together in all losses; negative, as in the papers",
        choices=("positive", "negative"),
    ),
    "itc_chunk": Key(
        0, "keys at a time in the contrastive loss, which saves memory; 0: all", low=0
    ),
}

OPTIM = {
    "learning_rate": Key(1e-4, "learning rate of AdamW at the end of the warm-up", high=1, above=0),
    "warmup_learning_rate": Key(1e-5, "learning rate at step 0", 0, 1),
    "warmup_steps": Key(2_000, "steps of linear warm-up", low=0),
    "final_learning_rate": Key(1e-5, "learning rate at total_steps, the end of the cosine", 0, 1),
    "weight_decay": Key(
        0.02, "weight decay of AdamW; biases, norms and the temperature have none", 0, 10
    ),
    "decay_temperature": Key(
        False, "weight decay acts on ALBEF's temperature too, as in its released code"
    ),
    "b1": Key(0.9, "decay of the running mean of the gradient", low=0, below=1),
    "b2": Key(0.999, "decay of the running mean of the squared gradient", low=0, below=1),
    "eps": Key(
        1e-8,
        "is added to the root of the second of these means, against division by 0",
        high=1,
        above=0,
    ),
    "clip_norm": Key(0.0, "largest global norm of the gradient; 0: no clipping", low=0),
    "ema_decay": Key(
        0.0,
        "decay of the running mean of the parameters, which evaluation uses; 0: none",
        low=0,
        below=1,
    ),
}

RUN = {
    "watchdog_seconds": Key(
        45,
        "several processes: all end when one makes no step for so long, or is silent; 0: never",
        low=0,
    ),
    "mesh": {
        "data": Key(-1, "devices that share the batch; -1: all devices, divided by fsdp", low=-1),
        "fsdp": Key(1, "devices that share the parameters and the optimizer's state", low=1),
    },
    "checkpoint": {
        "every_steps": Key(1_000, "steps between checkpoints; 0: only at the end", low=0),
        "keep": Key(2, "number of newest checkpoints that are kept", low=1),
        "best_metric": Key(
            "retrieval/mean_recall",
            "the checkpoint with the highest value is kept too; empty: none",
        ),
    },
    "log": {
        "every_steps": Key(50, "steps between log lines", low=1),
        "tensorboard": Key(True, "write event files for TensorBoard"),
        "panel_images": Key(
            4, "held-out images whose word heat-maps each evaluation draws", 0, 1000
        ),
    },
    "eval": {
        "every_steps": Key(
            5_000, "steps between evaluations; one more comes after the last step; 0: never", low=0
        ),
        "split": Key("val", "split to evaluate on"),
        "batch_size": Key(64, "images at a time, on all devices together", 1, 10**7),
        "max_examples": Key(0, "images that are evaluated at most; 0: all", low=0),
    },
}


def packages() -> dict[str, Mapping[str, Any]]:
    """Returns {key that names a component: all components of that package by name}."""
    from jaxvl.data.sources import SOURCES
    from jaxvl.evals import EVALUATORS
    from jaxvl.losses import CONTRASTIVE
    from jaxvl.methods import METHODS
    from jaxvl.models import MODELS

    return {
        "data.source": SOURCES,
        "model.name": MODELS,
        "loss.contrastive": CONTRASTIVE,
        "method": METHODS,
        "evals": EVALUATORS,
    }


def keys() -> dict[str, Any]:
    """Returns the tree of all keys (see jaxvl.keys), those of unused components included."""
    core = {**TOP, "data": DATA, "model": MODEL, "loss": LOSS, "optim": OPTIM, **RUN}
    components = [one for package in packages().values() for one in package.values()]
    return keys_lib.merged([core, *(component.keys for component in components)])


def base() -> ConfigDict:
    """Returns a ConfigDict of all keys; a default is the published value, if there is one."""
    return ConfigDict(keys_lib.defaults(keys()))


def resolve(
    config: ConfigDict, *, vocabulary_size: int, mask_token: int, end_token: int = -1
) -> ConfigDict:
    """Returns a copy in which the open token ids of config.model.text are filled in.

    vocabulary_size, mask_token, end_token: those of the tokenizer; a value that the configuration
    gives stays.
    """
    config = config.copy_and_resolve_references()
    if config.model.text.vocabulary_size == 0:
        config.model.text.vocabulary_size = vocabulary_size
    if config.model.text.mask_token == -1:
        config.model.text.mask_token = mask_token
    if config.model.text.end_token == -1:
        config.model.text.end_token = end_token
    return config
