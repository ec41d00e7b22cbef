"""When a row counts as right, and how rows are averaged: benchmark by benchmark, in NumPy.

A row has P pictures and C captions, the true ones first. Every comparison is strict: a tie is a
failure, and so is a score that is not a number.
Letters: R rows, P pictures of a row, C captions of a row.
"""

import numpy as np


def all_above(scores_RxPxC, true_count):
    """Returns bool [R]: every true caption of the picture above every false one."""
    true_RxC, false_RxC = np.split(scores_RxPxC[:, 0], [true_count], axis=1)
    return true_RxC.min(axis=1) > false_RxC.max(axis=1)


def right_caption(scores_Rx2x2, true_count):
    """Winoground's text score, bool [R]: each picture prefers its own caption."""
    del true_count
    s = scores_Rx2x2
    return (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])


def right_picture(scores_Rx2x2, true_count):
    """Winoground's image score, bool [R]: each caption prefers its own picture."""
    return right_caption(scores_Rx2x2.transpose(0, 2, 1), true_count)


def right_both(scores_Rx2x2, true_count):
    """Winoground's group score, bool [R]: text and image score hold."""
    return right_caption(scores_Rx2x2, true_count) & right_picture(scores_Rx2x2, true_count)


def by_name(right_R, name_R):
    """Returns {name: share of its rows that are right}, in the order of first appearance."""
    names = dict.fromkeys(name_R)
    name_R = np.asarray(name_R)
    return {name: float(right_R[name_R == name].mean()) for name in names}


def macro(right_R, group_R, *, least):
    """Returns (mean over the groups' shares, number of groups); groups under `least` rows are out.

    The mean is nan where no group is left.
    """
    names, of_R, counts = np.unique(group_R, return_inverse=True, return_counts=True)
    shares = np.bincount(of_R, weights=right_R, minlength=len(names)) / np.maximum(counts, 1)
    shares = shares[counts >= least]
    return (float(shares.mean()) if len(shares) else float("nan")), len(shares)


def mean_of_all(share_of):
    """{subset: share} -> {"mean": their mean}."""
    return {"mean": float(np.mean(list(share_of.values())))}


def valse_means(share_of):
    """VALSE's two means: of all splits (11), and with the three of counting as one (9)."""
    columns = _columns(share_of, lambda name: name.split("-")[0] if "counting" in name else name)
    return {**mean_of_all(share_of), "mean_counting_as_one": float(np.mean(list(columns.values())))}


def checklist_means(share_of):
    """VL-CheckList: data sources are averaged within a kind, kinds within Object, ..., these last.

    Subsets are named by their paths: Attribute_vg_color, Object_Location_..._vg_subj_center.
    """
    kinds = _columns(share_of, lambda name: (name.split("_")[0], name.split("_")[-1]))
    areas = _columns(kinds, lambda kind: kind[0])
    return {**areas, "mean": float(np.mean(list(areas.values())))}


def _columns(share_of, column_of):
    """Returns {column: mean of its subsets' shares}."""
    columns = {}
    for name, share in share_of.items():
        columns.setdefault(column_of(name), []).append(share)
    return {column: float(np.mean(shares)) for column, shares in columns.items()}
