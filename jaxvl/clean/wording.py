"""What the page says, in English."""

from typing import Any

# Of a finding: its name, and what it means.
_FINDINGS = {
    "unusable": (
        "Records that cannot be used",
        "Files that are missing, damaged or not an image, and records without a caption. "
        "jaxvl prepare folder leaves them out as well, and says so.",
    ),
    "misfit": (
        "Captions that do not fit their image",
        "By the model, random pairs of an image and a caption fit as well. If it tells nearly all "
        "pairs apart, most of these captions belong to another image; if not, many are right.",
    ),
    "leak": (
        "Near-copies in another split",
        "The same picture is in two splits, so scores on one of them are too good. The copy in an "
        "evaluation split stays.",
    ),
    "near_copy": (
        "Near-copies in the same split",
        "The same picture in another size, quality or light. It counts twice in training, and its "
        "copy is a false negative. The largest one stays.",
    ),
    "perhaps_copy": (
        "Perhaps copies",
        "Alike in their outlines, less so in their colours. Nothing is left out: look at them.",
    ),
    "alike": (
        "Pairs that only the model finds alike",
        "The pairs that are nearest by the model, but not by their outlines: cropped or mirrored "
        "copies, or two pictures of the same thing. Nothing is left out: look at them.",
    ),
    "plain": ("Images of one colour", "There is nothing in them: often a placeholder."),
    "blurred": (
        "Blurred images",
        "Blurred so much that it shows at 160 pixels. A sharp thing before a soft background can "
        "be among them.",
    ),
    "dark": (
        "Dark images",
        "Fewer than 1 % of the pixels are bright. Night scenes are among them.",
    ),
    "tiny": (
        "Tiny images",
        "The shorter side is short for a model, and less than half as long as is usual here.",
    ),
    "narrow": (
        "Long and narrow images",
        "They are squeezed into a square, or lose their ends, before a model sees them.",
    ),
    "place": (
        "Files that tell a place",
        "Their metadata hold a latitude and a longitude. jaxvl prepare folder stores images "
        "without metadata; the files themselves still have them.",
    ),
    "people": (
        "Files that name a person",
        "Their metadata name an author or the owner of the camera. jaxvl prepare folder stores "
        "images without metadata; the files themselves still have them.",
    ),
    "personal": (
        "Captions with an address or a number",
        "They seem to hold an e-mail address or a telephone number. These are not shown here.",
    ),
}

# Of a figure of a record, and of a measure.
_FIGURES = {
    "random_pairs": "random pairs that fit as well",
    "margin": "cosine above its neighbourhood",
    "bits": "bits that differ, of 64",
    "correlation": "correlation of colours",
    "cosine": "cosine by the model",
    "contrast": "contrast",
    "blur": "blur, 0 to 1",
    "light": "brightest hundredth, 0 to 1",
    "width": "width in pixels",
    "height": "height in pixels",
}
_SHARES = ("random_pairs",)  # figures that are shown in per cent

_TOKENIZERS = {
    "run": "the tokenizer of the run",
    "prepared": "the data set's own tokenizer",
    "folder": "the tokenizer that would be trained on these captions",
}

WORDING: dict[str, Any] = {
    "findings": _FINDINGS,
    "figures": _FIGURES,
    "shares": _SHARES,
    "tokenizers": _TOKENIZERS,
}
