"""Every row of a table is in exactly one of its chunks, whatever its key is made of."""

from __future__ import annotations

import pytest

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.model import TableName
from pydbsync.ops.chunks import Chunk, RowKey, key_chunks
from tests.servers import Endpoint

ROWS = 700
SIZE = 97
NAME = TableName("chunks", "t")

TYPES = {
    "int": ("INT", "n - 300"),
    "unsigned": ("BIGINT UNSIGNED", "18446744073709551615 - n"),
    "decimal": ("DECIMAL(40,20)", "n * 1.000000000000000001"),
    "float": ("FLOAT", "n * 1.1"),
    "double": ("DOUBLE", "n * 1.7e250 / 3"),
    "date": ("DATE", "IF(n = 1, '0000-00-00', DATE_ADD('1999-01-01', INTERVAL n DAY))"),
    "time": ("TIME(6)", "SEC_TO_TIME(n * 1000.001 - 400000)"),
    "datetime": ("DATETIME(6)", "DATE_ADD('2000-01-01', INTERVAL n * 1.00001 SECOND)"),
    "timestamp": ("TIMESTAMP(3)", "FROM_UNIXTIME(n * 1000.007)"),
    "year": ("YEAR", "1901 + n % 200"),
    "bit": ("BIT(40)", "n * 100000"),
    "binary": ("BINARY(4)", "UNHEX(LPAD(HEX(n * 256), 8, '0'))"),
    "varbinary": ("VARBINARY(40)", "UNHEX(SHA2(n, 256))"),
    "latin1": ("VARCHAR(50) CHARACTER SET latin1", "CONVERT(UNHEX(SHA2(n, 256)) USING latin1)"),
    "case-insensitive": (
        "VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
        "CONCAT(CHAR(65 + n % 2 * 32 + n % 26), ' ', n % 7, REPEAT(' ', n % 3))",
    ),
    "utf16": ("CHAR(64) CHARACTER SET utf16", "SHA2(n, 256)"),
    "enum": ("ENUM('c','a','b')", "1 + n % 3"),
    "set": ("SET('a','b','c')", "1 + n % 7"),
}


@pytest.fixture
def connection(fresh_target: Endpoint) -> Connection:
    connection = Connection(fresh_target.db_info)
    connection.run("CREATE DATABASE chunks")
    connection.use("chunks")
    return connection


@pytest.mark.parametrize("key", ["k", "k, z", "g, k, z"])
@pytest.mark.parametrize("kind", TYPES)
def test_every_row_is_in_exactly_one_chunk(connection: Connection, kind: str, key: str) -> None:
    column_type, value = TYPES[kind]
    connection.run(f"CREATE TABLE t (g INT NOT NULL, k {column_type} NOT NULL, z INT NOT NULL, PRIMARY KEY ({key}))")
    connection.run(
        f"INSERT IGNORE INTO t SELECT n % 3, {value}, n % 11 FROM"
        f" (WITH RECURSIVE q AS (SELECT 1 n UNION ALL SELECT n + 1 FROM q WHERE n < {ROWS}) SELECT n FROM q) numbers"
    )
    schema = read_table(connection, NAME)
    assert schema is not None
    row_key = RowKey(schema)
    chunks = list(key_chunks(connection, schema, SIZE))
    counts = [connection.value(f"SELECT COUNT(*) FROM t WHERE {row_key.where(chunk)}") for chunk in chunks]
    assert counts[:-1] == [SIZE] * (len(chunks) - 1)
    assert sum(counts) == connection.value("SELECT COUNT(*) FROM t")
    keys = [row_key.values(row) for row in connection.rows(f"SELECT {', '.join(row_key.printed)} FROM t LIMIT 50")]
    assert connection.value(f"SELECT COUNT(*) FROM t WHERE {row_key.any_of(keys)}") == len(keys)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind != "set"])
def test_a_chunk_reads_a_range_of_the_index_alone(connection: Connection, kind: str) -> None:
    column_type, value = TYPES[kind]
    connection.run(f"CREATE TABLE t (g INT NOT NULL, k {column_type} NOT NULL, z INT NOT NULL, PRIMARY KEY (g, k, z))")
    connection.run(
        f"INSERT IGNORE INTO t SELECT 1, {value}, n FROM"
        f" (WITH RECURSIVE q AS (SELECT 1 n UNION ALL SELECT n + 1 FROM q WHERE n < {ROWS}) SELECT n FROM q) numbers"
    )
    connection.run("ANALYZE TABLE t")
    schema = read_table(connection, NAME)
    assert schema is not None
    chunk = list(key_chunks(connection, schema, 20))[10]
    form = "" if connection.dialect.is_mariadb else "FORMAT=TRADITIONAL"
    row = connection.rows(f"EXPLAIN {form} SELECT SUM(z) FROM t WHERE {RowKey(schema).where(chunk)}")[0]
    examined = int(row[-2] if connection.dialect.is_mariadb else row[-3])
    assert "range" in row
    assert examined <= 40


def test_chunks_go_on_where_an_earlier_run_stopped(connection: Connection) -> None:
    connection.run("CREATE TABLE t (id INT PRIMARY KEY)")
    connection.run(f"INSERT INTO t VALUES {', '.join(f'({n})' for n in range(100))}")
    schema = read_table(connection, NAME)
    assert schema is not None
    chunks = list(key_chunks(connection, schema, 30))
    assert [(chunk.lower, chunk.upper) for chunk in chunks] == [
        (None, ("29",)),
        (("29",), ("59",)),
        (("59",), ("89",)),
        (("89",), None),
    ]
    assert list(key_chunks(connection, schema, 30, after=chunks[1])) == chunks[2:]
    assert list(key_chunks(connection, schema, 30, after=chunks[3])) == []


def test_a_table_without_a_key_is_one_chunk(connection: Connection) -> None:
    connection.run("CREATE TABLE t (id INT)")
    schema = read_table(connection, NAME)
    assert schema is not None
    assert list(key_chunks(connection, schema, 30)) == [Chunk(0)]
