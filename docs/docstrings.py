"""Griffe extension: the arguments that a docstring explains become a list on the API pages."""

import re

import griffe


class Arguments(griffe.Extension):
    """Puts each `name: meaning` of an argument, and `Raises ...`, into a paragraph of its own."""

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        """Changes the docstring of a function, for the pages alone."""
        if func.docstring:
            names = [parameter.name for parameter in func.parameters]
            func.docstring.value = in_paragraphs(func.docstring.value, names)


def in_paragraphs(text: str, names: list[str]) -> str:
    """Returns the text as Markdown: a list item for each argument or several of them."""
    one = "|".join(map(re.escape, names)) or "(?!)"
    start = r"(?:^|(?<=[.;]) )"  # of a line, or of a sentence within one
    text = re.sub(rf"{start}((?:{one})(?:, (?:{one}))*): ", r"\n\n- `\1`: ", text, flags=re.M)
    return re.sub(rf"{start}(Raises |Source: )", r"\n\n\1", text, flags=re.M)
