"""The rehearsal's source: twelve tables with keys of all shapes, and a load that never rests."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Any

import pymysql

DATABASE = "rehearsal"


@dataclass(frozen=True)
class Table:
    """One table: its definition, and expressions over `seq` (MariaDB's sequence engine) that fill a row."""

    name: str
    columns: str
    fill: str
    key: tuple[str, ...] = ()
    """Empty for a keyless table."""
    share: int = 1
    change: str = "note = CONCAT('changed ', RAND())"


_TEXT = "CONCAT('row ', seq, ' ', REPEAT(CHAR(97 + seq % 26), seq % 40))"
TABLES: tuple[Table, ...] = (
    Table("customers", "id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(80), email VARCHAR(80) UNIQUE",
          f"seq, {_TEXT}, CONCAT(seq, '@example.org')", ("id",), share=2),
    Table("orders", "id BIGINT UNSIGNED PRIMARY KEY, customer INT NOT NULL, total DECIMAL(12,2), note TEXT,"
          " KEY (customer)",
          f"seq * 7, seq % 9973, seq / 100, {_TEXT}", ("id",), share=3),
    Table("order_lines", "order_id BIGINT NOT NULL, line SMALLINT NOT NULL, note VARCHAR(60),"
          " PRIMARY KEY (order_id, line)",
          f"seq DIV 4, seq % 4, {_TEXT}", ("order_id", "line"), share=3),
    Table("products", "sku VARCHAR(20) PRIMARY KEY, note VARCHAR(80), price DECIMAL(10,2)",
          f"CONCAT('SKU-', LPAD(seq, 9, '0')), {_TEXT}, seq / 3", ("sku",)),
    Table("sessions", "token BINARY(16) PRIMARY KEY, note VARCHAR(60), started TIMESTAMP(3) NOT NULL",
          f"UNHEX(MD5(seq)), {_TEXT}, '2030-01-01' + INTERVAL seq SECOND", ("token",)),
    Table("events", "at DATETIME(6) NOT NULL, n INT NOT NULL, note VARCHAR(60), PRIMARY KEY (at, n)",
          f"'2030-01-01' + INTERVAL seq DIV 3 SECOND, seq % 3, {_TEXT}", ("at", "n"), share=2),
    Table("codes", "code CHAR(12) CHARACTER SET latin1 COLLATE latin1_german1_ci NOT NULL, note VARCHAR(60),"
          " UNIQUE KEY (code)",
          f"HEX(seq), {_TEXT}", ("code",)),
    Table("prices", "amount DECIMAL(20,6) PRIMARY KEY, note VARCHAR(60)", f"seq / 1000, {_TEXT}", ("amount",)),
    Table("documents", "id INT PRIMARY KEY, note MEDIUMTEXT, body JSON, size INT AS (CHAR_LENGTH(note)) STORED",
          f"seq, REPEAT({_TEXT}, 4), JSON_OBJECT('n', seq, 'tags', JSON_ARRAY('a', seq % 5))", ("id",)),
    Table("flags", "a TINYINT NOT NULL, b MEDIUMINT NOT NULL, note VARCHAR(60), bits BIT(40), kind ENUM('x','y','z'),"
          " PRIMARY KEY (b, a)", f"seq % 100, seq DIV 100, {_TEXT}, seq, 1 + seq % 3", ("b", "a")),
    Table("audit_log", "at DATETIME(3) NOT NULL, note VARCHAR(80), payload VARBINARY(40), KEY (at)",
          f"'2030-01-01' + INTERVAL seq SECOND, {_TEXT}, UNHEX(MD5(seq))", (), share=2),
    Table("keyless", "a INT, note VARCHAR(60)", "seq % 1000, CONCAT('same ', seq % 5000)", ()),
)  # fmt: skip


def names_of(table: Table) -> list[str]:
    """The columns that an INSERT gives, in order."""
    depth, part, parts = 0, "", []
    for character in table.columns:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += character
    parts.append(part.strip())
    skipped = ("PRIMARY", "UNIQUE", "KEY")
    return [each.split()[0] for each in parts if each.split()[0] not in skipped and " AS (" not in each]


def make_source(connection: pymysql.Connection[Any], rows: int) -> int:
    """Make and fill all tables, `rows` in all; how many there are."""
    total = 0
    shares = sum(table.share for table in TABLES)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        cursor.execute(f"USE {DATABASE}")
        for table in TABLES:
            cursor.execute(f"CREATE TABLE {table.name} ({table.columns})")
            count = max(20, rows * table.share // shares)
            for first in range(1, count + 1, 50_000):
                last = min(first + 49_999, count)
                total += cursor.execute(
                    f"INSERT INTO {table.name} ({', '.join(names_of(table))})"
                    f" SELECT {table.fill} FROM seq_{first}_to_{last}"
                )
    return total


class Load(threading.Thread):
    """Small transactions over all tables, and now and then a schema change, until stopped."""

    def __init__(self, connection: pymysql.Connection[Any], *, seed: int, per_second: float) -> None:
        super().__init__(name="load", daemon=True)
        self._connection = connection
        self._random = random.Random(seed)
        self._pause_s = 1 / per_second
        self._halt = threading.Event()
        self.transactions = 0
        self.schema_changes = 0
        self.fault: Exception | None = None

    def run(self) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(f"USE {DATABASE}")
                while not self._halt.wait(self._pause_s):
                    self._transaction(cursor)
                    if self.transactions % 400 == 0:
                        self._schema_change(cursor)
        except Exception as exc:
            self.fault = exc

    def stop(self) -> None:
        """End after the running transaction; raises what ended it before."""
        self._halt.set()
        self.join()
        if self.fault is not None:
            raise self.fault

    def _transaction(self, cursor: Any) -> None:
        cursor.execute("BEGIN")
        for table in self._random.sample(TABLES, 3):
            verb = self._random.choice(["insert", "update", "update", "delete"])
            number = self._random.randrange(10**6, 2**22)
            if verb == "insert":
                columns = ", ".join(names_of(table))
                cursor.execute(
                    f"INSERT IGNORE INTO {table.name} ({columns}) SELECT {table.fill} FROM seq_{number}_to_{number + 2}"
                )
            elif verb == "update":
                cursor.execute(f"UPDATE {table.name} SET {table.change} LIMIT {self._random.randint(1, 3)}")
            else:
                order = f"ORDER BY {table.key[0]} DESC" if table.key else ""
                cursor.execute(f"DELETE FROM {table.name} {order} LIMIT 1")
        cursor.execute("COMMIT")
        self.transactions += 1

    def _schema_change(self, cursor: Any) -> None:
        self.schema_changes += 1
        table = TABLES[self.schema_changes % len(TABLES)]
        cursor.execute(f"ALTER TABLE {table.name} ADD COLUMN extra{self.schema_changes} INT DEFAULT 7")
