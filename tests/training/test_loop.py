"""The loop: exact resume after kill -9, SIGTERM, values that are not finite, evaluation, errors.

The toy of toy.py is trained by the whole program.
"""

import json
import signal

import jax
import numpy as np
import pytest
from toy_runs import lines, parameters, start, wait_for_checkpoint, write_config

from jaxvl.errors import UserError
from jaxvl.training import exits, experiment, finished, loop, nonfinite

pytestmark = pytest.mark.slow


def test_stopped_by_sigterm_and_by_kill_9_and_continued_is_the_same_run(toy_config, tmp_path):
    toy_config.optim.update(warmup_steps=0, learning_rate=1e-2, final_learning_rate=1e-2)
    toy_config.total_steps = 100_000
    config_file = write_config(toy_config, tmp_path / "experiment.py")
    broken, straight = tmp_path / "broken", tmp_path / "straight"

    process = start(config_file, broken)
    wait_for_checkpoint(process, broken, after=0)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate()
    assert process.returncode == exits.STOPPED == 75, errors
    stopped_at, _ = parameters(broken, toy_config)
    assert f"stopped after step {stopped_at}, saved" in output
    assert [line["step"] for line in lines(broken)] == list(range(1, stopped_at + 1))

    process = start(config_file, broken)
    wait_for_checkpoint(process, broken, after=stopped_at)
    process.kill()
    output, _ = process.communicate()
    assert f"continuing from step {stopped_at}" in output
    killed_after, _ = parameters(broken, toy_config)

    toy_config.total_steps = killed_after + 2
    assert loop.train(toy_config, broken) == 0
    assert loop.train(toy_config, straight) == 0
    step, one = parameters(broken, toy_config)
    _, other = parameters(straight, toy_config)
    assert step == toy_config.total_steps
    jax.tree.map(np.testing.assert_array_equal, one, other)
    rates = ("steps_per_sec", "images_per_sec", "data_wait", "slow_steps", "compile_wait")
    numbers = [
        [{k: v for k, v in line.items() if k not in rates} for line in lines(directory)]
        for directory in (broken, straight)
    ]
    assert numbers[0] == numbers[1]
    assert [line["step"] for line in numbers[0]] == list(range(1, step + 1))


def test_not_finite_stops_with_a_bundle_that_replays(toy_config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "validate", lambda *_, **__: None)  # it refuses such a rate
    toy_config.optim.update(warmup_steps=3, learning_rate=1e30)
    toy_config.optim.warmup_learning_rate = 1e-3
    toy_config.checkpoint.every_steps = 1
    assert loop.train(toy_config, tmp_path) == 1
    (path,) = (tmp_path / "nonfinite").iterdir()
    bundle = json.loads(path.read_text())
    stopped = bundle["step"]
    assert str(path) in capsys.readouterr().err
    assert {"inf", "nan"} & {*bundle["losses"].values(), *bundle["norms"].values()}
    assert len(bundle["example_ids"]) == 8
    assert bundle["checkpoint_step"] == max(
        int(p.name) for p in tmp_path.glob("checkpoints/*") if p.name.isdigit()
    )
    assert bundle["checkpoint_step"] == stopped  # nothing was saved after it
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, stopped + 1))

    (tmp_path / "checkpoints" / "9.orbax-checkpoint-tmp-0").mkdir()  # of a run that may be going on
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert nonfinite.replay(path)
    output = capsys.readouterr().out
    assert f"reproduced: step {stopped}" in output and str(bundle["example_ids"]) in output
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before

    bundle["example_ids"][0] += 1
    path.write_text(json.dumps(bundle))
    assert not nonfinite.replay(path)
    assert "has the data changed?" in capsys.readouterr().out


def test_the_last_evaluation_is_written_and_shown_and_the_mean_is_what_it_sees(
    toy_config, tmp_path, monkeypatch, capsys
):
    seen = []

    def run_all(evaluators, params, *, progress, report):
        seen.append(np.array(params["embedding"]))
        return {"retrieval/mean_recall": 0.25 * len(seen)}

    from jaxvl import evals

    monkeypatch.setattr(evals, "make_evaluators", lambda config, **_: {})
    monkeypatch.setattr(evals, "run_all", run_all)
    toy_config.optim.ema_decay = 0.5
    toy_config.eval.every_steps = 3
    assert loop.train(toy_config, tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    about = {"step": 4, "split": "val", "data": toy_config.data.dir}
    assert 0 < results.pop("goodput") < 1
    assert results == {**about, "retrieval/mean_recall": 0.5}
    assert "retrieval/mean_recall      50.0 %" in capsys.readouterr().out
    scored = [line["step"] for line in lines(tmp_path) if "retrieval/mean_recall" in line]
    assert scored == [3, 4] and len(seen) == 2

    assert finished.evaluate(tmp_path, toy_config) == {"retrieval/mean_recall": 0.75}
    np.testing.assert_array_equal(seen[2], seen[1])
    again = json.loads((tmp_path / "results.json").read_text())
    assert 0 < again.pop("goodput") < 1
    assert again == {**about, "retrieval/mean_recall": 0.75}  # the same file, in the same form
    with pytest.raises(UserError, match="has no checkpoint"):
        finished.evaluate(tmp_path / "elsewhere", toy_config)


def test_what_a_run_started_from_is_evaluated_once_and_the_change_is_shown(
    toy_config, tmp_path, monkeypatch, capsys
):
    from jaxvl import evals

    seen = []

    def run_all(evaluators, params, *, progress, report):
        seen.append(np.array(params["embedding"]))
        return {"retrieval/mean_recall": 0.25 * len(seen)}

    assert loop.train(toy_config, tmp_path / "first") == 0
    monkeypatch.setattr(evals, "make_evaluators", lambda config, **_: {})
    monkeypatch.setattr(evals, "run_all", run_all)
    toy_config.model.init = str(tmp_path / "first")
    toy_config.eval.every_steps = 4
    second = tmp_path / "second"
    assert loop.train(toy_config, second) == 0
    assert json.loads((second / "start.json").read_text()) == {
        "step": 0,
        "retrieval/mean_recall": 0.25,
    }
    assert "+25.0" in capsys.readouterr().out
    _, started = parameters(tmp_path / "first", toy_config)
    np.testing.assert_array_equal(seen[0], started["embedding"])
    toy_config.total_steps = 5  # not evaluated again where it goes on
    assert loop.train(toy_config, second) == 0 and len(seen) == 3


def test_a_run_starts_from_the_parameters_of_another(toy_config, tmp_path):
    assert loop.train(toy_config, tmp_path / "first") == 0
    toy_config.model.init = str(tmp_path / "first")
    toy_config.optim.update(learning_rate=1e-30, warmup_learning_rate=1e-30)
    toy_config.optim.update(final_learning_rate=0.0, weight_decay=0.0)
    assert loop.train(toy_config, tmp_path / "second") == 0
    _, one = parameters(tmp_path / "first", toy_config)
    _, other = parameters(tmp_path / "second", toy_config)
    jax.tree.map(np.testing.assert_array_equal, one, other)

    toy_config.model.init = str(tmp_path / "nothing")
    with pytest.raises(UserError, match="model.init=.*nothing' cannot be read"):
        loop.train(toy_config, tmp_path / "third")


def test_a_working_directory_of_another_computation_is_refused(toy_config, tmp_path):
    toy_config.total_steps = 1
    assert loop.train(toy_config, tmp_path) == 0
    toy_config.total_steps, toy_config.log.every_steps = 2, 2
    assert loop.train(toy_config, tmp_path) == 0  # these two may change
    toy_config.optim.learning_rate = 0.5
    with pytest.raises(UserError, match="optim.learning_rate=0.5, but .* was started with 0.0001"):
        loop.train(toy_config, tmp_path)
