"""A finished run of the real, tiny model, for the command lines that read one."""

import jax

from jaxvl import experiment, workdir
from jaxvl.checkpoint import Checkpoints
from jaxvl.state import TrainState


def make_run(tmp_path_factory, config):
    """Returns a working directory, made once: config.json and random parameters at step 3."""
    directory = tmp_path_factory.getbasetemp() / "finished_run"
    if directory.exists():
        return directory
    directory.mkdir()
    workdir.save_config(config, directory)
    model = experiment.open_basis(config).model
    params = jax.jit(model.init)(jax.random.key(0))
    zero = jax.numpy.zeros((), jax.numpy.int32)
    state = TrainState(step=zero, params=params, opt_state={"z": zero}, ema=None, slots={"z": zero})
    checkpoints = Checkpoints(directory, keep=1, best_metric="")
    checkpoints.save(state, step=3, metrics={})
    checkpoints.close()
    return directory
