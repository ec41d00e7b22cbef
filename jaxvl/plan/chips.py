"""The table of chips: what they can do and cost, from chips.toml or a copy that was edited."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from jaxvl.errors import UserError

TABLE = Path(__file__).with_name("chips.toml")


class Chip(NamedTuple):
    """A kind of chip. The comments of chips.toml say what each figure is."""

    on: str
    peak_bf16: float
    peak_rounded: float
    peak_f32: float
    hbm_gib: float
    hbm: float
    link: float
    host_chips: int
    price: float
    network: float = 0.0  # 0: as `link`


class Reached(NamedTuple):
    """The parts of the peak figures that a step is assumed to reach."""

    operations: float
    memory: float
    links: float


class Table(NamedTuple):
    """Chips by name. dated: when the figures were collected."""

    dated: str
    reached: Reached
    chips: dict[str, Chip]

    @property
    def compilers(self) -> dict[str, str]:
        """What compiles for each kind of chip: tpu, gpu or cpu."""
        return {name: chip.on for name, chip in self.chips.items()}


def read(path: Path | str = TABLE) -> Table:
    """Returns the Table of a file. Raises UserError naming what is missing or cannot be."""
    try:
        values = tomllib.loads(Path(path).read_text())
        chips = {name: Chip(**one) for name, one in values["chips"].items()}
        table = Table(str(values["dated"]), Reached(**values["reached"]), chips)
    except (OSError, ValueError) as error:
        raise UserError(f"--chips {path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--chips {path}: a key is missing or unknown: {error}") from error
    for name, chip in [("reached", table.reached), *chips.items()]:
        for key, value in chip._asdict().items():
            if key == "on" and value not in ("tpu", "gpu", "cpu"):
                raise UserError(f"--chips {path}: {name}.on={value!r} is not tpu, gpu or cpu")
            if key != "on" and not _is_positive(value, zero=key in ("network", "price")):
                raise UserError(f"--chips {path}: {name}.{key}={value!r} is not a positive number")
    return table


def _is_positive(value, *, zero):
    return type(value) in (int, float) and (0 < value < 1e18 or zero and value == 0)
