"""A table of experiments, several seeds each, as processes of their own; mean and spread."""

import fcntl
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jaxvl import files
from jaxvl.errors import UserError
from jaxvl.training import exits, host


class Table(NamedTuple):
    """What get_table() of a table's file returns."""

    rows: Mapping[str, Sequence[str]]  # name -> flags of `jaxvl train`, without seed and workdir
    seeds: Sequence[int]
    splits: Sequence[str]  # evaluated, each by `jaxvl evaluate`
    columns: Mapping[str, str]  # heading -> name of a score, a share between 0 and 1


class Run(NamedTuple):
    """One row with one seed."""

    row: str
    flags: list[str]
    directory: Path


def check(table: Table) -> None:
    """Raises UserError where a table cannot be made."""
    if not table.rows or not table.seeds or not table.splits:
        raise UserError("rows, seeds and splits must not be empty")
    if len({slug(name) for name in table.rows}) < len(table.rows):
        raise UserError("the names of two rows have the same letters and digits")


def slug(name: str) -> str:
    """Returns the name of a row as the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def sweep(table: Table, out: Path, *, extra: Sequence[str] = (), jobs: int = 1) -> None:
    """Makes every run that is not done, and OUT/table.md; prints the table.

    extra: flags for every run. jobs: runs at a time; where there are several, the output of each
    goes to its output.log. Raises UserError where a run fails or was made with other flags.
    """
    runs = [
        Run(name, [*flags, *extra, f"--config.seed={seed}"], out / slug(name) / f"seed_{seed}")
        for seed in table.seeds  # every row once, before any of them twice
        for name, flags in table.rows.items()
    ]
    done = [run for run in runs if is_done(run, table.splits)]
    todo = [run for run in runs if run not in done]
    for run in _made(todo, table.splits, jobs):
        done.append(run)
        write(table, sorted(done, key=runs.index), out)
        print(f"{len(done)} of {len(runs)} runs are done: {run.directory}", flush=True)
    write(table, runs, out)
    print((out / "table.md").read_text() + f"\nas Markdown: {out / 'table.md'}")


def _made(runs: list[Run], splits: Sequence[str], jobs: int) -> Iterator[Run]:
    """Yields the runs as they are made."""
    if jobs == 1:
        for run in runs:
            yield make(run, splits)
        return
    context = multiprocessing.get_context("spawn")
    shares = context.Queue()
    for cores in shares_of(host.cores(), jobs):
        shares.put(cores)
    with context.Pool(jobs, _begin_job, (shares,)) as pool:  # leaving it ends runs that go on
        yield from pool.imap_unordered(partial(make, splits=splits, quiet=True), runs)


def shares_of(cores: Sequence[int], jobs: int) -> list[list[int]]:
    """Returns `jobs` lists of cores: equal shares, or one core for several jobs."""
    if len(cores) < jobs:
        return [[cores[job % len(cores)]] for job in range(jobs)]
    return [list(cores[job::jobs]) for job in range(jobs)]


def _begin_job(shares):
    end_at_sigterm()
    cores = shares.get()
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, cores)


def end_at_sigterm() -> None:
    """Makes SIGTERM end this process as an exception does, so that its children end as well."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def is_done(run: Run, splits: Sequence[str]) -> bool:
    """Whether all splits were evaluated after the last step.

    Raises UserError for a run made with other flags.
    """
    command = run.directory / "command.json"
    if command.exists() and _read(command) != run.flags:
        raise UserError(
            f"{run.directory} was made with other flags (its command.json); give another --out or "
            "delete it"
        )
    results = [_result_file(run, split) for split in splits]
    if not all(file.exists() for file in results):
        return False
    last = _read(run.directory / "config.json")["total_steps"]
    return all(_read(file)["step"] == last for file in results)


def _read(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def make(run: Run, splits: Sequence[str], *, quiet: bool = False) -> Run:
    """Trains, or continues, and evaluates, in processes of their own. Returns the run.

    quiet: their output goes to RUN/output.log. Raises UserError where one fails.
    """
    run.directory.mkdir(parents=True, exist_ok=True)
    files.write_json(run.directory / "command.json", run.flags)
    with (run.directory / "lock").open("w") as lock:
        # The run inherits the lock: after a sweep was killed, its run may still be alive.
        fcntl.flock(lock, fcntl.LOCK_EX)
        log = run.directory / "output.log" if quiet else None
        stopped = _call("train", *run.flags, f"--workdir={run.directory}", lock=lock, log=log)
        for split in () if stopped else splits:
            out = _result_file(run, split)
            flags = [f"--workdir={run.directory}", f"--split={split}", f"--out={out}"]
            _call("evaluate", *flags, lock=lock, log=log)
    if stopped or not is_done(run, splits):
        raise UserError(f"{run.directory} stopped before its last step; the same command continues")
    return run


def _call(name, *arguments, lock, log):
    """Runs a command. Returns whether it stopped and can go on. Raises UserError if it failed."""
    command = [sys.executable, "-m", "jaxvl", name, *arguments]
    with log.open("a") if log else nullcontext() as output:
        code = subprocess.run(
            command, pass_fds=[lock.fileno()], stdout=output, stderr=output
        ).returncode
    if code not in (exits.FINISHED, exits.STOPPED):
        where = log or "above"
        raise UserError(f"{' '.join(command)} ended with exit code {code}; see {where}")
    return code == exits.STOPPED


def _result_file(run, split):
    return run.directory / f"results_{split}.json"


def write(table: Table, runs: Sequence[Run], out: Path) -> None:
    """Writes OUT/table.md from the runs that are done."""
    parts = [
        f"## {split}\n\n" + markdown(table, scores_of_rows(table, runs, split))
        for split in table.splits
    ]
    files.write_text(out / "table.md", "\n".join(parts))


def scores_of_rows(table: Table, runs: Sequence[Run], split: str) -> dict[str, list[dict]]:
    """Returns {row: [scores of a run, ...]}."""
    return {
        name: [_read(_result_file(run, split)) for run in runs if run.row == name]
        for name in table.rows
    }


def markdown(table: Table, scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Returns a Markdown table in percent: mean ± standard deviation over the seeds.

    scores: {row: [scores of a run, ...]}. A score that no run has is a dash.
    """
    lines = [
        "| | runs | " + " | ".join(table.columns) + " |",
        "|---" * (len(table.columns) + 2) + "|",
    ]
    for name, of_runs in scores.items():
        cells = [
            cell([100 * one[key] for one in of_runs if key in one])
            for key in table.columns.values()
        ]
        lines.append(f"| {name} | {len(of_runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(values: Sequence[float]) -> str:
    """Returns '57.1 ± 0.8', without a spread where there is one value."""
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean
