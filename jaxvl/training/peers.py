"""Several processes watch each other: when one dies or hangs, the others end and say which it was.

Otherwise an operation of all waits for it, for minutes or for ever, and ends in a stack trace. Each
process keeps a connection to process 0, and says on it every second where it is. The system closes
the connections of a process that dies; what one says tells whether it is frozen or behind.
"""

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import jax

from jaxvl.errors import UserError, printable
from jaxvl.training import coordination, exits, stacks
from jaxvl.training.alike import Unlike
from jaxvl.training.watchdog import STARTING, Position, Watchdog

AT, END, HANG, GOODBYE = "at", "end", "hang", "goodbye"  # the first word of a message
BEAT = 1  # seconds between two messages
PATIENCE = 30  # seconds, for all to connect
_Connections = dict[int, tuple[socket.socket, str]]  # {process: (connection, its host)}
_times = count()


class Peers:
    """What this process says of itself to the others and hears of them; alone, nothing."""

    def __init__(self, connections: _Connections) -> None:
        """connections: to process 0, and in process 0 to all others."""
        self._connections = connections
        self._position = Position(-1, STARTING)
        self._received = dict.fromkeys(connections, b"")
        self._directory, self._left = Path(), False
        self._watchdog = self._watchdog_of(seconds=0, first=0)

    def begin(self, directory: Path, *, step: int, seconds: float) -> None:
        """Starts to watch for processes that hang, from the first step on.

        directory: where stacks are written. seconds: without a sign of progress; 0 for ever.
        """
        self._directory = directory
        self._watchdog = self._watchdog_of(seconds=seconds, first=step)

    def at(self, step: int, stage: int) -> None:
        """Says where this process is. stage: one of jaxvl.training.watchdog."""
        self._position = Position(step, stage)

    def _watchdog_of(self, *, seconds, first):
        hosts = {number: host for number, (_, host) in self._connections.items()}
        if self._connections:
            hosts[jax.process_index()] = os.uname().nodename
        return Watchdog(hosts, seconds=seconds, first=first)

    def watch(self) -> None:
        """Listens and speaks until `leave`; for a thread of its own."""
        selector = selectors.DefaultSelector()
        for number, (connection, _) in self._connections.items():
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, number)
        next_beat = time.monotonic()
        while not self._left:
            for key, _ in selector.select(max(0.0, next_beat - time.monotonic())):
                if not self._hear(key.data):
                    selector.unregister(key.fileobj)
            # One that was frozen itself has now read what came meanwhile, and can judge.
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT
                self._beat()

    def leave(self) -> None:
        """Says that this process comes to its end as it should."""
        self.tell(GOODBYE)
        self._left = True

    def _beat(self):
        now, chief = time.monotonic(), jax.process_index() == 0
        self.tell(f"{AT} {self._position.step} {self._position.stage}")
        if chief:
            self._watchdog.heard(0, self._position, now)
        reason = self._watchdog.silent(now) or (self._watchdog.stuck(now) if chief else None)
        if reason:
            self._end(HANG, reason)

    def _hear(self, number):
        """Takes what a process says. Returns whether it is still to be listened to."""
        connection, host = self._connections[number]
        try:
            told = connection.recv(4096)
        except BlockingIOError:
            return True
        except OSError:
            told = b""
        if not told:
            self._end(END, f"process {number} on {host} has ended")
        *messages, self._received[number] = (self._received[number] + told).split(b"\n")
        for message in messages:
            kind, _, rest = message.decode("utf-8", "replace").partition(" ")
            if kind == GOODBYE:
                self._watchdog.left(number)
                return False
            if kind == AT:
                step, stage = map(int, rest.split())
                self._watchdog.heard(number, Position(step, stage), time.monotonic())
            if kind in (END, HANG):
                self._end(kind, rest)
        return True

    def tell(self, message: str) -> None:
        """Sends a line to all that this process is connected with."""
        for connection, _ in self._connections.values():
            with contextlib.suppress(OSError):
                connection.send(f"{message}\n".encode())

    def _end(self, kind, reason):
        """Ends this process and the others with one line, whatever its other threads are doing."""
        if self._left:
            return
        try:
            self._say_why(kind, reason)
            if jax.process_index() == 0:
                self.wait_until_others_ended()
        finally:  # also where nobody reads what is said
            os._exit(exits.FAILED)

    def _say_why(self, kind, reason):
        stderr = os.dup(2)  # JAX notices it too, at about the same time, with a stack trace
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        where = ""
        if kind == HANG:
            self.tell(f"{kind} {reason}")
            name = f"process_{jax.process_index()}.txt"
            where = f" (the stacks of its threads: {stacks.write(self._directory, name)})"
        line = f"{reason}, so this one ends too{where}; start all of them again"
        with contextlib.suppress(OSError):
            os.write(stderr, f"jaxvl: {printable(line)}\n".encode())
        self.tell(f"{kind} {reason}")

    def wait_until_others_ended(self) -> None:
        """Waits for it, a few seconds: after process 0 JAX ends all others with a stack trace."""
        deadline = time.monotonic() + 2 * stacks.PATIENCE
        for connection, _ in self._connections.values():
            with contextlib.suppress(OSError):
                while (left := deadline - time.monotonic()) > 0:
                    connection.settimeout(left)
                    if not connection.recv(4096):
                        break


@contextlib.contextmanager
def watched() -> Iterator[Peers]:
    """Ends this process with one line on stderr if another one dies or hangs inside the block.

    To be entered by all processes; does nothing where there is only one. A process that leaves the
    block by an exception counts as dead.
    """
    if jax.process_count() == 1:
        yield Peers({})
        return
    peers = Peers(_listen() if jax.process_index() == 0 else _connect())
    threading.Thread(target=peers.watch, daemon=True).start()
    try:
        yield peers
    except Unlike:
        peers.leave()
        if jax.process_index() == 0:
            peers.wait_until_others_ended()
        raise
    except UserError:
        raise
    except Exception:
        time.sleep(2)  # perhaps it is how the end of another one was noticed here
        raise
    peers.leave()


def _listen() -> _Connections:
    key = f"peers/{next(_times)}"
    with socket.create_server(("", 0), backlog=jax.process_count()) as server:
        coordination.write(key, str(server.getsockname()[1]))
        coordination.wait_for_all(f"{key}/here")
        server.settimeout(PATIENCE)
        connections: _Connections = {}
        with contextlib.suppress(OSError, ValueError):
            while len(connections) < jax.process_count() - 1:
                connection, _ = server.accept()
                connection.settimeout(PATIENCE)
                number, _, host = _line(connection).partition(" ")
                connections[int(number)] = (_alive(connection), host)
    for connection, _ in connections.values():
        connection.sendall(f"{os.uname().nodename}\n".encode())
    return connections


def _connect() -> _Connections:
    key = f"peers/{next(_times)}"
    port = int(coordination.read(key, missing="process 0 has not come"))
    coordination.wait_for_all(f"{key}/here")
    try:
        address = (coordination.host_of_first(), port)
        connection = socket.create_connection(address, timeout=PATIENCE)
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
