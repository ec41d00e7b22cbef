"""Evaluation of a run: the evaluators' scores, the panel of pictures, results.json, the table."""

import json
from pathlib import Path

import jax

from jaxvl import checkpoint, files, preprocessing
from jaxvl.evals.tables import change_table, table
from jaxvl.interop import load
from jaxvl.training import experiment


class Evaluation:
    """Callable `(params, step=...) -> dict of floats` that leaves results.json and a panel."""

    def __init__(self, basis, directory):
        """Opens the held-out split and builds the evaluators of config.evals."""
        from jaxvl import evals

        self._basis, self._directory = basis, Path(directory)
        self._source = experiment.open_held_out(basis)
        self._evaluators = evals.make_evaluators(
            basis.config,
            model=basis.model,
            source=self._source,
            tokenizer=basis.tokenizer,
            mesh=basis.mesh,
        )
        self.panel = None  # path of the pictures drawn last

    def __call__(self, params, *, step):
        chief = jax.process_index() == 0
        scores = self._scores(params, report=self._report if chief else None)
        self.panel = self._draw_panel(params, step)
        if chief:
            files.write_json(self._directory / "results.json", {"step": step, **scores})
        return scores

    def of_start(self, params):
        """Leaves start.json: the scores of the weights that the run starts from."""
        scores = self._scores(params, report=None)
        if jax.process_index() == 0:
            files.write_json(self._directory / "start.json", {"step": 0, **scores})

    def _scores(self, params, *, report):
        from jaxvl import evals

        return evals.run_all(
            self._evaluators, params, progress=jax.process_index() == 0, report=report
        )

    def _report(self, name, findings):
        from jaxvl.evals import false_match

        false_match.write(findings, self._directory / "false_match", name)

    def _draw_panel(self, params, step):
        from jaxvl.evals import panel

        config = self._basis.config
        if not config.log.panel_images or not self._basis.model.fuse:
            return None  # without fusion no word looks at anything
        path = self._directory / "panels" / f"step_{step:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        return panel.draw_panel(
            config,
            model=self._basis.model,
            params=params,
            source=self._source,
            tokenizer=self._basis.tokenizer,
            mesh=self._basis.mesh,
            path=path,
        )

    def show_last(self):
        """Prints results.json, with the change since start.json, and where the pictures are."""
        path = self._directory / "results.json"
        if jax.process_index() or not path.exists():
            return
        results = json.loads(path.read_text())
        print(f"\nscores on {self._basis.config.eval.split} after step {results.pop('step')}\n")
        start = self._directory / "start.json"
        if start.exists():
            print(change_table(results, json.loads(start.read_text()), title="start"))
        else:
            print(table(results))
        panels = sorted((self._directory / "panels").glob("*.png"))
        if panels:
            print(f"\nwhat each word looks at: {panels[-1]}")
        plots = sorted((self._directory / "false_match").glob("*.png"))
        if plots:
            print(f"false matches by how alike the captions are: {', '.join(map(str, plots))}")
        print(f"scores as JSON: {path}", flush=True)


def make(basis, directory):
    """Returns the Evaluation of a run in its working directory."""
    return Evaluation(basis, directory)


def evaluate_only(config, directory):
    """Evaluates the newest checkpoint of the working directory, or `model.init` without one."""
    basis = experiment.open_basis(config)
    directory = Path(directory)
    if config.model.init and not (directory / "checkpoints").is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        params = experiment.load_init(basis, directory=directory)
        step = 0
        used = load.paths_of(config.model.init)
    else:
        params, step = checkpoint.restore_params(directory, model=basis.model, mesh=basis.mesh)
        used = [directory]
    for weights in used:
        preprocessing.warn_of_another(weights, config)
    evaluate = make(basis, directory)
    evaluate(params, step=step)
    evaluate.show_last()
    return 0
