"""Names what is wrong with a configuration before anything is compiled.

A key that belongs to one model or method is checked only where that one is used.
"""

from jaxvl.errors import UserError

# What a method trains.
MODEL_OF = {
    "albef": "albef",
    "softmask": "albef",
    "softmask_ahnpl": "albef",
    "clip": "clip",
    "ahnpl": "clip",
}


def validate(config, *, devices, processes):
    """Raises UserError naming the first key that cannot work on `devices` in `processes`."""
    _validate_choices(config)
    _validate_batch(config, devices, processes)
    _validate_sizes(config)
    if config.model.name == "albef":
        _validate_fusion(config)
    if config.model.name == "clip":
        _validate_end(config)
    else:
        _check(not config.data.token_lengths, "data.token_lengths is for model.name='clip' alone")
    if config.method in ("albef", "softmask", "softmask_ahnpl"):
        _validate_queue(config)
    if config.method in ("ahnpl", "softmask_ahnpl"):
        _validate_negatives(config)


def _validate_choices(config):
    from jaxvl.evals import BENCHMARKS, EVALUATORS
    from jaxvl.methods import METHODS
    from jaxvl.models import MODELS
    from jaxvl.models.layers import ACTIVATIONS

    choices = {
        "method": METHODS,
        "model.name": MODELS,
        "data.eval_crop": ("none", "center"),
        "model.activation": ACTIVATIONS,
        "model.product_dtype": ("float32", "bfloat16"),
        "model.activation_dtype": ("float32", "bfloat16"),
        "ahnpl.positive": ("cross", "intra"),
        "softmask.score": ("logit", "probability"),
        "softmask.focal_on": ("all", "target"),
    }
    for key, allowed in choices.items():
        value = config
        for part in key.split("."):
            value = value[part]
        _check(value in allowed, f"{key}={value!r} is not one of {', '.join(allowed)}")
    for name, keys in config.evals.items():
        _check(name in EVALUATORS, f"evals.{name} is not one of {', '.join(EVALUATORS)}")
        if name in BENCHMARKS and keys is not None:
            named = hasattr(keys, "keys") and set(keys) == {"annotations", "images"}
            _check(
                named and all(keys.values()),
                f"evals.{name} needs dict(annotations=FOLDER_OR_FILE, images=FOLDER)",
            )
    model = MODEL_OF.get(config.method, config.model.name)
    _check(
        config.model.name == model,
        f"method={config.method!r} trains model.name={model!r}, not {config.model.name!r}",
    )


def _validate_batch(config, devices, processes):
    data_axis = config.mesh.data
    if data_axis == -1:
        data_axis = devices // config.mesh.fsdp
    mesh = data_axis * config.mesh.fsdp
    _check(
        mesh == devices,
        f"mesh.data={config.mesh.data} x mesh.fsdp={config.mesh.fsdp} "
        f"does not cover the {devices} devices",
    )
    _check(
        config.batch_size > 0 and config.batch_size % mesh == 0,
        f"batch_size={config.batch_size} is not divided by the mesh of {mesh} devices",
    )
    _check(
        config.batch_size % processes == 0,
        f"batch_size={config.batch_size} is not divided by {processes} processes",
    )
    _check(
        config.eval.batch_size % mesh == 0,
        f"eval.batch_size={config.eval.batch_size} is not divided by the mesh of {mesh} devices",
    )


def _validate_sizes(config):
    _check(
        config.data.image_size % config.model.image.patch_size == 0,
        f"data.image_size={config.data.image_size} is not divided by "
        f"model.image.patch_size={config.model.image.patch_size}",
    )
    for tower in ("image", "text"):
        sizes = config.model[tower]
        _check(
            sizes.width % sizes.heads == 0,
            f"model.{tower}.width={sizes.width} is not divided by "
            f"model.{tower}.heads={sizes.heads}",
        )
    _check(
        config.data.max_tokens <= config.model.text.positions,
        f"data.max_tokens={config.data.max_tokens} exceeds "
        f"model.text.positions={config.model.text.positions}",
    )


def _validate_fusion(config):
    _check(
        0 <= config.softmask.layer < config.model.text.fusion_layers - 1,
        f"softmask.layer={config.softmask.layer} must be at least 0 and below "
        f"{config.model.text.fusion_layers - 1}: in the last fusion layer only [CLS] reaches "
        "the match score, so no other word would look at anything",
    )


def _validate_end(config):
    _check(
        config.data.add_sep,
        "data.add_sep=False: model.name='clip' reads a text's meaning off the token that ends it",
    )
    lengths = config.data.token_lengths
    _check(
        list(lengths) == sorted(set(lengths)) and min(lengths, default=1) > 0,
        f"data.token_lengths={lengths} are not ascending and above 0",
    )


def _validate_queue(config):
    _check(
        config.momentum.queue_size % config.batch_size == 0,
        f"momentum.queue_size={config.momentum.queue_size} is not divided by "
        f"batch_size={config.batch_size}",
    )
    _check(
        config.batch_size % config.loss.itm_negative_blocks == 0,
        f"loss.itm_negative_blocks={config.loss.itm_negative_blocks} does not divide "
        f"batch_size={config.batch_size}",
    )


def _validate_negatives(config):
    _check(
        config.ahnpl.positive == "cross" or config.method == "ahnpl" and config.data.second_view,
        "ahnpl.positive='intra' needs method='ahnpl' and data.second_view=True",
    )
    from jaxvl.methods.ahnpl import uses_negatives

    needed = config.method == "softmask_ahnpl" or uses_negatives(config.ahnpl)
    _check(
        config.data.negatives or not needed,
        f"data.negatives is empty and method={config.method!r} trains with hard negatives; give "
        "'own' or a folder that jaxvl negatives wrote",
    )
    _check(
        config.ahnpl.adaptive_cap >= 1,
        f"ahnpl.adaptive_cap={config.ahnpl.adaptive_cap} is below 1, the mean of the weights",
    )
    _check(
        0 <= config.ahnpl.alignment_decay < 1,
        f"ahnpl.alignment_decay={config.ahnpl.alignment_decay} is not in [0, 1)",
    )


def _check(holds, message):
    if not holds:
        raise UserError(f"config: {message}")
