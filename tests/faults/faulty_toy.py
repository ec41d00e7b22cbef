"""The toy of toy.py on a machine with a fault, which the environment variable FAULT names.

slow_reads:S   a disk that takes S seconds more for every read
stuck_at:N     a program that makes N steps and then waits for ever
"""

import os
import threading
import time

import toy

from jaxvl.cli import train
from jaxvl.data.sources import shards
from jaxvl.training.log import Log


def slow_reads(seconds):
    reader = shards.reader

    def slow_reader(*arguments):
        read = reader(*arguments)
        return lambda indices: time.sleep(seconds) or read(indices)

    shards.reader = slow_reader


def stuck_at(last):
    add = Log.add

    def add_or_wait(self, step, example_ids, metrics, *, waited):
        if step >= last:
            threading.Event().wait()
        add(self, step, example_ids, metrics, waited=waited)

    Log.add = add_or_wait


FAULTS = {"slow_reads": slow_reads, "stuck_at": stuck_at}

if __name__ == "__main__":
    name, _, value = os.environ.get("FAULT", "").partition(":")
    if name:
        FAULTS[name](float(value))
    toy.register()
    train.main()
