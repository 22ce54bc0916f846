"""The rehearsal's source: twelve tables with keys of all shapes, whose rows are made of numbers by the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pymysql

DATABASE = "rehearsal"
FILL_ROWS = 50_000
"""Rows of one INSERT while the source is filled."""
SPARED_EACH = 1000
SPARED = 500
"""The load leaves alone the rows of numbers with this remainder: they are there to be broken on purpose."""


@dataclass(frozen=True)
class Table:
    """A table whose row number `seq` is `fill`: the columns that an INSERT gives, each an expression over `seq`."""

    name: str
    definition: str
    fill: Mapping[str, str]
    key: tuple[str, ...] = ()
    """Empty for a table without a key."""
    found_by: str = ""
    """In a table without a key, the column by which rows are looked for."""
    share: int = 1
    """Of the rows of all tables."""
    load_share: float = 1.0
    """Of the load. Where no index finds a row, the target reads the table from its beginning for each change."""

    @property
    def columns(self) -> str:
        return ", ".join(self.fill)

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns by which a row is found, or rows if there is no key."""
        return self.key or (self.found_by,)

    def row_number(self, number: int) -> str:
        """The condition that finds the row."""
        return " AND ".join(f"{name} = {value_of(self.fill[name], number)}" for name in self.identity)

    def rows_of(self, rows: int) -> int:
        """How many of `rows` in all tables are in this one."""
        return max(2 * SPARED_EACH, rows * self.share // sum(table.share for table in TABLES))


_NOTE = "CONCAT('row ', seq, ' ', REPEAT(CHAR(97 + seq % 26), seq % 40))"
TABLES: tuple[Table, ...] = (
    Table(
        "customers",
        "id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(80), email VARCHAR(80) UNIQUE",
        {"id": "seq", "note": _NOTE, "email": "CONCAT(seq, '@example.org')"},
        key=("id",),
        share=2,
    ),
    Table(
        "orders",
        "id BIGINT UNSIGNED PRIMARY KEY, customer INT NOT NULL, total DECIMAL(12,2), note TEXT, KEY (customer)",
        {"id": "seq * 7", "customer": "seq % 9973", "total": "seq / 100", "note": _NOTE},
        key=("id",),
        share=3,
    ),
    Table(
        "order_lines",
        "order_id BIGINT NOT NULL, line SMALLINT NOT NULL, note VARCHAR(80), PRIMARY KEY (order_id, line)",
        {"order_id": "seq DIV 4", "line": "seq % 4", "note": _NOTE},
        key=("order_id", "line"),
        share=3,
    ),
    Table(
        "products",
        "sku VARCHAR(20) PRIMARY KEY, note VARCHAR(80), price DECIMAL(10,2)",
        {"sku": "CONCAT('SKU-', LPAD(seq, 9, '0'))", "note": _NOTE, "price": "seq / 3"},
        key=("sku",),
    ),
    Table(
        "sessions",
        "token BINARY(16) PRIMARY KEY, note VARCHAR(80), started TIMESTAMP(3) NOT NULL",
        {"token": "UNHEX(MD5(seq))", "note": _NOTE, "started": "'2030-01-01' + INTERVAL seq SECOND"},
        key=("token",),
    ),
    Table(
        "events",
        "at DATETIME(6) NOT NULL, n INT NOT NULL, note VARCHAR(80), PRIMARY KEY (at, n)",
        {"at": "'2030-01-01' + INTERVAL seq DIV 3 SECOND", "n": "seq % 3", "note": _NOTE},
        key=("at", "n"),
        share=2,
    ),
    Table(
        "codes",
        "code CHAR(12) CHARACTER SET latin1 COLLATE latin1_german1_ci NOT NULL, note VARCHAR(80), UNIQUE KEY (code)",
        {"code": "HEX(seq)", "note": _NOTE},
        key=("code",),
    ),
    Table(
        "prices",
        "amount DECIMAL(20,6) PRIMARY KEY, note VARCHAR(80)",
        {"amount": "seq / 1000", "note": _NOTE},
        key=("amount",),
    ),
    Table(
        "documents",
        "id INT PRIMARY KEY, note MEDIUMTEXT, body JSON, size INT AS (CHAR_LENGTH(note)) STORED",
        {
            "id": "seq",
            "note": f"REPEAT({_NOTE}, 4)",
            "body": "JSON_OBJECT('n', seq, 'tags', JSON_ARRAY('a', seq % 5))",
        },
        key=("id",),
    ),
    Table(
        "flags",
        "a TINYINT NOT NULL, b MEDIUMINT NOT NULL, note VARCHAR(80), bits BIT(40), kind ENUM('x','y','z'),"
        " PRIMARY KEY (b, a)",
        {"a": "seq % 100", "b": "seq DIV 100", "note": _NOTE, "bits": "seq", "kind": "1 + seq % 3"},
        key=("b", "a"),
    ),
    Table(
        "audit_log",
        "at DATETIME(3) NOT NULL, note VARCHAR(80), payload VARBINARY(40), KEY (at)",
        {"at": "'2030-01-01' + INTERVAL seq SECOND", "note": _NOTE, "payload": "UNHEX(MD5(seq))"},
        found_by="at",
        share=2,
    ),
    Table(
        "keyless",
        "a INT, note VARCHAR(80)",
        {"a": f"seq % {SPARED_EACH}", "note": "CONCAT('same ', seq % 5000)"},
        found_by="a",
        load_share=0.1,
    ),
)


def value_of(expression: str, number: int) -> str:
    """The expression for one row."""
    return re.sub(r"\bseq\b", str(number), expression)


def insert_of(table: Table, first: int, last: int, *, note: str | None = None, ignore: bool = False) -> str:
    """The statement that adds the rows of these numbers (by MariaDB's sequence engine), perhaps with a note of their
    own."""
    fill = {**table.fill, **({"note": f"'{note}'"} if note is not None else {})}
    verb = "INSERT IGNORE" if ignore else "INSERT"
    return f"{verb} INTO {table.name} ({table.columns}) SELECT {', '.join(fill.values())} FROM seq_{first}_to_{last}"


def make_source(connection: pymysql.Connection[Any], rows: int) -> int:
    """Make and fill all tables, `rows` in all; how many there are."""
    total = 0
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        cursor.execute(f"USE {DATABASE}")
        for table in TABLES:
            cursor.execute(f"CREATE TABLE {table.name} ({table.definition})")
            count = table.rows_of(rows)
            for first in range(1, count + 1, FILL_ROWS):
                total += cursor.execute(insert_of(table, first, min(first + FILL_ROWS - 1, count)))
    return total
