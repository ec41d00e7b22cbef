"""Checks a configuration before anything is compiled; an error names the key and the reason.

A component checks its own keys, and only if it is in use.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import keys as keys_lib
from jaxvl.errors import UserError, require


def validate(config: ConfigDict, *, devices: int, processes: int) -> None:
    """Raises UserError naming a key that cannot work on so many devices in so many processes."""
    check_values(config)
    components = chosen(config)
    _check_batch(config, devices, processes)
    _check_sizes(config)
    for component in components:
        component.check(config)


def check_values(config: ConfigDict) -> None:
    """Raises UserError naming a key whose value has the wrong type or is out of range."""
    for name, key in keys_lib.flat(config_lib.keys()).items():
        *groups, last = name.split(".")
        group = config
        for part in groups:
            group = group[part]
            if group is None:  # the keys of an evaluator that is switched off
                break
        if group is not None:
            keys_lib.check_value(name, group[last], key)


def chosen(config: ConfigDict) -> list[Any]:
    """Returns the components that the configuration names.

    Raises UserError naming the key if there is no component of that name.
    """
    packages = config_lib.packages()
    evaluators = [name for name, keys in config.evals.items() if keys is not None]
    return [
        named(packages["method"], "method", config.method),
        named(packages["model.name"], "model.name", config.model.name),
        named(packages["loss.contrastive"], "loss.contrastive", config.loss.contrastive),
        named(packages["data.source"], "data.source", config.data.source),
        *(named(packages["evals"], f"evals.{name}", name) for name in evaluators),
    ]


def named(components: Mapping[str, Any], key: str, name: str) -> Any:
    """Returns the component called `name`.

    Raises UserError naming the key and the names that exist.
    """
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
        require(
            size % mesh == 0, f"{name}={size} is not divisible by the {mesh} devices of the mesh"
        )
    require(
        config.batch_size % processes == 0,
        f"batch_size={config.batch_size} is not divisible by the {processes} processes",
    )


def _check_stem(image: ConfigDict) -> None:
    patch, width = image.patch_size, image.width
    require(
        image.stem == "linear"
        or patch > 1
        and patch & (patch - 1) == 0
        and width % (patch // 2) == 0,
        f"model.image.stem='convolutions' needs a patch_size that is a power of 2 and a width that "
        f"is a multiple of half of it, not model.image.patch_size={patch} and "
        f"model.image.width={width}",
    )


def _check_sizes(config: ConfigDict) -> None:
    require(
        config.data.image_size % config.model.image.patch_size == 0,
        f"data.image_size={config.data.image_size} is not divisible by "
        f"model.image.patch_size={config.model.image.patch_size}",
    )
    _check_stem(config.model.image)
    for tower in ("image", "text"):
        sizes = config.model[tower]
        require(
            sizes.width % sizes.heads == 0,
            f"model.{tower}.width={sizes.width} is not divisible by "
            f"model.{tower}.heads={sizes.heads}",
        )
    require(
        config.data.max_tokens <= config.model.text.positions,
        f"data.max_tokens={config.data.max_tokens} exceeds "
        f"model.text.positions={config.model.text.positions}",
    )
    for name in ("crop_scale", "blur_sigma"):
        pair = tuple(config.data[name])
        require(
            len(pair) == 2 and pair[0] <= pair[1],
            f"data.{name}={pair} is not a pair (lowest, highest)",
        )
