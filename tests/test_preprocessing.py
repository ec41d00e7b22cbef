"""Preprocessing has a name, which travels with the weights."""

import io
import json

import pytest

from jaxvl import preprocessing
from jaxvl.data.images import augment
from jaxvl.export import check


def test_the_name_says_size_and_crop(tiny_config):
    assert preprocessing.name_of(tiny_config) == "bicubic-antialias-32-clip"
    tiny_config.data.image_size, tiny_config.data.eval_crop = 224, "center"
    assert preprocessing.name_of(tiny_config) == "bicubic-antialias-224-center-clip"


def test_numbers_are_plain_json(tiny_config):
    numbers = preprocessing.numbers_of(tiny_config)
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["size"] == 32 and len(numbers["mean"]) == len(numbers["std"]) == 3


@pytest.mark.parametrize("crop", ["none", "center"])
def test_pillow_makes_the_same_of_a_picture_as_the_pipeline(crop):
    for picture in check.pictures():
        stored = io.BytesIO()
        picture.save(stored, "PNG")
        expected = augment.whole(stored.getvalue(), 33, crop=crop).numpy()
        assert (preprocessing.resized(picture, 33, crop=crop) == expected).all()


def test_weights_used_with_another_one_are_warned_of(tiny_config, tmp_path, capsys):
    from jaxvl import workdir

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
