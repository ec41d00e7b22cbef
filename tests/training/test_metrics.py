"""Means over steps, rates, the progress line."""

from types import SimpleNamespace

from jaxvl.training import metrics


def test_means_are_over_the_steps_that_had_the_value():
    means = metrics.Means()
    means.add({"loss": 1.0, "rare": 5.0})
    means.add({"loss": 3.0})
    assert means.take() == {"loss": 2.0, "rare": 5.0}
    assert means.take() == {}


def test_the_progress_line_says_step_losses_speed_waiting_and_time_left():
    values = {
        "loss": 2.5,
        "loss/itc": 1.25,
        "learning_rate": 1e-4,
        "steps_per_sec": 0.5,
        "images_per_sec": 32.0,
        "data_wait": 0.25,
        "norm/gradient": 7.0,
    }
    line = metrics.progress_line(values, step=100, total_steps=400)
    assert line == (
        "step 100/400  loss 2.5000  loss/itc 1.2500  lr 1.00e-04  32.0 images/s  "
        "waiting for data 25%  10m00s left"
    )


def test_rates_are_of_the_time_since_the_last_reading(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = metrics.Clock(batch_size=8)
    for waited in (0.5, 1.5):
        clock.add_step(waited=waited)
    now[0] += 4.0
    rates = {"steps_per_sec": 0.5, "images_per_sec": 4.0}
    nothing_lost = {"slow_steps": 0.0, "compile_wait": 0.0}
    assert clock.take() == {**rates, "data_wait": 0.5, **nothing_lost}
    clock.add_step(waited=0.0)
    now[0] += 2.0
    assert clock.take() == {**rates, "data_wait": 0.0, **nothing_lost}


def test_durations():
    assert [metrics.duration(s) for s in (4.4, 200, 18_420)] == ["4s", "3m20s", "5h07m"]
