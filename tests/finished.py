"""A finished run of a tiny real model, for the commands that read one."""

import jax

from jaxvl import workdir
from jaxvl.checkpoint import Checkpoints
from jaxvl.state import TrainState
from jaxvl.training import experiment


def make_run(tmp_path_factory, config, *, name="finished_run", with_ema=False):
    """Returns a working directory, made once: config.json and random parameters at step 3.

    with_ema: zeros as their running mean.
    """
    directory = tmp_path_factory.getbasetemp() / name
    if directory.exists():
        return directory
    directory.mkdir()
    workdir.save_config(config, directory)
    model = experiment.open_basis(config).model
    params = jax.jit(model.init)(jax.random.key(0))
    zero = jax.numpy.zeros((), jax.numpy.int32)
    ema = jax.tree.map(jax.numpy.zeros_like, params) if with_ema else None
    state = TrainState(step=zero, params=params, opt_state={"z": zero}, ema=ema, slots={"z": zero})
    checkpoints = Checkpoints(directory, keep=1, best_metric="")
    checkpoints.save(state, step=3)
    checkpoints.close()
    return directory
