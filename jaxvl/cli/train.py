"""Train or evaluate: jaxvl train --config=configs/x.py[:ARG] [--config.KEY=VALUE ...]."""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from jaxvl.errors import UserError
from jaxvl.training import host_memory

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, FILE.py or FILE.py:ARG.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run lives and continues; default runs/NAME_OF_CONFIG[_ARG]."
)
EVAL_ONLY = flags.DEFINE_bool("eval_only", False, "Evaluate the newest checkpoint, do not train.")
REPLAY = flags.DEFINE_string("replay", None, "Run again what led to this bundle of a stopped run.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Find the other processes (Slurm, TPU pod).")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, elsewhere.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: from 0.")


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    host_memory.use_huge_pages()
    argv = [sys.argv[0], *(sys.argv[1:] if arguments is None else arguments)]
    app.run(_run, argv, flags_parser=parse)


def _run(_):
    try:
        config = None if REPLAY.value else _config()
        logging.set_verbosity(logging.ERROR)  # absl's own level shows all that JAX and TFDS report
        _connect()
        from jaxvl.training import evaluation, loop, nonfinite

        if REPLAY.value:
            sys.exit(int(not nonfinite.replay(REPLAY.value)))
        run = evaluation.evaluate_only if EVAL_ONLY.value else loop.train
        sys.exit(run(config, WORKDIR.value or _default_workdir()))
    except UserError as error:
        _refuse(error)


def _config():
    if CONFIG.value is None:
        raise UserError("--config=FILE.py is missing (or --replay=BUNDLE)")
    name = flags.FLAGS["config"].config_filename.partition(":")[0]
    if not Path(name).is_file():
        raise UserError(f"--config={name}: there is no such file")
    return CONFIG.value


def _connect():
    if COORDINATOR.value or DISTRIBUTED.value:
        import jax

        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)


def _default_workdir():
    name, _, argument = flags.FLAGS["config"].config_filename.partition(":")
    return Path("runs") / "_".join(filter(None, [Path(name).stem, argument]))


def _refuse(error):
    print(f"jaxvl: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)


def parse(argv):
    """Parses the command line; a mistake in it or in the experiment is one line and exit code 2."""
    try:
        return flags.FLAGS(argv)
    except Exception as error:  # an experiment file can raise anything
        text = str(error).strip() or type(error).__name__
        _refuse(f"{' '.join(argv[1:])}: {text.splitlines()[-1] if 'Traceback' in text else text}")
