"""Imports run one way, from the command line down to types and errors, and never in a circle.

Read from the source, so an import inside a function counts as well. One that only types need
(`if TYPE_CHECKING`) does not.
"""

import ast
import graphlib
from pathlib import Path

ROOT = Path(__file__).parents[1]

# From low to high: a room may import from rooms below it, and from those on its line.
ORDER = (
    "errors",
    "keys paths files copies owner pages",
    "types preprocessing",
    "sharding ops",
    "losses",
    "models",
    "data",
    "evals methods",
    "config validate workdir",  # these ask every component for its keys and checks
    "state checkpoint",
    "interop fetch",
    "export",
    "training",
    "api plan doctor",
    "clean",
    "cli",
    "__init__ __main__ main",
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms.split()}


def modules():
    """Returns {dotted name: path} of the package, without the experiments in jaxvl/configs."""
    paths = [path for path in sorted((ROOT / "jaxvl").rglob("*.py")) if "configs" not in path.parts]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths)}


def imports(path, known):
    """Yields (module of this package, whether it is imported when the file is)."""
    pending = [(ast.parse(path.read_text()), True)]
    while pending:
        node, at_import = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in full]
        else:
            names = []
        yield from ((name, at_import) for name in names if name in known)
        at_import = at_import and not isinstance(node, ast.FunctionDef | ast.Lambda)
        pending += [(child, at_import) for child in ast.iter_child_nodes(node)]


def room(name):
    return name.split(".")[1] if "." in name else "__init__"


def test_every_room_has_its_place_in_the_order():
    assert {room(name) for name in modules()} <= set(LEVEL)


def test_no_room_imports_from_a_higher_one():
    known = modules()
    upward = [
        f"{name} imports {other}"
        for name, path in known.items()
        for other, _ in imports(path, known)
        if LEVEL[room(other)] > LEVEL[room(name)]
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph = {
        name: {other for other, at_import in imports(path, known) if at_import and other != name}
        for name, path in known.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
