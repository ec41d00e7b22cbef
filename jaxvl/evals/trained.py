"""A trained model with its tokenizer and preprocessing: what it says of images and texts.

The methods and their results are named as in `jaxvl.export.modeling_jaxvl`, the PyTorch export, and
have the same meaning; arrays are NumPy arrays.

Letters: I images, T texts, P pairs of an image and a text, N image tokens (class token first),
L text tokens, D width, E embedding, g patches along a side.
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict
from tokenizers import Tokenizer

from jaxvl import preprocessing
from jaxvl.data.text import tokenizer as tokenizers
from jaxvl.data.text.tokenizer import Tokens
from jaxvl.data.text.words import words_of
from jaxvl.errors import UserError
from jaxvl.evals.examples import make_tokenize
from jaxvl.evals.features import ImageFeatures, TextFeatures
from jaxvl.evals.feeding import image_batches
from jaxvl.evals.inputs import AnyImage, image_list, open_image, text_list
from jaxvl.evals.scoring import Scorer, make_scorer, without_common_padding
from jaxvl.types import MATCH, Model, Params


class EncodedImage(NamedTuple):
    """Encoded images: `states` [I, N, D] of the tokens, `embedding` [I, E] of unit length.

    `states` is None where they were not kept; see `TrainedModel.encode_image`.
    """

    states: np.ndarray | None
    embedding: np.ndarray


class Texts(NamedTuple):
    """Tokens of texts.

    `words`: the word that a token belongs to, -1 at special tokens and padding. `spelt`: the words
    that the model reads, of each text. `truncated`: the words behind them, which it does not read
    because the text is too long.
    """

    ids: np.ndarray  # int32 [T, L]
    mask: np.ndarray  # bool [T, L], False at padding
    words: np.ndarray  # int32 [T, L]
    spelt: list[list[str]]
    truncated: list[list[str]]


class EncodedText(NamedTuple):
    """Encoded texts: `states` [T, L, D], `embedding` [T, E], and the Texts they were made of.

    `states` is None for a model without a fusion encoder.
    """

    states: np.ndarray | None
    embedding: np.ndarray
    texts: Texts


class Heatmap(NamedTuple):
    """A word and how relevant each patch was to it when it was read, [g, g], >= 0."""

    word: str
    relevance: np.ndarray


class Explanation(NamedTuple):
    """What the model says of a pair, and the Heatmap of each word.

    `probability`: that image and text belong together; None for a model without a fusion encoder.
    `similarity`: their cosine.
    """

    probability: float | None
    similarity: float
    heatmaps: list[Heatmap]


class TrainedModel:
    """A model that encodes, compares and matches any number of images and texts.

    The inputs are fed in padded batches of few shapes, each of which is compiled once. On several
    processes every process must make the same calls, and gets all of the results.
    """

    def __init__(
        self,
        config: ConfigDict,
        *,
        model: Model,
        params: Params,
        tokenizer: Tokenizer,
        mesh: Mesh,
        batch_size: int,
    ) -> None:
        """config: of the run, resolved. batch_size: the largest batch, a multiple of mesh.size."""
        self.config = config
        self._model, self._params, self._mesh = model, params, mesh
        self._batch_size = batch_size
        self.tokenizer = tokenizer
        self._tokenize = make_tokenize(config, tokenizer)

    def encode_image(
        self, images: AnyImage | Iterable[AnyImage], *, states: bool = False
    ) -> EncodedImage:
        """Returns the EncodedImage of one image or several.

        An image is a path, a PIL image or an array uint8 [height, width, 3]; it is prepared as in
        evaluation. states: keep the states, which take a hundred times the memory of embeddings,
        for `explain` and `word_heatmaps`; a model with a fusion encoder always keeps them.
        Raises UserError naming an image that cannot be read.
        """
        given, data = image_list(images), self.config.data

        def pixels(index):
            image = open_image(given[index], index)
            return preprocessing.resized(image, data.image_size, crop=data.eval_crop)

        scorer, batch_size = self._scorer(len(given))
        batches = image_batches(pixels, len(given), data, batch_size=batch_size)
        return EncodedImage(
            *scorer.images(self._params, batches, count=len(given), progress=False, tokens=states)
        )

    def encode_text(self, texts: str | Iterable[str]) -> EncodedText:
        """Returns the EncodedText of one text or several.

        A text that is too long is truncated, which `texts.truncated` of the result tells. Raises
        UserError naming a text without words.
        """
        given = text_list(texts)
        tokens = without_common_padding(self._tokenize(given))
        ends = [int(words_L.max()) + 1 for words_L in tokens.words]
        if 0 in ends:
            number = ends.index(0)
            raise UserError(f"text {number}, {given[number]!r}, has no words")
        scorer, _ = self._scorer(len(given))
        found = scorer.texts(self._params, tokens, progress=False)
        read = [tokenizers.read_as(self.tokenizer, text) for text in given]
        words = [words_of(text, self.config.data.words) for text in read]
        spelt = [all_words[:end] for all_words, end in zip(words, ends)]
        truncated = [all_words[end:] for all_words, end in zip(words, ends)]
        return EncodedText(
            found.states_TxLxD, found.embeddings_TxE, Texts(*tokens, spelt, truncated)
        )

    def similarity(self, image: EncodedImage, text: EncodedText) -> np.ndarray:
        """Returns float32 [I, T]: the cosine similarity of every image with every text."""
        return image.embedding @ text.embedding.T

    def match_logits(
        self, image: EncodedImage, text: EncodedText, pairs: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns float32 [P, 2]: logits that image and text do not, and do, belong together.

        pairs: int [P, 2], rows (image, text). Without it, image k and text k are a pair, and a
        single image, or a single text, is paired with each of the others. Evaluation ranks by the
        second logit. Raises UserError for a model without a fusion encoder.
        """
        if not self._model.fuse:
            raise UserError(
                f"model.name={self.config.model.name!r} has no fusion encoder, so it has no match "
                "probability; model.name='albef' has. similarity works for both"
            )
        pairs_Px2 = _pairs(image, text, pairs)
        scorer, _ = self._scorer(len(pairs_Px2))
        assert scorer.match is not None
        return scorer.match(self._params, *_features(image, text), pairs_Px2, progress=False)

    def match(
        self, image: EncodedImage, text: EncodedText, pairs: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns float32 [P]: the probability that image and text of each pair belong together.

        pairs: as in `match_logits`. Raises UserError for a model without a fusion encoder.
        """
        logits_Px2 = self.match_logits(image, text, pairs)
        weights_Px2 = np.exp(logits_Px2 - logits_Px2.max(axis=1, keepdims=True))
        return weights_Px2[:, MATCH] / weights_Px2.sum(axis=1)

    def word_heatmaps(
        self, image: EncodedImage, text: EncodedText, pairs: np.ndarray | None = None
    ) -> list[list[Heatmap]]:
        """Returns for each pair a list of Heatmaps, one for each word that the model reads.

        pairs and errors: as for `explain`.
        """
        return [one.heatmaps for one in self.explain(image, text, pairs)]

    def explain(
        self, image: EncodedImage, text: EncodedText, pairs: np.ndarray | None = None
    ) -> list[Explanation]:
        """Returns the Explanation of each pair, computed in one pass.

        pairs: as in `match_logits`. Raises UserError where the images were encoded without their
        states, and for a model whose words cannot be explained.
        """
        pairs_Px2 = _pairs(image, text, pairs)
        scorer, _ = self._scorer(len(pairs_Px2))
        if scorer.word_maps is None:
            raise UserError(f"model.name={self.config.model.name!r}: words cannot be explained")
        if image.states is None:
            raise UserError("heat-maps need encode_image(..., states=True)")
        tokens = Tokens(text.texts.ids, text.texts.mask, text.texts.words)
        found = scorer.word_maps(
            self._params, *_features(image, text), tokens, pairs_Px2, progress=False
        )
        return [
            Explanation(
                score if self._model.fuse else None,
                float(image.embedding[i] @ text.embedding[t]),
                _heatmaps(text.texts.spelt[t], tokens.words[t], relevance_LxM),
            )
            for (i, t), (relevance_LxM, score) in zip(pairs_Px2, found)
        ]

    def _scorer(self, count: int) -> tuple[Scorer, int]:
        """Returns (Scorer, batch size) for so many rows: a power of two on each device."""
        a_device = 1 << (-(-count // self._mesh.size) - 1).bit_length()
        batch_size = min(self._batch_size, self._mesh.size * a_device)
        read = {
            "softmask": {name: self.config.softmask[name] for name in ("layer", "score")},
            "data": {"token_lengths": tuple(self.config.data.token_lengths)},
        }
        return _scorer(FrozenConfigDict(read), self._model, self._mesh, batch_size), batch_size


@functools.lru_cache(maxsize=16)  # a training run draws its panel many times and compiles it once
def _scorer(config, model, mesh, batch_size):
    return make_scorer(config, model=model, mesh=mesh, batch_size=batch_size)


def _pairs(image: EncodedImage, text: EncodedText, pairs: np.ndarray | None) -> np.ndarray:
    count_I, count_T = len(image.embedding), len(text.embedding)
    if pairs is None:
        return _rows_in_turn(count_I, count_T)
    pairs_Px2 = np.asarray(pairs)
    good = pairs_Px2.ndim == 2 and pairs_Px2.shape[1] == 2 and pairs_Px2.dtype.kind in "iu"
    if not good or len(pairs_Px2) == 0:
        raise UserError("pairs must be integers [P, 2], rows (image, text), at least one")
    if (pairs_Px2 < 0).any() or (pairs_Px2 >= [[count_I, count_T]]).any():
        raise UserError(f"pairs name rows that {count_I} images and {count_T} texts lack")
    return pairs_Px2


def _rows_in_turn(images: int, texts: int) -> np.ndarray:
    """Returns int [P, 2]: row k of both, or the only row of one with each of the other."""
    if images != texts and 1 not in (images, texts):
        raise UserError(
            f"{images} images and {texts} texts are no pairs: give as many of both, one of either, "
            "or `pairs`, rows (image, text)"
        )
    rows_P = np.arange(max(images, texts))
    return np.stack([np.minimum(rows_P, images - 1), np.minimum(rows_P, texts - 1)], axis=1)


def _features(image: EncodedImage, text: EncodedText) -> tuple[ImageFeatures, TextFeatures]:
    return (
        ImageFeatures(image.states, image.embedding),
        TextFeatures(text.states, text.texts.mask, text.embedding),
    )


def _heatmaps(words, words_L, relevance_LxM):
    side = round(relevance_LxM.shape[1] ** 0.5)
    tokens = [int(np.argmax(words_L == place)) for place in range(len(words))]
    return [
        Heatmap(word, relevance_LxM[token].reshape(side, side))
        for word, token in zip(words, tokens)
    ]
