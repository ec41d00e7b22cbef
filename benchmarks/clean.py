"""How well `jaxvl clean` finds captions that belong to other images: some are swapped on purpose.

  python benchmarks/clean.py --data data/scenes --split val --workdir runs/demo

It gives all captions of a share of the images to another one of these, and prints how well the two
are told apart: by the plain cosine, and by the margin that the command ranks by.
"""

import argparse

import numpy as np

from jaxvl import api
from jaxvl.clean import encoding, findings, fit, records


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a prepared data set")
    parser.add_argument("--split", required=True)
    parser.add_argument("--workdir", required=True, help="the run that judges")
    parser.add_argument("--swapped", type=float, default=0.1, help="share of the images")
    parser.add_argument("--seeds", type=int, default=3)
    flags = parser.parse_args()
    data = records.open_prepared(flags.data)
    rows = [row for row, record in enumerate(data.records) if record.split == flags.split]
    encoded = encoding.encode(api.load(flags.workdir), data, rows)
    some = [data.records[row] for row in rows]
    found = [measured(encoded, some, flags.swapped, seed) for seed in range(flags.seeds)]
    for name in found[0]:
        values = [each[name] for each in found]
        print(f"{name:>12} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")


def measured(encoded, some, share, seed):
    """Returns the AUC of two scores, and precision and recall of what the command flags."""
    mixed, bad_C = swapped(encoded, share, seed)
    cosine_C = (mixed.images_IxE[mixed.image_C] * mixed.texts_TxE[mixed.text_C]).sum(axis=1)
    finding, told_apart = findings.of_fit(mixed, some)
    first_I = np.cumsum([0, *(len(record.captions) for record in some)])
    flagged_C = np.zeros(len(bad_C), bool)
    flagged_C[[first_I[flag.image] + flag.caption for flag in finding.flags]] = True
    both = (flagged_C & bad_C).sum()
    return {
        "AUC cosine": auc(-cosine_C, bad_C),
        "AUC margin": auc(-fit.judge(*mixed).margin_C, bad_C),
        "told apart": told_apart,
        "flagged": flagged_C.mean(),
        "precision": both / max(1, flagged_C.sum()),
        "recall": both / bad_C.sum(),
    }


def swapped(encoded, share, seed):
    """Returns (Encoded with swapped captions, bool [C] of which they are)."""
    count = len(encoded.images_IxE)
    chosen = np.random.default_rng(seed).permutation(count)[: round(share * count)]
    text_C, bad_C = encoded.text_C.copy(), np.isin(encoded.image_C, chosen)
    for image, other in zip(chosen, np.roll(chosen, 1)):
        mine, theirs = (np.flatnonzero(encoded.image_C == each) for each in (image, other))
        text_C[mine] = encoded.text_C[np.resize(theirs, len(mine))]
    return encoded._replace(text_C=text_C), bad_C


def auc(score_C, bad_C):
    """Returns the probability that a bad caption has a higher score than a good one."""
    good = np.sort(score_C[~bad_C])
    below = np.searchsorted(good, score_C[bad_C]), np.searchsorted(good, score_C[bad_C], "right")
    return float(np.mean(below) / len(good))


if __name__ == "__main__":
    main()
