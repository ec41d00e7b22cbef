"""README and docs: every block runs as written, and whatever a page names exists.

A block that needs data, hardware or hours has `<!-- not run: why -->` before it. The others run
page by page in one folder, in small: a command gets the flags of SMALL behind its own.
"""

import fnmatch
import importlib
import importlib.util
import json
import multiprocessing
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from jaxvl import config as config_lib
from jaxvl import keys
from jaxvl.cli import COMMANDS, shipped, train

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
READMES = [ROOT / "README.md", ROOT / "README.ja.md"]
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
LANGUAGES = {"sh", "python", "text", "bibtex"}
BLOCK = re.compile(
    r"(?P<marker><!-- not run: .+? -->\n)?"
    r'^```(?P<language>\w*)(?: title="(?P<title>.+?)")?\n(?P<text>.*?)^```',
    re.M | re.S,
)
SMALL = {
    "train": "--config.total_steps=2 --config.batch_size=8 --config.eval.every_steps=2 "
    "--config.model.image.layers=1 --config.model.text.layers=1 --config.log.panel_images=0",
    "prepare scenes": "--train 40 --eval 12 --workers 1",
    "prepare folder": "--vocabulary_size 200 --workers 1",
    "negatives": "--workers 1",
    "clean": "--workers 1",
}
# What a page takes for granted: the pages before it.
BEFORE = {
    "README.md": ["quickstart.md"],
    "softmask.md": ["quickstart.md"],
    "ahnpl.md": ["quickstart.md"],
    "clip.md": ["quickstart.md"],
    "run_folder.md": ["quickstart.md", "softmask.md"],
    "clean.md": ["own_images.md"],
    "hard_negatives.md": ["own_images.md"],
    "weights.md": ["quickstart.md"],
    "export.md": ["quickstart.md", "own_images.md", "weights.md"],
    "benchmarks.md": ["ahnpl.md"],
}


class Block(NamedTuple):
    """A block of a page.

    is_run: whether no comment says that it is not run. title: the file that it belongs to, or None.
    """

    language: str
    text: str
    is_run: bool
    title: str | None


def blocks(page):
    return [
        Block(found["language"], found["text"], not found["marker"], found["title"])
        for found in BLOCK.finditer(page.read_text())
    ]


def commands(text):
    """Returns the command lines of a shell block as lists of words."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_runnable(block):
    return block.is_run and block.language in ("sh", "python")


TYPED_IN = "docs/extend.md"  # its blocks are files of a clone
RUNNABLE = [
    name
    for name in (str(page.relative_to(ROOT)) for page in PAGES)
    if name != TYPED_IN and any(map(is_runnable, blocks(ROOT / name)))
]


# What pages name.


def test_every_module_of_the_api_pages_exists():
    for page in (DOCS / "api").glob("*.md"):
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M):
            path = ROOT.joinpath(*name.split("."))
            assert path.with_suffix(".py").is_file() or path.is_dir(), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve_and_blocks_say_their_language(page):
    text = page.read_text()
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{page.name}: {target}#{anchor}"
    assert {block.language for block in blocks(page)} <= LANGUAGES


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_every_page_is_in_the_navigation():
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_command_and_flag_exists(capsys):
    flags = {name: flags_of(name, capsys) for name in COMMANDS}
    anywhere = set.union(*flags.values())
    for page in PAGES:
        for words in mentioned_commands(page):
            own = words[: words.index("--")] if "--" in words else words  # the rest is for training
            name, given = words[1], {word.partition("=")[0] for word in own if word[:2] == "--"}
            assert name in flags, f"{page.name}: jaxvl {name}"
            assert {flag for flag in given if "." not in flag} <= flags[name], (
                f"{page.name}: {words}"
            )
        inline = re.findall(r"`(--\w+)", page.read_text())
        assert set(inline) <= anywhere | {"--config"}, f"{page.name}: {set(inline) - anywhere}"


def test_every_experiment_and_table_exists():
    words = {word for page in PAGES for words in mentioned_commands(page) for word in words}
    experiments = {word.partition("=")[2] for word in words if word.startswith("--config=")}
    assert "coco_ahnpl:demo,clip" in experiments
    for name in experiments - {"NAME", "path/to/file.py"}:
        train.read_config(name, [])
    tables = re.findall(r"--table (\w+)", "".join(page.read_text() for page in PAGES))
    assert tables and set(tables) <= set(shipped.names(shipped.TABLES))


def mentioned_commands(page):
    found = [
        words for block in blocks(page) if block.language == "sh" for words in commands(block.text)
    ]
    found += [shlex.split(text) for text in re.findall(r"`(jaxvl [a-z][^`]*)`", page.read_text())]
    return [words for words in found if words[0] == "jaxvl"]


def flags_of(name, capsys):
    """Returns the flags that `jaxvl NAME --help` lists, those of its subcommands among them."""
    for subcommand in (["scenes"], ["folder"]) if name == "prepare" else ([],):
        with pytest.raises(SystemExit):
            importlib.import_module(f"jaxvl.cli.{name}").main([*subcommand, "--help"])
    return set(re.findall(r"--\w+", capsys.readouterr().out))


def test_every_configuration_key_exists():
    known = [*keys.flat(config_lib.keys()), *groups(config_lib.keys())]
    top = {name.partition(".")[0] for name in known if "." in name}
    for page in PAGES:
        text = page.read_text()
        mentioned = re.findall(r"--(?:no)?config\.([\w.]+)", text) + re.findall(
            r"--set (\w[\w.]*)=", text
        )
        for code in re.findall(r"`([a-z_]+\.[\w.*]+?)(?:=[^`]*)?`", text):
            is_file = code.endswith((".py", ".json", ".safetensors"))
            if code.partition(".")[0] in top and not is_file:
                mentioned.append(code)
        for name in {name.replace("NAME", "*") for name in mentioned} - {"KEY"}:
            assert fnmatch.filter(known, name), f"{page.name}: no key {name}"


def groups(tree, prefix=""):
    """Returns the dotted names of the groups of keys."""
    here = {
        f"{prefix}{name}": value for name, value in tree.items() if not isinstance(value, keys.Key)
    }
    return [*here, *(name for group in here for name in groups(here[group], f"{group}."))]


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z]+)`", page.read_text())) <= targets, page.name


def test_the_configuration_page_is_what_the_keys_say():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert (DOCS / "configuration.md").read_text() == hooks.configuration_page(), "run `make docs`"


# What pages run.


class Place:
    """The working directory of a user after the installation, and what was run in it."""

    def __init__(self, folder):
        os.chdir(folder)
        self._pages, self._commands = set(), set()
        captions = [
            "a brown dog on a couch",
            "a red cup beside a blue plate",
            "two men ride horses",
        ]
        lines = []
        (folder / "photos").mkdir()
        for number in range(16):
            name = f"{number}.jpg"
            pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name)
            lines.append({"file_name": name, "text": captions[number % len(captions)]})
        (folder / "photos" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
        japanese = ["白い皿の上に置かれた赤いりんご", "赤いマグカップ", "馬に乗った二人の男性"]
        lines = [{**line, "text": japanese[k % len(japanese)]} for k, line in enumerate(lines)]
        (folder / "photos" / "ja.jsonl").write_text("\n".join(map(json.dumps, lines)))
        Image.fromarray(pixels).save(folder / "photo.jpg")
        tiny_clip(folder / "clip-vit-base-patch32")

    def run(self, name):
        """Runs the pages that this one takes for granted, then its blocks in order, each once."""
        if name in self._pages:
            return
        self._pages.add(name)
        for before in BEFORE.get(Path(name).name, ()):
            self.run(f"docs/{before}")
        names = {"__name__": "__main__"}
        for block in filter(is_runnable, blocks(ROOT / name)):
            if block.language == "python":
                exec(compile(block.text, name, "exec"), names)
            else:
                for words in commands(block.text):
                    self.command(words)

    def command(self, words):
        """Runs `jaxvl COMMAND ...` in this process; one that ran before is not run again."""
        assert words[0] == "jaxvl", f"{words[0]} is not known here; mark the block as not run"
        if tuple(words) in self._commands:
            return
        self._commands.add(tuple(words))
        small = SMALL.get(words[1], SMALL.get(" ".join(words[1:3]), ""))
        try:
            importlib.import_module(f"jaxvl.cli.{words[1]}").main([*words[2:], *small.split()])
        except SystemExit as end:
            assert not end.code, shlex.join(words)


def tiny_clip(folder):
    """Writes a CLIP as Hugging Face stores it, of random weights, with a BPE of single letters."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    from tokenizers.pre_tokenizers import ByteLevel

    from jaxvl.data.text import clip_bpe

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), clip_bpe.START, clip_bpe.END]
    tower = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    text = dict(vocab_size=len(words), bos_token_id=len(words) - 2, eos_token_id=len(words) - 1)
    config = transformers.CLIPConfig(
        text_config=tower | text | dict(max_position_embeddings=77),
        vision_config=tower | dict(image_size=32, patch_size=16),
        projection_dim=8,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """A process with one device, in which every page finds what the pages before it left."""
    folder = tmp_path_factory.mktemp("docs")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=begin, initargs=(folder,)) as pool:
        yield pool


def begin(folder):
    global place
    place = Place(folder)


def in_place(method, *arguments):
    getattr(place, method)(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_every_block_runs(process, name):
    process.submit(in_place, "run", name).result()


def test_make_demo_runs_the_commands_of_the_quickstart():
    made = subprocess.run(
        ["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line for line in made.stdout.splitlines() if " -m jaxvl " in line]
    demo = [["jaxvl", *shlex.split(line.partition(" -m jaxvl ")[2])] for line in lines]
    shown = [block.text for block in blocks(DOCS / "quickstart.md") if block.language == "sh"]
    assert len(demo) == 2 and all(words in commands("\n".join(shown)) for words in demo)


@pytest.mark.slow
def test_the_steps_of_extend_typed_in_as_written(tmp_path):
    for folder in ("jaxvl", "configs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    python = {"jaxvl": [sys.executable, "-m", "jaxvl"], "python": [sys.executable]}
    for block in blocks(ROOT / TYPED_IN):
        if block.title:
            with (tmp_path / block.title.partition(":")[0]).open("a") as file:
                file.write(block.text)
        elif block.language == "sh" and block.is_run:
            for words in commands(block.text):
                subprocess.run([*python[words[0]], *words[1:]], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(DOCS / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    sizes = notebook.cells[1]
    assert sizes.source.startswith("IMAGES, STEPS, LAYERS = 10_000, 1_200, 2")
    sizes.source = "IMAGES, STEPS, LAYERS = 40, 2, 1"
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "runs" / "demo" / "results.json").is_file()
