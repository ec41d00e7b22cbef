"""Outlines as signed distances: negative inside, in units of the object's radius, y downwards.

Each outline lies within the unit disc, so objects whose discs do not meet cannot overlap.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxvl.data.scenes.world import Thing

_TIP = np.cos(np.pi / 5), np.sin(np.pi / 5)


def _circle(x, y):
    return np.hypot(x, y) - 0.9


def _square(x, y):
    return np.maximum(abs(x), abs(y)) - 0.7


def _triangle(x, y):
    return np.maximum(y, 0.866 * abs(x) - 0.5 * y) - 0.5


def _star(x, y):
    # By symmetry, one tenth of the star is enough: from a tip at 1 to an inner corner at 0.45.
    fifth = 2 * np.pi / 5
    angle = abs((np.arctan2(x, -y) + fifth / 2) % fifth - fifth / 2)
    radius = np.hypot(x, y)
    edge_x, edge_y = 0.45 * _TIP[0] - 1, 0.45 * _TIP[1]
    cross = (radius * np.cos(angle) - 1) * edge_y - radius * np.sin(angle) * edge_x
    return cross / np.hypot(edge_x, edge_y)


def _cross(x, y):
    x, y = abs(x), abs(y)
    return np.maximum(np.minimum(x, y) - 0.3, np.maximum(x, y) - 0.92)


def _ring(x, y):
    return abs(np.hypot(x, y) - 0.75) - 0.22


def _heart(x, y):
    # A square that stands on a corner, with a half disc on each of its two upper sides.
    down = (abs(x) + y - 0.06) * 0.7071
    up = (abs(x) - y + 0.06) * 0.7071
    return np.minimum(np.maximum(abs(down), abs(up)), np.hypot(down, up - 0.5)) - 0.5


def _diamond(x, y):
    return (abs(x) / 0.64 + abs(y) / 0.98 - 1) * 0.536


def _crescent(x, y):
    x = x - 0.17
    return np.maximum(np.hypot(x, y) - 0.9, 0.78 - np.hypot(x - 0.5, y))


def _arrow(x, y):
    y = abs(y)
    head = np.maximum(0.02 - x, (0.76 * (x - 0.96) + 0.94 * y) * 0.8273)
    return np.minimum(head, np.maximum(y - 0.24, abs(x + 0.4) - 0.5))


DISTANCE = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "diamond": _diamond,
    "crescent": _crescent,
    "arrow": _arrow,
}

# Shapes that another one fits into, with the radius of the free disc around their centre.
ROOM = {"circle": 0.9, "square": 0.7, "ring": 0.52, "diamond": 0.53, "heart": 0.5, "triangle": 0.5}


def patch(thing: Thing, size: int, margin: int) -> tuple[slice, slice, np.ndarray]:
    """Returns the signed distance in pixels to an outline, on the part of the image around it.

    size: pixels of a side of the image. margin: pixels around the object.
    Returns (rows, columns, distance): slices of the image, and float32 [rows, columns].
    """
    reach = thing.radius * size + margin
    x, y = thing.x * size - 0.5, thing.y * size - 0.5
    top, bottom = max(0, int(y - reach)), min(size, int(y + reach) + 2)
    left, right = max(0, int(x - reach)), min(size, int(x + reach) + 2)
    scale = 1 / (thing.radius * size)
    dx = (np.arange(left, right, dtype=np.float32) - x) * scale
    dy = (np.arange(top, bottom, dtype=np.float32)[:, None] - y) * scale
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    distance = DISTANCE[thing.shape](cos * dx + sin * dy, cos * dy - sin * dx)
    return slice(top, bottom), slice(left, right), distance * np.float32(1 / scale)
