"""jaxvl explain: the PNG, the words on the terminal, and one line for what is wrong."""

import subprocess
import sys

import numpy as np
import pytest
from finished import make_run
from PIL import Image

from jaxvl.cli import explain
from jaxvl.evals.trained import Explanation, Heatmap

pytestmark = pytest.mark.slow


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 4), np.uint8)
    Image.fromarray(pixels, "RGBA").save(path)
    return path


@pytest.fixture
def run(tmp_path_factory, tiny_config):
    return make_run(tmp_path_factory, tiny_config)


def arguments(run, image, out, text="A red cube!"):
    return ["--workdir", str(run), "--image", str(image), "--text", text, "--out", str(out)]


def test_a_drawing_and_the_probability(run, photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    explain.main(arguments(run, photo, out))
    with Image.open(out) as page:
        assert page.format == "PNG" and page.width > 400
    printed = capsys.readouterr().out
    assert "match probability: " in printed and str(out) in printed
    for word in ("a", "red", "cube"):
        assert f"\n  {word} " in printed


def test_words_that_do_not_fit_are_named(run, photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    explain.main(arguments(run, photo, out, text="a red cube " * 6 + "zebra zebu"))
    note = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert len(note) == 1
    assert "too long" in note[0] and note[0].endswith("zebra zebu")
    assert out.exists()


def refused(capsys, call):
    with pytest.raises(SystemExit) as stop:
        explain.main(call)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1 and not captured.out
    return captured.err


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0truncated"])
def test_an_unreadable_image_is_refused(run, tmp_path, capsys, content):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(content)
    out = tmp_path / "out.png"
    assert "bad.jpg" in refused(capsys, arguments(run, bad, out))
    assert not out.exists()


def test_a_missing_image_is_refused(run, tmp_path, capsys):
    assert "none.jpg" in refused(capsys, arguments(run, tmp_path / "none.jpg", tmp_path / "o.png"))


@pytest.mark.parametrize("text", ["  ", "?!"])
def test_a_text_without_words_is_refused(run, photo, tmp_path, capsys, text):
    out = tmp_path / "out.png"
    assert "has no words" in refused(capsys, arguments(run, photo, out, text=text))
    assert not out.exists()


def test_a_folder_that_is_no_run_is_refused(photo, tmp_path, capsys):
    assert str(tmp_path) in refused(capsys, arguments(tmp_path, photo, tmp_path / "out.png"))


def test_a_run_without_checkpoint_is_refused(run, photo, tmp_path, capsys):
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    message = refused(capsys, arguments(tmp_path, photo, tmp_path / "out.png"))
    assert "no checkpoint" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "photo.png"]


def test_an_output_that_cannot_be_written_is_refused_before_anything_else(photo, tmp_path, capsys):
    assert "--out" in refused(capsys, arguments("no_run", photo, tmp_path))
    assert "--out" in refused(capsys, arguments("no_run", photo, tmp_path / "no" / "out.png"))


@pytest.mark.parametrize(
    "place, words",
    [((0, 0), "upper left"), ((2, 5), "right"), ((5, 3), "lower"), ((3, 3), "centre")],
)
def test_regions_in_words(place, words):
    relevance = np.zeros((6, 6))
    relevance[place] = 1
    assert explain.where(relevance) == words


def test_an_even_map_has_no_region():
    (word,) = (Heatmap("a", np.zeros((3, 3))),)
    assert explain.where(word.relevance) == "nowhere"
    assert "match probability: 25.0%" in explain.summary(Explanation(0.25, 0.5, [word]), [])
    assert "cosine: 0.500" in explain.summary(Explanation(None, 0.5, [word]), [])


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from jaxvl.__main__ import main\nsys.argv = ['jaxvl', 'explain', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('jax', 'tensorflow', 'torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "usage: jaxvl explain" in done.stdout
