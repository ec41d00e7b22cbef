"""What the code imports is declared in pyproject.toml, and what is declared there is imported."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Distributions whose name is not that of the package that they bring.
IMPORTED_AS = {
    "moto[s3]": "moto",
    "absl_py": "absl",
    "apache_beam": "apache_beam",
    "orbax_checkpoint": "orbax",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "tensorflow_cpu": "tensorflow",
}
# Used without an import of ours: by jax, torch.onnx, sudachipy, fsspec.
NOT_IMPORTED = {
    "jax[tpu]",
    "jax[cuda13]",
    "onnx",
    "onnxscript",
    "sudachidict_core",
    "gcsfs",
    "s3fs",
}
# Imported only where something else has installed it (torch brings triton).
OPTIONAL = {"open_clip", "triton"}
IN_EXPORTS = {
    "jaxvl_texts",
    "jaxvl_words",
}  # modules of ours, as they are called in exported folders


def declared(*extras):
    """Returns the packages that an installation with these extras brings, as they are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"]]
    for extra in extras:
        required += project["optional-dependencies"][extra]
    names = {re.match(r"[\w.-]+(\[\w+\])?", one)[0].replace("-", "_").lower() for one in required}
    return {IMPORTED_AS.get(name, name) for name in names}


def imported(*rooms):
    """Returns the packages that the Python files of these folders import, without their own."""
    found, own = set(), {"jaxvl"}
    for room in rooms:
        for path in (ROOT / room).rglob("*.py"):
            own.add(path.stem)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - own


EXTRAS = (
    "torch",
    "onnx",
    "negatives",
    "japanese",
    "chinese",
    "thai",
    "beam",
    "heic",
    "clean",
    "tpu",
    "cuda",
    "plan",
    "gcs",
    "s3",
)


def test_what_the_package_imports_is_declared():
    assert imported("jaxvl") - OPTIONAL - IN_EXPORTS <= declared(*EXTRAS)


def test_what_is_declared_is_imported():
    assert declared(*EXTRAS) - NOT_IMPORTED <= imported("jaxvl")


def test_what_tests_import_is_installed_by_make_test():
    optional = OPTIONAL | {"apache_beam", "onnxruntime", "pillow_heif"}
    assert imported("tests") - optional <= declared("test", "torch", "negatives", "gcs")
