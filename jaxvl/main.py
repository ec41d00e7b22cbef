"""`python -m jaxvl.main --config=...` is the same as `jaxvl train --config=...`."""

import sys

from jaxvl.__main__ import run

if __name__ == "__main__":
    run("train", sys.argv[1:])
