"""Computes batches ahead in threads, in order, and never outlives the caller."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Prefetch(Generic[Batch]):
    """Iterates over (t, batch(t)) for t in `steps`, with up to `depth` batches ready ahead.

    batch: step -> batch, thread-safe. threads: how many batches are computed at once. An exception
    in `batch` is raised at the caller, when it asks for that batch. Use it as a context manager, or
    call `close`. The time spent in `next` is time spent waiting for data.

    A thread computes only batches that were asked for, at most `depth + 1`, and waits for nothing
    else. So the interpreter can always end, also in the middle of an epoch.
    """

    def __init__(
        self,
        batch: Callable[[int], Batch],
        steps: Iterable[int],
        *,
        depth: int,
        threads: int,
    ) -> None:
        self._batch = batch
        self._steps = iter(steps)
        self._depth = depth
        self._waiting: deque[tuple[int, Future[Batch]]] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        return self

    def __next__(self) -> tuple[int, Batch]:
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

    def close(self) -> None:
        """Drops the batches ahead and waits for those that are being computed."""
        self._waiting.clear()
        self._steps = iter(())
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Prefetch[Batch]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
