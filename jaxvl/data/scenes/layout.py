"""Random scenes: how many things, their attributes and their positions."""

import math
import random

from jaxvl.data.scenes import shapes
from jaxvl.data.scenes.levels import Level
from jaxvl.data.scenes.world import Thing, World, measure, relation_holds

CONTAINER = 0.27, 0.31  # radii of a thing with another inside
GAP = 0.015  # least distance between things of different groups


def sample(rng: random.Random, level: Level, *, unseen: bool) -> World:
    """Returns a random World of a level; no two of its things have the same colour and shape.

    unseen: True includes at least one held-out pair of colour and shape, False none.
    """
    count = _drawn(rng, level.counts)
    kind = _drawn(rng, level.groups) if count > 1 else "apart"
    while True:
        groups = _groups(_looks(rng, count, level, unseen), kind, level, rng)
        things = _place(groups, rng) if groups else None
        if not things:
            continue
        world = measure(things)
        if kind != "front" or _clearly_in_front(world):
            return world


def _drawn(rng, weights):
    return rng.choices(tuple(weights), tuple(weights.values()))[0]


def _looks(rng, count, level, unseen):
    """Returns `count` things with their attributes, not yet placed."""
    colours, kinds = tuple(level.words["colour"]), tuple(level.words["shape"])
    sizes = tuple(level.radii)
    pairs = [rng.choice(level.held_out)] if unseen else []
    while len(pairs) < count:
        pair = rng.choice(colours), rng.choice(kinds)
        if pair not in pairs and (unseen or pair not in level.held_out):
            pairs.append(pair)
    rng.shuffle(pairs)
    return [
        Thing(
            shape=shape,
            colour=colour,
            size=sizes[0] if rng.random() < 0.5 else sizes[-1],
            texture=_drawn(rng, level.textures),
        )
        for colour, shape in pairs
    ]


def _groups(things, kind, level, rng):
    """Returns groups of things, each placed relative to the first of its group.

    kind: "apart", or how the first two things are related: "inside" or "front". Returns None where
    these two cannot be.
    """
    if kind == "inside":
        things.sort(key=lambda thing: thing.shape not in shapes.ROOM)
        things[:2] = things[0]._replace(size="big"), things[1]._replace(size="small")
    things = [_scaled(thing, level.radii[thing.size], rng) for thing in things]
    if kind == "apart":
        return [[thing] for thing in things]
    first, second, *rest = things
    if first.colour == second.colour:
        return None
    if kind == "front":
        offset = rng.uniform(0.5, 0.75) * (first.radius + second.radius)
    else:
        first = _scaled(first, CONTAINER, rng)
        spare = shapes.ROOM.get(first.shape, 0) * first.radius - second.radius
        if spare < 0.005:
            return None
        offset = rng.uniform(0, min(spare, 0.06))
    turn = rng.uniform(0, 2 * math.pi)
    second = second._replace(x=offset * math.cos(turn), y=offset * math.sin(turn))
    return [[first, second], *([thing] for thing in rest)]


def _scaled(thing, radii, rng):
    return thing._replace(radius=rng.uniform(*radii), angle=rng.uniform(-0.2, 0.2))


def _place(groups, rng):
    """Returns the things, each group moved to a free place within the image; None without room."""
    placed = []
    for group in groups:
        for _ in range(15):
            dx, dy = rng.random(), rng.random()
            if all(_free(t.x + dx, t.y + dy, t.radius, placed) for t in group):
                placed += [t._replace(x=t.x + dx, y=t.y + dy) for t in group]
                break
        else:
            return None
    return placed


def _free(x, y, radius, placed):
    """Returns whether a thing lies within the image and clearly beside every other one."""
    return min(x, y, 1 - x, 1 - y) >= radius and all(
        max(abs(x - p.x), abs(y - p.y)) > radius + p.radius + GAP for p in placed
    )


def _clearly_in_front(world):
    """Returns whether the second thing covers 8 to 45 % of the first and is not inside it."""
    return 0.08 <= world.covered[0][1] <= 0.45 and relation_holds(world, 1, "front", 0)
