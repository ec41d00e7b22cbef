"""Eight simulated devices, strict shapes, one small data set and small configurations for all."""

import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile far more than they compute; what one has compiled another, or a process that a test
# starts, finds again.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="jaxvl_tests_"))

import jax
import pytest
import toy

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
toy.register()


@pytest.fixture(scope="session")
def scenes_directory(tmp_path_factory):
    """A prepared Scenes data set: 40 pictures to train on, 12 held out, 32 px."""
    from jaxvl.data import scenes, store

    directory = tmp_path_factory.mktemp("data") / "scenes"
    counts = {"train": 40, "val": 12}
    splits = {
        name: scenes.generate(split=name, count=count, size=32, seed=0, workers=1)
        for name, count in counts.items()
    }
    store.write(
        directory, kind="scenes", splits=splits, counts=counts, meta={}, vocabulary_size=200
    )
    return directory


@pytest.fixture
def tiny_config(scenes_directory):
    """A configuration of the real model: one layer a tower, 16 wide, batches of 8."""
    from jaxvl.config import base

    config = base()
    config.total_steps, config.batch_size = 4, 8
    config.data.dir = str(scenes_directory)
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
    config.log.every_steps, config.log.tensorboard, config.log.panel_images = 1, False, 0
    return config


@pytest.fixture
def toy_config(tiny_config):
    """A configuration of the toy of toy.py: it runs through the whole program in seconds."""
    tiny_config.model.name = tiny_config.method = "toy"
    return tiny_config
