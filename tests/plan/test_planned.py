"""Plans, made by the compiler: of TPUs where libtpu is installed, else of simulated CPU devices."""

import json
import os
import subprocess
import sys

import pytest
from toy import VOCABULARY
from toy_runs import TOY, write_config

from jaxvl.plan import chips, planned, report, search, targets
from jaxvl.plan.compiled import GIB, memory_of
from jaxvl.plan.targets import parse

TABLE = chips.read()
needs_libtpu = pytest.mark.skipif(
    not targets.is_installed(), reason="libtpu is not installed: pip install 'jaxvl[plan]'"
)


def plan_on(config, name):
    return planned.plan(config, parse(name, TABLE.compilers), TABLE)


@pytest.fixture
def compiled(monkeypatch):
    """What the compiler made of each plan, as it gave it."""
    made = []

    def memory_kept(compiled):
        made.append(compiled)
        return memory_of(compiled)

    monkeypatch.setattr("jaxvl.plan.compiled.memory_of", memory_kept)
    return made


@needs_libtpu
def test_memory_on_a_slice_is_the_figure_of_its_compiler(toy_config, compiled):
    toy_config.batch_size = 512
    plan = plan_on(toy_config, "v5e:2x2")
    (made,) = compiled
    figures = made.memory_analysis()
    total = (
        figures.argument_size_in_bytes
        + figures.output_size_in_bytes
        - figures.alias_size_in_bytes
        + figures.temp_size_in_bytes
        + figures.generated_code_size_in_bytes
    )
    assert plan.memory.total == total > 0
    assert plan.needed == total + plan.next_batch
    assert plan.fits and not plan.is_estimate and plan.made_by.startswith("libtpu ")
    assert plan.hosts == 1 and plan.mesh == (4, 1)
    assert {one.chips for one in plan.collectives} == {4}


@needs_libtpu
def test_a_batch_that_the_compiler_refuses_does_not_fit_and_one_that_does_is_named(toy_config):
    """Images of 1,024 pixels: 24 GiB of a chip's 15.75."""
    toy_config.data.image_size, toy_config.batch_size = 1024, 32_768
    plan = plan_on(toy_config, "v5e:2x2")
    assert not plan.fits and plan.memory is None and plan.estimate is None
    assert "DOES NOT FIT" in "\n".join(report.lines("toy", plan))

    def plan_of(size):
        toy_config.batch_size = size
        return plan_on(toy_config, "v5e:2x2")

    found = search.largest(plan, [4_096, 32_768], plan_of)
    assert found.batch == 4_096 and found.fits and found.needed <= 15.75 * GIB


def test_a_gpu_is_planned_by_count_and_says_that_it_is_an_estimate(toy_config):
    plan = plan_on(toy_config, "h100:8")
    assert plan.is_estimate and plan.fits and plan.available == 71.6 * GIB
    assert plan.memory.arguments == plan.counted_arguments
    text = "\n".join(report.lines("toy", plan))
    assert "71.60 GiB a chip, an estimate" in text and "for 8 CPU devices" in text
    assert f"{VOCABULARY:,} words" not in text


def test_the_estimate_follows_from_the_table(toy_config):
    plan = plan_on(toy_config, "h100:8")
    chip, one = TABLE.chips["h100"], plan.estimate
    assert one.memory == pytest.approx(plan.traffic / chip.hbm / TABLE.reached.memory)
    sent = sum(each.sent for each in plan.collectives)
    assert one.links == pytest.approx(sent / chip.link / TABLE.reached.links)
    assert one.step == max(one.products, one.memory) + one.links
    assert one.hours == pytest.approx(one.step * plan.steps / 3600)
    assert one.dollars == pytest.approx(one.hours * 8 * chip.price)
    assert one.at_least < one.step


PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import toy
from jaxvl.cli import plan
toy.register()
plan.main()
"""


def run(config_file, *flags):
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": ""}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(TOY.parent), f"--config={config_file}", *flags],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_the_command_compares_meshes_and_prints_json(toy_config, tmp_path):
    """It exits 0 where the batch fits; what people read goes to stderr then."""
    file = write_config(toy_config, tmp_path / "experiment.py")
    done = run(file, "--on", "cpu:4", "--fsdp", "1", "--fsdp", "2", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert [one["mesh"]["fsdp"] for one in result["plans"]] == [1, 2]
    assert result["target"] == "cpu:4" and result["fsdp"] in (1, 2)
    assert result["plans"][0]["memory"]["arguments"] > 0
    assert "best mesh of those tried on cpu:4: fsdp" in done.stderr
    assert "largest batch at least 64" in done.stderr


def test_the_command_exits_1_where_nothing_fits_and_2_for_a_mistake(toy_config, tmp_path):
    toy_config.batch_size = 2  # there is no smaller one to try
    file = write_config(toy_config, tmp_path / "experiment.py")
    small = tmp_path / "chips.toml"
    small.write_text(chips.TABLE.read_text().replace("hbm_gib = 4.0", "hbm_gib = 1e-6"))
    done = run(file, "--on", "cpu:2", f"--chips={small}")
    assert done.returncode == 1, done.stderr
    assert "DOES NOT FIT" in done.stdout and "no batch was found that fits" in done.stdout
    mistake = run(file, "--on", "cpu:3")
    assert mistake.returncode == 2 and mistake.stderr.count("\n") == 1
    assert "batch_size=2 is not divisible by the 3 devices of the mesh" in mistake.stderr
