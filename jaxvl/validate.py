"""Names what is wrong with a configuration before anything is compiled.

A component checks its own keys, and only where it is in use.
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import keys as keys_lib
from jaxvl.errors import UserError, require


def validate(config: ConfigDict, *, devices: int, processes: int) -> None:
    """Raises UserError naming the first key that cannot work on `devices` in `processes`."""
    check_values(config)
    components = chosen(config)
    _check_batch(config, devices, processes)
    _check_sizes(config)
    for component in components:
        component.check(config)


def check_values(config: ConfigDict) -> None:
    """Raises UserError naming a key whose value has a wrong type or is out of its range."""
    for name, key in keys_lib.flat(config_lib.keys()).items():
        *groups, last = name.split(".")
        group = config
        for part in groups:
            group = group[part]
            if group is None:  # an evaluator that is switched off
                break
        if group is not None:
            keys_lib.check_value(name, group[last], key)


def chosen(config: ConfigDict) -> list:
    """Returns the components that the configuration names.

    Raises UserError for a name that there is not.
    """
    from jaxvl.data.sources import SOURCES
    from jaxvl.evals import EVALUATORS
    from jaxvl.losses import CONTRASTIVE
    from jaxvl.methods import METHODS
    from jaxvl.models import MODELS

    evaluators = [name for name, keys in config.evals.items() if keys is not None]
    return [
        named(METHODS, "method", config.method),
        named(MODELS, "model.name", config.model.name),
        named(CONTRASTIVE, "loss.contrastive", config.loss.contrastive),
        named(SOURCES, "data.source", config.data.source),
        *(named(EVALUATORS, f"evals.{name}", name) for name in evaluators),
    ]


def named(components: Mapping, key: str, name: str):
    """Returns the component of that name. Raises UserError naming the key and those there are."""
    if name not in components:
        near = keys_lib.nearest(name, components)
        raise UserError(f"config: {key}={name!r} is not one of {', '.join(components)}{near}")
    return components[name]


def _check_batch(config: ConfigDict, devices: int, processes: int) -> None:
    data_axis = config.mesh.data
    if data_axis == -1:
        data_axis = devices // config.mesh.fsdp
    mesh = data_axis * config.mesh.fsdp
    require(
        mesh == devices,
        f"mesh.data={config.mesh.data} x mesh.fsdp={config.mesh.fsdp} does not cover the "
        f"{devices} devices",
    )
    for name, size in (
        ("batch_size", config.batch_size),
        ("eval.batch_size", config.eval.batch_size),
    ):
        require(size % mesh == 0, f"{name}={size} is not divided by the mesh of {mesh} devices")
    require(
        config.batch_size % processes == 0,
        f"batch_size={config.batch_size} is not divided by {processes} processes",
    )


def _check_sizes(config: ConfigDict) -> None:
    require(
        config.data.image_size % config.model.image.patch_size == 0,
        f"data.image_size={config.data.image_size} is not divided by "
        f"model.image.patch_size={config.model.image.patch_size}",
    )
    for tower in ("image", "text"):
        sizes = config.model[tower]
        require(
            sizes.width % sizes.heads == 0,
            f"model.{tower}.width={sizes.width} is not divided by "
            f"model.{tower}.heads={sizes.heads}",
        )
    require(
        config.data.max_tokens <= config.model.text.positions,
        f"data.max_tokens={config.data.max_tokens} exceeds "
        f"model.text.positions={config.model.text.positions}",
    )
    for low, high in (
        (config.data.crop_scale, "crop_scale"),
        (config.data.blur_sigma, "blur_sigma"),
    ):
        require(
            len(low) == 2 and low[0] <= low[1],
            f"data.{high}={tuple(low)} is not a pair (lowest, highest)",
        )
