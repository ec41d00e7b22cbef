"""MkDocs hooks: configuration.md from the configuration keys, and equations as MathML.

`make docs` writes docs/configuration.md anew; a test holds that the committed page is current.
"""

import html
import re
from pathlib import Path

PAGE = Path(__file__).with_name("configuration.md")
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
HEAD = """# Configuration

<!-- Written by docs/hooks.py from the keys in the code. Do not edit. -->

Every key of the program with its default, the values it takes and its meaning. An experiment
starts from `jaxvl.config.base()` and overrides some of them; `--config.KEY=VALUE` changes one on
the command line. An unknown key, a value of another type and a value out of range are errors.
Defaults are the published values where a paper gives one.
"""


def on_pre_build(config: object) -> None:
    """Writes docs/configuration.md where it is not what the keys say."""
    page = configuration_page()
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        PAGE.write_text(page, encoding="utf-8")


def on_page_content(content: str, **_: object) -> str:
    """Returns the page with its equations as MathML, which browsers show without any script."""
    return EQUATION.sub(_mathml, content)


def _mathml(found: re.Match) -> str:
    from latex2mathml.converter import convert

    display = "block" if found[2] == "[" else "inline"
    return convert(html.unescape(found[3]).strip(), display=display)


def configuration_page() -> str:
    """Returns docs/configuration.md: one table for each group of keys."""
    from jaxvl import config, keys

    users = _users()
    groups: dict[str, list[str]] = {}
    for name in keys.flat(config.keys()):
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    found = keys.flat(config.keys())
    parts = [HEAD]
    for group, names in groups.items():
        parts.append(f"## {f'`{group}`' if group else 'Top level'}\n")
        users_here = {users.get(name, "") for name in names}
        shared = users_here.pop() if len(users_here) == 1 else ""
        if shared:
            parts.append(f"Used by {shared}.\n")
        parts += [_row(["key", "default", "values", "meaning"]), _row(["---"] * 4)]
        for name in names:
            key = found[name]
            of = "" if shared or name not in users else f" (used by {users[name]})"
            parts.append(_row([f"`{name}`", f"`{key.default!r}`", _values(key), key.meaning + of]))
        parts.append("")
    return "\n".join(parts)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _values(key) -> str:
    from jaxvl import keys

    if key.choices:
        return ", ".join(f"`{choice!r}`" for choice in key.choices)
    if isinstance(key.default, bool):
        return "`True`, `False`"
    return keys.range_of(key)


def _users() -> dict[str, str]:
    """Returns {dotted key: the components that bring it, "method `softmask`, ..."}."""
    from jaxvl import keys
    from jaxvl.data.sources import SOURCES
    from jaxvl.evals import EVALUATORS
    from jaxvl.losses import CONTRASTIVE
    from jaxvl.methods import METHODS
    from jaxvl.models import MODELS

    packages: dict[str, dict] = {
        "method": METHODS,
        "model": MODELS,
        "loss": CONTRASTIVE,
        "source": SOURCES,
        "evaluator": EVALUATORS,
    }
    found: dict[str, list[str]] = {}
    for kind, components in packages.items():
        for name, component in components.items():
            for key in keys.flat(component.keys):
                found.setdefault(key, []).append(f"{kind} `{name}`")
    return {key: ", ".join(of) for key, of in found.items()}
