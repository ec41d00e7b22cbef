"""Every key of the configuration with values that mean nothing: each is refused in one line.

    python tests/sweeps/odd_values.py

Prints how many values were tried, refused, accepted though they mean nothing, and how many ended in
another error than one line. Nothing is compiled. Which numbers mean something is said here by hand,
and not read from the ranges of the keys.
"""

import math
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
from ml_collections import ConfigDict

from jaxvl import config as config_lib
from jaxvl import keys as keys_lib
from jaxvl.errors import UserError
from jaxvl.training import experiment

MAY_BE_ZERO = (
    "seed total_steps data.rand_augment_operations data.rand_augment_magnitude "
    "model.image.norm_epsilon model.text.norm_epsilon model.text.vocabulary_size "
    "model.text.mask_token model.text.dropout model.text.end_token loss.itc_chunk "
    "loss.sigmoid_bias loss.itc_weight loss.itm_weight loss.itm_negative_blocks "
    "watchdog_seconds loss.mlm_weight loss.itm_hardness loss.itm_auto_rate "
    "optim.warmup_learning_rate optim.warmup_steps optim.final_learning_rate "
    "optim.weight_decay optim.b1 optim.b2 optim.clip_norm optim.ema_decay "
    "checkpoint.every_steps log.panel_images eval.every_steps eval.max_examples "
    "softmask.layer softmask.weight softmask.strength softmask.start_step softmask.auto_rate "
    "softmask.auto_mass softmask.auto_mass_weight softmask.focal_gamma momentum.decay "
    "momentum.queue_size momentum.distill momentum.distill_ramp_epochs evals.retrieval.rerank "
    "softmask.probability data.flip_probability data.rand_augment_probability "
    "data.color_jitter_probability data.greyscale_probability data.blur_probability "
    "data.color_jitter"
).split()
AHNPL_MAY_BE_ZERO = "ahnpl."  # each of its terms can be off
MAY_BE_NEGATIVE = (
    "model.text.mask_token model.text.end_token mesh.data loss.sigmoid_bias ahnpl.perturbation "
    "ahnpl.alignment_ease ahnpl.alignment_floor ahnpl.adaptive_beta"
).split()
RANGES = "data.crop_scale data.blur_sigma model.temperature_range loss.itm_auto_band".split()
RANGES += ["softmask.auto_band"]
PATHS = ("data.dir", "data.tokenizer", "model.init", "data.negatives", "data.name")


def odd_values(name: str, key: keys_lib.Key) -> list:
    """Returns values that mean nothing for a key."""
    default = key.default
    if default is None:
        return [5, "yes", [1], {"no such key": 1}, math.nan]
    others = [None, [1, 2], {"a": 1}, b"bytes"]
    if isinstance(default, bool):
        return [*others, 0, 1, "yes", "", math.nan]
    if isinstance(default, str):
        return [*others, 5, True, math.nan, "no such thing", "\x00", "../..", "\n"]
    if isinstance(default, tuple):
        return _odd_tuples(name, default)
    numbers = [math.nan, math.inf, -math.inf, 2**70, 1e300, "3", True]
    if name not in MAY_BE_NEGATIVE:
        numbers += [-1, -0.5, -1e-9]
    if name not in MAY_BE_ZERO and not name.startswith(AHNPL_MAY_BE_ZERO):
        numbers += [type(default)(0)]
    if isinstance(default, int):
        numbers += [1.5, -2, "1"]
    return [*others, *numbers]


def _odd_tuples(name, default):
    size = len(default) or 1
    odd = [5, "text", None, {"a": 1}, (None,) * size, (math.nan,) * size, ((),) * size]
    if name == "data.mixture":
        odd += [(("a", -1.0),), (("a", 0.0),), (("a", math.inf),), (("a",),), ("a",), ((1, "a"),)]
    elif name == "model.allow_missing":
        odd += [("[",), (1,), ("(",), ("",)]
    elif name == "data.negative_kinds":
        odd += [(1,), ("",)]
    else:
        odd += [(-1,) * size, ("a",) * size, (2**70,) * size, (math.inf,) * size]
        odd += [default * 2] if default else [(1.5,)]
        odd += [default[::-1]] if name in RANGES else []
        odd += [()] if default else []
    return odd


def with_value(config: ConfigDict, name: str, value: object) -> ConfigDict:
    """Returns the configuration with another value, whatever its type."""
    nested = config.to_dict()
    *groups, last = name.split(".")
    group = nested
    for part in groups:
        group[part] = {} if group[part] is None else group[part]
        group = group[part]
    group[last] = value
    return ConfigDict(nested)


def open_everything(config: ConfigDict) -> None:
    """Opens what training needs, up to the first compilation."""
    basis = experiment.open_basis(config)
    if basis.config.model.init:
        experiment.load.load(basis.config, model=basis.model, mesh=basis.mesh)
    experiment.open_batches(basis)
    experiment.open_held_out(basis)


def sweep(config: ConfigDict, names: list[str]) -> dict[str, list[str]]:
    """Tries all odd values. Returns {"refused", "accepted", "another error": lines}."""
    found: dict[str, list[str]] = {"refused": [], "accepted": [], "another error": []}
    keys = keys_lib.flat(config_lib.keys())
    for name in names:
        for value in odd_values(name, keys[name]):
            shown = f"{name}={value!r:.60}"
            try:
                open_everything(with_value(config, name, value))
            except UserError as error:
                kind = "another error" if "\n" in str(error) else "refused"
                found[kind].append(f"{shown}: {error}")
            except Exception as error:
                found["another error"].append(f"{shown}: {type(error).__name__}: {error}")
            else:
                found["accepted"].append(shown)
    return found


def experiments(data: str) -> list[tuple[ConfigDict, list[str]]]:
    """Returns (a small experiment that works, keys that it uses); together all keys."""
    names = list(keys_lib.flat(config_lib.keys()))
    fused, clip = (_small(data, method, model) for method, model in METHODS)
    of_clip = ("ahnpl.", "model.activation", "model.text.end_token", "data.token_lengths")
    sigmoid = _small(data, *METHODS[1])
    sigmoid.loss.contrastive = "sigmoid"
    others = [n for n in names if not n.startswith((*of_clip, "loss.sigmoid_bias", "data.name"))]
    mine = [n for n in names if n.startswith(of_clip)]
    return [(fused, others), (clip, mine), (sigmoid, ["loss.sigmoid_bias"])]


METHODS = (("softmask", "albef"), ("ahnpl", "clip"))


def _small(data, method, model):
    config = config_lib.base()
    config.method, config.model.name = method, model
    config.batch_size, config.eval.batch_size, config.total_steps = 8, 8, 4
    config.data.update(dir=data, image_size=32, max_tokens=12, add_sep=model == "clip")
    if model == "clip":
        config.data.update(negatives="own", negative_kinds=("replace_object", "swap_attribute"))
    config.model.image.update(patch_size=16, layers=1, width=16, heads=2, mlp_width=32)
    config.model.text.update(
        layers=1, fusion_layers=4, width=16, heads=2, mlp_width=32, positions=16
    )
    config.momentum.queue_size = 16
    return config


def main() -> int:
    """Returns the exit code: 0 if everything was refused in one line."""
    from jaxvl.data import scenes, store

    with tempfile.TemporaryDirectory() as folder:
        counts = {"train": 40, "val": 8}
        splits = {
            name: scenes.generate(split=name, count=count, size=32, seed=0, workers=1)
            for name, count in counts.items()
        }
        data = str(Path(folder) / "scenes")
        store.write(data, kind="scenes", splits=splits, counts=counts, meta={}, vocabulary_size=200)
        total: dict[str, list[str]] = {}
        for config, names in experiments(data):
            open_everything(config)
            for kind, lines in sweep(config, names).items():
                total.setdefault(kind, []).extend(lines)
    for kind in ("accepted", "another error"):
        for line in total[kind]:
            print(f"{kind}: {line}")
    tried = sum(map(len, total.values()))
    print(
        f"{tried} values of {len(keys_lib.flat(config_lib.keys()))} keys on {jax.device_count()} "
        f"device: {len(total['refused'])} refused in one line, {len(total['accepted'])} accepted, "
        f"{len(total['another error'])} other errors"
    )
    return int(bool(total["accepted"] or total["another error"]))


if __name__ == "__main__":
    sys.exit(main())
