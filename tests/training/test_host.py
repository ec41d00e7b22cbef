"""A training program asks for huge pages once, where this helps, and stays the same process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from pathlib import Path
from jaxvl.training import host
host.HUGE_PAGES = Path(sys.argv[1])
print(os.getpid())
host.use_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:])
"""


@pytest.mark.parametrize(
    "kernel, before, starts, after",
    [
        ("always [madvise] never", None, 2, "glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.x=4", 2, "glibc.x=4:glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.malloc.hugetlb=0", 1, "glibc.malloc.hugetlb=0"),
        ("[always] madvise never", None, 1, "None"),
        ("always madvise [never]", None, 1, "None"),
        (None, None, 1, "None"),
    ],
)
def test_huge_pages_are_asked_for_where_the_kernel_gives_them_on_request(
    tmp_path, kernel, before, starts, after
):
    if kernel:
        (tmp_path / "enabled").write_text(kernel + "\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("GLIBC_TUNABLES", None)
    environment |= {"GLIBC_TUNABLES": before} if before else {}
    path = str(tmp_path / "enabled")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, "two words"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *processes, last = done.stdout.splitlines()
    assert len(processes) == starts and len(set(processes)) == 1
    assert last == f"{after} {path} two words"
