"""Starting weights: `model.init` read onto the mesh, each parameter straight to its shards.

What was loaded, newly made and left over is a Report; what nobody allowed stops the run.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jaxvl import checkpoint, sharding, workdir
from jaxvl.errors import UserError
from jaxvl.interop import names
from jaxvl.interop.weights import open_weights, tokenizer_of
from jaxvl.models import MODELS, bert, clip, vit

POSITIONS = "image/embedding/positions"
EPSILONS = {  # what norm_epsilon = 0 stands for
    "albef": {"image": vit.EPSILON, "text": bert.EPSILON},
    "clip": {"image": clip.EPSILON, "text": clip.EPSILON},
}
OWN_SETTINGS = ("name", "activation", "embed_size", "image", "text")  # of config.model
FREE_SETTINGS = (
    "model.text.dropout",
    "model.text.mask_token",
    "data.image_size",
    "data.eval_crop",
)
SHOWN = 6  # names in an error; the rest are counted


class Report(NamedTuple):
    """What became of every tensor: lists of (parameter, source), parameters, (name, source).

    unread: (what, how many tensors, why) of the state of the file's own training.
    """

    loaded: list
    interpolated: list
    new: list
    left_over: list
    unread: list
    notes: list


def paths_of(init):
    """Returns the paths in `model.init`."""
    return [path.strip() for path in init.split(",") if path.strip()]


def is_own(path):
    """Whether it is the working directory of a run of ours, or what `jaxvl convert` wrote."""
    return (Path(path) / "checkpoints").is_dir()


def tokenizer_of_init(init):
    """Returns the path of the tokenizer that comes with `model.init`, "" where none does."""
    for path in paths_of(init):
        if is_own(path):
            data = workdir.load_config(path).data
            return data.tokenizer or data.dir or (data.mixture[0][0] if data.mixture else "")
        if tokenizer_of(path):
            return tokenizer_of(path)
    return ""


def load(config, *, model, mesh):
    """Returns (params, Report) of config.model.init, for the Model of this configuration.

    Raises UserError for what cannot be read, for sizes other than the run's, and for tensors that
    are missing or left over and not named in model.allow_missing.
    """
    paths = paths_of(config.model.init)
    for path in paths:
        if not Path(path).exists():
            raise UserError(
                f"config: model.init={path!r} cannot be read; it can be a folder or file of "
                "PyTorch weights, the working directory of a jaxvl run, or empty"
            )
    if any(map(is_own, paths)):
        if len(paths) > 1:
            raise UserError(f"config: model.init={config.model.init!r}: a jaxvl run stands alone")
        return _load_own(config, paths[0], model=model, mesh=mesh)
    return load_weights(config, [open_weights(path) for path in paths], model=model, mesh=mesh)


def _load_own(config, path, *, model, mesh):
    stored = workdir.load_config(path)
    settings = workdir.flat({key: stored.model[key] for key in OWN_SETTINGS}, "model.")
    _check_sizes(config, path, settings)
    params, _ = checkpoint.restore_params(
        path, model=MODELS[stored.model.name].make(stored), mesh=mesh
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    wanted = names.flatten(shapes)
    placed = names.flatten(sharding.shardings(shapes, model.partition_rules, mesh=mesh))
    changed = []

    def fit(key_path, leaf):
        name = sharding.path_name(key_path)
        if name != POSITIONS or leaf.shape == wanted[name].shape:
            return leaf
        changed.append((name, path))
        return _place(_interpolated(np.asarray(leaf), wanted[name]), placed[name])

    params = jax.tree_util.tree_map_with_path(fit, params)
    loaded = [(name, path) for name in wanted if (name, path) not in changed]
    return params, Report(loaded, changed, [], [], [], [])


def load_weights(config, sources, *, model, mesh):
    """Returns (params, Report) of opened Weights; see `load`."""
    for source in sources:
        _check_sizes(config, source.path, source.settings)
        _check_layers(config, source)
    tree = jax.eval_shape(model.init, jax.random.key(0))
    shapes = names.flatten(tree)
    placed = names.flatten(sharding.shardings(tree, model.partition_rules, mesh=mesh))
    found, report = _assign(config, sources, shapes)
    leaves = _draw(model, report.new, placed, seed=config.seed)
    for path, (rule, source) in tqdm(found.items(), "reading weights", leave=False, disable=None):
        array = _read(rule, source, shapes[path])
        if path == POSITIONS and array.shape != shapes[path].shape:
            array = _interpolated(array, shapes[path])
            report.interpolated.append((path, source.path))
        else:
            report.loaded.append((path, source.path))
        leaves[path] = _place(array, placed[path])
    params = jax.tree_util.tree_map_with_path(
        lambda path, _: leaves[sharding.path_name(path)], tree
    )
    return params, report


def _assign(config, sources, shapes):
    """Returns ({our path: (Rule, Weights)}, the Report so far); raises where it is not allowed."""
    found, absent, left_over, unread = {}, {}, [], []
    for source in sources:
        layout = source.layout(config.model)
        names.check_copies(source.tensors, layout)
        has, lacks, left = names.match(source.tensors, layout, shapes)
        both = sorted(set(has) & set(found))
        if both:
            raise UserError(
                f"config: {found[both[0]][1].path} and {source.path} both have {both[0]}"
            )
        found |= {path: (rule, source) for path, rule in has.items()}
        absent |= {path: lacked for path, lacked in lacks.items() if lacked}
        for pattern, (what, why) in source.training.items():
            state = [name for name in left if re.search(pattern, name)]
            left = [name for name in left if name not in state]
            if state:
                unread.append((what, len(state), why))
        left_over += [(name, source.path) for name in left]
    missing = {path: absent.get(path, ()) for path in shapes if path not in found}
    _check_allowed(config, missing, left_over)
    notes = [f"{source.path}: {note}" for source in sources for note in _notes(config, source)]
    return found, Report([], [], list(missing), left_over, unread, notes)


def _notes(config, source):
    crop = source.settings.get("data.eval_crop", config.data.eval_crop)
    if crop == config.data.eval_crop:
        return source.notes
    return (*source.notes, f"it was made for data.eval_crop={crop!r}, which is not this run's")


def _check_allowed(config, missing, left_over):
    allowed = re.compile("|".join(config.model.allow_missing) or r"(?!)")
    wrong = [
        path + (f" ({lacked[0]} is absent)" if lacked else "")
        for path, lacked in missing.items()
        if not allowed.search(path)
    ]
    extra = [name for name, _ in left_over if not allowed.search(name)]
    if wrong or extra:
        told = [
            f"{what} {_some(items)}"
            for what, items in (("missing:", wrong), ("left over:", extra))
            if items
        ]
        raise UserError(
            f"config: model.init={config.model.init!r}: {'; '.join(told)}. Regular expressions in "
            "model.allow_missing name what may be newly drawn or not used"
        )


def _some(items):
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def _check_sizes(config, path, settings):
    here = workdir.flat(config)
    differ = {
        key: value
        for key, value in settings.items()
        if key not in FREE_SETTINGS
        and _effective(config, key, here[key]) != _effective(config, key, value)
    }
    if differ:
        told = ", ".join(
            f"{key} is {value!r} there and {here[key]!r} here" for key, value in differ.items()
        )
        fits = " ".join(f"--config.{key}={value}" for key, value in differ.items())
        raise UserError(
            f"config: model.init={path!r} does not fit this run: {told}; it fits with {fits}"
        )


def _effective(config, key, value):
    if key.endswith("norm_epsilon") and value == 0 and config.model.name in EPSILONS:
        return EPSILONS[config.model.name][key.split(".")[1]]
    return value


def _check_layers(config, source):
    text = config.model.text
    if source.layers is not None and source.layers < text.layers + text.fusion_layers:
        raise UserError(
            f"config: model.init={source.path!r} has {source.layers} layers, model.text.layers="
            f"{text.layers} and model.text.fusion_layers={text.fusion_layers} need "
            f"{text.layers + text.fusion_layers}; it fits where they sum to {source.layers} or less"
        )


def _read(rule, source, shape):
    if rule.ours == POSITIONS:
        array = np.asarray(source.tensors[rule.theirs[0]])
        shape = jax.ShapeDtypeStruct((1, *array.shape[-2:]), np.float32)
    try:
        return names.read(rule, source.tensors, shape=shape.shape)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from None


def _interpolated(array, wanted):
    if array.shape[-1] != wanted.shape[-1]:
        raise UserError(f"{POSITIONS} of shape {array.shape} does not fit {wanted.shape}")
    try:
        return np.asarray(vit.interpolate_positions(array, wanted.shape[1]))
    except ValueError as error:
        raise UserError(f"{POSITIONS}: {error}") from None


def _place(array, where):
    return jax.make_array_from_callback(array.shape, where, lambda index: array[index])


def _draw(model, paths, placed, *, seed):
    """Returns {path: newly drawn parameter}, as a run from nothing would have it."""

    def draw(key):
        drawn = names.flatten(model.init(key))
        return {path: drawn[path] for path in paths}

    if not paths:
        return {}
    return jax.jit(draw, out_shardings={p: placed[p] for p in paths})(jax.random.key(seed))


def table(report):
    """Returns the report as lines: groups of what was loaded, each of what was not."""
    groups = Counter((path.partition("/")[0], source) for path, source in report.loaded)
    rows = [("loaded", f"{group}: {n} arrays", source) for (group, source), n in groups.items()]
    rows += [("interpolated", path, source) for path, source in report.interpolated]
    rows += [("new", path, "drawn from the seed") for path in report.new]
    rows += [("left over", name, source) for name, source in report.left_over]
    rows += [("not read", f"{what}: {n} tensors", why) for what, n, why in report.unread]
    width = max((len(what) for _, what, _ in rows), default=0)
    lines = [f"  {state:12}  {what:{width}}  {where}" for state, what, where in rows]
    return "\n".join(["starting weights", *lines, *(f"  note: {note}" for note in report.notes)])
