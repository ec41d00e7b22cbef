"""Checks a configuration before anything is compiled; an error names the key and the reason.

A component checks its own keys, and only if it is in use.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import keys as keys_lib
from jaxvl import paths
from jaxvl.errors import UserError, require


def validate(config: ConfigDict, *, devices: int, processes: int) -> None:
    """Raises UserError naming a key that cannot work on so many devices in so many processes."""
    check_values(config)
    components = chosen(config)
    _check_batch(config, devices, processes)
    _check_sizes(config)
    _check_loss(config)
    _check_names(config)
    _check_places(config)
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


def _check_loss(config: ConfigDict) -> None:
    """Raises UserError where the loss would be constant, so that nothing is learned."""
    require(
        config.batch_size > 1,
        f"batch_size={config.batch_size} is not at least 2: an image and its caption need others "
        "to be told from, else the loss is constant",
    )
    if config.model.name != "albef":
        return
    loss, weights = config.loss, ("itc_weight", "itm_weight", "mlm_weight")
    require(
        any(loss[name] > 0 for name in weights),
        f"{', '.join(f'loss.{name}' for name in weights)} are all 0: the loss is constant",
    )
    require(
        loss.mlm_weight == 0 or loss.mask_probability > 0,
        "loss.mask_probability=0.0 hides no word, so the loss of hidden words is constant; set it "
        "above 0, or loss.mlm_weight to 0",
    )


def _check_names(config: ConfigDict) -> None:
    """Raises UserError for a name, a pattern or a mixture that means nothing."""
    metric, evaluators = config.checkpoint.best_metric, config_lib.packages()["evals"]
    require(
        not metric or metric.partition("/")[0] in evaluators and metric.partition("/")[2],
        f"checkpoint.best_metric={metric!r} is not EVALUATOR/METRIC, such as "
        f"'retrieval/mean_recall'; evaluators are {', '.join(evaluators)}",
    )
    for pattern in config.model.allow_missing:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(
                f"config: model.allow_missing: {pattern!r} is no regular expression: {error}"
            ) from None
    for part in config.data.mixture:
        require(
            _is_weighted(part), f"data.mixture: {part!r} is not (directory, weight above 0, finite)"
        )
    for name, keys in config.evals.items():
        require(
            keys is None or isinstance(keys, ConfigDict),
            f"evals.{name}={keys!r} is not None, and evals.{name} needs dict(...) of its keys",
        )


def _check_places(config: ConfigDict) -> None:
    """Raises UserError naming a key with a place that jaxvl cannot use, such as ftp://host/data."""
    data = config.data
    keys = {f"data.{name}": [data[name]] for name in ("dir", "tokenizer", "negatives")}
    keys["data.mixture"] = [directory for directory, _ in data.mixture]
    keys["model.init"] = [path.strip() for path in config.model.init.split(",")]
    for name, group in config.evals.items():
        for key in ("annotations", "images"):
            keys[f"evals.{name}.{key}"] = [group[key]] if group and key in group else []
    for key, places in keys.items():
        for place in places:
            paths.check(f"config: {key}", place)


def _is_weighted(part: object) -> bool:
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        return False
    directory, weight = part
    is_number = type(weight) in (int, float) and math.isfinite(weight)
    return isinstance(directory, str) and directory != "" and is_number and 0 < weight <= 1e6


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
    least = 2 + config.data.add_sep
    require(
        config.data.max_tokens >= least,
        f"data.max_tokens={config.data.max_tokens} is not at least {least}: no word has room "
        f"beside [CLS]{' and [SEP]' if config.data.add_sep else ''}",
    )
    require(
        config.data.max_tokens <= config.model.text.positions,
        f"data.max_tokens={config.data.max_tokens} exceeds "
        f"model.text.positions={config.model.text.positions}",
    )
