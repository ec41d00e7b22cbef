"""Every file of a run, damaged in every way: a command says so in one line, or does the same.

    python tests/sweeps/damaged_files.py [--every]

Prints how many damaged runs were opened, by jaxvl.load and by continuing the training: how many
were refused in one line, gave the same as the whole run (where a file is not needed, or an older
checkpoint was named and used), gave something else without a word, and ended in another error.
Without --every only the largest file of each kind in a checkpoint is damaged.
"""

import contextlib
import io
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
from ml_collections import ConfigDict

import jaxvl
from jaxvl import config as config_lib
from jaxvl.errors import UserError
from jaxvl.training import loop

TEXT = "a red cube is left of a blue ball"


def flip(path: Path) -> None:
    """Changes one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def to_folder(path: Path) -> None:
    """Puts a folder in the place of a file."""
    path.unlink()
    path.mkdir()


ANY = {
    "removed": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a bit": flip,
    "noise": lambda path: path.write_bytes(random.Random(0).randbytes(path.stat().st_size)),
    "a folder": to_folder,
}
OF_JSON = {
    "null": lambda path: path.write_text("null"),
    "a list": lambda path: path.write_text("[]"),
    "an object": lambda path: path.write_text("{}"),
    "a number": lambda path: path.write_text("5"),
    "nested": lambda path: path.write_text("[" * 100_000),
    "UTF-16": lambda path: path.write_bytes(path.read_text().encode("utf-16")),
}


def small_config(data: str) -> ConfigDict:
    """Returns a CLIP of one layer, which trains four steps and saves after two."""
    config = config_lib.base()
    config.method = config.model.name = "clip"
    config.model.embed_size, config.model.scan_layers = 16, False
    config.model.image.update(patch_size=16, layers=1, width=16, heads=2, mlp_width=32)
    config.model.text.update(layers=1, width=16, heads=2, mlp_width=32, positions=24)
    config.data.update(dir=data, image_size=32, max_tokens=20, add_sep=True)
    config.data.update(rand_augment_operations=0, prefetch_batches=1, loader_threads=1)
    config.batch_size, config.total_steps, config.eval.batch_size = 8, 4, 8
    config.log.update(every_steps=1, tensorboard=False)
    config.eval.every_steps, config.checkpoint.every_steps = 0, 2
    return config


def loaded(run: Path) -> np.ndarray:
    """Returns what the model of a run makes of a text."""
    return np.asarray(jaxvl.load(run).encode_text(TEXT).embedding)


def continued(run: Path, config: ConfigDict) -> np.ndarray:
    """Returns the same after the run was continued to its last step."""
    loop.train(config, run)
    return loaded(run)


def files_of(run: Path, *, every: bool) -> list[Path]:
    """Returns the files to damage: all, or of checkpoints the largest of each name."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    if every:
        return files
    largest: dict[tuple, Path] = {}
    for path in files:
        inner = "checkpoints" in path.parts
        kind = ("checkpoint", path.name if "." in path.name or "_" in path.name else "data")
        key = kind if inner else (str(path),)
        if key not in largest or path.stat().st_size > largest[key].stat().st_size:
            largest[key] = path
    return sorted(largest.values())


def sweep(run: Path, config: ConfigDict, *, every: bool) -> dict[str, list[str]]:
    """Damages a copy of a finished run in every way. Returns {outcome: lines}."""
    found: dict[str, list[str]] = {name: [] for name in ("refused", "same", "silent", "other")}
    expected = {"load": loaded(run)}
    expected["train"] = expected["load"]
    commands = {"load": loaded, "train": lambda copy: continued(copy, config)}
    for path in files_of(run, every=every):
        damages = ANY | (OF_JSON if path.suffix == ".json" else {})
        for name, damage in damages.items():
            for command, call in commands.items():
                copy = run.with_name("copy")
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(run, copy)
                damage(copy / path.relative_to(run))
                line = f"{command}, {path.relative_to(run)}, {name}"
                outcome, told = _outcome(call, copy, expected[command])
                found[outcome].append(f"{line}: {told}")
    return found


def _outcome(call, copy, expected):
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
            embedding = call(copy)
    except UserError as error:
        return ("other" if "\n" in str(error) else "refused"), str(error)
    except Exception as error:
        return "other", f"{type(error).__name__}: {error}"
    if np.array_equal(embedding, expected):
        return "same", ""
    warned = "is damaged" in printed.getvalue() or "cannot be read" in printed.getvalue()
    return ("same", "an older one") if warned else ("silent", "")


def main() -> int:
    """Returns the exit code: 0 if nothing was silent and nothing ended in another error."""
    from jaxvl.data import scenes, store

    with tempfile.TemporaryDirectory() as folder:
        counts = {"train": 16}
        splits = {"train": scenes.generate(split="train", count=16, size=32, seed=0, workers=1)}
        data, run = Path(folder) / "scenes", Path(folder) / "run"
        store.write(data, kind="scenes", splits=splits, counts=counts, meta={}, vocabulary_size=200)
        config = small_config(str(data))
        loop.train(config, run)
        found = sweep(run, config, every="--every" in sys.argv)
    for outcome in ("silent", "other"):
        for line in found[outcome]:
            print(f"{outcome}: {line:.300}")
    print(
        f"{sum(map(len, found.values()))} openings of damaged runs on {jax.device_count()} device: "
        f"{len(found['refused'])} refused in one line, {len(found['same'])} the same, "
        f"{len(found['silent'])} silent, {len(found['other'])} other errors"
    )
    return int(bool(found["silent"] or found["other"]))


if __name__ == "__main__":
    sys.exit(main())
