"""Experiments and tables by name: a file of the user, or one that comes with jaxvl."""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from jaxvl.errors import UserError
from jaxvl.keys import nearest

# configs/ of the repository: jaxvl/configs is a link to it, and in a wheel a copy.
EXPERIMENTS = Path(__file__).parents[1] / "configs"
TABLES = EXPERIMENTS / "tables"


def names(folder: Path) -> list[str]:
    """Returns the names of what comes with jaxvl, of EXPERIMENTS or of TABLES."""
    return sorted(path.stem for path in folder.glob("*.py"))


def find(flag: str, name: str, folder: Path) -> Path:
    """Returns the file that `name` stands for: a path, or a name of those in `folder`.

    Raises UserError naming the flag where it is neither.
    """
    if Path(name).is_file():
        return Path(name)
    if name in names(folder):
        return folder / f"{name}.py"
    there = names(folder)
    raise UserError(
        f"{flag}={name}: there is no such file; by name there are {', '.join(there)}"
        f"{nearest(Path(name).stem, there)}"
    )


def load(flag: str, path: Path) -> ModuleType:
    """Returns the module of a Python file of the user. Raises UserError for what it raises."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{flag}={path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    with errors_named(f"{flag}={path}"):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def errors_named(what: str) -> Iterator[None]:
    """Turns what a user's file raises, which can be anything, into a UserError that names it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    except Exception as error:
        raise UserError(f"{what}: {type(error).__name__}: {error}") from error
