"""The server's error codes by what follows from them, and its errors as this project's."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

import pymysql

from pydbsync.errors import ApplyError, ConfigError, PermanentError, TransientError

TRANSIENT_CODES: Mapping[int, str] = {
    1020: "row changed since last read",
    1021: "disk full",
    1028: "sort aborted",
    1037: "out of memory",
    1038: "out of sort memory",
    1040: "too many connections",
    1041: "out of resources",
    1047: "the node of the cluster is not ready",
    1053: "server shutdown",
    1077: "server shutdown",
    1078: "server got a signal",
    1079: "server shutdown complete",
    1080: "forcing close",
    1105: "unknown server error",
    1114: "table is full",
    1129: "host is blocked",
    1152: "aborted connection",
    1158: "error reading packets",
    1159: "time-out reading packets",
    1160: "error writing packets",
    1161: "time-out writing packets",
    1180: "error during commit",
    1184: "aborted connection",
    1203: "too many user connections",
    1205: "lock wait time-out",
    1206: "too many locks",
    1213: "deadlock",
    1226: "user resource limit",
    1290: "read-only server",
    1317: "query interrupted",
    1637: "too many active transactions",
    1792: "read-only transaction",
    1836: "read-only mode",
    1927: "connection was killed",
    1969: "statement time-out",
    2002: "cannot connect",
    2003: "cannot connect",
    2006: "server has gone away",
    2013: "lost connection",
    2014: "commands out of sync",
    2055: "lost connection",
    3024: "statement time-out",
    3032: "offline mode",
    3100: "error in replication hook",
    3101: "rolled back by the cluster",
    3169: "session was killed",
    4031: "disconnected after inactivity",
    9001: "the proxy reaches no server",
}
"""Errors after which the same statement can succeed later."""
LOST_CODES = frozenset({0, 1053, 1077, 1079, 1080, 1152, 1184, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 3169, 4031})
"""Errors after which the connection is of no use any more."""
_FILE_CODES = frozenset({3, 20, 1004, 1005, 1006, 1025, 1026, 1030, 1598})
"""Errors of files, which tell the reason in their text."""
_NO_ROOM = re.compile(r"\b(?:errcode|errno|error):? (?:28|135|136)\b|No space left on device", re.IGNORECASE)
LEFTOVER_CODE = 1050
"""As a TransientError: an ALTER finds the server's own table of an earlier one, which could not even be removed for
want of room. Its name holds the number of the connection: another connection does not meet it."""
_LEFTOVER = re.compile(r"`#sql-")
REFUSED_CODES: Mapping[int, str] = {
    1044: "the user has no right to it",
    1045: "user or password is wrong",
    1049: "there is no such database",
    1130: "the user may not come from this host",
    1142: "the user has no right to it",
    1227: "the user lacks a privilege",
    1698: "user or password is wrong",
    1820: "the password has expired",
    1862: "the password has expired",
    2059: "the server's authentication plugin is not supported (pip install cryptography may help)",
    2061: "the server's authentication plugin is not supported",
    3118: "the account is locked",
    3159: "the server wants TLS (ssl_ca)",
    4151: "the account is locked",
}
DUPLICATE_CODE = 1062
"""A row has the value of another one under a key of which there may be one."""
TOO_LONG_CODE = 1153
"""A statement is longer than max_allowed_packet."""
SLOW_CODES = frozenset({1317, 1969, 3024})
"""A statement was ended because it took long: by its limit, or by whoever watches over the server."""
UNKNOWN_VARIABLE = 1193
EXPIRED = 1820
READ_ONLY_CODES = frozenset({1047, 1290, 1792, 1836, 3032, 3100})
"""Errors of a server that writes nothing now. In a fail-over the old one may stay so, while its address has moved."""
FULL_CODES = frozenset({1040, 1203, 1226})
"""The server is there, but takes no more connections."""


def server_error(exc: BaseException) -> ApplyError:
    """This project's error for one of PyMySQL's."""
    if isinstance(exc, ApplyError):
        return exc
    if isinstance(exc, pymysql.Error) and exc.args:
        code = exc.args[0] if isinstance(exc.args[0], int) else 0
        text = str(exc.args[1]) if len(exc.args) > 1 else str(exc.args[0])
        is_leftover = code == LEFTOVER_CODE and _LEFTOVER.search(text)
        has_no_room = code in _FILE_CODES and _NO_ROOM.search(text)
        if code in TRANSIENT_CODES or code in LOST_CODES or has_no_room or is_leftover:
            return TransientError(f"{text or 'the connection to the database server was lost'} ({code})", code=code)
        if code == 1142 and "locking clause" in text:
            text += " for want of UPDATE"  # MySQL does not say which right it is that locks rows
        return PermanentError(f"{text} ({code})", code=code)
    if isinstance(exc, OSError | EOFError | AttributeError | IndexError | struct.error):
        # PyMySQL fails in these ways when a connection is torn down in the middle of a packet.
        return TransientError(f"the connection to the database server was lost: {exc!r}", code=2013)
    return PermanentError(f"{type(exc).__name__}: {exc}", code=0)


def connect_error(exc: pymysql.Error, key: str, given: Mapping[str, Any]) -> ApplyError | ConfigError:
    code = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    text = str(exc.args[1]) if len(exc.args) > 1 else str(exc)
    if code in REFUSED_CODES:
        return ConfigError(f"{address(given)}: {REFUSED_CODES[code]}: {text} ({code})", key=key)
    where = address(given)
    return TransientError(f"the database server {where} cannot be reached: {text} ({code})", code=code or 2003)


def address(given: Mapping[str, Any]) -> str:
    return str(given.get("unix_socket") or f"{given.get('host', 'localhost')}:{given.get('port', 3306)}")
