"""Checkpoints: what is saved comes back, on another mesh too; which are kept; what is refused."""

import errno
import shutil

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
        checkpoints.save(current, step=step)
        if scores:
            checkpoints.add_scores(step, scores)
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


@pytest.mark.parametrize("step, message", [(None, "has no checkpoint"), (9, "has no step 9, only")])
def test_a_checkpoint_that_is_not_there_is_named(toy_config, tmp_path, step, message):
    model, mesh = MODELS["toy"].make(toy_config), mesh_of(1, 1)
    if step:
        saved_at(tmp_path, build(toy_config, mesh)[0], {1: {}})
    with pytest.raises(UserError, match=message):
        checkpoint.restore_params(tmp_path, model=model, mesh=mesh, step=step)


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip_a_bit(folder):
    path = largest_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(folder):
    path = largest_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "a bit": flip_a_bit,
    "cut": cut,
    "a file is gone": lambda folder: largest_file(folder).unlink(),
    "an item is gone": shutil.rmtree,
    "digests are cut": lambda folder: (folder.parent / "digests.json").write_text('{"par'),
    "digests are of another": lambda folder: (folder.parent / "digests.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_is_used(toy_config, tmp_path, capsys, damage):
    mesh = mesh_of(1, 1)
    first, train_step, _ = build(toy_config, mesh)
    saved_at(tmp_path, first, {1: {}})
    expected = np.array(first.params["embedding"])
    saved_at(tmp_path, train_step(first, sharding.to_global(batch_of(0), mesh))[0], {2: {}})
    bad = tmp_path / "checkpoints" / "2"
    DAMAGES[damage](bad / "params")
    model = MODELS["toy"].make(toy_config)

    params, step = checkpoint.restore_params(tmp_path, model=model, mesh=mesh)
    assert step == 1
    np.testing.assert_array_equal(params["embedding"], expected)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"checkpoint {bad} is damaged" in line
    assert f"step 1 is used; delete it: rm -r {bad}" in line

    with pytest.raises(UserError, match="2 is damaged.*; delete it: rm -r"):
        checkpoint.restore_params(tmp_path, model=model, mesh=mesh, step=2)
    DAMAGES[damage](tmp_path / "checkpoints" / "1" / "params")
    with pytest.raises(UserError, match="2 is damaged.*; delete it: rm -r"):
        checkpoint.restore_params(tmp_path, model=model, mesh=mesh)


def test_one_of_an_older_version_has_no_digests_and_is_read(toy_config, tmp_path):
    mesh = mesh_of(1, 1)
    current = build(toy_config, mesh)[0]
    saved_at(tmp_path, current, {1: {}})
    (tmp_path / "checkpoints" / "1" / "digests.json").unlink()
    restored = opened(tmp_path).restore(abstract_of(current), step=1)
    jax.tree.map(np.testing.assert_array_equal, on_host(restored), on_host(current))


def test_a_full_disk_is_told_in_one_line_and_older_steps_stay_whole(
    toy_config, tmp_path, monkeypatch
):
    current = build(toy_config, mesh_of(1, 1))[0]
    saved_at(tmp_path, current, {1: {}})

    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoints = opened(tmp_path)
    monkeypatch.setattr(checkpoint.files, "write_json", full)
    checkpoints.save(current, step=2)
    with pytest.raises(UserError, match="checkpoints: the disk is full; saved: step 1; make room"):
        checkpoints.close()
    assert opened(tmp_path).steps() == [1]
    opened(tmp_path).restore(abstract_of(current), step=1)
