"""Prepare a data set: `jaxvl prepare scenes ...` or `jaxvl prepare folder ...`.

The result is read by `--config.data.dir=DIR`, and by `tfds.builder_from_directory(DIR)`.
"""

import argparse
import signal
import sys

from jaxvl import files
from jaxvl.cli import common
from jaxvl.errors import UserError

_SCENES_VOCABULARY_SIZE = 2000
_FOLDER_EPILOG = """
FILE is one of
  metadata.jsonl  one JSON object a line: file_name, and text or captions, maybe split
  *.csv           columns file_name, and text, caption or captions, maybe split; several rows
                  of one file are merged
  *.tar           webdataset: images with .txt or .json of the same key; also a folder of tars
                  or a quoted glob; --images is not needed then
Records that cannot be used are left out and named, with the reason, in DIR.report.jsonl.
Images become upright RGB JPEG; RGB JPEG files that are upright and small enough keep their bytes.
"""


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clean up as for Ctrl-C
    with common.mistakes_in_one_line(interrupted="interrupted: nothing was written"):
        print(flags.run(flags))


def _parser():
    parser = common.parser("prepare", __doc__)
    commands = parser.add_subparsers(required=True, metavar="scenes | folder")

    scenes = commands.add_parser("scenes", help="render the embedded data set")
    scenes.set_defaults(run=_scenes)
    scenes.add_argument("--out", required=True, metavar="DIR", help="must not exist, or be empty")
    scenes.add_argument("--train", type=common.count, default=20000, help="pictures (20000)")
    scenes.add_argument(
        "--eval", type=common.count, default=1000, help="of val, test, unseen (1000)"
    )
    scenes.add_argument("--size", type=common.count, default=96, help="pixels of a side (96)")
    scenes.add_argument("--seed", type=int, default=0)
    common.add_workers(scenes)

    folder = commands.add_parser(
        "folder",
        help="validate and store your own pictures and captions",
        epilog=_FOLDER_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folder.set_defaults(run=_folder)
    folder.add_argument("--images", metavar="DIR", help="folder the file names are relative to")
    folder.add_argument("--captions", required=True, metavar="FILE", help="see below")
    folder.add_argument("--out", required=True, metavar="DIR", help="must not exist, or be empty")
    folder.add_argument(
        "--max_bad", type=_share, default=0.01, help="share of bad records to put up with (0.01)"
    )
    folder.add_argument(
        "--val_share", type=_share, default=0.05, help="of val, where no split is given (0.05)"
    )
    folder.add_argument(
        "--max_side",
        type=_size,
        default=640,
        help="longest side stored, in pixels; larger pictures are shrunk, since training would "
        "decode them anew each epoch; 0 keeps them (640)",
    )
    folder.add_argument(
        "--vocabulary_size", type=common.count, default=8000, help="of the tokenizer"
    )
    common.add_workers(folder)
    return parser


def _size(text):
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return int(text)


def _share(text):
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)


def _scenes(flags):
    from jaxvl.data import scenes, store

    counts = {split: flags.train if split == "train" else flags.eval for split in scenes.SPLITS}
    meta = {"seed": flags.seed, "size": flags.size, "generator_version": scenes.VERSION}
    if files.is_filled(flags.out):
        if _is_same(flags.out, counts, meta):
            return f"{flags.out}: already prepared"
        raise UserError(
            f"--out {flags.out}: exists and is not this data set; name another or remove it"
        )
    store.write(
        flags.out,
        kind="scenes",
        splits={
            split: scenes.generate(
                split=split, count=count, size=flags.size, seed=flags.seed, workers=flags.workers
            )
            for split, count in counts.items()
        },
        counts=counts,
        meta=meta,
        vocabulary_size=_SCENES_VOCABULARY_SIZE,
    )
    written = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    return f"wrote {written} to {flags.out}"


def _is_same(directory, counts, meta):
    from jaxvl.data import store

    try:
        stored = store.read_meta(directory)
    except UserError:
        return False
    wanted = {"kind": "scenes", "format_version": store.FORMAT_VERSION, "splits": counts, **meta}
    return {**stored, **wanted} == stored


def _folder(flags):
    from jaxvl.data.folder.prepare import prepare

    return prepare.prepare(
        images=flags.images,
        captions=flags.captions,
        out=flags.out,
        max_bad=flags.max_bad,
        val_share=flags.val_share,
        vocabulary_size=flags.vocabulary_size,
        max_side=flags.max_side,
        workers=flags.workers,
    )
