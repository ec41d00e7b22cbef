"""Compute batches ahead in threads, in order, and never outlive the caller."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor


class prefetch:  # noqa: N801  (reads as a function where it is used)
    """Iterate over (t, batch(t)) for t in `steps`, with up to `depth` batches ready ahead.

    batch: thread-safe, step -> batch. threads: how many batches are computed at once. What
    `batch` raises is raised at the caller, at that batch's turn. Use as a context manager, or
    call `close`; the time spent in `next` is time spent waiting for data.

    A thread only ever computes batches that were asked for, at most `depth + 1`, and waits for
    nothing else: so the interpreter can always end, in the middle of an epoch too.
    """

    def __init__(self, batch, steps, *, depth, threads):
        self._batch = batch
        self._steps = iter(steps)
        self._depth = depth
        self._waiting = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")

    def __iter__(self):
        return self

    def __next__(self):
        while len(self._waiting) <= self._depth:
            step = next(self._steps, None)
            if step is None:
                break
            self._waiting.append((step, self._pool.submit(self._batch, step)))
        if not self._waiting:
            self.close()
            raise StopIteration
        step, future = self._waiting.popleft()
        try:
            return step, future.result()
        except BaseException:
            self.close()
            raise

    def close(self):
        """Drop what is ahead and wait for the batches being computed now."""
        self._waiting.clear()
        self._steps = iter(())
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
