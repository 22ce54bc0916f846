"""Global transaction ids in the events of MySQL and MariaDB."""

from __future__ import annotations

import uuid
from typing import Final

from msgspec import Struct

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
        nonlocal at
        value, at = _variable(body, at)
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


def _variable(body: bytes, at: int) -> tuple[int, int]:
    """A number of MySQL's serialization and the offset behind it.

    As many bytes follow the first one as it ends in ones; these and a zero are cut off.
    """
    more = 0
    while more < 8 and body[at] >> more & 1:
        more += 1
    size = more + 1
    return int.from_bytes(body[at : at + size], "little") >> min(size, 8), at + size


def read_previous_gtids(body: bytes) -> str:
    """The GTIDs of all files before this one, in MySQL's notation.

    Source: Gtid_set::encode in sql/rpl_gtid_set.cc of MySQL; the format with tags marks itself in the eighth byte.
    """
    has_tags = body[7] == 1
    parts, at = [], 8
    for _ in range(int.from_bytes(body[1:7] if has_tags else body[:8], "little")):
        names = [str(uuid.UUID(bytes=body[at : at + 16]))]
        at += 16
        if has_tags:
            size, at = _variable(body, at)
            names += [body[at : at + size].decode("ascii")] if size else []
            at += size
        count = int.from_bytes(body[at : at + 8], "little")
        at += 8
        spans = []
        for _ in range(count):
            first, behind = (int.from_bytes(body[start : start + 8], "little") for start in (at, at + 8))
            spans.append(f"{first}-{behind - 1}")
            at += 16
        parts.append(":".join([*names, *spans]))
    return ",".join(parts)


class MariadbGtidEvent(Struct, frozen=True, gc=False):
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

    def reaches(self, other: MariadbGtids) -> bool:
        """Whether all domains of the other one are known here, and are no earlier by the same server's numbers."""
        for domain, gtid in other._last.items():
            _, server, number = gtid.split("-")
            _, own_server, own_number = self._last.get(domain, "--").split("-")
            if not own_number or (server == own_server and int(own_number) < int(number)):
                return False
        return True

    def __str__(self) -> str:
        return ",".join(self._last[domain] for domain in sorted(self._last, key=int))
