"""TensorFlow is imported in one place, after triton and only when it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "jaxvl"


def imported(path):
    """Returns the first part of the name of every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def test_no_other_module_imports_tensorflow():
    heavy = {"tensorflow", "tensorflow_datasets", "triton"}
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if heavy & {*imported(path)}
    }
    assert found == {"data/host_tf.py"}


def run(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)


@pytest.mark.parametrize("module", ["jaxvl.data.sources", "jaxvl.data.store", "jaxvl.config"])
def test_importing_what_configurations_and_data_sets_need_imports_no_tensorflow(module):
    found = run(f"import sys, {module}; print('tensorflow' in sys.modules)")
    assert found.stdout.strip() == "False", found.stderr


def test_triton_comes_before_tensorflow_and_may_be_absent(tmp_path):
    """The other order kills the process where both are installed, as PyTorch installs triton."""
    fake = "import sys; from unittest.mock import MagicMock; print(__name__)\n"
    fake += "sys.modules[__name__] = MagicMock()\n"
    for name in ("tensorflow", "tensorflow_datasets", "triton"):
        (tmp_path / f"{name}.py").write_text(fake)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import jaxvl.data.host_tf"
    assert run(code).stdout.split() == ["triton", "tensorflow", "tensorflow_datasets"]
    (tmp_path / "triton.py").write_text("raise ImportError('not for this machine')\n")
    assert run(code).stdout.split() == ["tensorflow", "tensorflow_datasets"]
