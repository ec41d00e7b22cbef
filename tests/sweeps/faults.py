"""A run of four processes that is broken in every way, again and again, and goes on each time.

    python tests/sweeps/faults.py --tries 8

Each try starts the processes of the same run on loopback, lets them make some steps, and breaks
something. Prints, for each kind of fault: how often it was tried; the most seconds from the last
step until all others had ended; how many of them said in one line which process it was; their exit
codes; the most steps that were lost. At the end the run is finished and compared, bit for bit, with
one that nothing happened to.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import toy
import toy_runs
from ml_collections import ConfigDict

from jaxvl.checkpoint import checkpoint_steps
from jaxvl.config import base

TESTS = Path(__file__).parents[1]
COUNT = 4
PROGRAM = TESTS / "faults" / "faulty_toy.py"
PATIENCE = 300  # seconds, for a run to start


class Fault(NamedTuple):
    """A way to break a run.

    act: (processes, number) -> None, on a run that makes steps; None where it breaks by itself.
    changes: number -> variables of the environment of that process.
    blames: (number) -> what the line of the others must hold; "" for no line.
    """

    act: Callable | None = None
    changes: Callable = lambda number: {}
    blames: str = "process {number} on "
    stays: bool = False  # the broken process does not end by itself
    refused: bool = False  # nothing is trained


class Try(NamedTuple):
    """What was seen of a try."""

    seconds: float
    said: int  # survivors with one line that holds what it must
    survivors: int
    codes: list[int]
    lost: int


def send(signals):
    return lambda processes, number: processes[number].send_signal(signals)


def send_all(processes, number):
    for process in processes:
        process.send_signal(signal.SIGTERM)


def fault(text):
    return lambda number: {"FAULT": text.format(random.randint(20, 60))}


def faults(folder):
    """Returns {kind: Fault}. folder: for another version of the code and of the data."""
    other = other_code(folder / "other")
    return {
        "kill -9": Fault(send(signal.SIGKILL), blames="process {number} on .* has ended"),
        "SIGSTOP": Fault(
            send(signal.SIGSTOP), blames="nothing was heard of process {number} on", stays=True
        ),
        "a disk that hangs": Fault(
            changes=fault("hung_reads:{}"),
            blames="process {number} on .* has waited for the data of step",
        ),
        "a program that hangs": Fault(
            changes=fault("stuck_after:{}"), blames="process {number} on .* has been in step"
        ),
        "SIGTERM to one": Fault(send(signal.SIGTERM), blames=""),
        "SIGTERM to all": Fault(send_all, blames=""),
        "other code": Fault(
            changes=lambda number: {"PYTHONPATH": f"{other}:{TESTS}"},
            blames="differ in code: jaxvl/losses/itm.py",
            refused=True,
        ),
        "other data": Fault(
            changes=fault(f"flag:--config.data.dir={folder / 'scenes_1'}"),
            blames="differ in data: set 1 of training",
            refused=True,
        ),
        "another key": Fault(
            changes=fault("flag:--config.batch_size=16"),
            blames=r"differ in configuration: batch_size \((16 and 8|8 and 16)\)",
            refused=True,
        ),
        "a slow disk, then SIGTERM": Fault(
            send(signal.SIGTERM), changes=fault("slow_reads:0.3"), blames=""
        ),
        "a clock a day fast, then SIGTERM": Fault(
            send(signal.SIGTERM), changes=fault("clock:86400"), blames=""
        ),
    }


def other_code(folder):
    shutil.copytree(TESTS.parent / "jaxvl", folder / "jaxvl")
    with (folder / "jaxvl" / "losses" / "itm.py").open("a") as file:
        file.write("# an older version\n")
    return folder


def make(kind: str, found: Fault, config: ConfigDict, run: Path, number: int) -> Try:
    """Starts the run, breaks it, and returns what was seen."""
    number = 1 + number % (COUNT - 1) if found.refused else number % COUNT  # they differ from 0
    before, count = (checkpoint_steps(run) or [0])[-1], len(starts(run))
    processes = start(config, run, {number: found.changes(number)})
    if not found.refused:
        wait_for_step(processes, run, before + random.randint(3, 40), count + 1)
    begin = time.time()
    if found.act:
        found.act(processes, number)
    survivors = [
        process for process in processes if not (found.stays and process is processes[number])
    ]
    try:
        outputs = {process: process.communicate(timeout=PATIENCE) for process in survivors}
    finally:
        ended = time.time()
        for process in processes:
            process.kill()
            process.wait()
    if kind == "kill -9":
        survivors.remove(processes[number])
    pattern = found.blames.format(number=number)
    said = [pattern_is_the_line(pattern, outputs[process][1]) for process in survivors]
    for process, is_said in zip(survivors, said):
        if not is_said:
            print(f"  {kind}, process {number}: {outputs[process][1][-600:]!r}", flush=True)
    if not found.refused:
        begin = (run / "metrics.jsonl").stat().st_mtime  # of the last step
    lost = last_step(run) - (checkpoint_steps(run) or [0])[-1]
    codes = [process.returncode for process in survivors]
    return Try(
        ended - begin, sum(said), len(survivors), codes, 0 if found.refused else max(lost, 0)
    )


def pattern_is_the_line(pattern, errors):
    told = [line for line in errors.splitlines() if line.startswith("jaxvl: ")]
    return len(told) == bool(pattern) and all(re.search(pattern, line) for line in told)


def start(config, run, changes):
    file = toy_runs.write_config(config, run.parent / "experiment.py")
    return toy_runs.start_together(
        file, run, count=COUNT, devices=1, program=PROGRAM, changes=changes
    )


def wait_for_step(processes, run, step, start):
    """Waits until this start of the run has made a step, or one of its processes has ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        if len(starts(run)) == start and last_step(run) >= step:
            return
        time.sleep(0.05)


def starts(run):
    path = run / "run.json"
    return json.loads(path.read_text())["starts"] if path.exists() else []


def last_step(run):
    path = run / "metrics.jsonl"
    found = re.findall(rb'^{"step": (\d+)', path.read_bytes(), re.M) if path.exists() else []
    return int(found[-1]) if found else 0


def experiment(folder, seconds):
    """Returns the configuration of the toy, with a data set of its own."""
    from jaxvl.data import scenes, store

    counts = {"train": 40, "val": 12}
    for seed in (0, 1):
        splits = {
            name: scenes.generate(split=name, count=count, size=32, seed=seed, workers=1)
            for name, count in counts.items()
        }
        place = folder / f"scenes_{seed}"
        about = {"counts": counts, "meta": {}, "vocabulary_size": 200}
        store.write(place, kind="scenes", splits=splits, **about)
    config = base()
    config.model.name = config.method = "toy"
    config.total_steps, config.batch_size, config.watchdog_seconds = 10**6, 8, seconds
    config.data.update(dir=str(folder / "scenes_0"), image_size=32, max_tokens=12)
    config.data.update(prefetch_batches=1, loader_threads=1)
    config.model.image.update(patch_size=16, layers=1, width=16, heads=2, mlp_width=32)
    config.model.text.update(layers=1, fusion_layers=2, width=16, heads=2, mlp_width=32)
    config.model.text.positions = 16
    config.optim.update(warmup_steps=0, learning_rate=1e-2, final_learning_rate=1e-2)
    config.checkpoint.every_steps = 10
    config.eval.every_steps = 0
    config.log.update(every_steps=1, tensorboard=False, panel_images=0)
    return config


def wrong_bits(one, other):
    """Returns (differing bits, all bits) of the parameters of two runs."""
    wrong = total = 0
    for a, b in zip(*(flat_bytes(params) for params in (one, other)), strict=True):
        wrong += int(np.unpackbits(a ^ b).sum())
        total += 8 * a.size
    return wrong, total


def flat_bytes(params):
    import jax

    return [np.frombuffer(np.ascontiguousarray(leaf), np.uint8) for leaf in jax.tree.leaves(params)]


def finish(config, run):
    processes = start(config, run, {})
    outputs = [process.communicate(timeout=20 * PATIENCE) for process in processes]
    assert [process.returncode for process in processes] == [0] * COUNT, outputs


def report(kind, tries):
    codes = Counter(code for one in tries for code in one.codes)
    said, survivors = sum(one.said for one in tries), sum(one.survivors for one in tries)
    print(
        f"| {kind} | {len(tries)} | {max(one.seconds for one in tries):.0f} s | {said} of "
        f"{survivors} | {', '.join(f'{code} ({n})' for code, n in sorted(codes.items()))} | "
        f"{max(one.lost for one in tries)} |",
        flush=True,
    )


def main() -> int:
    """Returns the exit code: 0 where every process said what it must, and no bit is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=8, help="of each kind")
    parser.add_argument("--only", help="one kind")
    parser.add_argument("--minutes", type=float, default=120, help="after which it is finished")
    parser.add_argument("--watchdog_seconds", type=int, default=10)
    flags = parser.parse_args()
    toy.register()
    random.seed(0)
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = experiment(folder, flags.watchdog_seconds)
        run, straight = folder / "run", folder / "straight"
        kinds = faults(folder)
        kinds = {flags.only: kinds[flags.only]} if flags.only else kinds
        seen: dict[str, list[Try]] = {kind: [] for kind in kinds}
        deadline = time.monotonic() + 60 * flags.minutes
        for number in range(flags.tries):
            for kind, found in kinds.items():
                if time.monotonic() < deadline:
                    seen[kind].append(make(kind, found, config, run, number))
                    print(kind, seen[kind][-1], file=sys.stderr, flush=True)
        print("| fault | tries | all ended after | said so | exit codes | steps lost |")
        print("|---|---|---|---|---|---|")
        for kind, tries in seen.items():
            report(kind, tries) if tries else None
            good = good and all(one.said == one.survivors for one in tries)
        config.total_steps = checkpoint_steps(run)[-1] + 25
        config.checkpoint.every_steps = 0
        finish(config, run)
        finish(config, straight)
        one, other = (toy_runs.parameters(place, config)[1] for place in (run, straight))
        wrong, total = wrong_bits(one, other)
        ids = [[line["ids"] for line in toy_runs.lines(place)] for place in (run, straight)]
        print(f"{config.total_steps} steps; wrong bits: {wrong} of {total}")
        print(f"batches that differ: {sum(a != b for a, b in zip(*ids, strict=True))}")
        return 0 if good and not wrong and ids[0] == ids[1] else 1


if __name__ == "__main__":
    sys.exit(main())
