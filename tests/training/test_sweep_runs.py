"""A table of runs: done ones are skipped, a killed one continues, mean and spread are written."""

import json
from pathlib import Path

import pytest

from jaxvl.errors import UserError
from jaxvl.training import sweep
from jaxvl.training.sweep import Table

TABLE = Table(
    rows={"One": ("--a=1",), "The other": ("--a=2",)},
    seeds=(0, 1),
    splits=("test", "unseen"),
    columns={"accuracy": "hard/accuracy", "missing": "no/such"},
)


@pytest.fixture
def calls(monkeypatch):
    """The commands that a sweep starts; here they only write the files of the real ones."""
    made = []

    def run(command, pass_fds, stdout, stderr):
        assert command[1:3] == ["-m", "jaxvl"]
        made.append(command[3:])
        name, *flags = command[3:]
        if name == "train":
            seed, directory = (flag.split("=")[1] for flag in flags[-2:])
            if getattr(run, "crash", None) == (flags[0], seed):
                return type("", (), {"returncode": 2})
            write(directory, "config.json", total_steps=5)
            write(directory, "seed.json", seed=int(seed), step=getattr(run, "step", 5))
        else:
            directory, _, out = (flag.split("=")[1] for flag in flags)
            seed = json.loads((Path(directory) / "seed.json").read_text())
            score = 0.5 + 0.02 * seed["seed"]
            write(directory, Path(out).name, step=seed["step"], **{"hard/accuracy": score})
        return type("", (), {"returncode": getattr(run, "code", 0)})

    monkeypatch.setattr(sweep.subprocess, "run", run)
    return made, run


def write(directory, name, **values):
    (Path(directory) / name).write_text(json.dumps(values))


def test_every_row_and_seed_is_trained_and_every_split_evaluated(calls, tmp_path, capsys):
    made, _ = calls
    sweep.sweep(TABLE, tmp_path, extra=["--b=3"])
    assert len(made) == 4 * (1 + 2)
    directory = f"{tmp_path}/the_other/seed_1"
    given = f"--workdir={directory}"
    assert made[-3:] == [
        ["train", "--a=2", "--b=3", "--config.seed=1", given],
        *(
            ["evaluate", given, f"--split={split}", f"--out={directory}/results_{split}.json"]
            for split in ("test", "unseen")
        ),
    ]
    table = (tmp_path / "table.md").read_text()
    assert table.count("| One | 2 | 51.0 ± 1.4 | – |") == 2
    assert "## unseen" in table and table in capsys.readouterr().out


def test_what_is_done_is_skipped_and_what_failed_is_made(calls, tmp_path):
    made, run = calls
    run.crash = ("--a=2", "0")
    with pytest.raises(UserError, match="exit code 2"):
        sweep.sweep(TABLE, tmp_path)
    assert "| One | 1 | 50.0 | – |" in (tmp_path / "table.md").read_text()
    run.crash = None
    made.clear()
    sweep.sweep(TABLE, tmp_path)
    assert len(made) == 3 * (1 + 2)
    assert not any("one/seed_0" in flag for command in made for flag in command)


def test_a_run_that_stopped_early_is_not_done(calls, tmp_path):
    made, run = calls
    run.step, run.code = 3, 75
    with pytest.raises(UserError, match="one/seed_0 stopped before its last step"):
        sweep.sweep(TABLE, tmp_path)
    assert [command[0] for command in made] == ["train"]  # and it is not evaluated
    assert not (tmp_path / "table.md").exists()


def test_a_row_whose_flags_changed_is_refused(calls, tmp_path):
    sweep.sweep(TABLE, tmp_path)
    with pytest.raises(UserError, match="one/seed_0 was made with other flags"):
        sweep.sweep(TABLE._replace(rows={"One": ("--a=9",)}), tmp_path)


def test_the_cores_are_shared_among_the_jobs():
    assert sweep.shares_of([2, 3, 5, 7, 8], 2) == [[2, 5, 8], [3, 7]]
    assert sweep.shares_of([4], 3) == [[4], [4], [4]]


def test_runs_side_by_side_write_what_they_say_to_their_log(tmp_path):
    with pytest.raises(UserError, match="exit code 2; see .*one/seed_[01]/output.log") as stop:
        sweep.sweep(TABLE._replace(rows={"One": ("--config=none.py",)}), tmp_path, jobs=2)
    log = Path(str(stop.value).split("see ")[-1])
    assert "none.py" in log.read_text()
