"""One writer at a time in a bucket, where no file can be locked.

An object names the owner, who writes it anew as long as he lives. Whoever finds it unchanged for
GONE_AFTER seconds takes it over; only durations are compared, so clocks may differ.
"""

import contextlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from jaxvl import paths
from jaxvl.errors import UserError

RENEWED_EVERY = 20.0  # seconds
GONE_AFTER = 90.0
ASKED_EVERY = 5.0


@contextlib.contextmanager
def held(path: Path, message: str) -> Iterator[None]:
    """Holds the object `path`, which it makes. Ends this process where another has taken it over.

    Raises UserError with the message, and who holds it, where another process does.
    """
    me = {"process": os.getpid(), "host": os.uname().nodename, "space": _space()}
    me["token"] = uuid.uuid4().hex
    _take(path, me, message)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, me, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        if _read(path).get("token") == me["token"]:
            path.unlink()


def _space() -> str:
    """Returns what two processes of this machine have in common that see each other's numbers."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def _content(owner: dict) -> bytes:
    return json.dumps({**owner, "renewed": uuid.uuid4().hex}).encode()


def _read(path: Path) -> dict:
    """Returns what is in the object; {} where it is not there."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        return {"damaged": True}
    return found if isinstance(found, dict) else {"damaged": True}


def _take(path: Path, me: dict, message: str) -> None:
    while not paths.create(path, _content(me)):
        before = _read(path)
        if not _is_dead(before, me):
            _wait_until_gone(path, before, message)
        if _read(path) == before:
            path.unlink(missing_ok=True)


def _is_dead(owner: dict, me: dict) -> bool:
    """Whether the owner was a process that this one could see, and is no more."""
    near = (owner.get("space"), owner.get("host")) == (me["space"], me["host"])
    return near and not os.path.exists(f"/proc/{owner['process']}")


def _wait_until_gone(path: Path, before: dict, message: str) -> None:
    """Returns when the owner is gone. Raises UserError where he is alive."""
    owner = f"process {before.get('process')} on {before.get('host')}"
    print(
        f"{path} names {owner} as writing here; waiting {GONE_AFTER:.0f} s for a sign of life. "
        f"Where you know that it has ended, do not wait: {paths.removal(path)}",
        file=sys.stderr,
        flush=True,
    )
    until = time.monotonic() + GONE_AFTER
    while time.monotonic() < until:
        time.sleep(ASKED_EVERY)
        now = _read(path)
        if not now:
            return
        if now != before:
            raise UserError(f"{message} ({owner})")


def _renew(path: Path, me: dict, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY):
        with contextlib.suppress(Exception):  # the bucket may not answer for a while
            owner = _read(path)
            if owner.get("token") != me["token"]:
                print(f"{path}: another process writes there now; this one ends", file=sys.stderr)
                os._exit(1)
            paths.put(path, _content(me))
