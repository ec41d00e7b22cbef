"""HTML pages for a browser: one file with everything inside, which asks nothing of the network.

Templates are in `jaxvl/templates`; `base.html` is what all pages share. Every text is escaped.
Every number is shown by the macros of `numbers.html`, which keep its exact value in the page.
"""

import base64
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxvl.errors import UserError, printable

_TEMPLATES = Path(__file__).parent / "templates"
_QUALITY = 75


def check_installed() -> None:
    """Raises UserError where what makes pages is not installed."""
    if importlib.util.find_spec("jinja2") is None:
        raise UserError(
            "pages are made by jinja2, which is not installed; run: pip install 'jaxvl[clean]'"
        )


def render(template: str, **values: Any) -> str:
    """Returns the page of a template. The same values give the same page."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"number": _number, "percent": _percent}
    return environment.get_template(template).render(**values)


def picture(pixels_HxWx3: np.ndarray) -> str:
    """Returns the data URI of an image, uint8 [H, W, 3], as a small JPEG without metadata."""
    stored = io.BytesIO()
    Image.fromarray(pixels_HxWx3).save(stored, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode()


def _shown(value: Any) -> Any:
    """Returns a text, of a stranger's file perhaps, without signs that turn or break a line."""
    return printable(value) if type(value) is str else value


def _number(value: float | int) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _percent(value: float) -> str:
    digits = 0 if value in (0, 1) else 1 if value >= 0.01 else 2
    return f"{value:.{digits}%}".replace("%", " %")
