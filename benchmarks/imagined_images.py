r"""Does AHNPL imagine the right image? Its moved embedding beside the true image's, on Scenes.

  jaxvl prepare scenes --out data/hard_scenes --train 10000 --size 64 --seed 0
  jaxvl train --config=coco_ahnpl:demo,clip --config.data.dir=data/hard_scenes \
    --config.total_steps=2500 --config.loss.same_caption=negative --workdir=runs/clip
  python benchmarks/imagined_images.py --workdir runs/clip

AHNPL moves the embedding I of an image by the difference N - T of a false and the true caption. In
Scenes the false caption has an image too: the same scene with the one thing changed, rendered with
the same background. Its embedding is R. For false captions that replace an attribute or an object,
the table has the means of

  still          cosine of I and R: nothing is moved
  moved          cosine of normalise(I + share * (N - T)) and R
  closer         share of false captions for which moved is above still
  direction      cosine of N - T and R - I
  by chance      the same with N - T of another false caption of this kind

The last line is a JSON object.
"""

import argparse
import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import jaxvl
from jaxvl.data import scenes
from jaxvl.data.scenes.levels import LEVELS, Level
from jaxvl.data.scenes.render import render
from jaxvl.data.scenes.truth import judge, parse, readings
from jaxvl.data.scenes.world import World, measure

KINDS = ("replace_attribute", "replace_object")


class Case(NamedTuple):
    """A false caption with its image, both of which a change of one thing has made."""

    kind: str
    image: np.ndarray
    changed: np.ndarray
    caption: str
    negative: str


def main():
    flags = parse_flags()
    found = [case for index in range(flags.images) for case in cases(index, flags)]
    rows = table(jaxvl.load(flags.workdir), found, share=flags.share)
    for kind, row in rows.items():
        print(f"{kind:20}", "  ".join(f"{name} {value:.3f}" for name, value in row.items()))
    print(json.dumps(rows))


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="of a trained CLIP or AHNPL")
    parser.add_argument("--images", type=int, default=1000, help="of the split test")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side of an image")
    parser.add_argument("--seed", type=int, default=0, help="of the data set")
    parser.add_argument("--level", type=int, choices=LEVELS, default=scenes.DEFAULT_LEVEL)
    parser.add_argument("--share", type=float, default=1.0, help="ahnpl.perturbation")
    return parser.parse_args()


def cases(index: int, flags: argparse.Namespace) -> Iterator[Case]:
    """Yields the false captions of a record that have an image, of each kind the first."""
    of_record = {"split": "test", "seed": flags.seed, "level": flags.level}
    record = scenes.record(index, size=flags.size, **of_record)
    world, level = scenes.world(index, **of_record), LEVELS[flags.level]

    def image(world):
        pixels = np.random.Generator(np.random.PCG64(index))
        return render(world, flags.size, pixels, clutter=level.clutter)

    seen = set()
    for negative, kind, number in zip(
        record["negatives"], record["negative_kinds"], record["negative_captions"]
    ):
        caption = record["captions"][number]
        changed = made_true(world, caption, negative, level) if kind in KINDS else None
        if changed and kind not in seen:
            seen.add(kind)
            yield Case(kind, image(world), image(changed), caption, negative)


def made_true(world: World, caption: str, negative: str, level: Level) -> World | None:
    """Returns the world in which one thing is changed, so that the negative is true of it.

    None where the change does not fit into the image, or leaves the caption true.
    """
    true, false = parse(caption), parse(negative)
    (chosen, _), *_ = readings(true, world)
    things = list(world.things)
    for place, before, after in zip(chosen, true.descriptions, false.descriptions):
        change = {kind: value for kind, value in after.items() if before[kind] != value}
        if "size" in change:
            change["radius"] = sum(level.radii[change["size"]]) / 2
        things[place] = things[place]._replace(**change)
    changed = measure(things)
    inside = all(min(t.x, t.y, 1 - t.x, 1 - t.y) >= t.radius for t in things)
    fits = inside and judge(false, changed) is True and judge(true, changed) is False
    return changed if fits else None


def table(model, found: list[Case], *, share: float) -> dict[str, dict[str, float]]:
    """Returns {kind: {name of a column: mean}} as the top of this file describes them."""
    image, changed = (
        model.encode_image([getattr(case, name) for case in found]).embedding
        for name in ("image", "changed")
    )
    caption, negative = (
        model.encode_text([getattr(case, name) for case in found]).embedding
        for name in ("caption", "negative")
    )
    kinds, rows = np.array([case.kind for case in found]), {}
    for kind in KINDS:
        at = kinds == kind
        step, real = negative[at] - caption[at], changed[at] - image[at]
        still = cosine(image[at], changed[at])
        moved = cosine(image[at] + share * step, changed[at])
        values = {
            "still": still,
            "moved": moved,
            "closer": moved > still,
            "direction": cosine(step, real),
            "by chance": cosine(np.roll(step, 1, axis=0), real),
        }
        rows[kind] = {name: round(float(value.mean()), 4) for name, value in values.items()}
        rows[kind]["count"] = int(at.sum())
    return rows


def cosine(one, other):
    """Returns the cosine of each row of one with that of the other."""
    product = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return (one * other).sum(-1) / np.maximum(product, 1e-9)


if __name__ == "__main__":
    main()
