"""`python -m jaxvl.main --config=...` is the same as `jaxvl train --config=...`."""

from jaxvl.cli.train import main

if __name__ == "__main__":
    main()
