"""A table of runs: done ones are skipped, a killed one continues, mean and spread are written."""

import json

import pytest

from jaxvl.cli import sweep
from jaxvl.cli.sweep import Table
from jaxvl.errors import UserError

TABLE = Table(
    rows={"One": ("--a=1",), "The other": ("--a=2",)},
    seeds=(0, 1),
    splits=("test", "unseen"),
    columns={"accuracy": "hard/accuracy", "missing": "no/such"},
)


@pytest.fixture
def calls(monkeypatch):
    """The command lines that a sweep would start; they leave what the real ones leave."""
    made = []

    def run(command, pass_fds, stdout, stderr):
        made.append(command[2:])
        module, *flags = command[2:]
        if module == "jaxvl.main":
            seed, directory = (flag.split("=")[1] for flag in flags[-2:])
            if getattr(run, "crash", None) == (flags[0], seed):
                return type("", (), {"returncode": 2})
            write(directory, "config.json", total_steps=5)
            write(directory, "seed.json", seed=int(seed), step=getattr(run, "step", 5))
        else:
            directory, split = flags[1], flags[3]
            seed = json.loads((sweep.Path(directory) / "seed.json").read_text())
            score = 0.5 + 0.02 * seed["seed"]
            write(directory, f"eval_{split}.json", step=seed["step"], **{"hard/accuracy": score})
        return type("", (), {"returncode": 0})

    monkeypatch.setattr(sweep.subprocess, "run", run)
    return made, run


def write(directory, name, **values):
    (sweep.Path(directory) / name).write_text(json.dumps(values))


def test_every_row_and_seed_is_trained_and_every_split_evaluated(calls, tmp_path, capsys):
    made, _ = calls
    sweep.sweep(TABLE, tmp_path, extra=["--b=3"])
    assert len(made) == 4 * (1 + 2)
    directory = f"{tmp_path}/the_other/seed_1"
    assert made[-3:] == [
        ["jaxvl.main", "--a=2", "--b=3", "--config.seed=1", f"--workdir={directory}"],
        ["jaxvl.cli.evaluate", "--workdir", directory, "--split", "test"],
        ["jaxvl.cli.evaluate", "--workdir", directory, "--split", "unseen"],
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
    _, run = calls
    run.step = 3
    with pytest.raises(UserError, match="one/seed_0 stopped before its last step"):
        sweep.sweep(TABLE, tmp_path)
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
    log = sweep.Path(str(stop.value).split("see ")[-1])
    assert "none.py" in log.read_text()


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = 1", "AttributeError"),
        (
            "from jaxvl.cli.sweep import Table\n"
            "def get_table():\n    return Table({}, (0,), ('a',), {})",
            "must not be empty",
        ),
        (
            "from jaxvl.cli.sweep import Table\ndef get_table():\n"
            "    return Table({'A +': (), 'A': ()}, (0,), ('a',), {})",
            "names of rows",
        ),
    ],
)
def test_a_table_file_that_cannot_be_used_is_one_line(tmp_path, text, message, capsys):
    file = tmp_path / "table.py"
    file.write_text(text)
    with pytest.raises(SystemExit) as end:
        sweep.main(["--table", str(file)])
    error = capsys.readouterr().err
    assert end.value.code == 2 and message in error and error.count("\n") == 1


def test_the_tables_that_come_with_it_can_be_read():
    for path in sorted((sweep.Path(__file__).parents[2] / "configs" / "tables").glob("*.py")):
        assert sweep.load_table(path).seeds == (0, 1, 2)
