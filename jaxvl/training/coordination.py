"""Short notes between the processes of a run, through JAX's coordination service.

They need no device and no collective operation, so they work between processes whose libraries or
programs differ. The service has no public interface in JAX; this is the only place that uses it.
"""

import jax

from jaxvl.errors import UserError

PATIENCE = 600  # seconds; a process that dies is noticed before


def write(key: str, text: str) -> None:
    """Writes a note that all processes can read. A key is written once."""
    _client().key_value_set(f"jaxvl/{key}", text)


def read(key: str, *, missing: str, seconds: int = PATIENCE) -> str:
    """Returns a note, once it is written. Raises UserError(missing) where it never is."""
    try:
        return _client().blocking_key_value_get(f"jaxvl/{key}", 1000 * seconds)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"{missing} within {seconds} s; start all of them again") from error


def wait_for_all(key: str) -> None:
    """Waits until all processes have come here. Raises UserError where one never does."""
    try:
        _client().wait_at_barrier(f"jaxvl/{key}", 1000 * PATIENCE)
    except jax.errors.JaxRuntimeError as error:
        told = f"not all of the {jax.process_count()} processes have come within {PATIENCE} s"
        raise UserError(f"{told}; start all of them again") from error


def host_of_first() -> str:
    """Returns the address of process 0's host, without a port."""
    from jax._src.distributed import global_state

    return str(global_state.coordinator_address).rpartition(":")[0].strip("[]")


def _client():
    from jax._src.distributed import global_state

    assert global_state.client is not None
    return global_state.client
