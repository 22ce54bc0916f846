"""Global transaction ids, as the set of those that were applied: MySQL's `uuid:n` and MariaDB's `domain-server-n`."""

from __future__ import annotations

import re
from collections.abc import Iterable

_match_gtid = re.compile(r"([!-~]+):([0-9]{1,19})").fullmatch
_match_mariadb = re.compile(r"([0-9]{1,10}-[0-9]{1,10})-([0-9]{1,19})").fullmatch
_LAST_NUMBER = 2**63 - 2
"""MySQL's largest."""


def parse_gtid(gtid: str) -> tuple[str, int] | None:
    """`uuid:n`, `uuid:tag:n` or `domain-server-n` as (what is before the number, n); None for what has no number.

    Raises ValueError for anything else.
    """
    if ":" not in gtid:
        of_mariadb = _match_mariadb(gtid)
        return None if of_mariadb is None else (of_mariadb[1], int(of_mariadb[2]))
    match = _match_gtid(gtid)
    if match is None or int(match[2]) > _LAST_NUMBER:
        raise ValueError(f"{gtid!r} is not a GTID such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:23")
    return match[1].lower(), int(match[2])


class GtidSet:
    """GTIDs as intervals, in the notation of MySQL: `uuid:1-5:7,uuid2:1-3`; tags (`uuid:tag:1-5`) are part of it."""

    def __init__(self, text: str = "") -> None:
        self._intervals: dict[str, list[list[int]]] = {}
        # Where the last number was added, as text and as interval: nearly always the next one goes there too.
        self._last_source = ""
        self._last_span = [0, 0]
        for part in filter(None, re.split(r"[,\s]+", text)):
            if of_mariadb := _match_mariadb(part):
                # A place of MariaDB names the last one of a domain: all up to it.
                self._intervals.setdefault(of_mariadb[1], []).append([1, int(of_mariadb[2])])
                continue
            uuid, *ranges = part.lower().split(":")
            source = uuid
            for span in ranges:
                if not span[:1].isdigit():
                    source = f"{uuid}:{span}"
                    continue
                low, _, high = span.partition("-")
                for_source = self._intervals.setdefault(source, [])
                for_source.append([int(low), int(high or low)])
        for spans in self._intervals.values():
            spans.sort()

    def extend(self, gtid: str) -> bool:
        """Add a GTID that is the next one of its source after the last that was added; whether it is."""
        source, _, number = gtid.rpartition(":" if ":" in gtid else "-")
        if source != self._last_source or not source or not (number.isdecimal() and number.isascii()):
            return False
        n = int(number)
        if n != self._last_span[1] + 1 or n > _LAST_NUMBER:
            return False
        self._last_span[1] = n
        return True

    def add(self, gtid: str) -> None:
        """Take in one GTID. Raises ValueError for what is none."""
        parsed = parse_gtid(gtid)
        if parsed is None:
            return
        source, n = parsed
        spans = self._intervals.setdefault(source, [])
        self._last_source = ""
        if spans and spans[-1][1] + 1 == n:  # by far the usual case: the next one
            spans[-1][1] = n
            self._last_source, self._last_span = gtid.rpartition(":" if ":" in gtid else "-")[0], spans[-1]
            return
        for index, span in enumerate(spans):
            if span[0] <= n <= span[1]:
                return
            if n < span[0] - 1:
                spans.insert(index, [n, n])
                return
            if n == span[0] - 1:
                span[0] = n
                return
            if n == span[1] + 1:
                span[1] = n
                if index + 1 < len(spans) and spans[index + 1][0] == n + 1:
                    span[1] = spans.pop(index + 1)[1]
                return
        spans.append([n, n])

    def __contains__(self, gtid: str) -> bool:
        parsed = parse_gtid(gtid)
        if parsed is None:
            return False
        source, n = parsed
        spans = self._intervals.get(source, ())
        return any(low <= n <= high for low, high in spans)

    def __str__(self) -> str:
        return ",".join(
            source + "".join(f":{low}-{high}" if high > low else f":{low}" for low, high in spans)
            for source, spans in sorted(self._intervals.items())
        )

    def update(self, gtids: Iterable[str]) -> None:
        """Take in several."""
        for gtid in gtids:
            self.add(gtid)

    def lacks(self, gtid: str) -> bool:
        """Whether the number is none of its source, and not before all of them: then it was never added."""
        parsed = parse_gtid(gtid)
        if parsed is None:
            return False
        source, n = parsed
        spans = self._intervals.get(source)
        return spans is not None and n > spans[0][0] and gtid not in self

    def close_gap(self, gtid: str) -> None:
        """Take in what lies between the last number of its source and this one."""
        parsed = parse_gtid(gtid)
        if parsed is None:
            return
        source, n = parsed
        if (spans := self._intervals.get(source)) and spans[-1][1] < n - 1:
            spans[-1][1] = n - 1

    def close_gaps(self, most: int) -> None:
        """Keep no more than so many intervals of a source: the lowest ones become one."""
        for spans in self._intervals.values():
            if len(spans) > most:
                spans[: len(spans) - most + 1] = [[spans[0][0], spans[len(spans) - most][1]]]

    def forget_source(self, gtid: str) -> None:
        """Leave out all numbers of the server that gave this one, with whatever tag: it gives them anew. MariaDB
        numbers a domain, whichever of its servers writes."""
        uuid, self._last_source = gtid.partition(":")[0].lower(), ""
        domain = None if ":" in gtid else gtid.partition("-")[0]
        for source in list(self._intervals):
            of_domain, _, server = source.partition("-")
            if source.partition(":")[0] == uuid or (of_domain == domain and server.isdecimal()):
                del self._intervals[source]
