"""Tables of the workloads: one value written two ways, as a SQL literal and as Maxwell's JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

Value = int | str | bytes | None
Row = tuple[Value, ...]

WORDS = """
    amber basket cedar delta ember forest garnet harbour indigo jasper kernel lagoon meadow nickel orchid pepper quartz
    ribbon saffron timber umber velvet willow xenon yonder zephyr Grüße naïve Δέλτα привет 東京 汉字 señor façade
""".split()  # noqa: SIM905
ODD_ENDINGS = (" O'Brien", ' "quoted"', " back\\slash", " line\nbreak", " tab\there", " 😀")
ODD_SHARE = 0.05


def quote_text(text: str) -> str:
    """A SQL string literal under any sql_mode without NO_BACKSLASH_ESCAPES."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\t", "\\t") + "'"


def json_text(text: str) -> str:
    """A JSON string as Maxwell prints it: characters above U+FFFF as surrogate escapes, all others as they are."""
    token = json.dumps(text, ensure_ascii=False)
    if max(text, default="") <= "\uffff":
        return token
    return "".join(c if c <= "\uffff" else json.dumps(c)[1:-1].upper().replace("\\U", "\\u") for c in token)


def quote_bytes(value: bytes) -> str:
    return "0x" + value.hex() if value else "''"


def json_bytes(value: bytes) -> str:
    return '"' + base64.b64encode(value).decode() + '"'


def json_padded(value: bytes) -> str:
    """BINARY(n): the binlog drops trailing zero bytes, and so does Maxwell."""
    return json_bytes(value.rstrip(b"\0"))


@dataclass(frozen=True)
class Column:
    """One column: its definition, a maker of values, and the two ways to write one."""

    name: str
    definition: str
    make: Callable[[Random], Value]
    sql: Callable[[object], str]
    json: Callable[[object], str]


def as_sql(column: Column, value: Value) -> str:
    return "NULL" if value is None else column.sql(value)


def as_json(column: Column, value: Value) -> str:
    return "null" if value is None else column.json(value)


def words(random: Random, size: int) -> str:
    """Text of about `size` characters; one value in twenty has a character that needs an escape."""
    parts: list[str] = []
    length = 0
    while length < size:
        part = WORDS[int(random.random() * len(WORDS))]
        parts.append(part)
        length += len(part) + 1
    result = " ".join(parts)[:size].rstrip()
    return result + random.choice(ODD_ENDINGS) if random.random() < ODD_SHARE else result


def digit_groups(random: Random, groups: int) -> str:
    """sysbench's filler: groups of eleven digits joined by hyphens."""
    number = str(random.getrandbits(37 * groups)).zfill(12 * groups)
    return "-".join(number[i * 11 : i * 11 + 11] for i in range(groups))


def integer(name: str, top: int = 1_000_000, definition: str = "INT NOT NULL") -> Column:
    return Column(name, definition, lambda r: int(r.random() * top), str, str)


def decimal(name: str, digits: int = 12, scale: int = 2) -> Column:
    """Maxwell prints all digits of the scale."""

    def make(random: Random) -> Value:
        return f"{int(random.random() * 1_000_000)}.{int(random.random() * 10**scale):0{scale}d}"

    return Column(name, f"DECIMAL({digits},{scale}) NOT NULL", make, str, str)


def text(name: str, size: int, definition: str) -> Column:
    return Column(name, definition, lambda r: words(r, size), lambda v: quote_text(str(v)), lambda v: json_text(str(v)))


def digits(name: str, groups: int, definition: str) -> Column:
    return Column(name, definition, lambda r: digit_groups(r, groups), lambda v: f"'{v}'", lambda v: f'"{v}"')


def stamp(name: str, kind: str = "DATETIME") -> Column:
    """A moment in 2024; TIMESTAMP needs a session in UTC, as Maxwell prints UTC."""

    def make(random: Random) -> Value:
        return (
            f"2024-{1 + int(random.random() * 12):02d}-{1 + int(random.random() * 28):02d} "
            f"{int(random.random() * 24):02d}:{int(random.random() * 60):02d}:{int(random.random() * 60):02d}"
        )

    return Column(name, f"{kind} NOT NULL DEFAULT '2024-01-01'", make, lambda v: f"'{v}'", lambda v: f'"{v}"')


def varbinary(name: str, size: int) -> Column:
    return Column(
        name,
        f"VARBINARY({size}) NOT NULL",
        lambda r: r.randbytes(1 + int(r.random() * size)),
        lambda v: quote_bytes(v if isinstance(v, bytes) else b""),
        lambda v: json_bytes(v if isinstance(v, bytes) else b""),
    )


def binary(name: str, size: int) -> Column:
    """BINARY(size); one value in eight ends in a zero byte."""

    def make(random: Random) -> Value:
        value = random.randbytes(size)
        return value[:-1] + b"\0" if random.random() < 0.125 else value

    return Column(
        name,
        f"BINARY({size}) NOT NULL",
        make,
        lambda v: quote_bytes(v if isinstance(v, bytes) else b""),
        lambda v: json_padded(v if isinstance(v, bytes) else b""),
    )


def nullable(column: Column, share: float = 0.2) -> Column:
    make = column.make
    definition = column.definition.replace(" NOT NULL", "").replace(" DEFAULT '2024-01-01'", " NULL")
    return Column(column.name, definition, lambda r: None if r.random() < share else make(r), column.sql, column.json)


@dataclass(frozen=True)
class Table:
    """A table; its first column is the integer key, unless `keyless`."""

    name: str
    columns: tuple[Column, ...]
    indexes: tuple[str, ...] = ()
    keyless: bool = False

    def create(self) -> str:
        lines = [f"`{c.name}` {c.definition}" for c in self.columns]
        if not self.keyless:
            lines.append(f"PRIMARY KEY (`{self.columns[0].name}`)")
        lines.extend(self.indexes)
        return f"CREATE TABLE `{self.name}` ({', '.join(lines)}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"

    def make_row(self, random: Random, key: int) -> Row:
        return (key, *[c.make(random) for c in self.columns[1:]])

    def values(self, row: Row) -> str:
        return "(" + ",".join([as_sql(c, v) for c, v in zip(self.columns, row, strict=True)]) + ")"


def sysbench(number: int) -> Table:
    """sysbench's oltp table."""
    columns = (
        integer("id"),
        integer("k"),
        digits("c", 10, "CHAR(120) NOT NULL DEFAULT ''"),
        digits("pad", 5, "CHAR(60) NOT NULL DEFAULT ''"),
    )
    return Table(f"sbtest{number}", columns, (f"KEY `k_{number}` (`k`)",))


def orders(name: str = "orders") -> Table:
    """Ten columns of the usual kinds: text, decimals, binary, moments, NULLs."""
    columns = (
        integer("id", definition="BIGINT NOT NULL"),
        integer("customer", 5_000),
        text("name", 24, "VARCHAR(80) NOT NULL"),
        decimal("net"),
        nullable(decimal("tax", 14, 4)),
        text("note", 120, "TEXT NOT NULL"),
        varbinary("token", 32),
        binary("digest", 16),
        stamp("placed_at"),
        nullable(stamp("changed_at", "TIMESTAMP")),
    )
    return Table(name, columns, ("KEY `customer` (`customer`)",))


def wide(name: str = "wide") -> Table:
    """Sixty columns, six each of ten kinds."""
    columns: list[Column] = [integer("id")]
    kinds: tuple[Callable[[str], Column], ...] = (
        integer,
        decimal,
        lambda n: text(n, 16, "VARCHAR(64) NOT NULL"),
        stamp,
        lambda n: nullable(integer(n)),
        lambda n: nullable(text(n, 10, "VARCHAR(40) NOT NULL")),
        lambda n: varbinary(n, 8),
        lambda n: integer(n, 100, "TINYINT NOT NULL"),
        lambda n: integer(n, 2**62, "BIGINT NOT NULL"),
    )
    columns.extend(kinds[i % len(kinds)](f"c{i:02d}") for i in range(1, 60))
    return Table(name, tuple(columns))


def documents(name: str = "documents") -> Table:
    """Rows of 4 KB of text."""
    return Table(name, (integer("id"), integer("version"), text("body", 4096, "MEDIUMTEXT NOT NULL")))


def events(name: str, *, indexed: bool) -> Table:
    """A table without a primary key; `seq` is unique in the data, but no constraint says so."""
    columns = (
        integer("seq"),
        integer("kind", 50),
        text("what", 40, "VARCHAR(120) NOT NULL"),
        decimal("amount"),
        stamp("at"),
    )
    return Table(name, columns, ("KEY `seq` (`seq`)",) if indexed else (), keyless=True)
