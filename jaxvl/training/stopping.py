"""SIGTERM and Ctrl-C end a run after the step it is in; every process agrees on which step."""

import os
import signal
import sys

import jax
from jax.experimental import multihost_utils


class Stop:
    """Context in which SIGTERM and SIGINT are noted instead of ending the process.

    With several processes JAX's preemption service listens for SIGTERM and all of them stop at
    the same step. A second SIGINT aborts at once.
    """

    def __init__(self):
        """Nothing asked for yet."""
        self._asked = False
        self._interrupted = False
        self._before = {}

    def __enter__(self):
        handlers = {signal.SIGINT: self._on_interrupt}
        if jax.process_count() == 1:
            handlers[signal.SIGTERM] = self._on_terminate
        self._before = {number: signal.signal(number, run) for number, run in handlers.items()}
        return self

    def __exit__(self, *_):
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

    def asked(self, step):
        """Says whether to stop after `step`; with several processes the same answer in all."""
        if jax.process_count() == 1:
            return self._asked
        return multihost_utils.reached_preemption_sync_point(step)
