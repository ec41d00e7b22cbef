"""Measure the temporary memory of the contrastive loss with hard negatives, in chunks or not.

    python benchmarks/contrastive_memory.py

G images against their G captions and G * K hard negatives, and the gradient. The programs are
compiled ahead of time and never run: the figures come from the compiler (memory_analysis). The last
line is a JSON object.
"""

import argparse
import json

import jax
import jax.numpy as jnp

from jaxvl.config import base
from jaxvl.losses import hard_negative, make_contrast
from jaxvl.losses.contrastive import NO_ID, pair_ids
from jaxvl.methods import clip

FORMS = ("plain", "chunked")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", default="1024,2048,4096,8192,16384,32768", help="values of G, in examples"
    )
    parser.add_argument(
        "--negatives", type=int, default=5, help="hard negatives of each caption (K)"
    )
    parser.add_argument("--width", type=int, default=512, help="size of an embedding")
    parser.add_argument("--chunk", type=int, default=1024, help="keys at a time")
    flags = parser.parse_args()
    result = {}
    for rows in map(int, flags.rows.split(",")):
        sizes = {
            form: temporary_mib(rows, flags, chunk=flags.chunk if form == "chunked" else 0)
            for form in FORMS
        }
        print(f"G {rows:6}  " + "  ".join(f"{form} {mib:10.1f} MiB" for form, mib in sizes.items()))
        result[rows] = sizes
    print(json.dumps({"chunk": flags.chunk, "negatives": flags.negatives, "temporary_mib": result}))


def temporary_mib(rows, flags, *, chunk):
    """Returns the memory that loss and gradient need beside their inputs and outputs, in MiB."""
    config = base()
    config.loss.itc_chunk = chunk
    contrast_rows = make_contrast(config)

    def loss(zi_GxE, zt_GxE, zn_GxKxE, image_id_G, valid_GxK, logit_scale):
        ids_Gx2 = pair_ids(image_id_G, image_id_G)
        false_ids_GxK = jnp.full(valid_GxK.shape, NO_ID)
        z = clip.Embeddings(zi_GxE, zt_GxE, zn_GxKxE)
        texts = hard_negative.text_keys(zt_GxE, zn_GxKxE, ids_Gx2, false_ids_GxK, valid_GxK)
        return clip.itc(contrast_rows, {"logit_scale": logit_scale}, z, ids_Gx2, texts)

    def shape(*sizes, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(sizes, dtype)

    width, count = flags.width, flags.negatives
    given = (
        shape(rows, width),
        shape(rows, width),
        shape(rows, count, width),
        shape(rows, dtype=jnp.int32),
        shape(rows, count, dtype=jnp.bool_),
        shape(),
    )
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 5)))
    return step.lower(*given).compile().memory_analysis().temp_size_in_bytes / 2**20


if __name__ == "__main__":
    main()
