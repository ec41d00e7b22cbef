"""The Python interface: `jaxvl.load` opens a trained model, `jaxvl.train` trains one.

Importing this module imports neither jax nor TensorFlow; calling its functions does, and `load`
needs no TensorFlow.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxvl import paths
from jaxvl.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from jaxvl.evals.trained import TrainedModel

WEIGHTS = ("ema", "online")


def load(
    directory: Path | str,
    *,
    weights: str | None = None,
    step: int | None = None,
    batch_size: int | None = None,
) -> "TrainedModel":
    """Returns the model of a run, ready to encode and compare images and texts.

    directory: the working directory of `jaxvl train` or `jaxvl convert`.
    weights: "ema", the running mean of the parameters; "online", the parameters themselves; None:
    the running mean where there is one. step: of the checkpoint; None: the newest.
    batch_size: the largest batch, over all devices; None: the run's eval.batch_size.
    Raises UserError where the directory is no run or has no such checkpoint or weights.
    """
    import jax

    from jaxvl import checkpoint
    from jaxvl.evals.trained import TrainedModel
    from jaxvl.training import experiment

    _check_run(paths.of(directory))
    if weights not in (None, *WEIGHTS):
        raise UserError(f"weights={weights!r} is not one of None, {', '.join(map(repr, WEIGHTS))}")
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size={batch_size} is not at least 1")
    config = experiment.load_run(directory)
    devices = jax.device_count()
    most = batch_size or config.eval.batch_size
    config.eval.batch_size = max(1, most // devices) * devices
    basis = experiment.open_basis(config)
    params, step = checkpoint.restore_params(
        directory, model=basis.model, mesh=basis.mesh, use_ema=weights != "online", step=step
    )
    if weights == "ema" and not (paths.of(directory) / "checkpoints" / str(step) / "ema").is_dir():
        raise UserError(f"{directory} has no running mean: optim.ema_decay was 0; weights='online'")
    return TrainedModel(
        basis.config,
        model=basis.model,
        params=params,
        tokenizer=basis.tokenizer,
        mesh=basis.mesh,
        batch_size=config.eval.batch_size,
    )


def _check_run(directory: Path) -> None:
    """Raises UserError where the directory is not the working directory of a run."""
    needed = "give the working directory of `jaxvl train` or `jaxvl convert`"
    if not (directory / "config.json").is_file():
        raise UserError(f"{directory} is not a run, it has no config.json; {needed}")
    if not (directory / "checkpoints").is_dir():
        raise UserError(
            f"{directory} has no checkpoints; {needed}, which makes a run of weights of other "
            "libraries"
        )


def train(config: "ConfigDict", workdir: Path | str) -> None:
    """Trains the experiment of a configuration in a working directory, or continues it there.

    config: `jaxvl.config.base()` with its keys set, or that of a file in configs/.
    Raises UserError naming what the user can put right, and FloatingPointError where a value that
    is not finite stopped the run; WORKDIR/nonfinite then holds a report. After SIGTERM or Ctrl-C it
    saves and returns early; the same call continues.
    """
    from jaxvl.training import exits, loop

    if loop.train(config, workdir) == exits.FAILED:
        raise FloatingPointError(f"a value is not finite; see {paths.of(workdir) / 'nonfinite'}")
