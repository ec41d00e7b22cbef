"""Writes every benchmark as published, in small: caption c is the number c, image i is grey i.

The true captions of image i are 10 i and 10 i + 1, the false ones 10 i + 5 and on.
"""

import json

import numpy as np
from PIL import Image

ROWS = 7


def numbers(i):
    return {name: str(10 * i + place) for place, name in enumerate("TtxxxFfghk")}


def sugarcrepe(i):
    n = numbers(i)
    return {"filename": f"{i}.png", "caption": n["T"], "negative_caption": n["F"]}


def sugarcrepe_pp(i):
    return {"id": i, **sugarcrepe(i), "caption2": numbers(i)["t"]}


def aro(i):
    n = numbers(i)
    box = {"bbox_x": 2, "bbox_y": 4, "bbox_w": 3, "bbox_h": 2}
    return {"image_path": f"{i}.png", "true_caption": n["T"], "false_caption": n["F"], **box}


def relation(i):
    return {**aro(i), "relation_name": "on" if i % 2 else "under"}


def attribution(i):
    return {**aro(i), "attributes": ["red", "round"]}


def valse(i):
    n, votes = numbers(i), {"foil": 0, "caption": 3, "other": 0}
    return {"image_file": f"{i}.png", "caption": n["T"], "foil": n["F"], "mturk": votes}


def winoground(i):
    return {
        "id": i,
        "image_0": str(2 * i),
        "image_1": str(2 * i + 1),
        "caption_0": numbers(2 * i)["T"],
        "caption_1": numbers(2 * i + 1)["T"],
    }


def bla(i):
    n = numbers(i)
    group = {"True1": n["T"], "True2": n["t"], "False1": n["F"], "False2": n["f"]}
    return {"image_id": i, "index": i, "caption_group": [group]}


def vl_checklist(i):
    return [f"{i}.png", {"POS": [numbers(i)["T"]], "NEG": [numbers(i)["F"]]}]


def order(i):
    return {"image": f"{i}.png", "caption": [numbers(i)["T"], numbers(i)["t"]]}


# benchmark -> (row i, files)
PUBLISHED = {
    "sugarcrepe": (sugarcrepe, ("add_att.json", "swap_obj.json")),
    "sugarcrepe_pp": (sugarcrepe_pp, ("swap_obj.json", "swap_att.json")),
    "aro_relation": (relation, ("visual_genome_relation.json",)),
    "aro_attribution": (attribution, ("visual_genome_attribution.json",)),
    "aro_order": (order, ("flickr30k_test.json",)),
    "valse": (valse, ("counting-hard.json", "existence.json")),
    "winoground": (winoground, ("examples.jsonl",)),
    "bla": (bla, ("coordination_captions.json",)),
    "vl_checklist": (vl_checklist, ("Attribute/vg/color.json", "Relation/swig_action.json")),
}
AS_OBJECT = ("sugarcrepe", "valse")  # {key: row}; the others are lists


def vary(name, published):
    """Makes the rows as uneven as published ones are: several to an image, some not valid."""
    if name == "valse":
        published[3]["mturk"]["caption"] = 1
    for row in published:
        if name == "bla":
            row["caption_group"] *= 2
        if name == "vl_checklist":
            row[1].update({kind: texts * 2 for kind, texts in row[1].items()})


def write(folder, name, *, rows=ROWS, varied=False):
    """Writes the files of a benchmark and its images. Returns {"annotations", "images"}.

    varied: see `vary`.
    """
    row, files = PUBLISHED[name]
    published = [row(i) for i in range(rows)]
    if varied:
        vary(name, published)
    annotations, images = folder / name, folder / f"{name}_images"
    for file in files:
        path = annotations / file
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = {f"key{i}": one for i, one in enumerate(published)}
        text = json.dumps(stored if name in AS_OBJECT else published)
        if file.endswith(".jsonl"):
            text = "\n".join(map(json.dumps, published))
        path.write_text(text)
    images.mkdir(exist_ok=True)
    for i in range(2 * rows):
        write_image(images / f"{i}{'.jpg' if name == 'bla' else '.png'}", i)
    return {"annotations": str(annotations), "images": str(images)}


def write_image(path, grey):
    """Writes 8 x 8 pixels: all of one grey, or white with it in the box of `aro`."""
    pixels = np.full((8, 8, 3), grey, np.uint8)
    if "aro_" in path.parent.name and "order" not in path.parent.name:
        pixels[:] = 255
        pixels[4:6, 2:5] = grey
    Image.fromarray(pixels).save(path, "PNG")  # the name says little about the content
