"""Show what a trained model looks at in a picture when it reads a sentence.

jaxvl explain --workdir runs/demo --image photo.jpg --text "a red cube" --out out.png
"""

import io

from jaxvl.cli import common
from jaxvl.errors import UserError

SIDE = 230  # pixels of a picture
COLUMNS = 5
LEGEND = (
    "Bright = what the model looked at when it read this word. Grey = what it passed over. "
    "“whole sentence” is the mean of all words. The percentage is how sure the model is that "
    "picture and sentence belong together: 100% certain, 0% certain of the opposite."
)


def main(arguments=None):
    """Command line. Exits 2 with one line on stderr for what the user can put right."""
    flags = _parser().parse_args(arguments)
    with common.mistakes_in_one_line():
        reading = explain(flags.workdir, image=flags.image, text=flags.text, out=flags.out)
    print("\n".join(summary(reading)))
    print(f"picture: {flags.out}")


def _parser():
    parser = common.parser("explain", __doc__)
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of a training run")
    parser.add_argument("--image", required=True, metavar="FILE", help="JPEG, PNG, WebP, ...")
    parser.add_argument("--text", required=True, metavar="TEXT", help="a sentence about it")
    parser.add_argument("--out", required=True, metavar="FILE", help="the PNG to write")
    return parser


def explain(workdir, *, image, text, out):
    """Draws the picture, a heat-map a word and one for the sentence. Returns the Reading.

    Raises UserError for what cannot be read, an empty text, and a workdir without checkpoint;
    then nothing is written.
    """
    common.check_file("--out", out)
    jpeg = _picture(image)
    _check_text(text)
    reading = _read(workdir, jpeg, text)

    from PIL import Image

    from jaxvl.evals import draw

    shown = Image.open(io.BytesIO(jpeg)).convert("RGB")
    cells = draw.word_row(shown, reading, side=SIDE, columns=COLUMNS, sentence=True)
    heading = f"Do they belong together? The model says {_percent(reading.probability)}."
    if reading.cut:
        heading += f" {_cut(reading)}"
    draw.save(draw.page(f"“{' '.join(text.split())}”", [(heading, cells)], legend=LEGEND), out)
    return reading


def summary(reading):
    """Returns lines for the terminal: match probability, and where each word looks."""
    lines = [f"match probability: {_percent(reading.probability)}"]
    if reading.cut:
        lines.append(f"note: {_cut(reading)}")
    width = max(map(len, reading.words))
    peaks = [float(map_gxg.max()) for map_gxg in reading.maps_Wxgxg]
    strongest = max(peaks)
    for word, map_gxg, peak in zip(reading.words, reading.maps_Wxgxg, peaks):
        share = peak / strongest if strongest > 0 else 0.0
        lines.append(f"  {word:<{width}}  {where(map_gxg):<13}  {'#' * round(10 * share)}")
    lines.append("  (most relevant region of each word; bars: how strong, beside the others)")
    return lines


def where(map_gxg):
    """Returns the place of the map's peak in words: "upper left", "centre"; "nowhere" if even."""
    if not map_gxg.max() > map_gxg.min():
        return "nowhere"
    side = len(map_gxg)
    row, column = divmod(int(map_gxg.argmax()), side)
    vertical = ("upper", "", "lower")[3 * row // side]
    horizontal = ("left", "", "right")[3 * column // side]
    return f"{vertical} {horizontal}".strip() or "centre"


def _percent(probability):
    return f"{100 * probability:.1f}%"


def _cut(reading):
    return f"The text is too long for this model; it did not read: {' '.join(reading.cut)}"


def _check_text(text):
    from jaxvl.data.text.clean import clean_caption

    if not clean_caption(text, max_words=None):
        raise UserError(f"--text {text!r} has no words")


def _picture(path):
    """Returns the picture as preparing a data set would store it: upright RGB JPEG."""
    from jaxvl.data.images import untrusted

    location = untrusted.Location(str(path), 0, -1)
    try:
        digest, _ = untrusted.check(location, max_side=0)
        return untrusted.to_jpeg(location, digest, max_side=0, keep=True)
    except untrusted.BadImage as error:
        raise UserError(f"--image {path}: {error}") from error


def _read(workdir, jpeg, text):
    import jax

    from jaxvl import checkpoint, sharding
    from jaxvl.data.images.whole import whole
    from jaxvl.evals.examples import make_tokenize
    from jaxvl.evals.reading import read
    from jaxvl.training import experiment

    config = experiment.load_run(workdir)
    basis = experiment.open_basis(config)
    if not basis.model.fuse:
        raise UserError(f"{workdir}: {config.model.name} has no fusion encoder to explain")
    mesh = sharding.make_mesh(config.mesh, devices=jax.devices()[:1])  # one picture, one device
    params, _ = checkpoint.restore_params(workdir, model=basis.model, mesh=mesh)
    data = config.data
    pixels = whole(jpeg, data.image_size, crop=data.eval_crop)
    (reading,) = read(
        basis.config,
        model=basis.model,
        params=params,
        mesh=mesh,
        images=[pixels],
        captions=[text],
        tokenize=make_tokenize(basis.config, basis.tokenizer),
    )
    return reading
