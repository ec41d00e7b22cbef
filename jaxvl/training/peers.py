"""Several processes watch each other: when one dies, the others end at once and say which it was.

Otherwise an operation of all waits for the dead one, a minute or more, and ends in a stack trace.
Each process keeps a connection to process 0. The system closes those of a process that dies.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxvl.errors import UserError, printable

GOODBYE = "goodbye"
PATIENCE = 30  # seconds, for all to connect
EXIT_CODE = 1
_Connections = dict[int, tuple[socket.socket, str]]  # {process: (connection, its host)}


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Ends this process with one line on stderr if another one dies inside the block.

    To be entered by all processes; does nothing where there is only one. A process that leaves the
    block by an exception counts as dead.
    """
    if jax.process_count() == 1:
        yield
        return
    connections = _listen() if jax.process_index() == 0 else _connect()
    for number, (connection, host) in connections.items():
        arguments = (connection, number, host, connections)
        threading.Thread(target=_watch, args=arguments, daemon=True).start()
    try:
        yield
    except UserError:
        raise
    except Exception:
        time.sleep(2)  # perhaps it is how the end of another one was noticed here
        raise
    _tell(connections, GOODBYE)


def _listen() -> _Connections:
    with socket.create_server(("", 0)) as server:
        multihost_utils.broadcast_one_to_all(np.int32(server.getsockname()[1]))
        server.settimeout(PATIENCE)
        connections: _Connections = {}
        with contextlib.suppress(OSError, ValueError):
            while len(connections) < jax.process_count() - 1:
                connection, _ = server.accept()
                number, _, host = _line(connection).partition(" ")
                connections[int(number)] = (_alive(connection), host)
    _tell(connections, os.uname().nodename)
    return connections


def _connect() -> _Connections:
    from jax._src.distributed import global_state  # the address is nowhere else

    port = int(multihost_utils.broadcast_one_to_all(np.int32(0)))
    address = str(global_state.coordinator_address).rpartition(":")[0]
    try:
        connection = socket.create_connection((address.strip("[]"), port), timeout=PATIENCE)
        connection.sendall(f"{jax.process_index()} {os.uname().nodename}\n".encode())
        return {0: (_alive(connection), _line(connection))}
    except OSError as error:
        print(
            f"warning: no connection to process 0 ({error}); one that dies is noticed late",
            file=sys.stderr,
        )
        return {}


def _alive(connection):
    """Notices within a minute that a host has gone without a word."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not on macOS
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _line(connection):
    """Returns the next line of a connection; "" where it has ended."""
    received = b""
    while not received.endswith(b"\n") and len(received) < 1000:
        try:
            byte = connection.recv(1)
        except OSError:
            return ""
        if not byte:
            return ""
        received += byte
    return received.decode("utf-8", "replace").strip()


def _tell(connections, text):
    for connection, _ in connections.values():
        with contextlib.suppress(OSError):
            connection.sendall(f"{text}\n".encode())


def _watch(connection, number, host, connections):
    told = _line(connection)
    if told == GOODBYE:
        return
    stderr = os.dup(2)  # JAX notices it too, at about the same time, with a stack trace
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    dead = told or f"process {number} on {host}"
    _tell({other: one for other, one in connections.items() if other != number}, dead)
    line = f"jaxvl: {printable(dead)} has ended, so this one ends too; start all of them again"
    os.write(stderr, f"{line}\n".encode())  # at once, whatever the other threads are doing
    os._exit(EXIT_CODE)
