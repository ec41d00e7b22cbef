"""Run a table of experiments, several seeds each, and write it as Markdown: mean and spread.

  jaxvl sweep --table configs/tables/ahnpl.py

Each run is `python -m jaxvl.main` in its own working directory under --out: one after the other, or
--jobs at a time, each on its share of the cores, which serves small models better. What is done is
skipped and what was interrupted continues, so the same command takes up a killed table; the
Markdown is rewritten after every run. Flags behind -- go to every run:

  jaxvl sweep --table configs/tables/ahnpl.py -- --config.data.dir=/data/scenes
"""

import fcntl
import importlib.util
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jaxvl.cli import common
from jaxvl.errors import UserError


class Table(NamedTuple):
    """What a table file's get_table() returns."""

    rows: dict[str, tuple]  # name -> flags of jaxvl.main, without seed and working directory
    seeds: tuple[int, ...]
    splits: tuple[str, ...]  # evaluated, each by `jaxvl evaluate`
    columns: dict[str, str]  # heading -> name of a score, a share between 0 and 1


class Run(NamedTuple):
    """One row with one seed."""

    row: str
    flags: list
    directory: Path


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    given, extra = _split(given)
    parser = common.parser("sweep", __doc__)
    parser.add_argument("--table", required=True, metavar="FILE.py", help="with get_table()")
    parser.add_argument("--out", metavar="DIR", help="working directories, table (runs/TABLE)")
    parser.add_argument(
        "--jobs", type=common.count, default=1, metavar="N", help="runs at a time (1)"
    )
    flags = parser.parse_args(given)
    _end_runs_too()
    with common.mistakes_in_one_line():
        table = load_table(flags.table)
        out = Path(flags.out or Path("runs") / Path(flags.table).stem)
        sweep(table, out, extra=extra, jobs=flags.jobs)


def _end_runs_too():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _split(given):
    place = given.index("--") if "--" in given else len(given)
    return given[:place], given[place + 1 :]


def load_table(path):
    """Returns the Table of a file. Raises UserError where it has none."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"--table {path}: there is no such file")
    spec = importlib.util.spec_from_file_location("table", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        table = module.get_table()
    except Exception as error:  # a table file can raise anything
        raise UserError(f"--table {path}: {type(error).__name__}: {error}") from None
    if not table.rows or not table.seeds or not table.splits:
        raise UserError(f"--table {path}: rows, seeds and splits must not be empty")
    if len({slug(name) for name in table.rows}) < len(table.rows):
        raise UserError(f"--table {path}: names of rows differ in letters and digits too little")
    return table


def slug(name):
    """Returns the name as that of a folder."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def sweep(table, out, *, extra=(), jobs=1):
    """Makes every run that is not done and OUT/table.md; prints the table.

    extra: flags for every run. jobs: runs at a time; of several, each one's output goes to its
    output.log. Raises UserError where a run fails or was made with other flags.
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


def _made(runs, splits, jobs):
    """Yields the runs as they are made."""
    if jobs == 1:
        for run in runs:
            yield make(run, splits)
        return
    context = multiprocessing.get_context("spawn")
    shares = context.Queue()
    for cores in shares_of(common.cores(), jobs):
        shares.put(cores)
    with context.Pool(jobs, _begin_job, (shares,)) as pool:  # leaving it ends what still runs
        yield from pool.imap_unordered(partial(make, splits=splits, quiet=True), runs)


def shares_of(cores, jobs):
    """Returns `jobs` lists of cores: equal shares, or one core for several jobs."""
    if len(cores) < jobs:
        return [[cores[job % len(cores)]] for job in range(jobs)]
    return [cores[job::jobs] for job in range(jobs)]


def _begin_job(shares):
    _end_runs_too()
    cores = shares.get()
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, cores)


def is_done(run, splits):
    """Whether all splits were evaluated after the last step.

    Raises UserError for a run made with other flags.
    """
    command = run.directory / "command.json"
    if command.exists() and json.loads(command.read_text()) != run.flags:
        raise UserError(
            f"{run.directory} was made with other flags (its command.json); give another --out or "
            "delete it"
        )
    files = [_scores_file(run, split) for split in splits]
    if not all(file.exists() for file in files):
        return False
    last = json.loads((run.directory / "config.json").read_text())["total_steps"]
    return all(json.loads(file.read_text())["step"] == last for file in files)


def make(run, splits, *, quiet=False):
    """Trains, or continues, and evaluates: whole processes, so that nothing is left of one.

    quiet: what they print goes to RUN/output.log. Returns the run.
    """
    from jaxvl.files import write_json

    run.directory.mkdir(parents=True, exist_ok=True)
    write_json(run.directory / "command.json", run.flags)
    with (run.directory / "lock").open("w") as lock:
        # The run holds it as well: that of a sweep which was killed may still be alive.
        fcntl.flock(lock, fcntl.LOCK_EX)
        log = run.directory / "output.log" if quiet else None
        _call("train", *run.flags, f"--workdir={run.directory}", lock=lock, log=log)
        for split in splits:
            flags = ["--workdir", run.directory, "--split", split]
            _call("evaluate", *flags, lock=lock, log=log)
    if not is_done(run, splits):
        raise UserError(f"{run.directory} stopped before its last step; the same command continues")
    return run


def _call(name, *arguments, lock, log):
    command = [sys.executable, "-m", "jaxvl", name, *map(str, arguments)]
    with log.open("a") if log else nullcontext() as output:
        code = subprocess.run(
            command, pass_fds=[lock.fileno()], stdout=output, stderr=output
        ).returncode
    if code:
        where = log or "above"
        raise UserError(f"{' '.join(command)} ended with exit code {code}; see {where}")


def _scores_file(run, split):
    return run.directory / f"eval_{split}.json"


def write(table, runs, out):
    """Writes OUT/table.md from the runs that are done."""
    from jaxvl.files import write_text

    parts = [
        f"## {split}\n\n" + markdown(table, scores_of_rows(table, runs, split))
        for split in table.splits
    ]
    write_text(out / "table.md", "\n".join(parts))


def scores_of_rows(table, runs, split):
    """Returns {row: [scores of a run, ...]}."""
    return {
        name: [json.loads(_scores_file(run, split).read_text()) for run in runs if run.row == name]
        for name in table.rows
    }


def markdown(table, scores):
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


def cell(values):
    """Returns '57.1 ± 0.8', without a spread where there is one value."""
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean
