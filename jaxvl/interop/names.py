"""Two-way name maps between our parameters and the state dicts of PyTorch models.

A Layout is one table of (our path, their names, transform); both directions follow from it. Our
paths are '/'-joined, our kernels are [in, out], and a stack of layers is one array with a leading
axis of layers, which are tensors of their own in PyTorch.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jaxvl.errors import UserError
from jaxvl.sharding import path_name


class Transform(NamedTuple):
    """How tensors of theirs become an array of ours, and back."""

    to_ours: Callable  # (list of arrays) -> array
    to_theirs: Callable  # (array, how many) -> list of arrays


class Rule(NamedTuple):
    """One parameter of ours and the tensors it is made of."""

    ours: str
    theirs: tuple[str, ...]  # `{}` stands for the number of a layer
    transform: Transform
    first: int | None  # of a stack: the number of its first layer; None: not a stack


class Layout(NamedTuple):
    """All rules of a model in one naming.

    copies: (name, name of what it repeats): tied tensors, checked where a file has them.
    writes_copies: whether files of this layout have them.
    ignored: regular expressions of names that are no weights.
    """

    rules: tuple[Rule, ...]
    copies: tuple[tuple[str, str], ...] = ()
    writes_copies: bool = False
    ignored: tuple[str, ...] = ()


def _patches_to_ours(tensors):
    weight_Dx3xpxp = tensors[0]
    return weight_Dx3xpxp.transpose(2, 3, 1, 0).reshape(-1, weight_Dx3xpxp.shape[0])


def _patches_to_theirs(kernel, _):
    side = round((kernel.shape[0] / 3) ** 0.5)
    return [kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)]


SAME = Transform(lambda tensors: tensors[0], lambda array, _: [array])
TRANSPOSED = Transform(lambda tensors: tensors[0].T, lambda array, _: [array.T])
JOINED = Transform(np.concatenate, np.split)
JOINED_TRANSPOSED = Transform(
    lambda tensors: np.concatenate([tensor.T for tensor in tensors], axis=1),
    lambda array, parts: [part.T for part in np.split(array, parts, axis=1)],
)
PATCHES = Transform(_patches_to_ours, _patches_to_theirs)
ROW = Transform(lambda tensors: tensors[0][None], lambda array, _: [array[0]])  # [1, N, D]
TOKEN = Transform(lambda tensors: tensors[0][None, None], lambda array, _: [array[0, 0]])
SCALAR = Transform(lambda tensors: tensors[0].reshape(()), lambda array, _: [array])
ONE = Transform(lambda tensors: tensors[0].reshape(()), lambda array, _: [array.reshape(1)])

# What a module of ours and of theirs consist of.
DENSE = (("kernel", "weight", TRANSPOSED), ("bias", "bias", SAME))
KERNEL = DENSE[:1]
JOINED_DENSE = (("kernel", "weight", JOINED_TRANSPOSED), ("bias", "bias", JOINED))
NORM = (("scale", "weight", SAME), ("bias", "bias", SAME))
PATCH_DENSE = (("kernel", "weight", PATCHES), ("bias", "bias", SAME))
TABLE = (("", "weight", SAME),)


def rules(table, *, ours="", theirs="", first=None):
    """Returns the Rules of a table of (our module, their modules, what they consist of).

    ours, theirs: prefixes. first: of a stack, the number of its first layer. Their modules are a
    name or a tuple of names; in place of what they consist of, a Transform is of single tensors.
    """
    made = []
    for mine, others, parts in table:
        others = (others,) if isinstance(others, str) else others
        if isinstance(parts, Transform):
            parts = (("", "", parts),)
        for part, their_part, transform in parts:
            names = tuple(theirs + ".".join(filter(None, (name, their_part))) for name in others)
            path = ours + "/".join(filter(None, (mine, part)))
            made.append(Rule(path, names, transform, first))
    return tuple(made)


def names_of(rule, layers):
    """Returns the names of all tensors of a rule, a tuple a layer (one for what is no stack)."""
    if rule.first is None:
        return [rule.theirs]
    numbers = range(rule.first, rule.first + layers)
    return [tuple(name.format(number) for name in rule.theirs) for number in numbers]


def read(rule, tensors, *, shape):
    """Returns the float32 (or integer) array of a rule, read from a mapping name -> array.

    shape: what our parameter has. Raises UserError naming the tensor that does not fit it.
    """
    groups = names_of(rule, shape[0] if shape else 0)
    inner = shape if rule.first is None else shape[1:]
    parts = [_read_one(rule, names, tensors, inner) for names in groups]
    return parts[0] if rule.first is None else np.stack(parts)


def _read_one(rule, names, tensors, shape):
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


def to_torch(params, layout):
    """Returns {their name: array} of a tree of parameters.

    Raises KeyError for a parameter of which the layout says nothing.
    """
    arrays = flatten(params)
    named = {rule.ours: rule for rule in layout.rules}
    tensors = {}
    for path, array in arrays.items():
        rule, array = named[path], np.asarray(array)
        layers = [array] if rule.first is None else array
        for names, layer in zip(names_of(rule, len(layers)), layers):
            split = rule.transform.to_theirs(layer, len(names))
            tensors |= {n: np.asarray(part, order="C") for n, part in zip(names, split)}
    if layout.writes_copies:
        tensors |= {copy: tensors[name] for copy, name in layout.copies if name in tensors}
    return tensors


def from_torch(tensors, layout, shapes):
    """Returns (params, missing, left_over) from a mapping name -> array.

    shapes: tree of our parameters' shapes (jax.eval_shape of the model's init). params has None
    where the tensors are missing; missing: our paths; left_over: their names, sorted.
    """
    check_copies(tensors, layout)
    found, missing, left_over = match(tensors.keys(), layout, flatten(shapes))
    arrays = {
        path: read(rule, tensors, shape=flatten(shapes)[path].shape) for path, rule in found.items()
    }
    params = jax.tree_util.tree_map_with_path(lambda path, _: arrays.get(path_name(path)), shapes)
    return params, list(missing), left_over


def match(names, layout, shapes):
    """Looks which of our parameters the named tensors make.

    shapes: {our path: something with a shape}. Returns (found, missing, left_over): {path: Rule},
    {path: their names that are absent}, sorted names that no rule, copy or exception speaks of.
    """
    names, used = set(names), {copy for copy, _ in layout.copies}
    named = {rule.ours: rule for rule in layout.rules}
    found, missing = {}, {}
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


def check_copies(tensors, layout):
    """Raises UserError where a file's tied tensors differ: ours are one and the same."""
    for copy, name in layout.copies:
        both = copy in tensors and name in tensors
        if both and not np.array_equal(tensors[copy], tensors[name]):
            raise UserError(f"{copy} differs from {name}; in jaxvl they are one parameter")


def flatten(tree):
    """Returns {'/'-joined path: leaf}."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {path_name(path): leaf for path, leaf in leaves}
