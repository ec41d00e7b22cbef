"""What is written to a bucket: whole or not at all, by one process at a time, in lines."""

import json
import subprocess
import sys

import pytest

from jaxvl import files, owner, paths
from jaxvl.errors import UserError
from jaxvl.training import growing
from jaxvl.training.writer import Writer


def test_a_write_that_is_interrupted_leaves_the_old_object(gs, monkeypatch):
    import gcsfs.core

    path = f"{gs}/results.json"
    files.write_text(path, "old")

    async def interrupted(*arguments, **options):
        raise RuntimeError("the line is cut")

    monkeypatch.setattr(gcsfs.core, "upload_chunk", interrupted)
    with pytest.raises(RuntimeError, match="the line is cut"):
        files.write_bytes(path, bytes(60_000_000))  # in several requests
    monkeypatch.undo()
    assert paths.of(path).read_text() == "old"
    files.write_text(path, "new")
    assert paths.of(path).read_text() == "new"


def test_a_bucket_that_is_not_there_is_named_and_not_made(gs):
    with pytest.raises(UserError, match="gs://another/a.json: "):
        files.write_json("gs://another/a.json", {})
    files.make_folder("gs://another/folder")
    with pytest.raises(UserError):
        files.write_json("gs://another/a.json", {})


@pytest.fixture
def lock(gs, monkeypatch, request):
    """The place of an owner's object; he is gone after a moment."""
    monkeypatch.setattr(owner, "RENEWED_EVERY", 0.05)
    monkeypatch.setattr(owner, "ASKED_EVERY", 0.1)
    monkeypatch.setattr(owner, "GONE_AFTER", 1.0)
    return paths.of(f"{gs}/{request.node.name}/.lock")


def test_one_process_at_a_time(lock):
    with owner.held(lock, "busy"):
        with pytest.raises(UserError, match=r"busy \(process \d+ on "):
            with owner.held(lock, "busy"):
                pass
        assert lock.exists()
    assert not lock.exists()


def test_an_owner_that_has_ended_on_this_machine_is_seen_at_once(lock, capsys):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    before = {"process": int(ended.stdout), "host": owner.os.uname().nodename, "token": "x"}
    paths.put(lock, json.dumps({**before, "space": owner._space()}).encode())
    with owner.held(lock, "busy"):
        pass
    assert capsys.readouterr().err == ""


def test_an_owner_elsewhere_is_waited_for(lock, capsys):
    paths.put(lock, json.dumps({"process": 7, "host": "pod-3", "token": "x"}).encode())
    with owner.held(lock, "busy"):
        pass
    said = capsys.readouterr().err
    assert "names process 7 on pod-3 as writing here; waiting 1 s" in said
    assert f"gcloud storage rm -r {lock}" in said


def test_who_has_lost_the_place_ends(lock, monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(owner.os, "_exit", lambda code: ended.append(code) or sys.exit())
    with owner.held(lock, "busy"):
        paths.put(lock, json.dumps({"token": "of another"}).encode())
        owner.time.sleep(1)
    assert ended == [1] and "another process writes there now" in capsys.readouterr().err
    assert json.loads(lock.read_text()) == {"token": "of another"}


def numbers(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_are_in_the_bucket_as_soon_as_they_are_written(gs):
    place = paths.of(f"{gs}/lines")
    writer = Writer(place, from_step=0, tensorboard=False)
    writer.write({"loss": 1.0}, step=1)
    writer.write({"loss": 1.0}, step=2)
    assert not (place / "metrics.jsonl").exists()  # killed now, nothing is lost:
    again = Writer(place, from_step=1, tensorboard=False)
    again.write({"loss": 1.0}, step=2)
    again.write({"loss": 2.0}, step=3)
    again.close()
    assert numbers(place / "metrics.jsonl") == [1, 2, 3]
    assert [path.name for path in paths.files_below(place)] == ["metrics.jsonl"]


def test_parts_that_were_merged_and_not_removed_are_not_added_twice(gs, monkeypatch):
    path = paths.of(f"{gs}/twice/metrics.jsonl")
    added = growing.add_lines(path)
    added.write('{"step": 1}\n')
    with monkeypatch.context() as killed:
        killed.setattr(paths, "remove", lambda folder: None)
        growing.merge(path)
    growing.merge(path)
    assert path.read_text() == '{"step": 1}\n'


def test_many_lines_are_merged_on_the_way(gs, monkeypatch):
    monkeypatch.setattr(growing, "MERGED_AT", 3)
    path = paths.of(f"{gs}/many/metrics.jsonl")
    added = growing.add_lines(path)
    for step in range(4):
        added.write(json.dumps({"step": step}) + "\n")
    assert numbers(path) == [0, 1, 2]
    added.close()
    assert numbers(path) == [0, 1, 2, 3]


def test_a_file_of_events_arrives_at_the_end(gs):
    path = paths.of(f"{gs}/events")
    twin = growing.Twin(path)
    twin.local.write_bytes(b"events")
    twin.flush()
    assert not path.exists()
    twin.close()
    assert path.read_bytes() == b"events" and not twin.local.exists()
