"""For the time until the command `soup` reads jaxvl.evals.benchmarks()."""

from jaxvl.evals import BENCHMARKS as FORMATS

__all__ = ["FORMATS"]
