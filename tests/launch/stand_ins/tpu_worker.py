"""Stands for what a worker of a TPU slice has: Python 3.10 with pip, and uv once installed."""

import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from clusters import write_command, write_python

HERE = Path(__file__)


def python3(arguments):
    """Installs uv, and nothing that needs a newer Python."""
    assert arguments[:3] == ["-m", "pip", "install"], arguments
    assert arguments[3:] == ["--quiet", "--user", "uv"], "jaxvl needs Python 3.11 or newer"
    write_command(Path.home() / ".local" / "bin" / "uv", sys.executable, HERE, "uv")


def uv(arguments):
    """uv venv and uv pip install: makes a Python that trains the toy."""
    if arguments[0] == "venv":
        assert arguments[1:5] == ["--quiet", "--clear", "--python", "3.12"], arguments
        write_python(Path(arguments[5]) / "bin" / "python")
        return
    assert arguments[:4] == ["pip", "install", "--quiet", "--python"], arguments
    assert Path(arguments[4]).is_file()
    folder, _, extras = arguments[5].partition("[")
    project = tomllib.loads((Path(folder) / "pyproject.toml").read_text())["project"]
    assert set(extras.strip("]").split(",")) <= set(project["optional-dependencies"]), extras
    (Path.home() / "installed").touch()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
