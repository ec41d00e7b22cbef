"""Work on many things in several processes: in order, in bounded memory, never hanging."""

import collections
import itertools
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from jaxvl.errors import UserError

_CHUNK = 16


def ordered_map(function, items, *, workers, chunk=_CHUNK):
    """Yield function(item) for each item, in order; in this process where workers is 1.

    chunk: items handed to a process at once. Processes are spawned, not forked: TensorFlow's
    threads do not survive a fork. Raises UserError if one of them dies.
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
            "a worker process died, most likely for want of memory; try fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _apply(function, chunk):
    return [function(item) for item in chunk]


def _start_worker():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)
