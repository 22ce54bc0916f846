"""The session of a statement, as the status variables of its Query event tell it.

Sources: https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html and
Query_log_event in sql/log_event.h of MariaDB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydbsync.model import SessionSettings

_FLAGS, SQL_MODE, _CATALOG, _AUTO_INCREMENT, CHARSET, _TIME_ZONE, _CATALOG_NZ = 0, 1, 2, 3, 4, 5, 6
_LC_TIME_NAMES, _CHARSET_DATABASE = 7, 8
_INVOKER, UPDATED_DATABASES, _MICROSECONDS, _EXPLICIT_DEFAULTS, _UTF8MB4_COLLATION = 11, 12, 13, 16, 18
_MARIADB_MICROSECONDS, _MARIADB_GTID_FLAGS, _MARIADB_COLLATIONS = 128, 130, 131
_SIZES: Final = {
    _FLAGS: 4, SQL_MODE: 8, _AUTO_INCREMENT: 4, CHARSET: 6, _LC_TIME_NAMES: 2, _CHARSET_DATABASE: 2, 9: 8, 10: 4,
    _MICROSECONDS: 3, _EXPLICIT_DEFAULTS: 1, 17: 8, _UTF8MB4_COLLATION: 2, 19: 1, 20: 1,
    _MARIADB_MICROSECONDS: 3, 129: 8, 255: 0,
}  # fmt: skip
TOO_MANY_DATABASES: Final = 254
_ENDS_TWO_PHASE_ALTER: Final = 0x0C
_MARIADB_EXPLICIT_DEFAULTS: Final = 1 << 24
"""A bit of the session's options."""

_MODES: Final = {
    0: "REAL_AS_FLOAT", 1: "PIPES_AS_CONCAT", 3: "IGNORE_SPACE", 5: "ONLY_FULL_GROUP_BY",
    6: "NO_UNSIGNED_SUBTRACTION", 7: "NO_DIR_IN_CREATE", 19: "NO_AUTO_VALUE_ON_ZERO", 21: "STRICT_TRANS_TABLES",
    22: "STRICT_ALL_TABLES", 23: "NO_ZERO_IN_DATE", 24: "NO_ZERO_DATE", 25: "ALLOW_INVALID_DATES",
    26: "ERROR_FOR_DIVISION_BY_ZERO", 29: "HIGH_NOT_PRECEDENCE", 30: "NO_ENGINE_SUBSTITUTION",
    31: "PAD_CHAR_TO_FULL_LENGTH",
}  # fmt: skip
"""Bits of sql_mode that are modes of their own; ANSI, TRADITIONAL and the like are written out in them."""
_MYSQL_MODES: Final = {32: "TIME_TRUNCATE_FRACTIONAL", 33: "INTERPRET_UTF8_AS_UTF8MB4"}
_MARIADB_MODES: Final = {
    4: "IGNORE_BAD_TABLE_OPTIONS", 9: "ORACLE", 28: "NO_AUTO_CREATE_USER", 32: "EMPTY_STRING_IS_NULL",
    33: "SIMULTANEOUS_ASSIGNMENT", 34: "TIME_ROUND_FRACTIONAL",
}  # fmt: skip


def read_session(
    status: bytes,
    *,
    ts: int,
    collations: Mapping[int, str],
    charsets: Mapping[int, str],
    is_mariadb: bool,
    system_time_zone: str | None,
) -> SessionSettings:
    """`collations` and `charsets` by collation id; `ts` is the event's time in seconds."""
    found = read_variables(status)
    charset = found.get(CHARSET, b"")
    zone = found[_TIME_ZONE].decode("utf-8") if _TIME_ZONE in found else None
    fraction = found.get(_MARIADB_MICROSECONDS if is_mariadb else _MICROSECONDS)
    mapped = found.get(_MARIADB_COLLATIONS)
    steps = found.get(_AUTO_INCREMENT)
    return SessionSettings(
        sql_mode=_mode_names(_number(found[SQL_MODE]), is_mariadb=is_mariadb) if SQL_MODE in found else None,
        collation_connection=_collation(charset[2:4], collations),
        collation_server=_collation(charset[4:6], collations),
        collation_database=_collation(found.get(_CHARSET_DATABASE), collations),
        default_collation_for_utf8mb4=_collation(found.get(_UTF8MB4_COLLATION), collations),
        character_set_collations=_collation_map(mapped, collations, charsets) if mapped is not None else None,
        explicit_defaults_for_timestamp=_explicit_defaults(found, is_mariadb=is_mariadb),
        time_zone=zone,
        system_time_zone=system_time_zone if zone == "SYSTEM" else None,
        timestamp=ts + _number(fraction) / 1_000_000 if fraction is not None else None,
        auto_increment_increment=_number(steps[:2]) if steps else None,
        auto_increment_offset=_number(steps[2:]) if steps else None,
        lc_time_names=_number(found[_LC_TIME_NAMES]) if _LC_TIME_NAMES in found else None,
    )


def read_variables(status: bytes) -> dict[int, bytes]:
    """The status variables by their codes, up to the first whose length is not known here.

    They need not stand in the order of their codes: MariaDB 11.5 writes 131 before 4.
    """
    found: dict[int, bytes] = {}
    at = 0
    while at < len(status):
        code = status[at]
        at += 1
        size = _size(code, status, at)
        if size is None:
            break
        found[code] = status[at : at + size] if code != _TIME_ZONE else status[at + 1 : at + size]
        at += size
    return found


def _size(code: int, status: bytes, at: int) -> int | None:
    """The bytes of one variable's value."""
    if code in _SIZES:
        return _SIZES[code]
    first = status[at] if at < len(status) else 0
    if code in (_TIME_ZONE, _CATALOG_NZ):
        return 1 + first
    if code == _CATALOG:
        return 2 + first
    if code == _INVOKER:
        host = at + 1 + first
        return 2 + first + (status[host] if host < len(status) else 0)
    if code == UPDATED_DATABASES:
        end = at + 1
        for _ in range(first if first != TOO_MANY_DATABASES else 0):
            end = status.index(0, end) + 1
        return end - at
    if code == _MARIADB_GTID_FLAGS:
        return 9 if first & _ENDS_TWO_PHASE_ALTER else 1
    if code == _MARIADB_COLLATIONS:
        return 1 + 4 * first
    return None


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _collation(value: bytes | None, names: Mapping[int, str]) -> str | None:
    return names.get(_number(value)) if value else None


def _collation_map(pairs: bytes, collations: Mapping[int, str], charsets: Mapping[int, str]) -> str:
    """`utf8mb3=utf8mb3_uca1400_ai_ci,…`: the character set is told by its compiled-in collation."""
    ids = [_number(pairs[at : at + 2]) for at in range(1, len(pairs), 2)]
    found = [(charsets.get(of), collations.get(to)) for of, to in zip(ids[::2], ids[1::2], strict=True)]
    return ",".join(f"{charset}={collation}" for charset, collation in found if charset and collation)


def _explicit_defaults(found: Mapping[int, bytes], *, is_mariadb: bool) -> bool | None:
    if is_mariadb:
        return bool(_number(found[_FLAGS]) & _MARIADB_EXPLICIT_DEFAULTS) if _FLAGS in found else None
    return bool(_number(found[_EXPLICIT_DEFAULTS])) if _EXPLICIT_DEFAULTS in found else None


def _mode_names(bits: int, *, is_mariadb: bool) -> str:
    names = _MODES | (_MARIADB_MODES if is_mariadb else _MYSQL_MODES)
    return ",".join(name for bit, name in sorted(names.items()) if bits >> bit & 1)
