r"""What would real images of false captions teach? Rendered ones beside AHNPL's imagined ones.

  jaxvl prepare scenes --out data/hard_scenes --train 10000 --size 64 --seed 0
  jaxvl train --config=coco_ahnpl:demo,clip --config.data.dir=data/hard_scenes \
    --config.total_steps=2500 --config.loss.same_caption=negative --workdir=runs/clip
  python benchmarks/real_negatives.py --workdir runs/clip --data data/hard_scenes

AHNPL has no image of a false caption and moves the embedding of the true image instead. In Scenes
the image of a false caption that replaces an attribute or an object can be rendered. Each row
fine-tunes the same CLIP for equal steps:

  NegCLIP          false captions are keys of the contrastive loss; all rows have this
  imagined         and MHN, with the embedding that AHNPL imagines
  rendered         and MHN, with the embedding of the rendered image
  rendered pairs   and the rendered images with their false captions as more true pairs

MHN has positive "self", weight 0.2 and equal weights of negatives, and in the image only negatives
that can be rendered, so that the rows differ in nothing else. The last line is a JSON object.
"""

import argparse
import functools
import io
import json
import statistics
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from imagined_images import KINDS, made_true
from PIL import Image

from jaxvl.configs import coco_ahnpl
from jaxvl.data import scenes, sources
from jaxvl.data.images.whole import whole
from jaxvl.data.scenes.levels import LEVELS
from jaxvl.data.scenes.render import render
from jaxvl.errors import UserError
from jaxvl.evals.examples import make_tokenize
from jaxvl.losses import contrastive, hard_negative, make_contrast
from jaxvl.methods import clip
from jaxvl.methods.contrast import ids_of, negative_ids_of
from jaxvl.training import experiment, optim
from jaxvl.training.evaluation import Evaluation
from jaxvl.types import Params

ROWS = ("NegCLIP", "imagined", "rendered", "rendered pairs")
SCORES = {
    "hard negatives": "hard_negatives/accuracy",
    **{kind: f"hard_negatives/{kind}" for kind in KINDS},
    "swap attribute": "hard_negatives/swap_attribute",
    "i2t R@1": "retrieval/i2t_r1",
    "t2i R@1": "retrieval/t2i_r1",
}


def main():
    flags = parse_flags()
    found = {row: [run(row, seed, flags) for seed in range(flags.seeds)] for row in ROWS}
    for row, runs in found.items():
        cells = []
        for name, key in SCORES.items():
            values = [100 * scores[key] for scores in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{name} {statistics.mean(values):.1f} ± {spread:.1f}")
        print(f"{row:15}", "  ".join(cells))
    print(
        json.dumps(
            {row: [{n: s[k] for n, k in SCORES.items()} for s in found[row]] for row in ROWS}
        )
    )


def parse_flags():
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--workdir", required=True, help="of a CLIP that is trained on Scenes")
    parser.add_argument("--data", required=True, help="the Scenes data set")
    parser.add_argument("--steps", type=int, default=400, help="of fine-tuning")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("--images", type=int, default=1000, help="that are evaluated")
    parser.add_argument("--size", type=int, default=64, help="of the data set")
    parser.add_argument("--scenes_seed", type=int, default=0, help="of the data set")
    parser.add_argument("--level", type=int, choices=LEVELS, default=scenes.DEFAULT_LEVEL)
    return parser.parse_args()


def run(row: str, seed: int, flags: argparse.Namespace) -> dict[str, float]:
    """Returns the scores on the split test after fine-tuning."""
    basis = experiment.open_basis(configured(seed, flags))
    batches, renderer = experiment.open_batches(basis), Renderer(basis, flags)
    params = experiment.load_init(basis, directory=None)
    optimizer = optim.make_optimizer(basis.config.optim, total_steps=flags.steps)
    state = optimizer.init(params)
    step = jax.jit(functools.partial(train_step, basis, optimizer, row), donate_argnums=(0, 1))
    for number in range(flags.steps):
        batch = batches.batch(number)
        params, state, loss = step(params, state, batch | renderer.images(batch))
        if number % 50 == 0:
            print(f"{row}, seed {seed}: step {number}/{flags.steps}  loss {loss:.4f}", flush=True)
    held_out = Evaluation(basis, source=experiment.open_held_out(basis))
    return held_out.scores(params)


def configured(seed: int, flags: argparse.Namespace):
    """Returns the configuration of the table ahnpl_finetune."""
    config = coco_ahnpl.get_config("demo").unlock()
    config.seed, config.total_steps, config.model.init = seed, flags.steps, flags.workdir
    config.data.dir, config.data.image_size = flags.data, 60
    config.data.crop_scale = (1.0, 1.0)  # rendered images are not cropped either
    config.optim.update(learning_rate=3e-4, warmup_steps=20)
    config.loss.same_caption = config.evals.retrieval.same_caption = "negative"
    config.eval.update(split="test", max_examples=flags.images)
    return config.lock()


class Renderer:
    """Renders the images of the false captions of a batch."""

    def __init__(self, basis: experiment.Basis, flags: argparse.Namespace) -> None:
        ((source, _),) = experiment.open_sources(basis.config)
        self._records, self._basis, self._flags = sources.annotations(source), basis, flags
        self._tokenize = make_tokenize(basis.config, basis.tokenizer)

    def images(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns changed, uint8 [G, K', H, W, 3], and has_image, bool [G, K']; K' as in KINDS."""
        size = self._basis.config.data.image_size
        changed = np.zeros((len(batch["example_id"]), len(KINDS), size, size, 3), np.uint8)
        has_image = np.zeros(changed.shape[:2], bool)
        for row, example in enumerate(batch["example_id"].tolist()):
            ids = batch["token_ids"][row].tobytes()
            for place, kind in enumerate(KINDS):
                image = self._rendered(example, ids, kind)
                if image is not None:
                    changed[row, place], has_image[row, place] = image, True
        return {"changed": changed, "has_image": has_image}

    @functools.lru_cache(maxsize=100_000)  # noqa: B019
    def _rendered(self, example: int, ids: bytes, kind: str) -> np.ndarray | None:
        """Returns the image of the false caption of a kind; None where there is none."""
        record, flags = self._records[example], self._flags
        level = LEVELS[flags.level]
        world = scenes.world(example, split="train", seed=flags.scenes_seed, level=flags.level)
        own = [row.tobytes() == ids for row in self._tokenize(record["captions"]).ids]
        for negative, its_kind, number in zip(
            record["negatives"], record["negative_kinds"], record["negative_captions"]
        ):
            if its_kind != kind or not own[number]:
                continue
            changed = made_true(world, record["captions"][number], negative, level)
            if changed is None:
                return None
            pixels = np.random.Generator(np.random.PCG64(example))
            jpeg = io.BytesIO()  # as the true images are stored, or the file would tell them apart
            image = Image.fromarray(render(changed, flags.size, pixels, clutter=level.clutter))
            image.save(jpeg, "JPEG", quality=scenes.QUALITY, subsampling=0)
            return whole(jpeg.getvalue(), self._basis.config.data.image_size)
        return None


def train_step(basis, optimizer, row, params, state, batch):
    """Returns (parameters, optimizer's state, loss) after a step."""
    loss, gradient = jax.value_and_grad(loss_of)(params, basis, row, batch)
    updates, state = optimizer.update(gradient, state, params)
    params = cast(Params, optax.apply_updates(params, updates))
    return clip.clip_logit_scale(params), state, loss


def loss_of(params, basis, row, batch):
    """Returns the loss of a row of the table."""
    config, model = basis.config, basis.model
    z = clip.encode(model, params, batch, negatives=True)
    scale, ids_Gx2 = jnp.exp(params["logit_scale"]), ids_of(config, batch)
    false_ids_GxK, valid_GxK = negative_ids_of(config, batch), batch["negative_valid"]
    texts = hard_negative.text_keys(z.zt_GxE, z.zn_GxKxE, ids_Gx2, false_ids_GxK, valid_GxK)
    rows = make_contrast(config)
    loss = clip.itc(rows, params, z, ids_Gx2, texts)
    if row == "NegCLIP":
        return loss
    columns = jnp.asarray([list(config.data.negative_kinds).index(kind) for kind in KINDS])
    zn_GxKxE, has_image = z.zn_GxKxE[:, columns], batch["has_image"]
    moved = hard_negative.perturb(z.zi_GxE, z.zt_GxE, zn_GxKxE, scale=1.0, normalise=True)
    if row != "imagined":
        flat = batch["changed"].reshape(-1, *batch["changed"].shape[2:])
        moved = model.project_image(params, model.encode_image(params, flat))
        moved = moved.reshape(*has_image.shape, -1)
    if row == "rendered pairs":
        return loss + pairs_loss(
            params, rows, zn_GxKxE, moved, false_ids_GxK[:, columns], has_image
        )

    def side(z_GxE, others_GxKxE, valid):
        own_G = jnp.full(len(z_GxE), scale)
        negative = scale * hard_negative.own(z_GxE, others_GxKxE)
        return hard_negative.multimodal(own_G, negative, valid, jnp.ones(valid.shape)).mean()

    return loss + 0.2 * (side(z.zt_GxE, z.zn_GxKxE, valid_GxK) + side(z.zi_GxE, moved, has_image))


def pairs_loss(params, rows, zn_GxKxE, moved_GxKxE, false_ids_GxK, has_image):
    """Returns the contrastive loss of rendered images with their false captions, both ways."""
    count, scale = has_image.size, jnp.exp(params["logit_scale"])
    ids = contrastive.pair_ids(jnp.arange(count), false_ids_GxK.reshape(-1))
    exists, texts, images = (x.reshape(count, -1) for x in (has_image, zn_GxKxE, moved_GxKxE))
    exists = exists[:, 0]

    def direction(z, keys):
        each = rows(params, z, ids, contrastive.Keys(keys, ids, exists), scale)
        return jnp.where(exists, each, 0.0).sum() / jnp.maximum(exists.sum(), 1)

    return (direction(images, texts) + direction(texts, images)) / 2


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
