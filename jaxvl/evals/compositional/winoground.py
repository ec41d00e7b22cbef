"""Winoground (Thrush et al., CVPR 2022)."""

import numpy as np

from jaxvl.evals.compositional.benchmark import Benchmark, component


def right_caption(scores_Rx2x2: np.ndarray, true_count: int) -> np.ndarray:
    """Returns the text score, bool [R]: each image prefers its own caption."""
    del true_count
    s = scores_Rx2x2
    return (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])


def right_image(scores_Rx2x2: np.ndarray, true_count: int) -> np.ndarray:
    """Returns the image score, bool [R]: each caption prefers its own image."""
    return right_caption(scores_Rx2x2.transpose(0, 2, 1), true_count)


def right_both(scores_Rx2x2: np.ndarray, true_count: int) -> np.ndarray:
    """Returns the group score, bool [R]: both the text score and the image score hold."""
    return right_caption(scores_Rx2x2, true_count) & right_image(scores_Rx2x2, true_count)


WINOGROUND = component(
    Benchmark(
        name="winoground",
        files={"winoground": "examples.jsonl"},
        published={"winoground": 400},
        images=("image_0", "image_1"),
        image_name="{}.png",
        true=("caption_0",),
        false=("caption_1",),
        judges={"text": right_caption, "image": right_image, "group": right_both},
        chance={"text": 1 / 4, "image": 1 / 4, "group": 1 / 6},
        headline="group",
    )
)
