"""Columns of random tables: a type at either end, and literals of values that all differ."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.servers import Endpoint


class Pool(NamedTuple):
    """A column's type at both ends, and literals of values that all differ; the first may be NULL."""

    source: str
    target: str
    literals: tuple[str, ...]


class Pools:
    """Draws columns for a table that is at two servers."""

    def __init__(self, chance: random.Random, source: Endpoint, target: Endpoint) -> None:
        self._chance = chance
        self._brands = (source.brand, target.brand)
        self._is_mysql = "mysql" in self._brands

    def key(self) -> Pool:
        """A column of a primary key."""
        chance = self._chance
        step = chance.choice([1, 3, 1000])
        kinds: list[tuple[str, str, Sequence[str]]] = [
            ("INT", "BIGINT", [str(number * step) for number in range(-100, 100)]),
            *(
                ("DATETIME(3)", target, [f"'2020-01-01' + INTERVAL {n} MINUTE" for n in range(200)])
                for target in ("DATETIME(3)", "TIMESTAMP(3)")
            ),
            *((sql, sql, literals) for sql, literals in _KEYS),
            *self._of_brands(_OWN_KEYS),
        ]
        for source, target in (("utf8mb4", "utf8mb4"), ("latin1", "latin1"), ("ucs2", "ucs2"), ("latin1", "utf8mb4"),
                               ("ucs2", "latin1"), ("utf16", "utf8mb4"), ("sjis", "sjis"), ("gbk", "utf8mb4"),
                               ("utf16le", "utf32"), ("greek", "greek")):  # fmt: skip
            plain = {"sjis", "gbk", "greek"} & {source, target}
            texts = [f"'{chr(97 + n % 26)}{'' if plain else 'é' if n % 3 else 'É'}{n}'" for n in range(200)]
            kinds += [(f"VARCHAR(20) CHARACTER SET {source}", f"VARCHAR(20) CHARACTER SET {target}", texts)] * 2
        # What only letters' case, accents or blanks tell apart.
        exact = tuple("utf8mb4_0900_bin" if brand == "mysql" else "utf8mb4_nopad_bin" for brand in self._brands)
        kinds.append((f"VARCHAR(20) COLLATE {exact[0]}", f"VARCHAR(20) COLLATE {exact[1]}", _ALIKE))
        kinds.append(("VARCHAR(20) COLLATE utf8mb4_bin",) * 2 + ([each for each in _ALIKE if " '" not in each],))
        source, target, literals = chance.choice(kinds)
        return Pool(f"{source} NOT NULL", f"{target} NOT NULL", tuple(literals))

    def value(self, packet: int) -> Pool:
        """Another column; `packet` is the smaller max_allowed_packet of both ends."""
        chance = self._chance
        kind = chance.choice(
            ("number", "text", "text", "text", "bytes", "long text", "long text", "long bytes", "json", "other",
             "unlike", "unlike")
        )  # fmt: skip
        if kind in ("number", "other"):
            several = [*_NUMBERS] if kind == "number" else [*_OTHERS]
            sql, literals = chance.choice(several)
            return Pool(sql, sql, ("NULL", *literals))
        if kind == "unlike":
            source, target, literals = chance.choice([*_UNLIKE, *self._of_brands(_OWN)])
            if chance.random() < 0.5 and source not in _WIDENED:
                source, target = (target, source) if self._brands[0] == self._brands[1] else (source, target)
            return Pool(source, target, ("NULL", *literals))
        if kind == "bytes":
            sql = chance.choice(["VARBINARY(400)", "BLOB", "BINARY(3)"])
            several_bytes = ["NULL", "X''", "X'00'", "X'0000'", "X'FF'", "X'61'", "X'41'", "X'2327'"]
            padded = ["NULL", "X'000000'", "X'FF0000'", "X'616263'", "X'00FF00'"]
            return Pool(sql, sql, tuple(padded if sql == "BINARY(3)" else several_bytes))
        if kind == "json":
            return self._json(packet)
        if kind == "long bytes":
            lengths = self._lengths(packet)
            long = [f"REPEAT(X'{chance.choice(['00', 'FF', '27', '5C'])}', {length})" for length in lengths]
            return Pool(
                "LONGBLOB", "LONGBLOB", ("NULL", "''", "'a'", *long, *(f"CONCAT({each}, X'01')" for each in long))
            )
        return self._text(packet, is_long=kind == "long text")

    def _text(self, packet: int, *, is_long: bool) -> Pool:
        chance = self._chance
        charset, other = chance.choice(_CHARSETS)
        literals = ["NULL", "''", "'a'", "'A'", "'a '", "'#'", "'NULL'", "'a#1'", "'0'", "'a\\0'", r"'\\'", "'\\''"]
        letter = _LETTERS.get(charset if other == "utf8mb4" else other, "")
        literals += [f"'{letter}'", f"'{letter}a'"] if letter else []
        if charset == other and charset in _UNDEFINED:
            literals += [f"X'41{byte}'" for byte in _UNDEFINED[charset]]
        if not is_long:
            size = chance.choice((40, 255, 1000))
            types = (f"VARCHAR({size}) CHARACTER SET {charset} NULL", f"VARCHAR({size}) CHARACTER SET {other} NULL")
            return Pool(*types, tuple(literals))
        for length in self._lengths(packet):
            whole = f"REPEAT('{letter or 'x'}', {length})"
            literals += [whole, f"CONCAT({whole}, ' ')", f"CONCAT({whole}, 'X')"]
        return Pool(f"LONGTEXT CHARACTER SET {charset}", f"LONGTEXT CHARACTER SET {other}", tuple(literals))

    def _json(self, packet: int) -> Pool:
        literals = [
            "NULL", "'null'", "'1'", "'1.0'", "'\"1\"'", "'[]'", "'{}'", "'{\"a\": 1}'", "'{\"A\": 1}'", "'[1, 2]'",
            "'[2, 1]'", "'1.5e300'", "'18446744073709551615'", "'9007199254740993'", "'9007199254740992'",
            "'\"\\\\u0000\"'", "'\"😀\"'", "'{\"\": [{}, [], \"\"]}'", "'\"2020-01-01\"'", "'true'", "'\"true\"'",
        ]  # fmt: skip
        depth = 30 if "mariadb" in self._brands else 90
        literals.append(f"'{'[' * depth}{']' * depth}'")
        for length in self._lengths(packet):
            size = min(length, packet // 2) if self._is_mysql else length  # beyond a packet MySQL gives none
            literals += [f"JSON_ARRAY(REPEAT('j', {size}))", f"JSON_ARRAY(REPEAT('j', {size}), 1)"]
        return Pool("JSON", "JSON", tuple(dict.fromkeys(literals)))

    def _lengths(self, packet: int) -> list[int]:
        chance = self._chance
        around = (packet // 64, packet // 32, packet // 16, packet // 8, packet // 4, packet // 2, packet)
        return sorted({max(20, chance.choice(around) + chance.choice([-1, 0, 1])) for _ in range(2)})

    def _of_brands(self, kinds: Sequence[tuple[str, str, Sequence[str]]]) -> list[tuple[str, str, Sequence[str]]]:
        """MariaDB's types, and what MySQL has for them."""
        if "mariadb" not in self._brands:
            return []
        return [
            (*(own if brand == "mariadb" else other for brand in self._brands), literals)  # type: ignore[misc]
            for own, other, literals in kinds
        ]


_UUIDS: Final = [f"'{n:08x}-0000-{n % 7}000-8000-00000000{n:04x}'" for n in range(200)]
_KEYS: Final[tuple[tuple[str, Sequence[str]], ...]] = (
    ("DECIMAL(12,2)", [f"{n - 100}.25" for n in range(200)]),
    ("BIGINT UNSIGNED", [str(2**64 - 1 - n * n) for n in range(200)]),
    ("DOUBLE", [f"{(n - 100) * 0.1!r}e0" for n in range(200) if n != 100]),
    ("FLOAT", [f"{n - 100}.1e0" for n in range(200)]),
    ("DATE", ["'0000-00-00'", *(f"'2020-01-01' + INTERVAL {n} DAY" for n in range(199))]),
    ("TIME(3)", [f"'{n - 100:03}:59:00.{n:03}'" for n in range(200) if n != 100]),
    ("TIMESTAMP(2)", [f"'2020-01-01' + INTERVAL {n} HOUR" for n in range(200)]),
    ("YEAR", ["0", *(str(1901 + n) for n in range(199))]),
    ("BIT(12)", [str(n * 20) for n in range(200)]),
    ("SET('a','b','c','d','e','f','g','h')", [str(n) for n in range(200)]),
    (f"ENUM({', '.join(repr(f'l{n}') for n in range(200))})", [str(n + 1) for n in range(200)]),
    ("VARBINARY(20)", [f"X'{n:04X}FF'" for n in range(200)]),
    ("BINARY(4)", [f"X'{n:04X}{n % 3:02X}00'" for n in range(200)]),
    ("INT(6) UNSIGNED ZEROFILL", [str(n * 7) for n in range(200)]),
    (f"ENUM({', '.join(repr(f'l{n}') for n in range(300))})", [str(n + 1) for n in range(300)]),
    ("BIT(64)", [str(2**64 - 1 - n * 2**55) for n in range(200)]),
    ("DECIMAL(65,30)", [f"{(n - 100) * 10**30}.{n:030}" for n in range(200)]),
    ("DATETIME(6)", [f"'2020-01-01 00:00:00.{n:06}'" for n in range(200)]),
    ("BIGINT", [str(-(2**63) + n) for n in range(100)] + [str(2**63 - 1 - n) for n in range(100)]),
    ("VARBINARY(20)", ["X''", *(f"X'{'00' * n}'" for n in range(1, 20)), *(f"X'61{'00' * n}'" for n in range(19))]),
)
_ALIKE: Final = [
    f"'{text}{n}{blank}'" for n in range(18) for text in ("a", "A", "á", "à", "ａ") for blank in ("", " ")
]  # fmt: skip
_OWN_KEYS: Final[tuple[tuple[str, str, Sequence[str]], ...]] = (
    ("UUID", "CHAR(36)", _UUIDS),
    ("INET6", "VARCHAR(39)", [f"'fe80::{n + 1:x}'" for n in range(200)]),
    ("INET4", "VARCHAR(15)", [f"'10.0.{n % 3}.{n}'" for n in range(200)]),
)
"""MariaDB's type, what MySQL has for it, and values."""
_OWN: Final[tuple[tuple[str, str, Sequence[str]], ...]] = (
    ("UUID", "CHAR(36)", _UUIDS[:6]),
    ("INET6", "VARCHAR(39)", ["'::'", "'::1'", "'fe80::1'", "'::ffff:1.2.3.4'"]),
    ("INET4", "VARCHAR(15)", ["'0.0.0.0'", "'1.2.3.4'", "'255.255.255.255'"]),
)

_NUMBERS: Final[tuple[tuple[str, Sequence[str]], ...]] = (
    ("INT", ["0", "1", "-1", "2147483647"]),
    ("INT(5) ZEROFILL", ["0", "1", "123456"]),
    ("BIGINT UNSIGNED", ["0", "18446744073709551615", "18446744073709551614", "9223372036854775808"]),
    ("DECIMAL(30,10)", ["0", "0.0000000001", "-0.0000000001", "12345678901234567890.1234567891"]),
    ("DECIMAL(30,30)", ["0", "-0.000000000000000000000000000221", "-0.000000000000000000000000000222"]),
    ("DOUBLE", ["0", "1e0", "1.0000000000000002e0", "1e-300", "5e-324", "1.7976931348623157e308", "0.1e0",
                "-6.954981326455496e-141", "-6.954981326455496e-142"]),
    ("FLOAT", ["0", "1e0", "1.0000001e0", "0.1e0", "16777217e0", "3.4028235e38"]),
    ("BIT(40)", ["0", "1", "b'1000000000000000000000000000000000000000'"]),
)  # fmt: skip
_OTHERS: Final[tuple[tuple[str, Sequence[str]], ...]] = (
    ("DATETIME(6)", ["'0000-00-00'", "'2020-01-01'", "'2020-01-01 00:00:00.000001'"]),
    ("TIMESTAMP(3) NULL", ["'2020-01-01'", "'2020-01-01 00:00:00.001'", "'2038-01-01'"]),
    ("TIME(6)", ["'00:00:00'", "'-00:00:01'", "'838:59:59'", "'-838:59:59'", "'00:00:00.000001'"]),
    ("DATE", ["'0000-00-00'", "'2020-02-00'", "'2020-02-29'"]),
    ("YEAR", ["0", "1999", "2000"]),
    ("ENUM('a','b','','A ') COLLATE utf8mb4_bin", ["'a'", "'b'", "''", "'A'"]),
    ("SET('x','y','z')", ["''", "'x'", "'x,y'", "'y,z'"]),
    ("GEOMETRY", ["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(2 1)')",
                  "ST_GeomFromText('POINT(1 2)', 3857)", "ST_GeomFromText('LINESTRING(0 0, 1 1)')"]),
)  # fmt: skip
_UNLIKE: Final[tuple[tuple[str, str, Sequence[str]], ...]] = (
    ("SMALLINT", "BIGINT", ["0", "1", "-1", "32767"]),
    ("TINYINT(1)", "INT UNSIGNED", ["0", "1", "127"]),
    ("DECIMAL(10,2)", "DECIMAL(14,4)", ["0", "1.5", "-1.25", "12345678.99", "100"]),
    ("DECIMAL(10,0)", "BIGINT", ["0", "1", "-10", "1000"]),
    ("DATETIME(3)", "DATETIME(6)", ["'2020-01-01'", "'2020-01-01 00:00:00.001'", "'0000-00-00'"]),
    ("DATETIME", "TIMESTAMP NULL", ["'2020-01-01'", "'2020-01-01 00:00:01'", "'0000-00-00'"]),
    ("TIME(3)", "TIME(6)", ["'00:00:00'", "'-00:00:01'", "'838:59:59'", "'00:00:00.001'"]),
    ("DATE", "DATETIME(2)", ["'2020-01-01'", "'0000-00-00'", "'2020-02-29'"]),
    ("FLOAT", "DOUBLE", ["0", "0.1e0", "-1.5e0", "1e-30", "3.4028235e38", "16777216e0"]),
    ("YEAR", "SMALLINT", ["0", "1999", "2155"]),
    ("ENUM('a','b')", "VARCHAR(9)", ["'a'", "'b'"]),
    ("SET('x','y','z')", "SET('z','w','x','y')", ["''", "'x'", "'x,y'", "'y,z'", "'x,y,z'"]),
    ("ENUM('x','y','z')", "ENUM('z','w','x','y')", ["'x'", "'y'", "'z'"]),
    ("BINARY(3)", "VARBINARY(8)", ["X'000000'", "X'FF0000'", "X'616263'"]),
    ("CHAR(8)", "VARCHAR(9)", ["''", "'a'", "'A'", "'😀'"]),
    ("TINYTEXT", "LONGTEXT", ["''", "'a'", "'a '", "'😀'"]),
    ("VARCHAR(50)", "LONGTEXT CHARACTER SET utf16", ["''", "'a'", "'a '", "'😀'"]),
    ("TINYBLOB", "LONGBLOB", ["''", "X'00'", "X'0000'", "'a'"]),
    ("VARCHAR(90) COLLATE utf8mb4_bin", "JSON", ["'1'", "'[1, 2]'", "'{\"a\": 1}'"]),
)
"""Types that hold the same values at both ends."""
_WIDENED: Final = frozenset({"FLOAT", "VARCHAR(90) COLLATE utf8mb4_bin", "VARCHAR(50)"})
"""Those that are so only from source to target."""

_CHARSETS: Final = (
    ("utf8mb4", "utf8mb4"), ("latin1", "latin1"), ("ucs2", "ucs2"), ("latin1", "utf8mb4"), ("utf8mb3", "utf8mb4"),
    ("greek", "greek"), ("greek", "utf8mb4"), ("sjis", "sjis"), ("gbk", "utf8mb4"), ("utf16", "latin1"),
    ("utf32", "utf32"), ("cp1251", "cp1251"), ("ascii", "utf8mb4"), ("big5", "big5"), ("euckr", "utf8mb4"),
    ("cp932", "cp932"), ("eucjpms", "utf8mb4"), ("utf16le", "utf16"), ("koi8r", "utf8mb4"), ("latin2", "latin2"),
    ("tis620", "utf8mb4"), ("hebrew", "hebrew"), ("utf8mb4", "utf16"), ("swe7", "swe7"), ("utf16le", "utf16le"),
    ("geostd8", "geostd8"), ("armscii8", "utf8mb4"), ("latin7", "latin7"), ("cp932", "utf8mb4"),
)  # fmt: skip
"""Of a column at the source and at the target."""
_LETTERS: Final = {
    "utf8mb4": "😀", "utf8mb3": "é", "latin1": "é", "ucs2": "é", "utf16": "é", "utf32": "😀", "greek": "Ω",
    "sjis": "ソ", "gbk": "名", "cp1251": "ж", "big5": "名", "euckr": "가", "cp932": "ソ", "eucjpms": "名",
    "utf16le": "😀", "koi8r": "ж", "latin2": "ł", "tis620": "ก", "hebrew": "א", "geostd8": "ა", "armscii8": "ա",
}  # fmt: skip
_UNDEFINED: Final = {"greek": ("D2", "FF"), "cp1251": ("98",), "hebrew": ("FF",), "latin7": ("A1",), "geostd8": ("FF",)}
"""Bytes that are no character of Unicode."""
