"""What Maxwell is known not to carry whole, by type: one table of rules, each tried on Maxwell 1.45.

A rule looks at one value as it arrived and says why it may not be the source's; what can be repaired without doubt
(BIT(32), YEAR 0, an ENUM's error value and JSON's null where NULL cannot be) is repaired in plan/literals.py and is no
suspect here. Statements that are never published at all (TRUNCATE, CREATE and DROP INDEX) leave nothing to look at.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import NamedTuple, TypeAlias

from pydbsync.model import GEOMETRY_KINDS, TEXT_KINDS, Column
from pydbsync.plan.literals import NULL

Suspicion: TypeAlias = Callable[[Column, bytes], str | None]
"""(column, JSON token) → why the value may be another at the source, or None."""


def _wide_bit(column: Column, token: bytes) -> str | None:
    size = column.size or 1
    if size <= 32 or token == NULL:
        return None
    if size == 64 and token.isdigit() and len(token) <= 20 and int(token) >= 2**63:
        return None
    return "Maxwell adds up the bytes of BIT over 32 bits wrongly: a value from 2^31 on arrives as another"


def _time(column: Column, token: bytes) -> str | None:
    if token == NULL:
        return None
    return "Maxwell sends TIME as a time of day: 25:00:00 arrives as 01:00:00, a negative one as garbage"


def _date(column: Column, token: bytes) -> str | None:
    if token.startswith(b'"0000-00-00'):
        return "Maxwell sends dates with a year, month or day of 0 as 0000-00-00"
    if b'"1582-10-15' <= token[:11] <= b'"1582-10-24':
        return "Maxwell moves the days from 1582-10-05 to 1582-10-14 on by ten"
    return None


def _geometry(column: Column, token: bytes) -> str | None:
    if token == NULL or column.srid is not None or token.startswith(b'"SRID='):
        return None
    return "Maxwell sends geometry without its SRID, and the target's column does not declare one: 0 is written"


def _text(column: Column, token: bytes) -> str | None:
    if b"\xef\xbf\xbd" in token or (b"\\u" in token and b"\\ufffd" in token.lower()):
        return "the text has U+FFFD, which Maxwell writes for what it cannot decode"
    return None


def _json(column: Column, token: bytes) -> str | None:
    if token == NULL and column.nullable:
        return "Maxwell writes JSON's null like SQL's NULL"
    if token.startswith((b'"{', b'"[')):
        return (
            "a document arrived within a text: Maxwell does so where the source is a MariaDB whose column it knows as"
            " LONGTEXT with CHECK (json_valid(…)), as dumps and pt-online-schema-change declare JSON; it is written as"
            " a text within a document"
        )
    return None


RULES: dict[str, Suspicion] = {
    "bit": _wide_bit,
    "time": _time,
    "date": _date,
    "datetime": _date,
    **dict.fromkeys(GEOMETRY_KINDS, _geometry),
    **dict.fromkeys(TEXT_KINDS, _text),
    "json": _json,
}
"""Rules by kind of column. NULL in a nullable ENUM is none: it is nearly always NULL, not the error value."""


MARKS: dict[Suspicion, tuple[bytes, ...]] = {
    _date: (b"0000-00-00", b"1582-10-"),
    _text: (b"\xef\xbf\xbd",),
}
"""A rule that is here needs to look only at rows in whose SQL one of these stands."""


def _epoch(column: Column, token: bytes) -> str | None:
    if not column.nullable and token.startswith(b'"1970-01-01') and token[11:] in (b'"', b' 00:00:00"'):
        return "Debezium sends dates of 0000-00-00 as 1970-01-01"
    return None


def _boolean(column: Column, token: bytes) -> str | None:
    return "Debezium sends true for every number but 0 of a column declared BOOLEAN" if token == b"true" else None


def _other_charset(column: Column, token: bytes) -> str | None:
    if token == NULL or (token.isascii() and b"\\u" not in token):
        return None
    return f"canal reads all text as one character set (connectionCharset), and this column has {column.charset}"


OTHER_CHARSET = "text of another character set than utf8"
"""The key of a rule for such columns, instead of that of their kind, where there is one."""

RULES_BY_INPUT: dict[str, dict[str, Suspicion]] = {
    "maxwell": RULES,
    "canal": {**dict.fromkeys(TEXT_KINDS, _text), OTHER_CHARSET: _other_charset},
    "debezium": {
        "tinyint": _boolean,
        **dict.fromkeys(("date", "datetime", "timestamp"), _epoch),
        **dict.fromkeys(TEXT_KINDS, _text),
    },
}
"""By `input_format`. What nothing in a message tells stands in docs/inputs.md."""


def _by_session(column: Column, token: bytes) -> str | None:
    if token == NULL:
        return None
    return (
        f"the target computes and stores it by its own {column.by_session}, the source by that of the session that"
        " wrote the row: where these differ, the two do"
    )


_WITHOUT_ZONE = re.compile(r"\bunix_timestamp\(`(?:[^`]|``)+`\)|`(?:[^`]|``)+` is (?:not )?null", re.IGNORECASE)
_SPELLED = re.compile(r"\b(?:dayname|monthname)\(|\bdate_format\(.*%[abMW]", re.IGNORECASE)
_NAME = re.compile(r"`((?:[^`]|``)+)`")


def computed_by(expression: str, timestamps: Set[str]) -> str:
    """The setting of the session by which a generated column is computed, empty where there is none: of an expression
    as the server prints it, and the names of the table's TIMESTAMP columns in lower case."""
    text = _WITHOUT_ZONE.sub("", expression)
    names = {name.replace("``", "`").lower() for name in _NAME.findall(text)}
    if not names.isdisjoint(timestamps) or "from_unixtime(" in text.lower():
        return "time_zone"
    return "lc_time_names" if _SPELLED.search(text) else ""


class SuspectColumn(NamedTuple):
    """A column whose values may be looked at, and by which rule."""

    place: int
    column: Column
    rule: Suspicion


def suspects_of(
    columns: Sequence[Column], *, table: str, trusted: Iterable[str], rules: Mapping[str, Suspicion] = RULES
) -> list[SuspectColumn]:
    """The columns to look at; `trusted` are globs of `database.table.column` that the operator vouches for."""
    found = []
    for index, column in enumerate(columns):
        rule = _by_session if column.by_session else rules.get(column.kind)
        if rule is _text and column.charset is not None and not column.charset.startswith("utf8"):
            rule = rules.get(OTHER_CHARSET, rule)
        is_written = not column.generated or bool(column.by_session)
        if rule is None or not is_written or (column.kind == "bit" and (column.size or 1) <= 32):
            continue
        if any(fnmatch.fnmatchcase(f"{table}.{column.name}", glob) for glob in trusted):
            continue
        found.append(SuspectColumn(index, column, rule))
    return found
