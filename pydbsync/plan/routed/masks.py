"""Masks: what stands in place of a value, computed here for replay, and by the source for copy, verify and repair.

Equal values of columns of one type get equal masks under one key, so that joins and foreign keys hold. The mask of a
text is HMAC-SHA-256 of its UTF-8, in hexadecimal; of bytes, its bytes. The mask of a whole number is another of the
same sign and type, by a permutation (a Feistel network over HMAC's key), so that keys stay unique. NULL stays NULL.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from pydbsync.config.routes import MaskSettings
from pydbsync.config.values import Secret
from pydbsync.errors import PlanError
from pydbsync.model import BINARY_KINDS, INTEGER_KINDS, TEXT_KINDS, Column
from pydbsync.plan.literals import NULL, text_of
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.routed import names
from pydbsync.plan.routed.values import bytes_of, token_of

_UNIQUE_DIGITS = 24
"""Hexadecimal digits of a mask by which rows are told apart: 96 bits."""
_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_ROUNDS = 4
_KEYED = re.compile(r"(SHA2\(CONCAT\()X'[0-9a-f]{128}'")


class Mask(NamedTuple):
    """A mask of one column."""

    token: Callable[[bytes], bytes]
    """JSON token → JSON token. Raises PlanError."""
    sql: str
    """The masked value as SQL of the source."""
    column: Column
    """The column as which `sql` is to be read."""


def make_mask(settings: MaskSettings, source: Column, target: Column, *, key: Secret | None, is_unique: bool) -> Mask:
    """`is_unique`: the target has the column in a unique key. Raises PlanError for one that cannot be masked so."""
    if settings.kind == "null":
        if not target.nullable:
            raise PlanError(f"{target.name} is NOT NULL, and so cannot be masked by NULL")
        return Mask(lambda token: NULL, "CAST(NULL AS CHAR)", _text_column(source, target))
    if settings.kind == "constant":
        if is_unique:
            raise PlanError(f"{target.name} is part of a unique key, and so cannot be masked by a constant")
        return constant(settings.constant, target)
    secret = settings.key or key
    if secret is None:
        raise PlanError(f"{target.name} has no key to be masked with")
    hidden = _MaskKey(secret)
    if source.generated or target.generated:
        raise PlanError(f"{target.name} is a generated column: mask the columns that it is made of")
    if settings.kind == "fake":
        return _fake(settings.fake, source, target, hidden, is_unique=is_unique)
    if source.kind in INTEGER_KINDS and target.kind == source.kind and target.unsigned == source.unsigned:
        return _of_number(source, target, hidden)
    if source.kind in TEXT_KINDS and target.kind in TEXT_KINDS:
        return _of_text(source, target, hidden, is_unique=is_unique)
    if source.kind in BINARY_KINDS and target.kind in BINARY_KINDS:
        return _of_bytes(source, target, hidden, is_unique=is_unique)
    raise PlanError(
        f"{target.name} is of type {target.column_type}, which has no hash here: texts, bytes and whole numbers have;"
        " take null, a constant or a fake"
    )


def constant(value: str | int | None, target: Column) -> Mask:
    """The same value for all rows. Raises PlanError for a type that has no constants here."""
    token = token_of(value)
    if value is None:
        return Mask(lambda _: token, "CAST(NULL AS CHAR)", _text_column(target, target))
    text = str(value)
    spelled = f"_utf8mb4 X'{text.encode().hex()}'" if text else "_utf8mb4''"
    kind = target.kind
    column = _text_column(target, target)
    if kind in INTEGER_KINDS:
        if not re.fullmatch(r"-?\d+", text):
            raise PlanError(f"{target.name} is a whole number, and {value!r} is none")
        sql, column = f"CAST({text} AS {'UNSIGNED' if target.unsigned else 'SIGNED'})", target
    elif kind == "decimal":
        if not re.fullmatch(r"-?\d+(\.\d+)?", text):
            raise PlanError(f"{target.name} is a DECIMAL, and {value!r} is none")
        sql, column = f"CAST({text} AS {target.column_type.split(' ')[0]})", target
    elif kind in ("date", "datetime", "timestamp"):
        of = "DATE" if kind == "date" else f"DATETIME({target.digits})"
        sql, column = (
            f"CAST({spelled} AS {of})",
            msgspec.structs.replace(target, kind="date" if kind == "date" else "datetime"),
        )
    elif (kind in TEXT_KINDS and target.charset not in (None, "binary")) or (kind == "enum" and text in target.labels):
        sql = f"CONVERT({spelled} USING {target.charset})"
    else:
        raise PlanError(f"{target.name} is of type {target.column_type}, which takes no constant here")
    return Mask(lambda _: token, sql, column)


class _MaskKey:
    """A key on both sides: here as bytes, and as the two blocks that HMAC puts before what it digests."""

    def __init__(self, secret: Secret) -> None:
        key = secret.reveal().encode("utf-8")
        self._key = key
        block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
        self._inner = bytes(each ^ 0x36 for each in block).hex()
        self._outer = bytes(each ^ 0x5C for each in block).hex()

    def digest(self, value: bytes) -> str:
        return hmac.digest(self._key, value, "sha256").hex()

    def sql(self, value: str) -> str:
        """The same of an SQL expression; NULL of NULL."""
        inner = f"SHA2(CONCAT(X'{self._inner}', {value}), 256)"
        return f"SHA2(CONCAT(X'{self._outer}', UNHEX({inner})), 256)"


def without_keys(sql: str) -> str:
    """The statement as it may be shown."""
    return _KEYED.sub(r"\1X'***'", sql)


def _text_column(source: Column, target: Column) -> Column:
    """A text of the target's character set, as which masks are read."""
    charset = target.charset if target.kind in TEXT_KINDS and target.charset not in (None, "binary") else "utf8mb4"
    size = target.size if target.kind in TEXT_KINDS else 255
    return Column(
        name=target.name, kind="varchar", column_type="varchar(255)", charset=charset, size=size,
        nullable=source.nullable or target.nullable,
    )  # fmt: skip


def _characters(column: Column) -> int:
    match = re.match(r"(?:var)?char\((\d+)\)", column.column_type)
    return int(match[1]) if match else (column.size or 255)


def _utf8(source: Column) -> str:
    name = quote_name(source.name)
    if source.kind in BINARY_KINDS:
        return name
    return f"CAST(CONVERT({name} USING utf8mb4) AS BINARY)" if source.kind in TEXT_KINDS else f"CAST({name} AS CHAR)"


def _checked_text(source: Column, target: Column) -> None:
    if source.charset in (None, "binary") or target.charset in (None, "binary"):
        raise PlanError(f"{target.name} is a text of bytes: make it VARBINARY, or give it a character set")


def _of_text(source: Column, target: Column, key: _MaskKey, *, is_unique: bool) -> Mask:
    _checked_text(source, target)
    digits = min(64, _characters(target))
    if is_unique and digits < _UNIQUE_DIGITS:
        raise PlanError(
            f"{target.name} is part of a unique key and has {digits} characters: two values could get the same mask;"
            f" it takes {_UNIQUE_DIGITS}"
        )
    digest = key.sql(_utf8(source))
    sql = f"CONVERT(LEFT({digest}, {digits}) USING {target.charset})"

    def token(given: bytes) -> bytes:
        value = bytes_of(source, given)
        return NULL if value is None else token_of(key.digest(value)[:digits])

    return Mask(token, sql, _text_column(source, target))


def _of_bytes(source: Column, target: Column, key: _MaskKey, *, is_unique: bool) -> Mask:
    size = min(32, target.size or 32)
    if is_unique and size * 2 < _UNIQUE_DIGITS:
        raise PlanError(f"{target.name} is part of a unique key and has {size} bytes; it takes {_UNIQUE_DIGITS // 2}")
    padded = target.size if target.kind == "binary" and target.size else size
    digest = f"LEFT(UNHEX({key.sql(_utf8(source))}), {size})"
    sql = f"RPAD({digest}, {padded}, X'00')" if padded > size else digest

    def token(given: bytes) -> bytes:
        value = bytes_of(source, given)
        return NULL if value is None else token_of(bytes.fromhex(key.digest(value))[:size].ljust(padded, b"\0"))

    return Mask(
        token, f"CAST({sql} AS BINARY({padded}))" if target.kind == "binary" else f"CAST({sql} AS BINARY)", target
    )


def _of_number(source: Column, target: Column, key: _MaskKey) -> Mask:
    """Half of the bits are mixed into the other half, in turn; what was mixed can be taken out again, so that no two
    numbers get the same mask."""
    bits = _BITS[source.kind] - (0 if source.unsigned else 1)
    low_bits = bits // 2
    low_mask: int = 2**low_bits - 1
    high_mask: int = 2 ** (bits - low_bits) - 1
    label = f"{source.kind} {'un' if source.unsigned else ''}signed"

    def mixed(step: int, part: int) -> int:
        return int(key.digest(f"{label} {step} {part}".encode())[:8], 16)

    def permuted(number: int) -> int:
        high, low = number >> low_bits, number & low_mask
        for step in range(_ROUNDS):
            if step % 2:
                low ^= mixed(step, high) & low_mask
            else:
                high ^= mixed(step, low) & high_mask
        return high << low_bits | low

    def token(given: bytes) -> bytes:
        if given == NULL:
            return NULL
        try:
            number = int(text_of(given))
        except ValueError as exc:
            raise PlanError(f"{given[:40]!r} is no whole number") from exc
        if not -(2**bits) <= number < 2**bits or (number < 0 and source.unsigned):
            raise PlanError(f"{number} is no value of {source.name}, which is {source.column_type}")
        return str(permuted(number) if number >= 0 else ~permuted(~number)).encode()

    def mixed_sql(step: int, part: str) -> str:
        digest = key.sql(f"CONCAT('{label} {step} ', {part})")
        return f"CAST(CONV(LEFT({digest}, 8), 16, 10) AS UNSIGNED)"

    def permuted_sql(number: str) -> str:
        high, low = f"(({number}) >> {low_bits})", f"(({number}) & {low_mask})"
        for step in range(_ROUNDS):
            if step % 2:
                low = f"({low} ^ ({mixed_sql(step, high)} & {low_mask}))"
            else:
                high = f"({high} ^ ({mixed_sql(step, low)} & {high_mask}))"
        return f"(({high} << {low_bits}) | {low})"

    name = quote_name(source.name)
    if source.unsigned:
        sql = f"CAST({permuted_sql(f'{name} + 0')} AS UNSIGNED)"
    else:
        # ~x is the number of the same bits on the other side of 0; the server's operators give unsigned numbers
        sql = (
            f"IF({name} < 0, CAST(~{permuted_sql(f'~({name} + 0)')} AS SIGNED),"
            f" CAST({permuted_sql(f'{name} + 0')} AS SIGNED))"
        )
    return Mask(token, sql, msgspec.structs.replace(target, column_type=_plain(target.column_type)))


def _plain(column_type: str) -> str:
    return column_type.replace(" zerofill", "")


def _fake(fake: str, source: Column, target: Column, key: _MaskKey, *, is_unique: bool) -> Mask:
    """Made of the digest, so that the same value gets the same fake."""
    if source.kind not in TEXT_KINDS | BINARY_KINDS | INTEGER_KINDS | {"date", "datetime", "timestamp", "decimal"}:
        raise PlanError(f"{source.name} is of type {source.column_type}, for which there is no fake")
    if source.kind in TEXT_KINDS:
        _checked_text(source, target)
    is_date = fake == "date"
    if is_date != (target.kind == "date") or (not is_date and target.kind not in TEXT_KINDS):
        raise PlanError(f"{target.name} is of type {target.column_type}, for which {fake} is no fake")
    if is_unique and fake != "email":
        raise PlanError(f"{target.name} is part of a unique key, and two values could get the same {fake}; take hash")
    parts = names.PARTS[fake]
    limit = 0 if is_date else _characters(target)
    if fake == "email":
        digits = min(32, limit - names.EMAIL_REST)
        if digits < (_UNIQUE_DIGITS if is_unique else 4):
            needed = names.EMAIL_REST + (_UNIQUE_DIGITS if is_unique else 4)
            raise PlanError(f"{target.name} has {limit} characters, and a faked email takes {needed}")
        parts = names.email(digits)
    digest = key.sql(
        _utf8(source) if source.kind in TEXT_KINDS | BINARY_KINDS else f"CAST({quote_name(source.name)} AS CHAR)"
    )
    spelled = f"CONCAT({', '.join(part.sql(digest) for part in parts)})"

    def token(given: bytes) -> bytes:
        value = bytes_of(source, given)
        if value is None:
            return NULL
        found = key.digest(value)
        text = "".join(part.text(found) for part in parts)
        return token_of(text if is_date else text[:limit].rstrip())

    if is_date:
        return Mask(token, f"CAST({spelled} AS DATE)", target)
    return Mask(token, f"CONVERT(RTRIM(LEFT({spelled}, {limit})) USING {target.charset})", _text_column(source, target))
