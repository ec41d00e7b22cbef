"""Draws a scene: things with texture, outline and shadow on a cluttered, noisy background."""

import numpy as np
from PIL import Image

from jaxvl.data.scenes import shapes
from jaxvl.data.scenes.vocabulary import COLOURS


def render(world, size, rng):
    """The picture of a world. rng: numpy Generator. Returns uint8 [size, size, 3]."""
    canvas = background(size, rng)
    for thing in world.things:
        draw(canvas, thing, rng)
    canvas *= rng.uniform(0.82, 1.1)
    canvas += rng.uniform(-12, 12)
    grain = rng.standard_normal(canvas.shape[:2], np.float32)
    canvas += grain[:, :, None] * np.float32(rng.uniform(1, 6))
    return np.clip(canvas, 0, 255).astype(np.uint8)


def background(size, rng):
    """A gradient with blotches, scribbles and specks. Returns float32 [size, size, 3]."""
    grey = rng.uniform(70, 200)
    corners = grey + rng.uniform(-30, 30, (2, 2, 1)) + rng.uniform(-28, 28, (2, 2, 3))
    canvas = _enlarged(corners, size)
    for cells, strength in ((5, 26), (14, 14)):
        canvas += _enlarged(rng.uniform(128 - strength, 128 + strength, (cells, cells, 3)), size)
        canvas -= 128
    _scribble(canvas, rng)
    return canvas


def _enlarged(grid, size):
    image = Image.fromarray(np.clip(grid, 0, 255).astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), np.float32)


def _scribble(canvas, rng):
    """Faint curves (quadratic Bezier) and specks that mean nothing."""
    size = len(canvas)
    t = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    for _ in range(rng.integers(2, 7)):
        a, b, c = rng.uniform(0, size, (3, 2)).astype(np.float32)
        y, x = ((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c).astype(int).T
        canvas[y, x] += rng.uniform(-45, 45, 3).astype(np.float32)
    y, x = rng.integers(0, size, (2, size // 2))
    canvas[y, x] += rng.uniform(-40, 40, (size // 2, 1)).astype(np.float32)


def draw(canvas, thing, rng):
    """Draws one thing onto a float32 canvas, in place."""
    size = len(canvas)
    margin = 2 + size // 32
    rows, columns, distance = shapes.patch(thing, size, margin)
    part = canvas[rows, columns]

    drop = max(1, size // 64)
    shadow = np.clip(0.5 - distance[:-drop, :-drop] / (2.5 * drop), 0, 1) * 0.4
    part[drop:, drop:] *= 1 - shadow[:, :, None]

    base = np.array(COLOURS[thing.colour], np.float32) + rng.uniform(-10, 10, 3).astype(np.float32)
    dark = thing.colour in ("black", "blue", "purple")
    accent = base * 0.4 + 255 * 0.6 if dark else base * 0.42
    weight = _texture(thing, distance.shape, size, rng)[:, :, None]
    paint = base + weight * (accent - base)
    light = np.linspace(1.1, 0.88, distance.shape[0], dtype=np.float32)[:, None, None]
    paint = paint * light

    line = max(1.0, size / 80)
    edge = np.clip(1 - abs(distance + line / 2) / line, 0, 1)[:, :, None] * 0.85
    outline = np.float32(225 if thing.colour == "black" else 22)
    paint = paint + edge * (outline - paint)
    cover = np.clip(0.5 - distance, 0, 1)[:, :, None]
    part += cover * (paint - part)


def _texture(thing, shape, size, rng):
    """How much of the accent colour each pixel takes: in [0, 1], float32, of `shape`."""
    if thing.texture == "plain":
        return np.zeros((1, 1), np.float32)
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)
    phase = rng.uniform(0, 6.28, 2).astype(np.float32)
    wave = np.float32(2 * np.pi / max(4.5, size / 17))
    if thing.texture == "striped":
        return np.clip(0.5 + 1.4 * np.sin((x + y) * (wave * 0.7071) + phase[0]), 0, 1)
    waves = np.sin(x * wave * 0.9 + phase[0]), np.sin(y * wave * 0.9 + phase[1])
    if thing.texture == "dotted":
        return np.clip(0.5 + 2.0 * (waves[0] + waves[1] - 0.8), 0, 1)
    return np.clip(0.5 + 3 * waves[0] * waves[1], 0, 1)
