"""SIGTERM and Ctrl-C end a run after the current step; all processes agree on which step."""

import os
import signal
import sys
import threading
from typing import Self

import jax
from jax.experimental import multihost_utils


class Stop:
    """Context in which SIGTERM and SIGINT are noted instead of ending the process.

    With several processes JAX's preemption service listens for SIGTERM, and all of them stop at
    the same step. A second SIGINT aborts at once. Signals belong to the main thread: in another
    one nothing is noted.
    """

    def __init__(self) -> None:
        """Starts without a request to stop."""
        self._asked = False
        self._interrupted = False
        self._before = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        handlers = {signal.SIGINT: self._on_interrupt}
        if jax.process_count() == 1:
            handlers[signal.SIGTERM] = self._on_terminate
        self._before = {number: signal.signal(number, run) for number, run in handlers.items()}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_terminate(self, *_):
        self._asked = True
        print("stopping after this step, then saving", file=sys.stderr, flush=True)

    def _on_interrupt(self, *_):
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        os.kill(os.getpid(), signal.SIGTERM)

    def asked(self, step: int) -> bool:
        """Whether to stop after `step`; with several processes the same answer in all of them."""
        if jax.process_count() == 1:
            return self._asked
        return multihost_utils.reached_preemption_sync_point(step)
