"""Operations of a traced program, counted: those of matrix products and convolutions alone.

The compiler's count is no use here: it counts the body of a loop once, and layers are a loop.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr

ROUNDED = "float32, rounded"


def operations(jaxpr: ClosedJaxpr) -> dict[str, float]:
    """Returns {kind of product: operations of a step on all chips together}.

    The kind is the dtype of the inputs; ROUNDED for float32 that a TPU may round to bfloat16 and a
    GPU to TF32. A product of [m, k] and [k, n] has 2 m k n operations. Of a choice the branch with
    the most counts.
    """
    return dict(_count(jaxpr.jaxpr))


def _count(jaxpr: Jaxpr) -> Counter:
    total = Counter()
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        if name in ("dot_general", "conv_general_dilated"):
            kind, count = _products(eqn)
            total[kind] += count
        elif name == "cond":
            total += max((_count(one) for one in _inner(params)), key=Counter.total)
        else:
            times = {"scan": params.get("length"), "shard_map": _size(params.get("mesh"))}
            for one in _inner(params):
                counted = _count(one)
                total += Counter({kind: n * times.get(name, 1) for kind, n in counted.items()})
    return total


def _inner(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one


def _size(mesh):
    return math.prod(mesh.shape.values()) if mesh is not None else 1


def _products(eqn: Any) -> tuple[str, int]:
    """Returns (kind, operations) of a product or a convolution."""
    a, b = (variable.aval for variable in eqn.invars)
    out = eqn.outvars[0].aval.size
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        terms = math.prod(a.shape[axis] for axis in contracted)
    else:
        terms = b.size // b.shape[eqn.params["dimension_numbers"].rhs_spec[0]]
    is_rounded = a.dtype == "float32" and "HIGHEST" not in str(eqn.params["precision"])
    return ROUNDED if is_rounded else str(a.dtype), 2 * out * terms
