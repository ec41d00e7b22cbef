"""A scene as things in a unit square, and the relations that hold in it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxvl.data.scenes import shapes
from jaxvl.data.scenes.vocabulary import INVERSE

RASTER = 96  # pixels a side for measuring overlaps and boxes; the size of the image does not matter


class Thing(NamedTuple):
    """One object: its attributes, and its place in sides of the image and radians."""

    shape: str
    colour: str
    size: str
    texture: str
    x: float = 0.0
    y: float = 0.0
    radius: float = 0.0
    angle: float = 0.0


class World(NamedTuple):
    """A scene. Things are drawn in their order, so a later one covers an earlier one.

    boxes: ymin, xmin, ymax, xmax in [0, 1] of the visible part of each thing.
    extents: the same of the whole thing, whether covered or not.
    covered: covered[i][j] is the share of thing i that thing j hides.
    """

    things: tuple[Thing, ...]
    boxes: tuple[tuple[float, ...], ...]
    extents: tuple[tuple[float, ...], ...]
    covered: tuple[tuple[float, ...], ...]


def measure(things: Sequence[Thing]) -> World:
    """Returns the world of these things, given in the order in which they are drawn."""
    patches = [shapes.patch(thing, RASTER, 0) for thing in things]
    masks = [distance <= 0 for _, _, distance in patches]
    extents = [_box(patch, mask) for patch, mask in zip(patches, masks)]
    covered = [[0.0] * len(things) for _ in things]
    visible = list(masks)
    for j in range(1, len(things)):
        for i in range(j):
            if _apart(things[i], things[j]):
                continue
            over = np.zeros((RASTER, RASTER), bool)
            over[patches[j][:2]] = masks[j]
            over = over[patches[i][:2]]
            covered[i][j] = float((masks[i] & over).sum() / masks[i].sum())
            visible[i] = visible[i] & ~over
    boxes = [
        extent if seen is mask else _box(patch, seen)
        for patch, mask, seen, extent in zip(patches, masks, visible, extents)
    ]
    return World(tuple(things), tuple(boxes), tuple(extents), tuple(map(tuple, covered)))


def _apart(one, other):
    return math.hypot(one.x - other.x, one.y - other.y) >= one.radius + other.radius


def _box(patch, mask):
    """Returns the extent in [0, 1] of a mask, which is not empty, on its patch."""
    rows, columns, _ = patch
    (y0, y1), (x0, x1) = _span(mask.any(axis=1)), _span(mask.any(axis=0))
    top, left = rows.start, columns.start
    return (top + y0) / RASTER, (left + x0) / RASTER, (top + y1) / RASTER, (left + x1) / RASTER


def _span(line):
    return int(line.argmax()), len(line) - int(line[::-1].argmax())


def relation_holds(world: World, i: int, name: str, j: int) -> bool | None:
    """Returns whether thing i is in relation `name` to thing j: True, False, None if debatable."""
    if name in ("right", "below", "around", "behind"):
        return relation_holds(world, j, INVERSE[name], i)
    if name == "left":
        return _before(world.extents[i][1::2], world.extents[j][1::2])
    if name == "above":
        return _before(world.extents[i][0::2], world.extents[j][0::2])
    inside = _inside(world, i, j)
    if name == "inside":
        return inside
    if inside is not False:
        return None  # a thing that lies inside another may also be called in front of it
    share = world.covered[j][i]
    return None if 0 < share < 0.05 else share > 0


def _before(first, second):
    """Returns whether interval `first` lies before `second`; a slight overlap is allowed."""
    overlap = first[1] - second[0]
    if overlap <= 0.15 * min(first[1] - first[0], second[1] - second[0]):
        return True
    return False if sum(first) > sum(second) - 0.08 else None


def _inside(world, i, j):
    inner, outer = world.things[i], world.things[j]
    offset = math.hypot(inner.x - outer.x, inner.y - outer.y)
    if i > j and offset + inner.radius <= shapes.ROOM.get(outer.shape, 0) * outer.radius:
        return True
    (top, left, bottom, right), (y0, x0, y1, x1) = world.extents[i], world.extents[j]
    return None if top >= y0 and left >= x0 and bottom <= y1 and right <= x1 else False
