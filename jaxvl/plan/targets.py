"""The machines that a plan is made for: v5e:4x4, h100:8, cpu:8; and their devices."""

import contextlib
import importlib.util
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxvl.errors import UserError

# libtpu asks the metadata server of Google's cloud for all this where its environment does not say
# so, which hangs on a machine outside of it; and one process alone may use it, unless told so.
OFFLINE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",  # of no meaning for a topology that is named
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
}
INSTALL = "pip install 'jaxvl[plan]'"


class Target(NamedTuple):
    """Machines by name, such as v5e:4x4. kind: of the chips. shape: how many, a side at a time."""

    name: str
    kind: str
    shape: tuple[int, ...]
    on: str  # what compiles for it: tpu, or cpu, which then stands for a GPU too

    @property
    def count(self) -> int:
        """The number of chips."""
        return math.prod(self.shape)


def parse(name: str, kinds: Mapping[str, str]) -> Target:
    """Returns the Target of KIND:SHAPE. kinds: {kind: "tpu", "gpu" or "cpu"}.

    Raises UserError where the kind is not one of these, or the shape does not fit it.
    """
    kind, _, shape = name.partition(":")
    if kind not in kinds:
        raise UserError(f"--on {name}: {kind!r} is not one of {', '.join(kinds)}")
    is_tpu = kinds[kind] == "tpu"
    wanted = r"[1-9]\d{0,3}(x[1-9]\d{0,3}){1,2}" if is_tpu else r"[1-9]\d{0,3}"
    if not re.fullmatch(wanted, shape):
        example = f"{kind}:4x4 or {kind}:2x2x2" if is_tpu else f"{kind}:8"
        raise UserError(f"--on {name}: this is not {kind} and a number of chips, as {example}")
    sides = tuple(int(side) for side in shape.split("x"))
    return Target(name, kind, sides, "tpu" if is_tpu else "cpu")


def prepare(targets: Sequence[Target]) -> None:
    """Makes JAX use the CPU alone, with as many devices as the largest target that needs them.

    To be called before JAX is used: chips that this machine has are left alone.
    """
    import jax

    jax.config.update("jax_platforms", "cpu")
    simulated = [target.count for target in targets if target.on == "cpu"]
    if simulated:
        jax.config.update("jax_num_cpu_devices", max(simulated))


def is_installed() -> bool:
    """Returns whether libtpu is there, which compiles for TPUs."""
    return importlib.util.find_spec("libtpu") is not None


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Sets OFFLINE while libtpu is loaded; left there, JAX would take this for a host of TPUs."""
    before = dict(os.environ)
    os.environ.update({key: value for key, value in OFFLINE.items() if key not in before})
    try:
        yield
    finally:
        for key in OFFLINE.keys() - before.keys():
            del os.environ[key]


def devices_of(name: str) -> Sequence[Any]:
    """Returns the devices of a TPU slice such as "v5e:4x4", for which a program can be compiled.

    No such chip is needed. Raises UserError where libtpu is not installed or knows no such slice.
    """
    if not is_installed():
        raise UserError(f"--on {name}: compiling for TPUs needs libtpu: {INSTALL}")
    from jax.experimental import topologies

    try:
        with _offline():
            return topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    except Exception as error:  # of JAX, of a kind that depends on what is wrong
        raise UserError(f"--on {name}: libtpu knows no such slice: {error}") from error
