"""jaxvl sweep: a table by name or file; one that cannot be used is one line."""

import pytest

from jaxvl.cli import shipped, sweep, train
from jaxvl.errors import UserError


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = 1", "AttributeError"),
        (
            "from jaxvl.training.sweep import Table\n"
            "def get_table():\n    return Table({}, (0,), ('a',), {})",
            "must not be empty",
        ),
        (
            "from jaxvl.training.sweep import Table\ndef get_table():\n"
            "    return Table({'A +': (), 'A': ()}, (0,), ('a',), {})",
            "names of two rows",
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


def test_a_table_that_comes_with_jaxvl_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in shipped.names(shipped.TABLES):
        assert sweep.load_table(name).seeds == (0, 1, 2)
    with pytest.raises(UserError, match="--table=ahnlp: .* ahnpl, .*; did you mean ahnpl?"):
        sweep.load_table("ahnlp")


@pytest.mark.parametrize("name", shipped.names(shipped.TABLES))
def test_every_row_of_a_table_that_comes_with_jaxvl_can_be_read(name):
    for experiment, *changes in sweep.load_table(name).rows.values():
        train.read_config(experiment.removeprefix("--config="), changes)
