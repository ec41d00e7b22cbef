"""Starting weights: `model.init` read onto the mesh, each parameter directly to its shards.

A Report tells which parameters were loaded or newly drawn and which tensors were left over. A
missing parameter or a left-over tensor stops the run, unless `model.allow_missing` names it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict
from tokenizers import Tokenizer
from tqdm import tqdm

from jaxvl import checkpoint, paths, sharding, workdir
from jaxvl.errors import UserError
from jaxvl.interop import fitting, names
from jaxvl.interop.kinds import epsilons_of, open_weights, tokenizer_of
from jaxvl.interop.weights import Settings, Weights
from jaxvl.models import MODELS, vit
from jaxvl.types import Model, Params

POSITIONS = "image/embedding/positions"
OWN_SETTINGS = ("name", "activation", "embed_size", "image", "text")  # of config.model
FREE_SETTINGS = ("model.text.dropout", "model.text.mask_token")  # of these a run may have others


class Report(NamedTuple):
    """What became of every tensor.

    loaded, interpolated: (our path, file). new: our paths that were drawn from the seed. left_over:
    (their name, file). unread: (what, how many tensors, why) of the state of the file's own
    training. notes: lines for the user.
    """

    loaded: list[tuple[str, str]]
    interpolated: list[tuple[str, str]]
    new: list[str]
    left_over: list[tuple[str, str]]
    unread: list[tuple[str, int, str]]
    notes: list[str]


def paths_of(init: str) -> list[str]:
    """Returns the paths in `model.init`."""
    return [path.strip() for path in init.split(",") if path.strip()]


def is_own(path: Path | str) -> bool:
    """Returns whether it is the working directory of a jaxvl run or of `jaxvl convert`."""
    return (paths.of(path) / "checkpoints").is_dir()


def tokenizer_of_init(init: str) -> str:
    """Returns the path of the tokenizer that comes with `model.init`, "" where none does."""
    for path in paths_of(init):
        if is_own(path):
            if (paths.of(path) / workdir.TOKENIZER).is_file():
                return str(paths.of(path) / workdir.TOKENIZER)
            data = workdir.load_config(path).data
            return data.tokenizer or data.dir or (data.mixture[0][0] if data.mixture else "")
        if tokenizer_of(path):
            return tokenizer_of(path)
    return ""


def load(
    config: ConfigDict, *, model: Model, mesh: Mesh, tokenizer: Tokenizer | None = None
) -> tuple[Params, Report]:
    """Returns the parameters that config.model.init names, for the model of this configuration.

    tokenizer: that of the run, which must be the one that the weights have learned.
    Raises UserError for what cannot be read, for sizes other than the run's, and for tensors that
    are missing or left over and not named in model.allow_missing.
    """
    places = paths_of(config.model.init)
    for path in places:
        if not paths.of(path).exists():
            raise UserError(
                f"config: model.init={path!r} cannot be read; it can be a folder or file of "
                "PyTorch weights, the working directory of a jaxvl run, or empty"
            )
    if any(map(is_own, places)):
        if len(places) > 1:
            raise UserError(
                f"config: model.init={config.model.init!r}: a jaxvl run cannot be one of several"
            )
        if tokenizer:
            fitting.check_own(places[0], tokenizer)
        return _load_own(config, places[0], model=model, mesh=mesh)
    sources = [open_weights(path) for path in places]
    if tokenizer:
        for source in sources:
            fitting.check(source, tokenizer)
    return load_weights(config, sources, model=model, mesh=mesh)


def _load_own(config: ConfigDict, path: str, *, model: Model, mesh: Mesh) -> tuple[Params, Report]:
    stored = workdir.load_config(path)
    settings = workdir.flat({key: stored.model[key] for key in OWN_SETTINGS}, "model.")
    _check_sizes(config, path, settings)
    own, _ = checkpoint.restore_params(
        path, model=MODELS[stored.model.name].make(stored), mesh=mesh
    )
    found, target = names.flatten(own), _Target(config, model, mesh)
    new = [name for name in target.shapes if name not in found]
    left_over = [(name, path) for name in found if name not in target.shapes]
    _check_allowed(config, dict.fromkeys(new, ()), left_over)
    report = Report([], [], new, left_over, [], [])
    leaves = target.drawn(new)
    for name in [name for name in target.shapes if name in found]:
        changed = name == POSITIONS and found[name].shape != target.shapes[name].shape
        (report.interpolated if changed else report.loaded).append((name, path))
        leaves[name] = target.placed(name, np.asarray(found[name])) if changed else found[name]
    return target.tree(leaves), report


def load_weights(
    config: ConfigDict, sources: Sequence[Weights], *, model: Model, mesh: Mesh
) -> tuple[Params, Report]:
    """Returns the parameters in opened Weights; see `load`."""
    for source in sources:
        _check_sizes(config, source.path, source.settings)
        source.check(config)
    target = _Target(config, model, mesh)
    found, report = _assign(config, sources, target.shapes)
    leaves = target.drawn(report.new)
    for path, (rule, source) in tqdm(found.items(), "reading weights", leave=False, disable=None):
        array = _read(rule, source, target.shapes[path])
        changed = path == POSITIONS and array.shape != target.shapes[path].shape
        (report.interpolated if changed else report.loaded).append((path, source.path))
        leaves[path] = target.placed(path, array)
    return target.tree(leaves), report


class _Target:
    """The parameters of a run: their shapes, and where they lie on the mesh."""

    def __init__(self, config: ConfigDict, model: Model, mesh: Mesh):
        self._seed, self._model = config.seed, model
        self._tree = jax.eval_shape(model.init, jax.random.key(0))
        self.shapes: dict[str, jax.ShapeDtypeStruct] = names.flatten(self._tree)
        where = sharding.shardings(self._tree, model.partition_rules, mesh=mesh)
        self._where: dict[str, NamedSharding] = names.flatten(where)

    def placed(self, path: str, array: np.ndarray) -> jax.Array:
        """Returns the array on its shards; positions of another grid are interpolated."""
        wanted = self.shapes[path].shape
        if path == POSITIONS and array.shape != wanted:
            array = _interpolated(array, wanted)
        return jax.make_array_from_callback(wanted, self._where[path], lambda index: array[index])

    def drawn(self, paths: Sequence[str]) -> dict[str, jax.Array]:
        """Returns the parameters as they are drawn from the seed in a run without model.init."""
        if not paths:
            return {}

        def draw(key):
            params = names.flatten(self._model.init(key))
            return {path: params[path] for path in paths}

        where = {path: self._where[path] for path in paths}
        return jax.jit(draw, out_shardings=where)(jax.random.key(self._seed))

    def tree(self, leaves: Mapping[str, jax.Array]) -> Params:
        """Returns the tree of parameters of {path: array}."""
        return jax.tree_util.tree_map_with_path(
            lambda path, _: leaves[sharding.path_name(path)], self._tree
        )


def _assign(
    config: ConfigDict, sources: Sequence[Weights], shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[dict[str, tuple[names.Rule, Weights]], Report]:
    """Returns ({our path: (Rule, Weights)}, a Report without the loaded parameters)."""
    found: dict[str, tuple[names.Rule, Weights]] = {}
    absent, left_over, unread = {}, [], []
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
        for pattern, (what, why) in source.skipped.items():
            state = [name for name in left if re.search(pattern, name)]
            left = [name for name in left if name not in state]
            if state:
                unread.append((what, len(state), why))
        left_over += [(name, source.path) for name in left]
    missing = {path: absent.get(path, ()) for path in shapes if path not in found}
    _check_allowed(config, missing, left_over)
    notes = [f"{source.path}: {note}" for source in sources for note in _notes(config, source)]
    return found, Report([], [], list(missing), left_over, unread, notes)


def _notes(config: ConfigDict, source: Weights) -> Iterable[str]:
    yield from source.notes
    here = workdir.flat(config)
    for key, guess in source.guesses.items():
        whose = "a guess from its width" if here[key] == guess else f"not {guess}, the usual number"
        yield (
            f"the file does not tell {key}; {here[key]} is {whose}. Another number gives another "
            f"model: --set {key}=N"
        )
    crop = source.start.get("data.eval_crop", config.data.eval_crop)
    if crop != config.data.eval_crop:
        yield f"it was made for data.eval_crop={crop!r}; this run has {config.data.eval_crop!r}"


def _check_allowed(
    config: ConfigDict,
    missing: Mapping[str, tuple[str, ...]],
    left_over: Sequence[tuple[str, str]],
) -> None:
    """missing: {our path: their names that are absent}. left_over: (their name, file)."""
    allowed = re.compile("|".join(config.model.allow_missing) or r"(?!)")
    wrong = [
        path + (f" ({lacked[0]} is absent)" if lacked else "")
        for path, lacked in missing.items()
        if not allowed.search(path)
    ]
    extra = [name for name, _ in left_over if not allowed.search(name)]
    if wrong or extra:
        raise UserError(
            f"config: model.init={config.model.init!r}: {names.differences(wrong, extra)}. Regular "
            "expressions in model.allow_missing name what may be newly drawn or left unused"
        )


def _check_sizes(config: ConfigDict, path: str, settings: Settings) -> None:
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


def _effective(config: ConfigDict, key: str, value: object) -> object:
    """Returns the epsilon that norm_epsilon=0 stands for, every other value as it is."""
    if key.endswith("norm_epsilon") and value == 0:
        tower = key.split(".")[1]
        return epsilons_of(config.model.name).get(tower, 0)
    return value


def _read(rule: names.Rule, source: Weights, shape: jax.ShapeDtypeStruct) -> np.ndarray:
    wanted = shape.shape
    if rule.ours == POSITIONS:  # of whatever grid
        wanted = (1, *np.asarray(source.tensors[rule.theirs[0]]).shape[-2:])
    try:
        array = names.read(rule, source.tensors, shape=wanted)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from None
    if not np.isfinite(array).all():
        raise UserError(f"{source.path}: {rule.theirs[0]} holds values that are not finite")
    return array


def _interpolated(array: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    if array.shape[-1] != wanted[-1]:
        raise UserError(f"{POSITIONS} of shape {array.shape} does not fit {tuple(wanted)}")
    try:
        return np.asarray(vit.interpolate_positions(jnp.asarray(array), wanted[1]))
    except ValueError as error:
        raise UserError(f"{POSITIONS}: {error}") from None


def table(report: Report) -> str:
    """Returns the report as lines: loaded parameters in groups, all others one by one."""
    groups = Counter((path.partition("/")[0], source) for path, source in report.loaded)
    rows = [("loaded", f"{group}: {n} arrays", source) for (group, source), n in groups.items()]
    rows += [("interpolated", path, source) for path, source in report.interpolated]
    rows += [("new", path, "drawn from the seed") for path in report.new]
    rows += [("left over", name, source) for name, source in report.left_over]
    rows += [("not read", f"{what}: {n} tensors", why) for what, n, why in report.unread]
    width = max((len(what) for _, what, _ in rows), default=0)
    lines = [f"  {state:12}  {what:{width}}  {where}" for state, what, where in rows]
    return "\n".join(["starting weights", *lines, *(f"  note: {note}" for note in report.notes)])
