"""Tables of scores for the terminal: the scores of one evaluation, or the change between two."""

from collections.abc import Mapping

Scores = Mapping[str, float | int]  # "retrieval/i2t_r1" -> share in [0, 1], or a number of rows


def table(scores: Scores) -> str:
    """Returns aligned lines, shares (floats) in percent, one group for each name before the "/"."""
    width = max((len(name) for name in scores), default=0)
    lines, group = [], None
    for name, value in scores.items():
        if group is not None and name.split("/")[0] != group:
            lines.append("")
        group = name.split("/")[0]
        number = f"{100 * value:8.1f} %" if isinstance(value, float) else f"{value:10d}"
        lines.append(f"  {name:<{width}}  {number}")
    return "\n".join(lines)


def change(now: Scores, before: Scores) -> dict[str, float]:
    """Returns {name: now - before} of the shares (floats) that both have."""
    shared = [name for name in now if isinstance(now[name], float)]
    return {name: now[name] - before[name] for name in shared if name in before}


def change_table(now: Scores, before: Scores, *, title: str) -> str:
    """Returns the lines of `table`; beside each share its value before and the change in points.

    title: heads the column of the values before; its last 16 characters are shown.
    """
    width = max((len(name) for name in now), default=0)
    changes = change(now, before)
    lines = [f"  {'':<{width}}  {'now':>8}    {title[-16:]:>16}    change"]
    for line in table(now).splitlines():
        name = (line.split() or [""])[0]
        if name in changes:
            line += f"  {100 * before[name]:14.1f} %  {100 * changes[name]:+8.1f}"
        lines.append(line)
    return "\n".join(lines)
