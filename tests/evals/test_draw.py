"""Drawing: bright where the map is high, legible labels, files whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvl.errors import UserError
from jaxvl.evals import draw
from jaxvl.evals.panel import page_of
from jaxvl.evals.trained import Explanation, Heatmap

PEAK = np.zeros((4, 4), np.float32)
PEAK[0, 3] = 2.0  # upper right


def heatmaps(words):
    return [Heatmap(word, PEAK) for word in words]


def test_heat_spans_zero_to_one_with_the_map():
    lit = draw.heat(PEAK, (80, 40))
    assert lit.shape == (40, 80)
    assert lit.max() == pytest.approx(1, abs=0.02) and lit.min() == 0
    assert np.unravel_index(lit.argmax(), lit.shape) > (0, 60)
    assert lit[:10, 60:].mean() > 0.5 > lit[20:, :40].mean()


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_an_even_map_lights_nothing(value):
    assert not draw.heat(np.full((4, 4), value), (8, 8)).any()


@pytest.mark.parametrize("grey", [0, 90, 200])
def test_the_peak_is_the_brightest_place_on_dark_and_bright_images(grey):
    image = Image.new("RGB", (64, 64), (grey,) * 3)
    shown = np.asarray(draw.overlay(image, PEAK), np.float32).sum(axis=-1)
    assert shown[:8, -8:].mean() > shown[32:, :32].mean() + 100


def test_a_page_holds_every_word_of_every_image():
    image = np.full((32, 32, 3), 128, np.uint8)
    one = page_of([image], ["a b"], [Explanation(0.5, 0.5, heatmaps("ab"))])
    both = [Explanation(0.5, 0.5, heatmaps(words)) for words in ("ab", "c")]
    two = page_of([image] * 2, ["a b", "c"], both)
    assert two.height > one.height and two.width == one.width
    wrapped = draw.word_row(
        Image.fromarray(image), heatmaps("abcde"), side=60, columns=3, sentence=True
    )
    single = draw.word_row(Image.fromarray(image), heatmaps("a"), side=60, columns=3, sentence=True)
    assert wrapped.height > 2 * single.height  # 7 cells in lines of 3


def test_texts_of_any_length_and_script_fit_the_page():
    image = np.full((16, 48, 3), 128, np.uint8)
    caption = "слово " + "long" * 80 + " 🦆"
    page = page_of([image], [caption], [Explanation(0.5, 0.5, heatmaps(caption.split()))])
    margin = np.asarray(page)[:, -draw.MARGIN :]
    assert (margin == draw.BACKGROUND).all()


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    image = Image.new("RGB", (4, 4))
    draw.save(image, path)
    assert Image.open(path).size == (4, 4)
    before = path.read_bytes()

    def full_disk(path, content):
        with open(path, "wb") as file:
            file.write(content[:9])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(UserError, match="out.png"):
        draw.save(image, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]
