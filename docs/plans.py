"""`make plan`: plans the shipped experiments on some slices, for the tables of docs/scaling.md.

    python docs/plans.py            what docs/plans.json lacks, and then the tables
    python docs/plans.py --tables   the tables alone

One program is compiled after the other, each for minutes, and kept in docs/plans.json when it is
done, so that an interrupted call continues. Plans of other versions of jax or libtpu are made anew;
after a change of the steps, remove docs/plans.json first.
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PLANS = Path(__file__).with_name("plans.json")
PAGE = Path(__file__).with_name("scaling.md")
BEGIN, END = "<!-- Written by docs/plans.py: begin -->\n", "<!-- end -->\n"
SLICES = ("v5e:4x4", "v6e:4x4", "v5p:2x2x2")
EXPERIMENTS = ("coco_softmask", "coco_ahnpl", "coco_softmask_ahnpl", "folder_softmask")
SAME = {"cc3m_softmask": "coco_softmask"}  # the same program for another number of steps
GIB = 2**30


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="compile nothing")
    if not parser.parse_args().tables:
        for experiment in EXPERIMENTS:
            for target in SLICES:
                make(experiment, target)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + tables(kept()) + END + rest.partition(END)[2])


def kept() -> dict[str, Any]:
    """Returns the plans that were made: {"EXPERIMENT on TARGET": as `jaxvl plan --json` has it}."""
    return json.loads(PLANS.read_text()) if PLANS.exists() else {}


def make(experiment: str, target: str) -> None:
    """Plans an experiment on a target and keeps the plan, unless it is there."""
    name, plans = f"{experiment} on {target}", kept()
    made_by = " ".join(f"{one} {importlib.metadata.version(one)}" for one in ("libtpu", "jax"))
    if name in plans and plans[name]["plans"][0]["made_by"].replace(",", "") == made_by:
        return
    print(f"planning {name}", flush=True)
    command = ["-m", "jaxvl", "plan", f"--config={experiment}", "--on", target, "--json"]
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):  # 1: a batch does not fit
        sys.exit(done.returncode)
    keep(name, json.loads(done.stdout)[0])


def keep(name: str, plan: dict[str, Any]) -> None:
    """Adds a plan to docs/plans.json."""
    plans = kept() | {name: plan}
    PLANS.write_text(json.dumps(dict(sorted(plans.items())), indent=1) + "\n")


def tables(plans: dict[str, Any]) -> str:
    """Returns the tables of the page as Markdown."""
    made_by = sorted({plan["plans"][0]["made_by"] for plan in plans.values()})
    head = f"Compiled by {'; '.join(made_by)}.\n\n"
    return head + memory_table(plans) + "\n" + time_table(plans)


def memory_table(plans: dict[str, Any]) -> str:
    """Returns the table of what a chip holds, in GiB, and what it sends."""
    rows = [["experiment", "slice", "batch", "fits", "GiB", "arguments", "temporaries", "code"]]
    rows[0] += ["largest batch", "chip sends", "compiled in"]
    for experiment in EXPERIMENTS:
        for target in SLICES:
            plan = plans.get(f"{experiment} on {target}")
            rows.append([f"`{experiment}`", target, *(_memory(plan) if plan else _missing(9))])
    return _table(rows)


def _memory(plan):
    one, largest = plan["plans"][0], plan["largest"]
    about = "" if largest["compiled"] else "at least " if largest["is_last"] else "about "
    parts = one["memory"] or {}
    names = ("arguments", "temporaries", "code")
    sizes = [f"{parts[name] / GIB:.2f}" if parts else "" for name in names]
    needed = f"{one['needed'] / GIB:.2f} of " if one["needed"] else ""
    sent = sum(each["sent"] for each in one["collectives"]) / 2**20
    return [
        str(one["batch"]),
        "yes" if one["fits"] else "no",
        f"{needed}{one['available'] / GIB:.2f}",
        *sizes,
        f"{about}{largest['batch']}" if largest["batch"] else "none found",
        f"{sent:,.0f} MiB",
        f"{one['seconds'] / 60:.0f} min",
    ]


def time_table(plans: dict[str, Any]) -> str:
    """Returns the table of what the experiments' full runs take and cost, estimates all of them."""
    rows = [["experiment", "slice", "steps", "1e12 operations a step", "GB a step a chip"]]
    rows[0] += ["s a step", "at least", "hours", "US dollars"]
    for experiment in (*EXPERIMENTS, *SAME):
        for target in SLICES:
            plan = plans.get(f"{SAME.get(experiment, experiment)} on {target}")
            rows.append([f"`{experiment}`", target, *_time(plan, experiment)])
    return _table(rows)


def _time(plan, experiment):
    one = plan and plan["plans"][0]
    if not one or not one["estimate"]:
        return _missing(7)
    estimate, steps = one["estimate"], one["steps"]
    if experiment in SAME:
        from jaxvl.cli.train import read_config

        steps = read_config(experiment, []).total_steps
    share = steps / one["steps"]
    return [
        f"{steps:,}",
        f"{sum(one['operations'].values()) / 1e12:.1f}",
        f"{one['traffic'] / 1e9:.1f}",
        f"{estimate['step']:.3f}",
        f"{estimate['at_least']:.3f}",
        f"{estimate['hours'] * share:.1f}",
        f"{estimate['dollars'] * share:,.0f}",
    ]


def _missing(count):
    return ["not compiled yet", *[""] * (count - 1)]


def _table(rows):
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
