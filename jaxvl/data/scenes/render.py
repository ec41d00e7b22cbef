"""Rendering: things with texture, outline and shadow on a cluttered, noisy background.

A canvas is float32 [3, size, size]. Channels come first because NumPy is slow where the last axis
has 3 elements.
"""

import functools

import numpy as np
from PIL import Image

from jaxvl.data.scenes import shapes
from jaxvl.data.scenes.vocabulary import COLOURS
from jaxvl.data.scenes.world import Thing, World

_FIELD = 4  # side of the clutter that backgrounds are cropped from, in sides of an image
_NEUTRAL = (1, 0, 0)  # contrast, brightness and grain that change nothing
_LIGHT_ACCENT = ("black", "blue", "purple")  # colours too dark for a pattern in a darker shade


def render(world: World, size: int, rng: np.random.Generator, clutter: float = 1.0) -> np.ndarray:
    """Returns the image of a world, uint8 [size, size, 3].

    clutter: strength of the background's variation, of grain and of lighting; 0 is an even grey.
    """
    canvas = background(size, rng, clutter)
    for thing in world.things:
        draw(canvas, thing, rng)
    light = rng.uniform((0.82, -12, 0.01), (1.1, 12, 0.07))
    contrast, brightness, grain = _weakened(light, _NEUTRAL, clutter).astype(np.float32)
    canvas *= contrast
    canvas += _crop(_clutter(size)[:1], size, rng) * grain + brightness
    np.clip(canvas, 0, 255, out=canvas)
    return canvas.transpose(1, 2, 0).astype(np.uint8, order="C")


def _weakened(value, neutral, strength):
    return neutral + (value - np.array(neutral)) * strength


def background(size: int, rng: np.random.Generator, clutter: float) -> np.ndarray:
    """Returns a canvas with a gradient and a random crop of the clutter."""
    tint = (rng.uniform(-12, 12, (3, 3, 1, 1)) * clutter).astype(np.float32)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    canvas = _crop(_clutter(size)[1:], size, rng) * np.float32(rng.uniform(0.7, 1.2) * clutter)
    canvas += tint[0] + np.float32(_weakened(rng.uniform(75, 195), 135, clutter))
    canvas += tint[1] * ramp
    canvas += tint[2] * ramp[:, None]
    return canvas


def _crop(field, size, rng):
    y, x, down, across = rng.integers(0, (size * (_FIELD - 1), size * (_FIELD - 1), 2, 2))
    crop = field[:, y : y + size, x : x + size].astype(np.float32)
    return crop[:, :: 1 - 2 * down, :: 1 - 2 * across]


@functools.cache
def _clutter(size):
    """Returns the field that backgrounds are cropped from, int8 [4, F, F].

    One channel of grain, then three of blotches, curves and specks; equal in every process.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    side = size * _FIELD
    blotches = np.zeros((3, side, side))
    for cells, channels, strength in ((4, 1, 0.3), (12, 1, 0.12), (12, 3, 0.04)):
        grid = rng.uniform(0, 255, (cells * _FIELD, cells * _FIELD, channels))
        blotches += _enlarged(grid, side) * strength
    blotches -= blotches.mean()
    t = np.linspace(0, 1, size)[:, None]
    for _ in range(5 * _FIELD**2):
        start = rng.uniform(0, side, 2)
        a, b, c = start + rng.uniform(-0.7, 0.7, (3, 2)) * size
        y, x = ((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c).astype(int).T % side
        blotches[:, y, x] += rng.uniform(-40, 40, (3, 1))
    y, x = rng.integers(0, side, (2, side * _FIELD // 2))
    blotches[:, y, x] += rng.uniform(-40, 40, len(y))
    grain = rng.uniform(-128, 128, (1, side, side))
    return np.clip(np.concatenate([grain, blotches]), -128, 127).astype(np.int8)


def _enlarged(grid, side):
    """Returns [h, w, channels], rounded to bytes, smoothly enlarged to [channels, side, side]."""
    channels = [Image.fromarray(plane.astype(np.uint8)) for plane in np.moveaxis(grid, -1, 0)]
    return np.stack(
        [np.asarray(c.resize((side, side), Image.Resampling.BICUBIC), float) for c in channels]
    )


def draw(canvas: np.ndarray, thing: Thing, rng: np.random.Generator) -> None:
    """Draws one thing onto a canvas, in place."""
    size = canvas.shape[-1]
    rows, columns, distance = shapes.patch(thing, size, 2 + size // 48)
    part = canvas[:, rows, columns]

    drop = max(1, size // 64)
    shadow = np.clip(0.5 - distance[:-drop, :-drop] / (2.5 * drop), 0, 1) * 0.4
    part[:, drop:, drop:] *= 1 - shadow

    base = np.array(COLOURS[thing.colour]) + rng.uniform(-10, 10, 3)
    base = base.astype(np.float32)[:, None, None]
    light = 1.1 - np.arange(len(distance), dtype=np.float32)[:, None] * (0.2 / len(distance))
    line = size / 90
    outline, strength = (170, 0.55) if thing.colour == "black" else (20, 0.8)
    edge = np.clip(1 - abs(distance + line / 2) / line, 0, 1) * strength
    cover = np.clip(0.5 - distance, 0, 1)
    paint = cover * (1 - edge) * light
    part *= 1 - cover
    part += cover * edge * outline
    part += paint * base
    if thing.texture != "plain":
        accent = base * 0.4 + 153 if thing.colour in _LIGHT_ACCENT else base * 0.45
        paint *= _texture(thing.texture, distance.shape, size, rng)
        part += paint * (accent - base)


def _texture(texture, shape, size, rng):
    """Returns the share of the accent colour of each pixel, float32 of `shape` in [0, 1]."""
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)
    phase = rng.uniform(0, 6.28, 2).astype(np.float32)
    wave = np.float32(2 * np.pi / max(4.5, size / 17))
    if texture == "striped":
        return np.clip(0.5 + 1.4 * np.sin((x + y) * (wave * 0.7071) + phase[0]), 0, 1)
    waves = np.sin(x * wave * 0.9 + phase[0]), np.sin(y * wave * 0.9 + phase[1])
    if texture == "dotted":
        return np.clip(0.5 + 2 * (waves[0] + waves[1] - 0.8), 0, 1)
    return np.clip(0.5 + 3 * waves[0] * waves[1], 0, 1)
