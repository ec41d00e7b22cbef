"""The README.md of an exported folder: what the weights are, how they were made, what they can do.

Every number in it is read from the run; what nobody but the user can say is left to be filled in.
"""

from pathlib import Path

from jaxvl import preprocessing
from jaxvl.data import store
from jaxvl.errors import UserError

USE = {
    "torch": """import sys; sys.path.insert(0, "FOLDER")
from modeling_jaxvl import load
from PIL import Image

model, prepare = load("FOLDER")
image = model.encode_image(prepare.images([Image.open("photo.jpg")]))
text = model.encode_text(prepare.texts(["a dog in the snow"]))
print(image.embedding @ text.embedding.T, model.match(image, text))
print(model.word_heatmaps(image, text)[0])""",
    "albef": """import torch
from models.model_retrieval import ALBEF    # ALBEF's own code

model.load_state_dict(torch.load("FOLDER/ALBEF.pth", weights_only=True)["model"], strict=False)""",
    "hf": """from PIL import Image
from transformers import CLIPModel, CLIPProcessor

model = CLIPModel.from_pretrained("FOLDER")
processor = CLIPProcessor.from_pretrained("FOLDER", backend="pil")  # torchvision resizes otherwise
inputs = processor(text=["a dog in the snow"], images=Image.open("photo.jpg"), padding=True,
                   truncation=True, return_tensors="pt")
print(model(**inputs).logits_per_image)""",
    "open_clip": """import open_clip

model, _, prepare = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")""",
}


def card(exported, *, name, report):
    """Returns the text. name: the format. report: {quantity: export_check.Difference}."""
    config = exported.config
    sections = [
        f"# {_title(config)}",
        "Licence: **to be filled in by whoever publishes these weights** (that of the pictures "
        "and captions they were trained on may bind it).",
        f"## How to use it\n\n```python\n{USE[name]}\n```",
        f"## What it was trained on\n\n{_training(exported)}",
        f"## Scores\n\n{_scores(exported)}",
        f"## What it does with pictures and texts\n\n{_inputs(exported)}",
        f"## Limits\n\n{_limits(exported, name)}",
        "## Same as in training\n\nLoaded in PyTorch, the files of this folder gave these largest "
        f"differences from JAX (`export_report.json`):\n\n{_differences(report)}",
    ]
    return "\n\n".join(sections) + "\n"


def _title(config):
    model = config.model
    kind = {"albef": "ALBEF", "clip": "CLIP"}[model.name]
    tower = f"ViT {model.image.layers} x {model.image.width}, patch {model.image.patch_size}"
    return f"{kind} ({tower}), trained by jaxvl with {config.method}"


def _training(exported):
    config = exported.config
    start = Path(config.model.init).name if config.model.init else "random"
    weights = {
        "ema": "running mean of the parameters (EMA)",
        "online": "the parameters as they were at this step",
    }[exported.weights]
    lines = [
        f"- data: {', '.join(map(_data_set, _directories(config.data)))}",
        f"- steps: {exported.step} of {config.total_steps}, {config.batch_size} pairs each",
        f"- method: `{config.method}`; weights at the start: {start}; seed {config.seed}",
        f"- these weights: {weights}",
    ]
    return "\n".join(lines)


def _directories(data):
    if data.mixture:
        return [directory for directory, _ in data.mixture]
    return [data.name if data.source == "tfds" else data.dir]


def _data_set(directory):
    name = Path(directory).name
    try:
        meta = store.read_meta(directory)
    except UserError:
        return f"`{name}`"
    counts = ", ".join(f"{split} {count:,}" for split, count in meta["splits"].items())
    return f"`{name}` ({meta['kind']}; pictures: {counts})"


def _scores(exported):
    scores = dict(exported.scores)
    if not scores:
        return "This run was not evaluated."
    step, split = scores.pop("step", "?"), exported.config.eval.split
    scored = {name: value for name, value in scores.items() if "/" in name}
    rows = [f"| `{name}` | {_number(value)} |" for name, value in scored.items()]
    note = "" if step == exported.step else f" These weights are of step {exported.step}."
    head = f"On the split `{split}` after step {step}, as fractions of 1.{note}"
    return "\n".join([head, "", "| score | value |", "|---|---|", *rows])


def _number(value):
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _inputs(exported):
    config = exported.config
    numbers = preprocessing.numbers_of(config)
    size, how = numbers["size"], f"{numbers['interpolation']}, antialiased as by Pillow"
    seen = {
        "none": f"all of the picture resized to {size} x {size} pixels ({how})",
        "center": f"resized until the shorter side has {size} pixels ({how}), of which the square "
        "in the middle is seen",
    }[numbers["crop"]]
    lines = [
        f"- pictures: `{numbers['name']}`: {seen}, values divided by 255, mean {numbers['mean']}, "
        f"deviation {numbers['std']}",
        f"- texts: at most {config.data.max_tokens} tokens of {config.model.text.vocabulary_size}; "
        "what does not fit is cut",
    ]
    if config.model.name == "albef":
        lines.append(
            f"- heat-maps: Grad-CAM of the match score ({config.softmask.score}) through fusion "
            f"layer {config.softmask.layer} of {config.model.text.fusion_layers}, counted from 0"
        )
    return "\n".join(lines)


def _limits(exported, name):
    shape = "their proportions lost" if exported.config.data.eval_crop == "none" else "cropped"
    if shape == "cropped" and name == "open_clip":
        shape += ", by open_clip one pixel further on where 3, 7, 11, ... pixels are cut off"
    return "\n".join(
        [
            "- It knows what its training pictures and captions showed, with their mistakes and "
            "prejudices; it was not checked for these.",
            f"- Pictures are seen at {exported.config.data.image_size} pixels, {shape}.",
            "- A similarity or a match probability ranks candidates; it is not a calibrated "
            "probability.",
            "- Not for identifying people, and not for decisions about them.",
        ]
    )


def _differences(report):
    rows = [f"| {name} | {d.absolute:.1e} | {d.relative:.1e} |" for name, d in report.items()]
    return "\n".join(["| quantity | absolute | relative |", "|---|---|---|", *rows])
