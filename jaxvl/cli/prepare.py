"""Store images and captions as a data set: Scenes, or a folder of your own.

  jaxvl prepare scenes --out data/scenes
  jaxvl prepare folder --images photos --captions photos/metadata.jsonl --out data/mine

`--config.data.dir=DIR` reads the result, and so does `tfds.builder_from_directory(DIR)`.
`jaxvl prepare scenes --help` and `jaxvl prepare folder --help` list the flags.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any

from jaxvl import files
from jaxvl.cli import common
from jaxvl.data.text.words import WORDS
from jaxvl.errors import UserError

_SCENES_VOCABULARY_SIZE = 2000
_SCENES_EPILOG = """
levels of --level
  1  1 or 2 large things, 6 colours, 5 shapes, 4 directions, little clutter, 24 words
  2  1 to 3 things of 2 sizes, 10 colours, 10 shapes, 8 relations, half the clutter, 47 words
  3  1 to 4 things, also 4 textures, full clutter, several words for each meaning
"""
_FOLDER_EPILOG = """
FILE is one of
  *.jsonl         one JSON object a line: file_name, and text, caption or captions, perhaps split
  *.json          a list of such objects, or one object {file_name: captions}
  *.csv, *.tsv    columns file_name, and text, caption or captions (or caption_1, caption_2, ...),
                  perhaps split; several rows of one file are merged
  *.tar           webdataset: images with .txt or .json of the same key; also .tar.gz, a folder
                  with tars in it or below it, a quoted glob, or braces: 's-{000..099}.tar';
                  then --images is not needed
  *.parquet       with a column of encoded images, as img2dataset and Hugging Face write them;
                  also several, as for tars
Records that cannot be used are left out and named, with the reason, in DIR.report.jsonl.
Images become upright RGB JPEG in the colours of sRGB; RGB JPEG files that are so already, and small
enough, keep their bytes, without what tells of place and camera.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clean up as after Ctrl-C
    with common.mistakes_in_one_line(interrupted="interrupted: nothing was written"):
        print(flags.run(flags))


def _parser() -> common.Parser:
    parser = common.parser("prepare", __doc__)
    commands = parser.add_subparsers(required=True, metavar="scenes | folder")
    _add_scenes(commands)
    _add_folder(commands)
    return parser


def _add_scenes(commands: Any) -> None:
    scenes = commands.add_parser(
        "scenes", help="render Scenes, the embedded data set", epilog=_SCENES_EPILOG
    )
    scenes.set_defaults(run=_scenes)
    scenes.add_argument("--out", required=True, metavar="DIR", help="must not exist, or be empty")
    scenes.add_argument(
        "--train", type=common.count, default=20000, metavar="N", help="images (20000)"
    )
    scenes.add_argument(
        "--eval",
        type=common.count,
        default=1000,
        metavar="N",
        help="images of each of val, test and unseen (1000)",
    )
    scenes.add_argument(
        "--size",
        type=common.count,
        default=96,
        metavar="N",
        help="side of an image, in pixels (96)",
    )
    scenes.add_argument("--seed", type=int, default=0, metavar="N", help="another data set (0)")
    scenes.add_argument(
        "--level", type=int, choices=(1, 2, 3), default=3, help="how hard it is, see below (3)"
    )
    common.add_workers(scenes)


def _add_folder(commands: Any) -> None:
    folder = commands.add_parser(
        "folder", help="validate and store your own images and captions", epilog=_FOLDER_EPILOG
    )
    folder.set_defaults(run=_folder)
    folder.add_argument("--images", metavar="DIR", help="folder the file names are relative to")
    folder.add_argument("--captions", required=True, metavar="FILE", help="see below")
    folder.add_argument("--out", required=True, metavar="DIR", help="must not exist, or be empty")
    folder.add_argument(
        "--exclude",
        metavar="FILE",
        help="list of records and captions to leave out, as `jaxvl clean --apply` writes it: a "
        "file name a line, or JSON objects with file_name, and perhaps caption and reason",
    )
    folder.add_argument(
        "--max_bad",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="share of bad records above which nothing is written (0.01)",
    )
    folder.add_argument(
        "--val_share",
        type=_share,
        default=0.05,
        metavar="SHARE",
        help="share of images in split val, where FILE names no splits (0.05)",
    )
    folder.add_argument(
        "--max_side",
        type=_size,
        default=640,
        metavar="N",
        help="longest side stored, in pixels (640): larger images are shrunk, since training "
        "decodes them again in each epoch; 0 keeps them",
    )
    folder.add_argument(
        "--keep_metadata",
        action="store_true",
        help="keep place, camera, comments (EXIF, XMP, IPTC) in files that keep their bytes",
    )
    folder.add_argument(
        "--vocabulary_size",
        type=common.count,
        default=8000,
        metavar="N",
        help="of the tokenizer that is trained on the captions (8000)",
    )
    folder.add_argument(
        "--words",
        choices=tuple(WORDS),
        default="",
        help="how words are found: between blanks, or by a segmenter (by the captions' script)",
    )
    folder.add_argument(
        "--vocabulary",
        choices=("wordpiece", "bytes"),
        default="",
        help="pieces of words, as BERT has, or of bytes, which read any character (by the "
        "captions' script)",
    )
    common.add_workers(folder)


def _size(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return int(text)


def _share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)


def _scenes(flags: argparse.Namespace) -> str:
    from jaxvl.data import scenes, store

    counts = {split: flags.train if split == "train" else flags.eval for split in scenes.SPLITS}
    meta = {
        "seed": flags.seed,
        "size": flags.size,
        "level": flags.level,
        "generator_version": scenes.VERSION,
    }
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
                split=split,
                count=count,
                size=flags.size,
                seed=flags.seed,
                level=flags.level,
                workers=flags.workers,
            )
            for split, count in counts.items()
        },
        counts=counts,
        meta=meta,
        vocabulary_size=_SCENES_VOCABULARY_SIZE,
    )
    written = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    return f"wrote {written} to {flags.out}"


def _is_same(directory: str, counts: dict[str, int], meta: dict[str, Any]) -> bool:
    from jaxvl.data import scenes, store

    try:
        # Data sets of 0.2.0 name no level.
        stored = {"level": scenes.DEFAULT_LEVEL, **store.read_meta(directory)}
    except UserError:
        return False
    wanted = {"kind": "scenes", "format_version": store.FORMAT_VERSION, "splits": counts, **meta}
    return {**stored, **wanted} == stored


def _folder(flags: argparse.Namespace) -> str:
    from jaxvl.data.folder.prepare import prepare_folder

    return prepare_folder(
        images=flags.images,
        captions=flags.captions,
        out=flags.out,
        max_bad=flags.max_bad,
        val_share=flags.val_share,
        vocabulary_size=flags.vocabulary_size,
        max_side=flags.max_side,
        keep_metadata=flags.keep_metadata,
        workers=flags.workers,
        words=flags.words,
        vocabulary=flags.vocabulary,
        exclude=flags.exclude,
    )
