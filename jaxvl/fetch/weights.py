"""Published weights from the Hugging Face hub, by the names that the experiments give them."""

import os
from pathlib import Path

from jaxvl import files
from jaxvl.errors import UserError
from jaxvl.fetch.download import Remote, check_room, download, read_json
from jaxvl.keys import nearest

HUB = "https://huggingface.co"
NAMES = {
    "deit-base-patch16-224": "facebook/deit-base-patch16-224",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "clip-vit-base-patch32": "openai/clip-vit-base-patch32",
    "roberta-base": "FacebookAI/roberta-base",
}
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there
OTHERS = (
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


def fetch(name: str, out: Path | str) -> str:
    """Downloads weights to the folder `out`, each file checked by the digest that the hub gives.

    Returns a line for the user. Raises UserError for a name that is not in NAMES, and where there
    is no network or no room; the same command then continues.
    """
    if name not in NAMES:
        near = nearest(name, NAMES)
        raise UserError(f"fetch weights {name}: only {', '.join(NAMES)} are known{near}")
    out = Path(out)
    if files.is_filled(out):
        raise UserError(f"--out {out}: exists and is not empty; name another or remove it")
    remotes = _remotes(NAMES[name])
    folder = out.with_name(f"{out.name}.download")
    check_room(folder, [(one, folder / file) for file, one in remotes.items()], more=0)
    for file, remote in remotes.items():
        download(remote, folder / file)
    if out.exists():  # an empty folder
        out.rmdir()
    folder.rename(out)
    return f"wrote {', '.join(remotes)} to {out}"


def _remotes(repository: str) -> dict[str, Remote]:
    """Returns {file: Remote} of what is needed of a repository, at its newest commit."""
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    url = f"{hub}/api/models/{repository}?blobs=true"
    told = read_json(url)
    try:
        there = {one["rfilename"]: one for one in told["siblings"]}
        wanted = [name for name in OTHERS if name in there]
        wanted += [name for name in WEIGHTS if name in there][:1]
        place = f"{hub}/{repository}/resolve/{told['sha']}"
        found = {name: _remote(f"{place}/{name}", there[name]) for name in wanted}
    except (KeyError, TypeError) as error:
        raise UserError(f"{url}: not what a hub of Hugging Face answers ({error})") from None
    if "config.json" not in found or not set(WEIGHTS) & set(found):
        raise UserError(f"{url}: no config.json, or none of {', '.join(WEIGHTS)}, is there")
    return found


def _remote(url, told):
    large = told.get("lfs")
    return Remote(url, told["size"], large["sha256"] if large else told["blobId"])
