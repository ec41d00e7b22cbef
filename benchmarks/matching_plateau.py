"""The best matching loss that is possible from similarity alone, against the hardness of negatives.

  python benchmarks/matching_plateau.py --out plateau.png

Simulates a model whose contrastive softmax is calibrated: the true text of an image is distributed
exactly as the softmax says. Negatives are drawn as in training, from softmax(hardness * logits).
The best judge that knows nothing but the probability of a pair has the entropy of the label, given
this probability, as its loss. A judge that always answers "one in three" has 0.637.
Letters: R rows (images), G texts of a batch.
"""

import argparse
import json

import numpy as np

HARDNESS = (0.0, 0.25, 0.5, 0.75, 1.0)
CONSTANT = -(np.log(1 / 3) + 2 * np.log(2 / 3)) / 3
ROWS = 20_000
BINS = 50  # of the probability of a pair, with equally many pairs


def main() -> None:
    """Command line: see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=64, help="texts that an image has")
    parser.add_argument("--losses", type=float, nargs="+", default=[3.5, 2.8, 2.0, 1.2, 0.6])
    parser.add_argument("--out", help="draws a plot into this PNG file")
    flags = parser.parse_args()
    curves = {}
    for loss in flags.losses:
        log_p_RxG = calibrated(loss, flags.batch_size)
        curves[loss] = [round(best_loss(log_p_RxG, hardness), 3) for hardness in HARDNESS]
        values = "  ".join(f"{h:g}: {value:.3f}" for h, value in zip(HARDNESS, curves[loss]))
        print(f"contrastive loss {loss:g}; best matching loss at hardness {values}")
    if flags.out:
        draw(curves, flags.out)
    print(json.dumps({"hardness": HARDNESS, "best_loss": curves, "constant": round(CONSTANT, 3)}))


def calibrated(loss: float, texts: int) -> np.ndarray:
    """Returns float64 [R, G]: log-probabilities of normal logits with `loss` as mean entropy."""
    noise_RxG = np.random.default_rng(0).normal(size=(ROWS, texts))
    low, high = 0.0, 50.0
    for _ in range(25):
        spread = (low + high) / 2
        log_p_RxG = log_softmax(spread * noise_RxG)
        entropy = -(np.exp(log_p_RxG) * log_p_RxG).sum(1).mean()
        low, high = (spread, high) if entropy > loss else (low, spread)
    return log_p_RxG


def log_softmax(logits_RxG: np.ndarray) -> np.ndarray:
    """Returns the log-softmax of each row."""
    shifted_RxG = logits_RxG - logits_RxG.max(1, keepdims=True)
    return shifted_RxG - np.log(np.exp(shifted_RxG).sum(1, keepdims=True))


def best_loss(log_p_RxG: np.ndarray, hardness: float) -> float:
    """Returns the loss of the best judge of one true pair and two drawn ones for each row."""
    rng, rows = np.random.default_rng(1), np.arange(len(log_p_RxG))

    def drawn(logits_RxG):
        return (logits_RxG + rng.gumbel(size=logits_RxG.shape)).argmax(1)

    true_R = drawn(log_p_RxG)
    others_RxG = hardness * log_p_RxG
    others_RxG[rows, true_R] = -np.inf
    known = np.concatenate([log_p_RxG[rows, drawn(others_RxG)] for _ in range(2)])
    known = np.concatenate([log_p_RxG[rows, true_R], known])
    label = np.repeat([1.0, 0.0, 0.0], len(rows))
    bins = np.array_split(label[known.argsort()], BINS)
    return float(np.mean([entropy_of(part.mean()) for part in bins]))


def entropy_of(share: float) -> float:
    """Returns the entropy of a yes with this probability, in nats."""
    return float(-sum(p * np.log(p) for p in (share, 1 - share) if p > 0))


def draw(curves: dict[float, list[float]], path: str) -> None:
    """Writes a plot of the best loss over the hardness, one line for each contrastive loss."""
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(6, 3.6), layout="constrained")).add_subplot()
    for loss, values in curves.items():
        axes.plot(HARDNESS, values, marker="o", label=f"contrastive loss {loss:g}")
    axes.axhline(CONSTANT, color="grey", linestyle="--", label="always one in three")
    axes.set(
        xlabel="hardness of the negatives (loss.itm_hardness)",
        ylabel="best possible matching loss",
        ylim=(0, 0.7),
    )
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
