"""Preprocessing has a name, which travels with the weights."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxvl import preprocessing, workdir


def test_the_name_says_size_and_crop(tiny_config):
    assert preprocessing.name_of(tiny_config) == "bicubic-antialias-32-clip"
    tiny_config.data.image_size, tiny_config.data.eval_crop = 224, "center"
    assert preprocessing.name_of(tiny_config) == "bicubic-antialias-224-center-clip"


def test_numbers_are_plain_json(tiny_config):
    numbers = preprocessing.numbers_of(tiny_config)
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["size"] == 32 and len(numbers["mean"]) == len(numbers["std"]) == 3


def test_it_needs_no_other_room():
    code = (
        "import sys, jaxvl; before = set(sys.modules); import jaxvl.preprocessing\n"
        "print([m for m in sys.modules if m.startswith('jaxvl.') and m not in before])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['jaxvl.preprocessing']"


def noise(height, width):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 2, (height, width, 3), np.uint8) * 255)  # hard edges


@pytest.mark.parametrize("shape", [(60, 90), (17, 12), (90, 20), (1, 5), (24, 24)])
def test_a_whole_image_is_resized(shape):
    expected = noise(*shape).resize((24, 24), Image.Resampling.BICUBIC)
    found = preprocessing.resized(noise(*shape), 24, crop="none")
    assert found.dtype == np.uint8 and (found == np.asarray(expected)).all()


@pytest.mark.parametrize(
    ("shape", "resized", "top", "left"),  # of the image; of the square in what it becomes
    [
        ((60, 91), (24, 36), 0, 6),
        ((41, 12), (82, 24), 29, 0),
        ((90, 40), (54, 24), 15, 0),
        ((7, 9), (24, 30), 0, 3),
        ((24, 24), (24, 24), 0, 0),
        ((24, 51), (24, 51), 0, 13),  # 27 beside it: 13 before
    ],
)
def test_the_square_in_the_middle_is_taken_from_the_resized_image(shape, resized, top, left):
    expected = noise(*shape).resize(resized[::-1], Image.Resampling.BICUBIC)
    expected = expected.crop((left, top, left + 24, top + 24))
    found = preprocessing.resized(noise(*shape), 24, crop="center")
    assert found.shape == (24, 24, 3) and (found == np.asarray(expected)).all()


def test_weights_used_with_another_preprocessing_are_warned_of(tiny_config, tmp_path, capsys):
    run, export, bare = (tmp_path / name for name in ("run", "export", "bare"))
    for folder in (run / "checkpoints", export, bare):
        folder.mkdir(parents=True)
    workdir.save_config(tiny_config, run)
    (export / "preprocessing.json").write_text(json.dumps(preprocessing.numbers_of(tiny_config)))
    for weights in (run, export, bare):
        preprocessing.warn_of_another(weights, tiny_config)
    assert not capsys.readouterr().err
    tiny_config.data.image_size = 64
    for weights in (run, export, bare):
        preprocessing.warn_of_another(weights, tiny_config)
    lines = capsys.readouterr().err.splitlines()
    assert [str(weights) in line for weights, line in zip((run, export), lines)] == [True] * 2
    assert len(lines) == 2
    assert "-32-clip" in lines[0] and "-64-clip" in lines[0]
