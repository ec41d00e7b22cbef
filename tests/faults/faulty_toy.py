"""The toy of toy.py on a machine with a fault, which the environment variable FAULT names.

slow_reads:S   a disk that takes S seconds more for every read
hung_reads:N   a disk that answers N reads and then no more
stuck_after:N  a program that makes N steps and then waits for ever
clock:S        a clock that is S seconds fast
flag:TEXT      a command with one more flag
"""

import itertools
import os
import sys
import threading
import time

import toy

from jaxvl.cli import train
from jaxvl.data.sources import shards
from jaxvl.training.log import Log


def before_each_read(act):
    reader = shards.reader

    def other_reader(*arguments):
        read = reader(*arguments)

        def acts_and_reads(indices):
            act()
            return read(indices)

        return acts_and_reads

    shards.reader = other_reader


def slow_reads(seconds):
    before_each_read(lambda: time.sleep(seconds))


def hung_reads(count):
    reads = itertools.count()
    before_each_read(lambda: None if next(reads) < count else threading.Event().wait())


def stuck_after(count):
    add, steps = Log.add, itertools.count()

    def add_or_wait(self, step, example_ids, metrics, *, waited):
        if next(steps) >= count:
            threading.Event().wait()
        add(self, step, example_ids, metrics, waited=waited)

    Log.add = add_or_wait


def clock(seconds):
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + int(1e9 * seconds)


FAULTS = {function.__name__: function for function in (slow_reads, hung_reads, stuck_after, clock)}

if __name__ == "__main__":
    name, _, value = os.environ.get("FAULT", "").partition(":")
    if name == "flag":
        sys.argv.append(value)
    elif name:
        FAULTS[name](float(value))
    toy.register()
    train.main()
