"""Random columns for tests: types, their values as SQL literals, tables made of them and what happens to these."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Draw(Protocol):
    """Hypothesis' draw."""

    def __call__(self, strategy: st.SearchStrategy[T]) -> T: ...


@dataclass(frozen=True, repr=False)
class Kind:
    """A column's type, SQL literals of its values, and whether a key can be made of it."""

    sql: str
    values: st.SearchStrategy[str]
    in_key: bool = True
    prefix: int = 0
    """Characters or bytes of a key's part: must be where `in_key` is False, may be elsewhere; 0 where no key can be."""
    wider: str = ""
    """A type that takes all its values."""

    def __repr__(self) -> str:
        return self.sql

    @property
    def is_geometry(self) -> bool:
        return self.sql == "POINT"


def integers(name: str, bits: int) -> list[Kind]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    edges = st.sampled_from([low, -1, 0, 1, high])
    unsigned = st.sampled_from([0, 1, high + 1, 2**bits - 1]) | st.integers(0, 2**bits - 1)
    return [
        Kind(name, (edges | st.integers(low, high)).map(str), wider="BIGINT"),
        Kind(f"{name} UNSIGNED", unsigned.map(str), wider="BIGINT UNSIGNED"),
    ]


def decimals(digits: int, scale: int) -> Kind:
    low = -(10**digits) + 1

    def written(number: int) -> str:
        sign, text = "-" if number < 0 else "", str(abs(number)).rjust(scale + 1, "0")
        return f"{sign}{text[: len(text) - scale]}.{text[len(text) - scale :]}" if scale else f"{sign}{text}"

    return Kind(f"DECIMAL({digits},{scale})", st.integers(low, -low).map(written))


def text_literal(text: str) -> str:
    return f"_utf8mb4 X'{text.encode().hex()}'"


_CHARACTERS = {
    "utf8mb3": st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]),
    # The servers' gbk has fewer characters than Python's.
    "gbk": st.characters(max_codepoint=0x7F) | st.characters(codec="gbk", min_codepoint=0x4E00, max_codepoint=0x9FA5),
}


def texts(charset: str, collation: str, codec: str, size: int, kind: str = "VARCHAR") -> Kind:
    characters = _CHARACTERS.get(charset, st.characters(codec=codec, exclude_categories=["Cs"]))
    odd = st.sampled_from(
        ["", "a", "A", "a ", "é", "'", '"', "\\", "\\'", "\0", "\f", "\n", "\x1a", "%s", "{}", "null"]
    )
    value = (odd | st.text(characters, max_size=size)).map(lambda text: text[:size])
    length = "" if kind.endswith("TEXT") else f"({size})"
    return Kind(
        f"{kind}{length} CHARACTER SET {charset} COLLATE {collation}",
        value.map(text_literal),
        in_key=not kind.endswith("TEXT"),
        prefix=3,
        wider="" if kind.endswith("TEXT") else f"VARCHAR({size + 40}) CHARACTER SET utf8mb4",
    )


def binaries(sql: str, size: int, in_key: bool = True) -> Kind:
    value = st.sampled_from([b"", b"\0", b"ab\0\0", b"\xff" * size]) | st.binary(max_size=size)
    return Kind(sql, value.map(lambda raw: f"X'{raw[:size].hex()}'"), in_key, prefix=2)


def moments(sql: str, digits: int, *, first: int, last: int) -> Kind:
    def written(parts: tuple[int, int, int, int, int]) -> str:
        year, month, day, second, fraction = parts
        time = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        tail = f".{fraction:06d}"[: digits + 1] if digits else ""
        return f"'{year:04d}-{month:02d}-{day:02d} {time}{tail}'"

    parts = st.tuples(
        st.integers(first, last), st.integers(1, 12), st.integers(1, 28), st.integers(0, 86399), st.integers(0, 999999)
    )
    return Kind(f"{sql}({digits})", parts.map(written))


def times(digits: int) -> Kind:
    def written(parts: tuple[bool, int, int]) -> str:
        negative, second, fraction = parts
        text = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        tail = f".{fraction:06d}"[: digits + 1] if digits else ""
        return f"'{'-' if negative else ''}{text}{tail}'"

    parts = st.tuples(st.booleans(), st.integers(0, 838 * 3600), st.integers(0, 999999))
    return Kind(f"TIME({digits})", parts.map(written))


_floats = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from([0.0, 0.1, 16777217.0, 1e-30])
_doubles = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, 1e308, 5e-324, 123456789.123456789])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text("abc", max_size=3), children, max_size=3),
    max_leaves=6,
)


def json_literal(value: object) -> str:
    return text_literal(json.dumps(value, ensure_ascii=False))


JSON_NULL = json_literal(None)
LABELS = ("a", "b", "it's", "x y", "é", "1")
_labels = ", ".join("'" + label.replace("'", "''") + "'" for label in LABELS)

INTEGER = Kind("INT", st.integers(-(2**31), 2**20).map(str))
KINDS: list[Kind] = [
    *integers("TINYINT", 8),
    *integers("SMALLINT", 16),
    *integers("MEDIUMINT", 24),
    *integers("INT", 32),
    *integers("BIGINT", 64),
    decimals(5, 2),
    decimals(30, 30),
    decimals(65, 30),
    decimals(20, 0),
    Kind("FLOAT", _floats.map(repr), in_key=False),
    Kind("DOUBLE", _doubles.map(repr)),
    *[Kind(f"BIT({bits})", st.integers(0, 2**bits - 1).map(str)) for bits in (1, 8, 31, 32, 33, 63, 64)],
    texts("utf8mb4", "utf8mb4_general_ci", "utf-8", 12),
    texts("utf8mb4", "utf8mb4_bin", "utf-8", 12, "CHAR"),
    texts("utf8mb4", "utf8mb4_unicode_ci", "utf-8", 40, "TEXT"),
    texts("utf8mb3", "utf8mb3_general_ci", "utf-8", 12),
    texts("latin1", "latin1_swedish_ci", "cp1252", 12),
    texts("gbk", "gbk_chinese_ci", "gbk", 12),
    binaries("BINARY(6)", 6),
    binaries("VARBINARY(9)", 9),
    binaries("BLOB", 60, in_key=False),
    Kind("DATE", st.dates().map(lambda day: f"'{day.isoformat()}'") | st.just("'0000-00-00'")),
    *[times(digits) for digits in (0, 3, 6)],
    *[moments("DATETIME", digits, first=1000, last=9999) for digits in (0, 6)],
    *[moments("TIMESTAMP", digits, first=1971, last=2037) for digits in (0, 2, 6)],
    Kind("YEAR", st.sampled_from(["0", "1901", "2155", "2024"])),
    Kind(f"ENUM({_labels})", st.sampled_from(LABELS).map(text_literal)),
    Kind(f"SET({_labels})", st.sets(st.sampled_from(LABELS)).map(lambda found: text_literal(",".join(sorted(found))))),
    Kind("JSON", _json.map(json_literal), in_key=False),
    Kind("POINT", st.tuples(st.integers(-9, 9), st.integers(-9, 9)).map(lambda p: f"POINT({p[0]}, {p[1]})"), False),
]


@dataclass(repr=False)
class RandomColumn:
    """One column. `kind` is None for columns that INSERT and UPDATE leave to the server."""

    name: str
    kind: Kind | None
    nullable: bool = False
    is_auto: bool = False
    is_invisible: bool = False
    source: str = ""
    """What a generated column is made of."""
    rest: str = ""

    def __repr__(self) -> str:
        return self.name

    @property
    def sql(self) -> str:
        if self.source:
            return f"{self.name} {self.rest}"
        words = [self.name, self.kind.sql if self.kind else "", "NULL" if self.nullable else "NOT NULL", self.rest]
        return " ".join(word for word in words if word)

    def values(self) -> st.SearchStrategy[str]:
        if self.kind is None:
            return st.just("DEFAULT")
        if self.is_auto:
            return st.sampled_from(["0", "NULL", "5", "-3", "DEFAULT"]) | self.kind.values
        if not self.nullable:
            return self.kind.values
        # JSON's null and SQL's NULL are one in Maxwell's format
        return self.kind.values.filter(lambda value: value != JSON_NULL) | st.just("NULL")


@dataclass
class RandomTable:
    """A table as it is now, and the draws that make, fill and change it."""

    draw: Draw
    brand: str
    name: str
    columns: list[RandomColumn] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    """Columns of the primary key, or of the unique key without NULLs."""
    indexed: set[str] = field(default_factory=set)
    indexes: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def pick(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def maybe(self, one_in: int) -> bool:
        return self.draw(st.integers(1, one_in)) == one_in

    # -- the table ---------------------------------------------------------------------------------------------------

    def create(self) -> str:
        """CREATE TABLE of up to six drawn columns and some that the server fills, with any kind of key."""
        for kind in self.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6)):
            self.columns.append(RandomColumn(f"c{next(self.numbers)}", kind, nullable=not self.maybe(2)))
        keyed = self.pick("none", "primary", "primary", "unique", "both")
        parts: list[str] = []
        lines: list[str] = []
        options = ""
        if self.maybe(5):
            column = RandomColumn("id", INTEGER, is_auto=True, rest="AUTO_INCREMENT PRIMARY KEY")
            self.columns.insert(0, column)
            self.key, keyed = ["id"], "auto"
        elif keyed != "none":
            parts = self.key_parts()
        if parts and keyed in ("primary", "both"):
            lines.append(f"PRIMARY KEY ({', '.join(parts)})")
        if parts and keyed == "unique":
            lines.append(f"UNIQUE KEY u ({', '.join(parts)})")
            self.indexes.append("u")
        if keyed in ("both", "auto") and (second := self.part(self.draw(st.sampled_from(self.columns)))):
            lines.append(f"UNIQUE KEY second ({second})")
            self.indexes.append("second")
        elif keyed == "primary" and parts and self.can_be_partitioned(parts) and self.maybe(3):
            options = f" PARTITION BY KEY ({', '.join(parts)}) PARTITIONS 3"
        self.add_served_columns()
        if self.maybe(3) and (part := self.part(self.draw(st.sampled_from(self.columns)))):
            lines.append(f"KEY plain ({part})")
            self.indexes.append("plain")
        return f"CREATE TABLE {self.name} ({', '.join([*(c.sql for c in self.columns), *lines])}){options}"

    def key_parts(self) -> list[str]:
        found = {}
        for column in self.draw(st.lists(st.sampled_from(self.columns), min_size=1, max_size=3)):
            if part := self.part(column):
                found[column.name] = part
        for column in self.columns:
            if column.name in found:
                column.nullable = False
        self.key = list(found)
        return list(found.values())

    def part(self, column: RandomColumn) -> str:
        """The column as a part of a key, of its beginning alone where it must be or by chance; empty if none can be."""
        kind = column.kind
        if kind is None or (not kind.in_key and not kind.prefix):
            return ""
        self.indexed.add(column.name)
        return f"{column.name}({kind.prefix})" if kind.prefix and (not kind.in_key or self.maybe(4)) else column.name

    def can_be_partitioned(self, parts: list[str]) -> bool:
        has_geometry = any(column.kind and column.kind.is_geometry for column in self.columns)
        return not has_geometry and not any("(" in part for part in parts)

    def add_served_columns(self) -> None:
        """Generated and invisible columns, and clocks."""
        if self.maybe(3):
            self.columns.append(self.generated())
        if self.maybe(3):
            digits = self.pick("", "(3)", "(6)")
            now = f"CURRENT_TIMESTAMP{digits}"
            rest = f"DEFAULT {now} ON UPDATE {now}"
            kind = self.pick("TIMESTAMP", "DATETIME")
            self.columns.append(RandomColumn(f"c{next(self.numbers)}", None, rest=f"{kind}{digits} NOT NULL {rest}"))
            self.columns[-1].source = "clock"
        for column in self.columns[1:]:
            if column.nullable and self.maybe(6):
                column.rest, column.is_invisible = "INVISIBLE", True

    def generated(self) -> RandomColumn:
        base = self.draw(st.sampled_from(self.columns)).name
        expression = self.pick(f"{base} IS NULL", f"COALESCE(LENGTH({base}), 0)")
        stored = self.pick("STORED", "VIRTUAL")
        if any(column.name == base and (column.is_auto or column.source) for column in self.columns):
            base, expression = "", "1 + 1"
        made = f"INT GENERATED ALWAYS AS ({expression}) {stored}"
        return RandomColumn(f"c{next(self.numbers)}", None, source=base or "nothing", rest=made)

    # -- rows --------------------------------------------------------------------------------------------------------

    def statement(self) -> str:
        """INSERT, REPLACE, UPDATE, DELETE, or rows once more."""
        verb = self.pick("INSERT", "INSERT", "INSERT", "UPDATE", "DELETE", "REPLACE", "copy", "touch")
        column = self.draw(st.sampled_from(self.columns))
        chosen = f"ORDER BY {column.name} {self.pick('ASC', 'DESC')} LIMIT {self.draw(st.integers(1, 3))}"
        if verb == "DELETE":
            return f"DELETE FROM {self.name} {chosen}"
        if verb in ("UPDATE", "touch"):
            changed = [each for each in self.columns if each.kind]
            column = self.draw(st.sampled_from(changed))
            value = column.name if verb == "touch" else self.draw(column.values())
            return f"UPDATE {self.name} SET {column.name} = {value} {chosen}"
        written = [each for each in self.columns if each.kind or each.source == "clock"]
        names = ", ".join(each.name for each in written)
        if verb == "copy":
            return f"INSERT INTO {self.name} ({names}) SELECT {names} FROM {self.name} {chosen}"
        rows = [
            f"({', '.join(self.draw(each.values()) for each in written)})" for _ in range(self.draw(st.integers(1, 3)))
        ]
        return f"{verb} INTO {self.name} ({names}) VALUES {', '.join(rows)}"

    # -- schema changes ----------------------------------------------------------------------------------------------

    def change(self) -> tuple[str, RandomTable]:
        """A statement that changes the table, and the table as it is then."""
        kind = self.pick(
            "add", "add", "drop", "rename column", "modify", "move", "index", "drop index", "truncate", "rebuild",
            "convert", "key", "generated",
        )  # fmt: skip
        then = replace(self, columns=[*self.columns], key=[*self.key], indexed={*self.indexed}, indexes=[*self.indexes])
        alter = f"ALTER TABLE {self.name}"
        free = [
            each for each in self.columns
            if each.kind and each.name not in self.indexed | set(self.key)
            and all(other.source != each.name for other in self.columns)
        ]  # fmt: skip
        if kind == "add":
            added = self.draw(st.sampled_from(KINDS))
            column = RandomColumn(f"c{next(self.numbers)}", added, nullable=added.is_geometry or not self.maybe(3))
            place = self.pick("", " FIRST", f" AFTER {self.columns[0].name}")
            at = {"": len(self.columns), " FIRST": 0}.get(place, 1)
            then.columns.insert(at, column)
            return f"{alter} ADD COLUMN {column.sql}{place}", then
        if kind == "generated":
            then.columns.append(self.generated())
            return f"{alter} ADD {then.columns[-1].sql}", then
        if kind == "index":
            column = self.draw(st.sampled_from(self.columns))
            if part := then.part(column):
                name = f"i{next(self.numbers)}"
                then.indexes.append(name)
                unique = self.pick("", "", "UNIQUE ")
                if self.maybe(2):
                    return f"CREATE {unique}INDEX {name} ON {self.name} ({part})", then
                return f"{alter} ADD {unique}INDEX {name} ({part})", then
        if kind == "drop index" and self.indexes:
            name = self.draw(st.sampled_from(self.indexes))
            then.indexes.remove(name)
            return self.pick(f"DROP INDEX {name} ON {self.name}", f"{alter} DROP INDEX {name}"), then
        if kind == "truncate":
            return f"TRUNCATE TABLE {self.name}", then
        if kind == "convert":
            return f"{alter} CONVERT TO CHARACTER SET utf8mb4", then
        if kind == "move":
            then.name = f"t{next(self.numbers)}"
            return self.pick(f"{alter} RENAME TO {then.name}", f"RENAME TABLE {self.name} TO {then.name}"), then
        if kind == "key":
            then.key = []
            return f"{alter} DROP PRIMARY KEY", then
        if kind == "drop" and free and len(self.columns) > 2:
            column = self.draw(st.sampled_from(free))
            then.columns.remove(column)
            return f"{alter} DROP COLUMN {column.name}", then
        if kind == "rename column" and free:
            column = self.draw(st.sampled_from(free))
            renamed = replace(column, name=f"c{next(self.numbers)}")
            then.columns[self.columns.index(column)] = renamed
            if self.maybe(2):
                return f"{alter} CHANGE {column.name} {renamed.sql}", then
            return f"{alter} RENAME COLUMN {column.name} TO {renamed.name}", then
        if kind == "modify" and (wide := [each for each in self.columns if each.kind and each.kind.wider]):
            column = self.draw(st.sampled_from(wide))
            assert column.kind is not None
            changed = replace(column, kind=replace(column.kind, sql=column.kind.wider, wider=""))
            then.columns[self.columns.index(column)] = changed
            rest = changed.sql.replace(" PRIMARY KEY", "")
            return f"{alter} MODIFY {rest}", then
        return f"{alter} ENGINE = InnoDB, COMMENT 'it''s -- rebuilt'", then
