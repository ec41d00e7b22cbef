"""Eight simulated devices, strict shapes, one small data set and one small configuration for all."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def scenes_directory(tmp_path_factory):
    """A prepared Scenes data set: 40 pictures to train on, 12 held out, 32 px."""
    from jaxvl.data import scenes, store

    directory = tmp_path_factory.mktemp("data") / "scenes"
    counts = {"train": 40, "val": 12}
    splits = {
        name: scenes.generate(split=name, count=count, size=32, seed=0, workers=0)
        for name, count in counts.items()
    }
    store.write(
        directory, kind="scenes", splits=splits, counts=counts, meta={}, vocabulary_size=200
    )
    return directory


@pytest.fixture
def tiny(scenes_directory):
    """A configuration that trains in seconds: 2 layers a tower, 16 wide, batches of 8."""
    return tiny_config(scenes_directory)


def tiny_config(data_directory):
    """Returns the ConfigDict of `tiny` for a data set."""
    from jaxvl.config import base

    config = base()
    config.total_steps, config.batch_size = 4, 8
    config.data.dir = str(data_directory)
    config.data.image_size = 32
    config.data.max_tokens = 12
    config.data.prefetch_batches, config.data.loader_threads = 1, 1
    config.model.embed_size = 16
    config.model.image.update(patch_size=16, layers=1, width=16, heads=2, mlp_width=32)
    config.model.text.update(
        layers=1, fusion_layers=2, width=16, heads=2, mlp_width=32, positions=16
    )
    config.softmask.layer = 0
    config.momentum.queue_size = 16
    config.optim.warmup_steps = 2
    config.checkpoint.every_steps = 2
    config.eval.every_steps, config.eval.batch_size = 0, 8
    config.log.every_steps, config.log.tensorboard, config.log.panel_pictures = 1, False, 0
    return config
