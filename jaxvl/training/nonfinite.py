"""On a NaN or Inf: write a report of the step, and repeat the steps that led to it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxvl import files, paths, sharding, workdir
from jaxvl.checkpoint import Checkpoints
from jaxvl.errors import UserError
from jaxvl.training import experiment

# A norm is not finite where one value is not.
FINITE = ("loss", "norm/gradient", "norm/update", "norm/parameters")


class NonFinite(Exception):
    """The loss, the gradient, the update or a parameter of a step is not finite."""

    def __init__(self, step: int, example_ids: Any, metrics: Mapping[str, float]) -> None:
        """step: updates made before it. example_ids: of the whole batch, int32 [G]."""
        super().__init__(f"step {step}")
        self.step, self.example_ids, self.metrics = step, example_ids, metrics


def is_finite(metrics: Mapping[str, float]) -> bool:
    """Whether the loss of a step, its gradient, its update and the parameters after it are."""
    return all(math.isfinite(metrics[name]) for name in FINITE)


def write_bundle(failure: NonFinite, directory: Path | str, *, checkpoint_step: int) -> Path:
    """Writes WORKDIR/nonfinite/step_N.json and returns its path.

    checkpoint_step: of the newest checkpoint, from which the step can be reached again; 0 where
    there is none and the run starts from its seed.
    """
    directory = paths.absolute(directory)
    path = directory / "nonfinite" / f"step_{failure.step}.json"
    ids = _of_all_processes(failure.example_ids)
    if jax.process_index() == 0:
        files.make_folder(path.parent)
        bundle = {
            "step": failure.step,
            "example_ids": ids,
            "losses": {k: v for k, v in failure.metrics.items() if k.startswith("loss")},
            "norms": {k: v for k, v in failure.metrics.items() if k.startswith("norm/")},
            "config": str(directory / "config.json"),
            "checkpoint_step": checkpoint_step,
        }
        files.write_json(path, bundle)
    return path


def _of_all_processes(ids):
    if jax.process_count() > 1:  # of a global array, in the order of the batch
        ids = multihost_utils.process_allgather(ids, tiled=True)
    return np.asarray(ids).tolist()


def read_bundle(path: Path | str) -> dict[str, Any]:
    """Returns a bundle. Raises UserError where the file is not one."""
    try:
        bundle = json.loads(paths.of(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--replay {path} cannot be read: {error}") from None
    missing = {"step", "example_ids", "losses", "norms"} - set(bundle)
    if missing:
        raise UserError(f"--replay {path} is not the bundle of a stopped run: no {min(missing)}")
    return bundle


def replay(path: Path | str) -> bool:
    """Repeats the steps from the checkpoint before the bundle's step up to it.

    Prints losses and norms of every step; writes nothing. Returns whether the last step gives the
    values of the bundle. Raises UserError where the file is not a bundle.
    """
    bundle = read_bundle(path)
    directory = paths.absolute(path).parent.parent
    config = workdir.use_own_tokenizer(workdir.load_config(directory), directory)
    basis = experiment.open_basis(config)
    training = experiment.make_training(basis, experiment.open_batches(basis))
    checkpoints = Checkpoints(directory, keep=1, best_metric="", read_only=True)
    state, first = experiment.restored_or_first_state(
        basis, training, checkpoints, at_most=bundle["step"]
    )
    print(f"repeating steps {first} to {bundle['step']} of {directory}", flush=True)
    ids, metrics = [], {}
    for step in range(first, bundle["step"] + 1):
        global_batch = sharding.to_global(training.batches.batch(step), basis.mesh)
        state, arrays = training.train_step(state, global_batch)
        metrics = {name: float(value) for name, value in jax.device_get(arrays).items()}
        ids = _of_all_processes(global_batch["example_id"])
        shown = [f"{k} {v:.6g}" for k, v in metrics.items() if k.startswith(("loss", "norm/"))]
        print(f"step {step}  " + "  ".join(shown), flush=True)
    return _report(bundle, ids, metrics)


def _report(bundle, ids, metrics):
    """Prints whether the last step is that of the bundle, and returns it."""
    recorded = {**bundle["losses"], **bundle["norms"]}
    again = {name: files.plain(metrics[name]) for name in recorded if name in metrics}
    same = ids == bundle["example_ids"] and again == recorded
    print(f"example ids of step {bundle['step']}: {ids}")
    if ids != bundle["example_ids"]:
        print(f"the bundle has other example ids: {bundle['example_ids']}; has the data changed?")
    if same:
        print(f"reproduced: step {bundle['step']} gives the values of the bundle")
    elif not is_finite(metrics):
        print("reproduced in part: not finite again, but with other values than the bundle's")
    else:
        print(f"not reproduced: step {bundle['step']} is finite here")
    return same
