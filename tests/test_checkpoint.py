"""Checkpoints: what is saved comes back, on another mesh too; which are kept; what is refused."""

import jax
import numpy as np
import pytest
from small_step import batch_of, build, mesh_of, on_host

from jaxvl import checkpoint, sharding
from jaxvl.errors import UserError
from jaxvl.models import MODELS

pytestmark = pytest.mark.slow


def abstract_of(tree):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree
    )


def opened(directory, *, keep=2, best_metric=""):
    return checkpoint.Checkpoints(directory, keep=keep, best_metric=best_metric)


def saved_at(directory, current, steps, **options):
    """Saves the state under several step numbers with the given scores."""
    checkpoints = opened(directory, **options)
    for step, scores in steps.items():
        checkpoints.save(current, step=step, metrics=scores)
    checkpoints.close()
    return opened(directory, **options).steps()


def test_saved_on_one_mesh_and_restored_on_another(toy_config, tmp_path):
    toy_config.optim.ema_decay = 0.9
    first, train_step, _ = build(toy_config, mesh_of(8, 1))
    current, _ = train_step(first, sharding.to_global(batch_of(0), mesh_of(8, 1)))
    saved_at(tmp_path, current, {1: {}})

    other = abstract_of(build(toy_config, mesh_of(2, 4))[0])
    restored = opened(tmp_path).restore(other, step=1)
    jax.tree.map(np.testing.assert_array_equal, on_host(restored), on_host(current))
    jax.tree.map(lambda a, b: a.sharding == b.sharding or pytest.fail(), restored, other)
    assert not restored.params["embedding"].sharding.is_fully_replicated


def test_evaluation_reads_the_running_mean_unless_asked_otherwise(toy_config, tmp_path):
    toy_config.optim.update(ema_decay=0.9, warmup_learning_rate=0.1)
    mesh = mesh_of(4, 2)
    first, train_step, _ = build(toy_config, mesh)
    current, _ = train_step(first, sharding.to_global(batch_of(0), mesh))
    saved_at(tmp_path, current, {1: {}})
    model = MODELS["toy"].make(toy_config)

    def embedding(**options):
        params, step = checkpoint.restore_params(tmp_path, model=model, mesh=mesh, **options)
        assert step == 1
        return np.array(params["embedding"])

    np.testing.assert_array_equal(embedding(), current.ema["embedding"])
    np.testing.assert_array_equal(embedding(use_ema=False), current.params["embedding"])
    assert np.any(embedding() != embedding(use_ema=False))


def test_the_newest_and_the_best_are_kept(toy_config, tmp_path):
    current = build(toy_config, mesh_of(1, 1))[0]
    scores = {1: {"recall": 0.1}, 2: {"recall": 0.9}, 3: {}, 4: {"recall": 0.5}, 5: {}, 6: {}}
    assert saved_at(tmp_path / "best", current, scores, best_metric="recall") == [2, 5, 6]
    assert saved_at(tmp_path / "newest", current, scores) == [5, 6]


def test_what_a_killed_run_left_half_written_is_never_restored(toy_config, tmp_path):
    current = build(toy_config, mesh_of(1, 1))[0]
    saved_at(tmp_path, current, {1: {}})
    half = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-7"
    (half / "params").mkdir(parents=True)
    params, step = checkpoint.restore_params(
        tmp_path, model=MODELS["toy"].make(toy_config), mesh=mesh_of(1, 1)
    )
    assert step == 1
    assert opened(tmp_path).steps() == [1]


@pytest.mark.parametrize("damage", ["absent", "step", "truncated"])
def test_a_checkpoint_that_cannot_be_read_is_named(toy_config, tmp_path, damage):
    model, mesh = MODELS["toy"].make(toy_config), mesh_of(1, 1)
    if damage != "absent":
        saved_at(tmp_path, build(toy_config, mesh)[0], {1: {}})
    if damage == "truncated":
        for path in (tmp_path / "checkpoints" / "1" / "params").rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    expected = {
        "absent": "has no checkpoint",
        "step": "has no step 9, only 1",
        "truncated": "checkpoints/1 cannot be read",
    }
    with pytest.raises(UserError, match=expected[damage]):
        checkpoint.restore_params(
            tmp_path, model=model, mesh=mesh, step=9 if damage == "step" else None
        )
