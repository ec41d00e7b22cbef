"""Make hard negatives of every caption of a data set: one thing changed in each.

  jaxvl negatives --data data/mine --out data/mine_negatives
  jaxvl negatives --data data/mine --out data/mine_negatives --explain "A brown dog."

Training reads them with --config.data.negatives=data/mine_negatives. A command that was stopped
goes on where it was when given again.
"""

from jaxvl import files
from jaxvl.cli import common
from jaxvl.errors import UserError


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    resume = "interrupted: give the same command again to go on"
    with common.mistakes_in_one_line(interrupted=resume):
        print(explain(flags) if flags.explain is not None else make(flags))


def _parser():
    parser = common.parser("negatives", __doc__)
    parser.add_argument("--data", required=True, metavar="DIR", help="prepared data set")
    parser.add_argument(
        "--name", default="", metavar="BUILDER", help="TFDS's, whose data_dir --data then is"
    )
    parser.add_argument("--out", metavar="DIR", help="must not exist, or be empty")
    parser.add_argument(
        "--explain",
        metavar="TEXT",
        help="print what would be made of it, and why; with an --out that is there, also where "
        "the text stands in it, and no pass over the captions is needed",
    )
    parser.add_argument(
        "--filler",
        choices=("corpus", "mlm"),
        default="corpus",
        help="where words come from: the data set's captions, or a masked language model (corpus)",
    )
    parser.add_argument("--weights", default="", metavar="DIR", help="of the model, local")
    parser.add_argument("--seed", type=int, default=0)
    common.add_workers(parser)
    parser.add_argument(
        "--runner", default="", help="of Apache Beam, such as DirectRunner, in place of --workers"
    )
    return parser


def check(flags):
    """Raises UserError where --weights does not go with --filler."""
    if (flags.filler == "mlm") != bool(flags.weights):
        raise UserError(
            "--filler mlm needs --weights DIR, a Hugging Face folder of BERT or RoBERTa with its "
            "tokenizer; --filler corpus takes none"
        )


def make(flags):
    """Writes the negatives; returns the line that says so."""
    from jaxvl.data.negatives import KINDS, analysis, beam, captions, run, storage

    if not flags.out:
        raise UserError("--out DIR is missing: where to write the negatives (or give --explain)")
    check(flags)
    analysis.check_installed()
    if flags.runner:
        beam.check_installed()
    data = captions.open_captions(flags.data, flags.name)
    plan = {
        "kinds": list(KINDS),
        "filler": flags.filler,
        "weights": flags.weights,
        "seed": flags.seed,
    }
    if files.is_filled(flags.out):
        wanted = run.complete(plan, data)
        try:
            meta = storage.read_meta(flags.out)
        except UserError:
            meta = {}
        if {**meta, **wanted} != meta:
            raise UserError(
                f"--out {flags.out}: exists and is not these negatives; name another or remove it"
            )
        return f"{flags.out}: already made"
    meta = run.write(flags.out, data=data, plan=plan, workers=flags.workers, runner=flags.runner)
    shares = ", ".join(
        f"{kind} {100 * made / max(1, meta['captions']):.1f} %"
        for kind, made in meta["made"].items()
    )
    return f"wrote negatives of {meta['captions']:,} captions to {flags.out}: {shares}"


def explain(flags):
    """Where the text of --explain stands in --out, and what would be made of it and why."""
    from jaxvl.data.negatives import analysis, captions, run
    from jaxvl.data.negatives import explain as explaining

    check(flags)
    analysis.check_installed()
    lines = []
    if flags.out and files.is_filled(flags.out):
        lines += explaining.origins(flags.out, flags.explain) or [f"not in {flags.out}"]
        vocabulary = explaining.stored_vocabulary(flags.out)
    else:
        vocabulary = explaining.count_vocabulary(captions.open_captions(flags.data, flags.name))
    filler = run.make_filler(flags.filler, vocabulary, flags.weights)
    made = explaining.explain(flags.explain, vocabulary=vocabulary, filler=filler, seed=flags.seed)
    return "\n".join([*lines, made])
