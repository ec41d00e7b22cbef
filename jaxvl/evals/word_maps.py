"""Which patches each word looks at, for any number of pictures and captions on the host.

Letters: G batch, P pairs of a picture and a caption, L text tokens, N patches, D width.
"""

import jax

from jaxvl.evals.feeding import outputs, padded_rows, put_rows
from jaxvl.ops.gradcam import merge_pieces, word_relevance
from jaxvl.sharding import replicated


def make_word_maps(config, *, model, mesh, batch_size):
    """Returns a function of pairs that yields, in their order, what each token looks at.

    (params, tokens_PxNxD, texts, *, progress) -> iterator of (relevance_LxN, match probability),
    texts being Tokens [P, L]; every token has its word's mean, class token and padding zeros.
    """

    def step(params, batch):
        keys = model.image_keys(params, batch["tokens"])
        t_GxLxD = model.encode_text(params, batch["ids"], batch["mask"], key=None)
        relevance_GxLxN, logits_Gx2 = word_relevance(
            model,
            params,
            keys,
            t_GxLxD,
            batch["mask"],
            layer=config.softmask.layer,
            score=config.softmask.score,
        )
        merged_GxLxN = merge_pieces(relevance_GxLxN, batch["words"])
        return merged_GxLxN, jax.nn.softmax(logits_Gx2)[:, 1]

    step = jax.jit(step, out_shardings=replicated(mesh))

    def word_maps(params, pictures, picture_P, texts, *, progress):
        rows = padded_rows(len(picture_P), batch_size)
        inputs = (
            put_rows(
                {
                    "tokens": pictures.tokens_IxNxD[picture_P[at]],
                    "ids": texts.ids[at],
                    "mask": texts.mask[at],
                    "words": texts.words[at],
                },
                mesh,
            )
            for at in rows
        )
        done = 0
        for relevance_GxLxN, probability_G in outputs(
            step, params, inputs, len(rows), label="heat-maps", progress=progress
        ):
            kept = min(batch_size, len(picture_P) - done)
            yield from zip(relevance_GxLxN[:kept], probability_G[:kept].tolist())
            done += kept

    return word_maps
