"""What is written at the source while faults happen: tables with and without keys, large rows, schema changes."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import Any

import pymysql

from tests.servers import Endpoint

DATABASES = ("shop", "logs", "big", "parts")
QUEUES = {"shop": ["shop.#"], "logs": ["logs.*"], "big": ["big.blobs", "big.texts"], "parts": ["parts.*", "parts."]}
"""By database and by table; every table goes to one queue."""

_TABLES = (
    "CREATE TABLE shop.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(40), sum DECIMAL(12,2) NOT NULL,"
    " at DATETIME(3), UNIQUE KEY who_sum (who, id))",
    "CREATE TABLE shop.stock (shop INT, item VARCHAR(20) COLLATE utf8mb4_bin, n INT NOT NULL,"
    " PRIMARY KEY (shop, item))",
    "CREATE TABLE shop.pairs (id INT PRIMARY KEY, code INT UNIQUE)",
    "CREATE TABLE logs.events (at DATETIME, level ENUM('low','high'), text VARCHAR(200), n DOUBLE)",
    "CREATE TABLE logs.twins (a INT, b VARCHAR(10))",
    "CREATE TABLE big.blobs (id INT AUTO_INCREMENT PRIMARY KEY, data LONGBLOB)",
    "CREATE TABLE big.texts (name VARCHAR(30), data LONGTEXT)",
    "CREATE TABLE parts.changing (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(30))",
    "CREATE TABLE parts.loose (a INT, b VARCHAR(30))",
)


def make_databases(endpoint: Endpoint) -> None:
    """The databases, empty: what DDL of a whole database does belongs to no table's queue."""
    for name in DATABASES:
        endpoint.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")


class Workload(threading.Thread):
    """Writes until `finish`; the source may die in between. Waits between transactions so as to go on for long."""

    def __init__(self, source: Endpoint, *, seed: int, pause_s: float) -> None:
        super().__init__(name="workload", daemon=True)
        self._source = source
        self._random = random.Random(seed)
        self._pause_s = pause_s
        self._is_over = threading.Event()
        self._columns = 0
        self._tables = 0
        self.transactions = 0
        self.schema_changes = 0
        self.failure: BaseException | None = None

    def finish(self) -> None:
        """End after the present transaction."""
        self._is_over.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        try:
            self._write()
        except BaseException as exc:
            self.failure = exc

    def _write(self) -> None:
        connection = None
        while not self._is_over.is_set():
            try:
                if connection is None:
                    connection = self._source.connect(autocommit=False)
                if self._random.random() < 0.04:
                    self._change_schema(connection.cursor())
                    self.schema_changes += 1
                else:
                    self._transaction(connection.cursor())
                    connection.commit()
                    self.transactions += 1
            except (pymysql.OperationalError, pymysql.InterfaceError, pymysql.InternalError):
                # The source was killed; whether the transaction is in it is not known, and need not be.
                if connection is not None:
                    with contextlib.suppress(pymysql.Error):
                        connection.close()
                connection = None
                self._is_over.wait(0.1)
            self._is_over.wait(self._random.random() * 2 * self._pause_s)

    def _transaction(self, cursor: Any) -> None:
        steps = [self._orders, self._orders, self._stock, self._pairs, self._events, self._twins, self._parts]
        if self._random.random() < 0.08:
            steps = [self._blobs, self._texts]
        for step in self._random.sample(steps, k=self._random.randint(1, 2)):
            step(cursor)

    def _orders(self, cursor: Any) -> None:
        chance = self._random
        rows = [(self._text(40), chance.randint(0, 10**9) / 100) for _ in range(chance.choice((1, 1, 3, 40, 400)))]
        cursor.executemany("INSERT INTO shop.orders (who, sum, at) VALUES (%s, %s, NOW(3))", rows)
        cursor.execute(
            "UPDATE shop.orders SET sum = sum + 1, who = REVERSE(who) ORDER BY RAND(%s) LIMIT 20", (chance.random(),)
        )
        cursor.execute("DELETE FROM shop.orders WHERE id %% 7 = %s ORDER BY id LIMIT 15", (chance.randint(0, 6),))

    def _stock(self, cursor: Any) -> None:
        for _ in range(self._random.randint(1, 5)):
            key = (
                self._random.randint(1, 4),
                self._random.choice(("Tea", "tea", "tëa", "50%", "a`b", "o'k", '"q"', "\\")),
            )
            cursor.execute(
                "INSERT INTO shop.stock VALUES (%s, %s, 1) ON DUPLICATE KEY UPDATE n = n + 1, shop = shop", key
            )
        cursor.execute("UPDATE IGNORE shop.stock SET shop = shop + 100 WHERE shop < 3 ORDER BY item LIMIT 1")
        cursor.execute("DELETE FROM shop.stock WHERE shop > 300 OR n > 40")

    def _pairs(self, cursor: Any) -> None:
        """Two rows change their unique values with each other, and their keys."""
        a, b = self._random.sample(range(1, 30), 2)
        cursor.execute("REPLACE INTO shop.pairs VALUES (%s, %s), (%s, %s)", (a, 10 * a, b, 10 * b))
        cursor.execute("UPDATE shop.pairs SET code = -1 WHERE id = %s", (a,))
        cursor.execute("UPDATE shop.pairs SET code = %s WHERE id = %s", (10 * a, b))
        cursor.execute("UPDATE shop.pairs SET code = %s WHERE id = %s", (10 * b, a))

    def _events(self, cursor: Any) -> None:
        rows = [
            (self._random.choice(("low", "high", None)), self._random.choice(("x", "X", "x ", None, self._text(80))))
            for _ in range(self._random.randint(1, 30))
        ]
        cursor.executemany("INSERT INTO logs.events VALUES (NOW(), %s, %s, 0.1)", rows)
        cursor.execute("UPDATE logs.events SET n = n * 3 WHERE text = 'x' LIMIT 3")
        cursor.execute("DELETE FROM logs.events LIMIT %s", (self._random.randint(0, 12),))

    def _twins(self, cursor: Any) -> None:
        """Equal rows: the second delivery of a message would be seen as one more or one less of them."""
        cursor.execute("INSERT INTO logs.twins VALUES (1, 'x'), (1, 'x'), (1, 'X'), (NULL, NULL)")
        cursor.execute("UPDATE logs.twins SET a = a + 1 WHERE b = 'x' LIMIT 1")
        cursor.execute("DELETE FROM logs.twins WHERE a = 1 LIMIT 1")

    def _parts(self, cursor: Any) -> None:
        for table in ("changing", "loose"):
            cursor.execute(
                f"INSERT INTO parts.{table} (a, b) VALUES (%s, %s), (1, 'x')", (self._random.randint(0, 9), "y")
            )
            cursor.execute(
                f"UPDATE parts.{table} SET b = CONCAT(LEFT(b, 20), '.') WHERE a = %s LIMIT 5",
                (self._random.randint(0, 9),),
            )
            cursor.execute(f"DELETE FROM parts.{table} WHERE b LIKE '%%......%%' LIMIT 20")

    def _blobs(self, cursor: Any) -> None:
        data = self._random.randbytes(self._random.randint(10_000, 1_500_000))
        cursor.execute("INSERT INTO big.blobs (data) VALUES (_binary %s), (NULL)", (data,))
        cursor.execute("UPDATE big.blobs SET data = CONCAT(data, _binary 'end') ORDER BY id DESC LIMIT 2")
        cursor.execute(
            "DELETE FROM big.blobs WHERE id < (SELECT m FROM (SELECT MAX(id) - 12 AS m FROM big.blobs) AS t)"
        )

    def _texts(self, cursor: Any) -> None:
        text = self._text(60) * self._random.randint(1, 12_000)
        cursor.execute("INSERT INTO big.texts VALUES (%s, %s)", (self._text(9), text))
        cursor.execute("DELETE FROM big.texts ORDER BY name LIMIT %s", (self._random.randint(0, 1),))

    def _text(self, length: int) -> str:
        letters = "abcABC 0'\"\\`%{}\n\té€😀\u2028"
        return "".join(self._random.choices(letters, k=self._random.randint(1, length)))[:length]

    def _change_schema(self, cursor: Any) -> None:
        self._columns += 1
        added = f"c{self._columns}"
        table = self._random.choice(("changing", "loose"))
        choice = self._random.randint(0, 5)
        if choice == 0:
            cursor.execute(f"ALTER TABLE parts.{table} ADD COLUMN {added} INT NOT NULL DEFAULT {self._columns}")
        elif choice == 1:
            cursor.execute(f"ALTER TABLE parts.{table} ADD COLUMN {added} VARCHAR(9) DEFAULT 'new' AFTER a")
            cursor.execute(f"ALTER TABLE parts.{table} DROP COLUMN {added}")
        elif choice == 2:
            self._tables += 1
            cursor.execute(f"CREATE TABLE parts.t{self._tables} (a INT PRIMARY KEY, b INT) SELECT 1 AS a, 2 AS b")
            cursor.execute(f"INSERT INTO parts.t{self._tables} VALUES (3, 4), (5, 6)")
        elif choice == 3 and self._tables:
            cursor.execute(f"DROP TABLE IF EXISTS parts.t{self._tables}, parts.t{self._tables - 1}")
        elif choice == 4 and self._tables:
            self._tables += 1
            cursor.execute(f"CREATE TABLE parts.t{self._tables} LIKE parts.{table}")
            cursor.execute(f"RENAME TABLE parts.t{self._tables} TO parts.u{self._tables}")
        else:
            cursor.execute(f"ALTER TABLE parts.{table} MODIFY b VARCHAR({30 + self._columns})")


def make_tables(endpoint: Endpoint) -> None:
    """At the source, so that the target gets them as schema changes."""
    for statement in _TABLES:
        endpoint.query(statement)
