"""Read weights of another project into a working directory, to start from and to evaluate.

  jaxvl convert --from clip-vit-base-patch32 --out runs/clip
  jaxvl convert --from ALBEF.pth --out runs/albef --set data.tokenizer=bert-base-uncased
  jaxvl convert --from open_clip.bin --out runs/open_clip --set model.activation=gelu

Sizes, activation, tokenizer and resolution follow from the file. Several paths (a ViT and a BERT)
become one ALBEF, whose other parameters are drawn where model.allow_missing names them.
"""

import ast
import shutil
from pathlib import Path

from jaxvl.cli import common
from jaxvl.errors import UserError

TOKEN_LENGTHS = (16, 24, 32, 48)  # at which CLIP reads texts, most of them far below 77 tokens


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line():
        convert(flags.source, flags.out, changes=dict(map(_change, flags.set)))


def _parser():
    parser = common.parser("convert", __doc__)
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        nargs="+",
        metavar="PATH",
        help="folder or file of weights, or a jaxvl run; a ViT and a BERT for an ALBEF",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="new working directory")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="key of the configuration that the file does not tell; may be repeated",
    )
    return parser


def _change(text):
    key, found, value = text.partition("=")
    if not found:
        raise UserError(f"--set {text}: not KEY=VALUE")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def convert(paths, out, *, changes):
    """Writes the weights in `paths` as the working directory `out`, at step 0.

    changes: {dotted key: value} of the configuration. Raises UserError for what cannot be read or
    is not known; then `out` is as it was.
    """
    from jaxvl import checkpoint, workdir
    from jaxvl.files import written_whole
    from jaxvl.training import experiment

    out = Path(out)
    with written_whole(out) as folder:
        basis = experiment.open_basis(_configuration(paths, changes))
        _check_room(folder, basis.model)
        params = experiment.load_init(basis, directory=folder)
        stored = basis.config.copy_and_resolve_references().unlock()
        stored.model.init, stored.model.allow_missing = "", ()
        stored.data.tokenizer = str(out.absolute() / "tokenizer.json")
        basis.tokenizer.save(str(folder / "tokenizer.json"))
        workdir.save_config(stored, folder)
        checkpoint.save_params(folder, params)
    print(f"{out}: start from it with --config.model.init={out}")


def _check_room(folder, model):
    """Raises UserError where the disk has no room: known beforehand, not after minutes."""
    import jax

    shapes = jax.eval_shape(model.init, jax.random.key(0))
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"the disk is full: the weights take {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
            "free; nothing was written"
        )


def _configuration(paths, changes):
    """Returns the ConfigDict that follows from the files, with `changes`."""
    from jaxvl import config as config_lib
    from jaxvl import workdir
    from jaxvl.interop import load
    from jaxvl.interop.weights import open_weights

    if len(paths) == 1 and load.is_own(paths[0]):
        config = workdir.load_config(paths[0]).unlock()
        config.mesh.update(data=-1, fsdp=1)
        settings = {}
    else:
        config = config_lib.base()
        sources = [open_weights(path) for path in paths]
        settings = _settings(sources, config)
    known = workdir.flat(config)
    for key in changes:
        if key not in known:
            raise UserError(f"--set {key}: there is no such key")
    _set(config, settings | changes)
    if config.model.name == "clip" and "model.activation" not in settings | changes:
        raise UserError(
            f"{paths[0]} does not tell its activation; add --set model.activation=quick_gelu "
            "(OpenAI's weights and those of models named so) or --set model.activation=gelu"
        )
    config.model.init = ",".join(str(path) for path in paths)
    if not (config.data.tokenizer or load.tokenizer_of_init(config.model.init)):
        raise UserError(
            f"{config.model.init} brings no tokenizer; name its folder or file with "
            "--set data.tokenizer=PATH"
        )
    return config


def _settings(sources, config):
    """Returns what follows from the Weights, and from what they are for."""
    settings = {}
    for source in sources:
        settings |= source.settings
        if source.layers is not None:  # the first half reads, the second fuses, as in ALBEF
            settings["model.text.layers"] = source.layers // 2
            settings["model.text.fusion_layers"] = source.layers - source.layers // 2
    if settings.get("model.name") == "clip":
        tokens = settings["model.text.positions"]
        settings |= {
            "method": "clip",
            "data.add_sep": True,
            "data.max_tokens": tokens,
            "data.max_words": tokens,
            "data.token_lengths": TOKEN_LENGTHS,
        }
    else:
        fusion = settings.get("model.text.fusion_layers", config.model.text.fusion_layers)
        settings |= {"method": "albef", "softmask.layer": min(config.softmask.layer, fusion - 2)}
    return settings


def _set(config, values):
    for key, value in values.items():
        *groups, last = key.split(".")
        group = config
        for name in groups:
            group = group[name]
        if isinstance(group[last], tuple) and not isinstance(value, (tuple, list)):
            value = (value,)
        try:
            group[last] = tuple(value) if isinstance(value, list) else value
        except TypeError as error:
            raise UserError(f"--set {key}={value}: {error}") from None
