"""Mix the weights of two runs and see what each mixture costs: retrieval against composition.

  jaxvl soup --a runs/start --b runs/tuned --alphas 0:1:0.1 --out runs/soup

Tuning on hard negatives is known to cost zero-shot retrieval; between the two checkpoints often
lies one that keeps most of both. Weights are (1 - alpha) A + alpha B (Wortsman et al., CVPR 2022).
"""

from pathlib import Path

from jaxvl.cli import common
from jaxvl.errors import UserError

MOST = 101  # alphas
FREE_KEYS = ("init", "scan_layers", "remat", "product_dtype", "activation_dtype")  # of config.model


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line():
        soup(
            flags.a,
            flags.b,
            alphas=parse_alphas(flags.alphas),
            out=flags.out,
            split=flags.split,
            data=flags.data,
            benchmark=common.benchmark_of(flags),
        )


def _parser():
    parser = common.parser("soup", __doc__)
    parser.add_argument("--a", required=True, metavar="DIR", help="a run's working directory")
    parser.add_argument("--b", required=True, metavar="DIR", help="another's, of the same model")
    parser.add_argument("--alphas", default="0:1:0.1", metavar="FIRST:LAST:STEP")
    parser.add_argument("--out", required=True, metavar="DIR", help="gets soup.json, .md and .png")
    parser.add_argument("--split", help="of the data set (the eval.split of A)")
    parser.add_argument("--data", metavar="DIR", help="another prepared data set (that of A)")
    common.add_benchmark(parser)
    return parser


def parse_alphas(text):
    """Returns the alphas of "FIRST:LAST:STEP", both ends included. Raises UserError."""
    try:
        first, last, step = map(float, text.split(":"))
        count = round((last - first) / step) + 1
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UserError(f"--alphas {text}: should be FIRST:LAST:STEP, such as 0:1:0.1") from None
    alphas = [round(first + k * step, 10) for k in range(max(0, min(count, MOST + 1)))]
    if not alphas or len(alphas) > MOST or alphas[0] < 0 or alphas[-1] > 1:
        raise UserError(f"--alphas {text}: should give 1 to {MOST} numbers within 0 and 1")
    return alphas


def soup(a, b, *, alphas, out, split=None, data=None, benchmark=None):
    """Evaluates each mixture as run A evaluates itself; returns [{"alpha": ..., **scores}].

    Writes soup.json, soup.md and soup.png to the folder `out`. Raises UserError where the two are
    not runs of one model and tokenizer; then nothing is written.
    """
    from jaxvl import checkpoint
    from jaxvl.cli.evaluate import Run
    from jaxvl.training import experiment

    if Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"--out {out} is no folder")
    config = common.load_run(a, split=split, data=data, benchmark=benchmark)
    config.evals.grounding = None  # retrieval and composition are what is weighed here
    check_same_model(a, b, experiment.open_basis(config))
    run = Run(a, config)
    first, second = (
        checkpoint.restore_params(workdir, model=run.basis.model, mesh=run.basis.mesh)[0]
        for workdir in (a, b)
    )
    rows = []
    for alpha in alphas:
        scores = run.scores_of(mix(first, second, alpha))
        _check_evaluators(a, scores)
        rows.append({"alpha": alpha, **scores})
        shown = "  ".join(f"{name} {100 * scores[name]:.1f} %" for name in quoted(scores))
        print(f"alpha {alpha:g}  {shown}", flush=True)
    _write(rows, Path(out), a=a, b=b)
    return rows


def check_same_model(a, b, basis):
    """Raises UserError naming a key in which the model of run B differs, or the tokenizer does."""
    from jaxvl.training import experiment
    from jaxvl.workdir import flat

    other = experiment.open_basis(common.load_run(b))
    mine, theirs = flat(basis.config.model), flat(other.config.model)
    for key in mine:
        if key not in FREE_KEYS and mine[key] != theirs[key]:
            raise UserError(
                f"--b {b}: model.{key}={theirs[key]!r}, but {mine[key]!r} in {a}; only weights of "
                "one model can be mixed"
            )
    if basis.tokenizer.to_str() != other.tokenizer.to_str():
        raise UserError(f"--b {b} has another tokenizer than {a}: its weights cannot be mixed")


def mix(first, second, alpha):
    """Returns (1 - alpha) first + alpha second, leaf by leaf; the ends are exactly the two."""
    import jax

    if alpha in (0, 1):
        return second if alpha else first
    return jax.tree.map(lambda x, y: (1 - alpha) * x + alpha * y, first, second)


def quoted(scores):
    """Returns the names to quote: mean recall, and each benchmark's headline."""
    from jaxvl.evals.compositional.formats import FORMATS

    names = ["retrieval/mean_recall", "hard_negatives/accuracy"]
    names += [f"{name}/{table.headline}" for name, table in FORMATS.items()]
    return [name for name in names if name in scores]


def _check_evaluators(a, scores):
    if len(quoted(scores)) < 2 or "retrieval/mean_recall" not in scores:
        raise UserError(
            f"--a {a}: its evals give {', '.join(quoted(scores)) or 'nothing'}; a mixture needs "
            "retrieval and hard_negatives or a benchmark"
        )


def _write(rows, out, *, a, b):
    from jaxvl.files import write_json, write_text

    out.mkdir(parents=True, exist_ok=True)
    names = quoted(rows[0])
    write_json(out / "soup.json", {"a": str(a), "b": str(b), "mixtures": rows})
    write_text(out / "soup.md", markdown(rows, names, a=a, b=b))
    _plot(rows, names, out / "soup.png", a=a, b=b)
    print(f"\ntable: {out / 'soup.md'}\nfrontier: {out / 'soup.png'}\nJSON: {out / 'soup.json'}")


def markdown(rows, names, *, a, b):
    """Returns a table with a line for each alpha."""
    lines = [f"alpha 0: {a}; alpha 1: {b}", "", f"| alpha | {' | '.join(names)} |"]
    lines.append(f"|---|{'---|' * len(names)}")
    for row in rows:
        shares = " | ".join(f"{100 * row[name]:.1f} %" for name in names)
        lines.append(f"| {row['alpha']:g} | {shares} |")
    return "\n".join(lines) + "\n"


def _plot(rows, names, path, *, a, b):
    """Draws retrieval along, composition up: a line a benchmark, its points named by alpha."""
    from matplotlib.figure import Figure

    from jaxvl.evals import draw

    recall, *others = names
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    x = [100 * row[recall] for row in rows]
    for name in others:
        y = [100 * row[name] for row in rows]
        axes.plot(x, y, marker="o", label=name)
        for row, *place in zip(rows, x, y):
            label = f"{row['alpha']:g}"
            axes.annotate(label, place, textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set(xlabel=f"{recall}, %", ylabel="composition, %")
    axes.set_title(f"alpha 0: {Path(a).name}   alpha 1: {Path(b).name}", fontsize=10)
    axes.legend(fontsize=8)
    draw.save_figure(figure, path)
