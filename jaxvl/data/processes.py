"""Applies a function to many items in several processes: in order, in bounded memory."""

import collections
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from jaxvl.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 16


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    chunk: int = _CHUNK,
) -> Iterator[Result]:
    """Yields function(item) for each item, in order.

    workers: processes; 1 works in this process. chunk: items that a process gets at once. The
    processes are spawned, not forked: TensorFlow's threads do not survive a fork.
    Raises UserError if a process dies.
    """
    if workers == 1:
        yield from map(function, items)
        return
    items = iter(items)
    chunks = iter(lambda: list(itertools.islice(items, chunk)), [])
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        waiting = collections.deque()
        for some in itertools.islice(chunks, 3 * workers):
            waiting.append(pool.submit(_apply, function, some))
        while waiting:
            results = waiting.popleft().result()
            for some in itertools.islice(chunks, 1):
                waiting.append(pool.submit(_apply, function, some))
            yield from results
    except BrokenProcessPool:
        raise UserError(
            "a worker process died, most likely because the memory was full; try fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _apply(function: Callable[[Item], Result], chunk: Iterable[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
