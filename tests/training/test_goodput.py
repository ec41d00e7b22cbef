"""The share of the time of a run that made steps which last, over all its starts."""

import pytest

from jaxvl import files
from jaxvl.training import goodput, record


def start(step, last=None, seconds=0.0, in_steps=0.0):
    spent = {"last": last, "seconds": seconds, "in_steps": in_steps}
    return {"step": step, **(spent if last is not None else {})}


def test_one_start_has_the_share_of_its_steps():
    assert goodput.share([start(0, 100, 50.0, 40.0)]) == 0.8


def test_steps_that_were_made_again_after_a_kill_are_lost():
    killed = start(0, 100, 50.0, 40.0)
    assert goodput.share([killed, start(50, 150, 50.0, 40.0)]) == (20 + 40) / 100
    again = start(50, 60, 10.0, 4.0)  # killed before it had saved anything
    assert goodput.share([killed, again, start(50, 150, 50.0, 40.0)]) == (20 + 0 + 40) / 110
    # The checkpoint of step 50 was damaged, so it went on from 25.
    assert goodput.share([killed, again, start(25, 150, 50.0, 40.0)]) == (10 + 0 + 40) / 110


@pytest.mark.parametrize("starts", [[], [start(0)], [start(0), start(10)]])
def test_it_is_unknown_where_no_start_wrote_its_time(starts):
    assert goodput.share(starts) is None


def test_a_start_without_its_time_is_left_out():
    assert goodput.share([start(0), start(10, 110, 50.0, 40.0)]) == 0.8


def test_the_time_is_kept_in_the_record_of_the_run(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(goodput.time, "monotonic", lambda: now[0])
    data = {"train": [], "held_out": None, "negatives": None}
    files.write_json(tmp_path / "run.json", {"data": data, "starts": [start(0, 100, 50.0, 40.0)]})
    files.write_text(tmp_path / "tokenizer.json", "{}")
    record.add_start(tmp_path, data, step=50)
    spent = goodput.Spent(tmp_path, started=1000.0)
    now[0] += 20
    spent.add(60, in_steps=4.0)  # too soon to write
    assert goodput.of(tmp_path) == 20 / 50
    now[0] += 20
    spent.add(80, in_steps=24.0)
    assert goodput.of(tmp_path) == pytest.approx((20 + 24) / (50 + 40))
    assert spent.write(90, in_steps=30.0) == goodput.of(tmp_path) == (20 + 30) / 90
