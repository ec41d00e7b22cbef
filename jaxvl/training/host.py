"""The machine under a run: its cores, huge pages, memory given back to it."""

import ctypes
import os
import sys
from pathlib import Path

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
TUNABLE = "glibc.malloc.hugetlb=1"


def cores() -> list[int]:
    """Returns the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def use_huge_pages() -> None:
    """Starts this program again, in the same process, with memory in huge pages, where this helps.

    The buffers of a step are gigabytes, which the kernel hands out anew at each step, in pages of
    4 KiB unless it is asked for larger ones: a tenth to a quarter of the time of a step on a CPU.
    The C library (glibc) asks for them only where its environment says so when a program starts.
    To be called at the start of a script, never from a library. Returns where nothing is to be
    done: on another system, where huge pages are on for every program or for none, where
    GLIBC_TUNABLES already says something about memory, and under a debugger, which would lose the
    program.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc" in tunables or sys.gettrace() or not _on_request():
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, TUNABLE)))
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)


def _on_request():
    try:
        return "[madvise]" in HUGE_PAGES.read_text()
    except OSError:
        return False


def give_back() -> None:
    """Gives freed memory back to the kernel; does nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
