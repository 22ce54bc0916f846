"""PyMySQL's connection that waits for a slow statement, and tells it from a dead line."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pymysql

from pydbsync.apply.raw_connection import RawConnection
from pydbsync.apply.server_errors import TOO_LONG_CODE

_PACKET_BYTES = 2**24 - 2
_STOP_LOOK_S = 0.25
_STOP_PATIENCE_S = 2.0
"""How long a statement may go on when the worker is told to stop: it is killed when it has not ended after four."""
_OF_ROWS = (b"INSERT", b"REPLACE", b"UPDATE", b"DELETE", b"SELECT")


class PatientConnection(RawConnection):
    """PyMySQL's connection that can wait for a slow statement without waiting for ever on a dead line."""

    look_s = 0.0
    """After so long without an answer `still_runs` is asked; 0 waits for as long as PyMySQL does."""
    still_runs: Callable[[], bool]
    on_slow: Callable[[], object]
    """Called once for each statement that is waited for beyond `look_s`."""
    stop = threading.Event()
    """When set, a statement is not waited for much longer: `interrupt` is called."""
    interrupt: Callable[[bool], object]
    """Called with whether the statement can be made again at little cost."""
    _is_of_rows = False
    limit_bytes = 0
    """The longest statement that the server takes: at a longer one it would hang up, as if it were away."""
    whose = "the target's"

    def _execute_command(self, command: int, sql: Any) -> None:
        if self.limit_bytes and len(sql) >= self.limit_bytes:
            raise pymysql.err.OperationalError(
                TOO_LONG_CODE,
                f"a statement of {len(sql)} bytes is longer than {self.whose} max_allowed_packet; raise it there",
            )
        start = sql[:7]
        self._is_of_rows = (start.encode() if isinstance(start, str) else bytes(start)).upper().startswith(_OF_ROWS)
        super()._execute_command(command, sql)  # type: ignore[misc]

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        if self.look_s:
            self._wait_for_answer()
        return super()._read_query_result(unbuffered)  # type: ignore[misc]

    def has_answer(self, wait_s: float = 0.0) -> bool:
        """Whether the server has said something, within so long."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)  # type: ignore[attr-defined]
        return bool(poll.poll(1000 * wait_s))

    def _wait_for_answer(self) -> None:
        is_told = is_interrupted = False
        look_at, stop_at = time.monotonic() + self.look_s, 0.0
        while not self.has_answer(min(_STOP_LOOK_S, self.look_s)):
            now = time.monotonic()
            if self.stop.is_set() and not is_interrupted:
                stop_at = stop_at or now + _STOP_PATIENCE_S
                if now >= stop_at:
                    is_interrupted = True
                    self.interrupt(self._is_of_rows)
            if now < look_at:
                continue
            look_at = now + self.look_s
            if not self.still_runs() and not self.has_answer(1.0):
                self._force_close()  # type: ignore[attr-defined]
                raise pymysql.err.OperationalError(
                    2013, f"no answer for {self.look_s:g} s, and the statement runs no more: the connection is dead"
                )
            if not is_told:
                self.on_slow()
            is_told = True


def in_pieces(sql: bytes | str) -> Any:
    """PyMySQL cuts a large statement in pieces, each time with a copy of all the rest, but for a view."""
    return memoryview(sql) if isinstance(sql, bytes) and len(sql) > _PACKET_BYTES else sql


def keep_alive(connection: pymysql.Connection[Any]) -> None:
    """Let the kernel notice within half a minute that the other machine is gone, in a long statement too."""
    sock = getattr(connection, "_sock", None)
    if not isinstance(sock, socket.socket) or sock.family == getattr(socket, "AF_UNIX", None):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30000)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
