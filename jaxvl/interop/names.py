"""Two-way name maps between our parameters and the state dicts of PyTorch models.

A Layout is a table of (our path, their names, transform), from which both directions follow. Our
paths are joined with '/' and our kernels are [in, out]. A stack of layers is one array of ours with
a leading axis of layers; in PyTorch each layer has tensors of its own.

"ours" is jaxvl, "theirs" is the PyTorch project.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvl.errors import UserError
from jaxvl.sharding import path_name
from jaxvl.types import Params

SHOWN = 6  # names in an error; the rest are counted


class Transform(NamedTuple):
    """How tensors of theirs become an array of ours, and back."""

    to_ours: Callable[[list[np.ndarray]], np.ndarray]
    to_theirs: Callable[[np.ndarray, int], list[np.ndarray]]  # (array, how many tensors)


class Rule(NamedTuple):
    """One parameter of ours and the tensors that it consists of.

    theirs: `{}` stands for the number of a layer. first: the number of the first layer of a stack;
    None where the parameter is no stack.
    """

    ours: str
    theirs: tuple[str, ...]
    transform: Transform
    first: int | None


class Layout(NamedTuple):
    """All rules of a model in one naming.

    copies: (copy, original) of tied tensors, compared where a file has both.
    writes_copies: whether files in this layout contain the copies.
    ignored: regular expressions of names that are no weights.
    """

    rules: tuple[Rule, ...]
    copies: tuple[tuple[str, str], ...] = ()
    writes_copies: bool = False
    ignored: tuple[str, ...] = ()


def _patches_to_ours(tensors: list[np.ndarray]) -> np.ndarray:
    weight_DxCxpxp = tensors[0]
    return weight_DxCxpxp.transpose(2, 3, 1, 0).reshape(-1, weight_DxCxpxp.shape[0])


def _patches_to_theirs(kernel: np.ndarray, _: int) -> list[np.ndarray]:
    side = round((kernel.shape[0] / 3) ** 0.5)
    return [kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)]


def _windows_to_theirs(kernel: np.ndarray, _: int) -> list[np.ndarray]:
    return [kernel.reshape(4, 4, -1, kernel.shape[1]).transpose(3, 2, 0, 1)]


SAME = Transform(lambda tensors: tensors[0], lambda array, _: [array])
TRANSPOSED = Transform(lambda tensors: tensors[0].T, lambda array, _: [array.T])
JOINED = Transform(np.concatenate, np.split)
JOINED_TRANSPOSED = Transform(
    lambda tensors: np.concatenate([tensor.T for tensor in tensors], axis=1),
    lambda array, parts: [part.T for part in np.split(array, parts, axis=1)],
)
PATCHES = Transform(_patches_to_ours, _patches_to_theirs)
WINDOWS = Transform(_patches_to_ours, _windows_to_theirs)  # 4 x 4 convolutions
ROW = Transform(lambda tensors: tensors[0][None], lambda array, _: [array[0]])  # [1, N, D]
TOKEN = Transform(lambda tensors: tensors[0][None, None], lambda array, _: [array[0, 0]])
SCALAR = Transform(lambda tensors: tensors[0].reshape(()), lambda array, _: [array])

# Parameters of a module: (our name, their name, transform).
Parts = tuple[tuple[str, str, Transform], ...]
DENSE: Parts = (("kernel", "weight", TRANSPOSED), ("bias", "bias", SAME))
KERNEL: Parts = DENSE[:1]
JOINED_DENSE: Parts = (("kernel", "weight", JOINED_TRANSPOSED), ("bias", "bias", JOINED))
NORM: Parts = (("scale", "weight", SAME), ("bias", "bias", SAME))
PATCH_DENSE: Parts = (("kernel", "weight", PATCHES), ("bias", "bias", SAME))
WINDOW_DENSE: Parts = (("kernel", "weight", WINDOWS), ("bias", "bias", SAME))
TABLE: Parts = (("", "weight", SAME),)


Table = Iterable[tuple[str, str | tuple[str, ...], Parts | Transform]]


def rules(
    table: Table, *, ours: str = "", theirs: str = "", first: int | None = None
) -> tuple[Rule, ...]:
    """Returns the Rules of a table of (our module, their module or modules, parts).

    parts: of a module; a Transform where the names are those of single tensors. ours, theirs:
    prefixes of all names. first: the number of the first layer where the table is of a stack.
    """
    made = []
    for mine, others, parts in table:
        others = (others,) if isinstance(others, str) else others
        module: Parts = (("", "", parts),) if isinstance(parts, Transform) else parts
        for part, their_part, transform in module:
            names = tuple(theirs + ".".join(filter(None, (name, their_part))) for name in others)
            path = ours + "/".join(filter(None, (mine, part)))
            made.append(Rule(path, names, transform, first))
    return tuple(made)


def names_of(rule: Rule, layers: int) -> list[tuple[str, ...]]:
    """Returns the names of all tensors of a rule: one tuple for each layer, one for no stack."""
    if rule.first is None:
        return [rule.theirs]
    numbers = range(rule.first, rule.first + layers)
    return [tuple(name.format(number) for name in rule.theirs) for number in numbers]


def read(rule: Rule, tensors: Mapping[str, np.ndarray], *, shape: Sequence[int]) -> np.ndarray:
    """Returns the parameter of a rule as float32, or int32 where the file has integers.

    shape: of our parameter. Raises UserError naming a tensor that does not fit it.
    """
    groups = names_of(rule, shape[0] if shape else 0)
    inner = shape if rule.first is None else shape[1:]
    parts = [_read_one(rule, names, tensors, inner) for names in groups]
    return parts[0] if rule.first is None else np.stack(parts)


def _read_one(rule, names, tensors, shape) -> np.ndarray:
    arrays = [np.asarray(tensors[name]) for name in names]
    told = f"{' + '.join(names)} of shape {', '.join(str(a.shape) for a in arrays)}"
    try:
        array = rule.transform.to_ours(arrays)
    except (ValueError, IndexError):
        raise UserError(f"{told} cannot become {rule.ours}") from None
    if array.shape != tuple(shape):
        raise UserError(f"{told} does not fit {rule.ours} of shape {tuple(shape)}")
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int32)
    return array.astype(np.float32)


def to_torch(params: Params, layout: Layout) -> dict[str, np.ndarray]:
    """Returns {their name: array} of a tree of parameters, or of {our path: array}.

    Raises KeyError for a parameter without a rule.
    """
    arrays = flatten(params)
    named = {rule.ours: rule for rule in layout.rules}
    tensors: dict[str, np.ndarray] = {}
    for path, array in arrays.items():
        rule, array = named[path], np.asarray(array)
        layers = [array] if rule.first is None else array
        for names, layer in zip(names_of(rule, len(layers)), layers):
            split = rule.transform.to_theirs(layer, len(names))
            tensors |= {n: np.asarray(part, order="C") for n, part in zip(names, split)}
    if layout.writes_copies:
        tensors |= {copy: tensors[name] for copy, name in layout.copies if name in tensors}
    return tensors


def from_torch(
    tensors: Mapping[str, np.ndarray], layout: Layout, shapes: Params
) -> tuple[Params, list[str], list[str]]:
    """Returns (params, missing, left_over) of the tensors.

    shapes: tree of the shapes of our parameters, jax.eval_shape of the model's init. params: None
    for every missing parameter. missing: our paths. left_over: their names, sorted. Raises
    UserError for tensors that do not fit.
    """
    check_copies(tensors, layout)
    wanted = flatten(shapes)
    found, missing, left_over = match(tensors, layout, wanted)
    arrays = {path: read(rule, tensors, shape=wanted[path].shape) for path, rule in found.items()}
    params = jax.tree_util.tree_map_with_path(lambda path, _: arrays.get(path_name(path)), shapes)
    return params, list(missing), left_over


def match(
    names: Iterable[str], layout: Layout, shapes: Mapping[str, Any]
) -> tuple[dict[str, Rule], dict[str, tuple[str, ...]], list[str]]:
    """Returns (found, missing, left_over): which of our parameters the named tensors fill.

    shapes: {our path: anything with a shape}. found: {our path: its rule}. missing: {our path: the
    names that are absent}, () where no rule knows the parameter. left_over: sorted names that are
    in no rule, no copy and not ignored.
    """
    names, used = set(names), {copy for copy, _ in layout.copies}
    named = {rule.ours: rule for rule in layout.rules}
    found: dict[str, Rule] = {}
    missing: dict[str, tuple[str, ...]] = {}
    for path, leaf in shapes.items():
        if path not in named:
            missing[path] = ()
            continue
        rule = named[path]
        wanted = [name for group in names_of(rule, (*leaf.shape, 0)[0]) for name in group]
        used.update(wanted)
        absent = tuple(name for name in wanted if name not in names)
        if absent:
            missing[path] = absent
        else:
            found[path] = rule
    ignored = re.compile("|".join(layout.ignored) or r"(?!)")
    left_over = sorted(name for name in names - used if not ignored.search(name))
    return found, missing, left_over


def check_copies(tensors: Mapping[str, np.ndarray], layout: Layout) -> None:
    """Raises UserError where tied tensors of a file differ; in jaxvl they are one parameter."""
    for copy, name in layout.copies:
        both = copy in tensors and name in tensors
        if both and not np.array_equal(tensors[copy], tensors[name]):
            raise UserError(f"{copy} differs from {name}; in jaxvl they are one parameter")


def flatten(tree: Params) -> dict[str, Any]:
    """Returns {path joined with '/': leaf}."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {path_name(path): leaf for path, leaf in leaves}


def differences(missing: Sequence[str], left_over: Sequence[str]) -> str:
    """Returns "missing: a, b; left over: c" with at most SHOWN names of each, for an error."""
    parts = []
    for what, items in (("missing", missing), ("left over", left_over)):
        more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
        if items:
            parts.append(f"{what}: {', '.join(items[:SHOWN])}{more}")
    return "; ".join(parts)
