"""Global transaction ids in the events of MySQL and MariaDB."""

from __future__ import annotations

import uuid
from typing import Final, NamedTuple

_STANDALONE: Final = 1
_GROUP_COMMIT: Final = 2
_XA: Final = 0xC0
_HALF_OF_ALTER: Final = 0x0A


def read_gtid(body: bytes) -> str:
    """`uuid:number` of MySQL's GTID event."""
    return f"{uuid.UUID(bytes=body[1:17])}:{int.from_bytes(body[17:25], 'little')}"


def read_tagged_gtid(body: bytes) -> str:
    """`uuid:tag:number` of the event that MySQL 8.3 and newer write for a GTID with a tag.

    Fields follow each other with their numbers in front: flags, 16 numbers of the uuid, the number, the tag.
    Source: https://dev.mysql.com/doc/dev/mysql-server/latest/PageLibsMysqlSerialization.html
    """
    at = 0

    def number() -> int:
        # As many bytes follow the first one as it ends in ones; these and a zero are cut off.
        nonlocal at
        more = 0
        while body[at] >> more & 1 and more < 8:
            more += 1
        size = more + 1
        value = int.from_bytes(body[at : at + size], "little") >> min(size, 8)
        at += size
        return value

    for _ in range(3):  # version, size, and the last field that has to be understood
        number()
    fields: dict[int, object] = {}
    while len(fields) < 4:
        field = number()
        if field == 1:
            fields[field] = uuid.UUID(bytes=bytes(number() for _ in range(16)))
        elif field == 2:
            signed = number()
            fields[field] = signed >> 1 ^ -(signed & 1)
        elif field == 3:
            size = number()
            fields[field] = body[at : at + size].decode("ascii")
            at += size
        else:
            fields[field] = number()
    return f"{fields[1]}:{fields[3]}:{fields[2]}" if fields[3] else f"{fields[1]}:{fields[2]}"


def read_previous_gtids(body: bytes) -> str:
    """The GTIDs of all files before this one, in MySQL's notation; empty where they have tags."""
    parts, at = [], 8
    if int.from_bytes(body[:8], "little") >> 48:  # the format for tagged GTIDs marks itself here
        return ""
    for _ in range(int.from_bytes(body[:8], "little")):
        source = uuid.UUID(bytes=body[at : at + 16])
        count = int.from_bytes(body[at + 16 : at + 24], "little")
        at += 24
        spans = []
        for _ in range(count):
            first = int.from_bytes(body[at : at + 8], "little")
            spans.append(f"{first}-{int.from_bytes(body[at + 8 : at + 16], 'little') - 1}")
            at += 16
        parts.append(":".join([str(source), *spans]))
    return ",".join(parts)


class MariadbGtidEvent(NamedTuple):
    """What MariaDB's GTID event says."""

    domain: int
    sequence: int
    is_standalone: bool
    """One statement follows that ends itself."""
    is_half_of_alter: bool
    """An ALTER in two phases (binlog_alter_two_phase) begins or is given up; another event will carry it out."""


def read_mariadb_gtid(body: bytes) -> MariadbGtidEvent:
    """Source: Gtid_log_event in sql/log_event.cc of MariaDB."""
    flags = body[12]
    at = 21 if flags & _GROUP_COMMIT else 13
    if flags & _XA:  # format, two lengths, the id
        at += 6 + body[at + 4] + body[at + 5]
    extra = body[at] if at < len(body) else 0
    # Zeros fill up a short event, and none of the flags is 0.
    return MariadbGtidEvent(
        domain=int.from_bytes(body[8:12], "little"),
        sequence=int.from_bytes(body[:8], "little"),
        is_standalone=bool(flags & _STANDALONE),
        is_half_of_alter=bool(extra & _HALF_OF_ALTER),
    )


class MariadbGtids:
    """The last GTID of each domain, as gtid_slave_pos writes it."""

    def __init__(self, text: str) -> None:
        self._last = {gtid.partition("-")[0]: gtid for gtid in filter(None, text.replace(" ", "").split(","))}

    def add(self, gtid: str) -> None:
        """This one is the last of its domain."""
        self._last[gtid.partition("-")[0]] = gtid

    def __str__(self) -> str:
        return ",".join(self._last[domain] for domain in sorted(self._last, key=int))
