"""What the C library (glibc) does with this process's memory: huge pages, and giving back."""

import ctypes
import os
import sys
from pathlib import Path

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
TUNABLE = "glibc.malloc.hugetlb=1"


def use_huge_pages():
    """Starts this program anew, as the same process, with memory in huge pages, if that is needed.

    A step's buffers are gigabytes that the kernel hands out anew each time, in pages of 4 KiB
    unless it is asked for more: a tenth to a quarter of a step's time on a CPU. glibc asks only
    where its environment says so when a program starts. To be called first of all in a script;
    returns where nothing is to be done: another system, huge pages for everyone or for no one,
    tunables that someone has set. A debugger, too, would lose a program that starts anew.
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


def give_back():
    """Returns what was freed to the kernel; where the C library is another one, does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
