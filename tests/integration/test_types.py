"""Every type at its limits arrives at a target of the source's brand as it was; docs/types.md tells it in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.carried import Carrier
from tests.matrices import LONG
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

LARGE = 16 * 2**20 - 1
"""As long as a MEDIUMBLOB can be; the quick form has an eighth of it."""
"""Bytes of a MEDIUMBLOB and MEDIUMTEXT."""


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    return Carrier(fresh_source, fresh_target, tmp_path)


@pytest.mark.parametrize("large", [LARGE // 8, pytest.param(LARGE, marks=LONG)])
def test_blobs_and_texts_of_16_mb_arrive_whole(carrier: Carrier, large: int) -> None:
    size = large // 256
    every_byte = f"REPEAT(UNHEX('{bytes(range(256)).hex()}'), {size})"
    carrier.run(
        "CREATE DATABASE large",
        "USE large",
        "CREATE TABLE t (id INT PRIMARY KEY, m MEDIUMBLOB, l LONGBLOB, x MEDIUMTEXT CHARACTER SET utf8mb4,"
        " y LONGTEXT CHARACTER SET latin1)",
        "CREATE TABLE n (b LONGBLOB)",
        f"INSERT INTO t (id, m) VALUES (1, {every_byte})",
        f"INSERT INTO t (id, l) VALUES (2, CONCAT({every_byte}, REPEAT('x', 255)))",
        "INSERT INTO t (id, x) VALUES"
        f" (3, CONCAT(REPEAT('\\\\\\'\\n😀é', 1000), REPEAT('text', {(large - 10_000) // 4})))",
        "INSERT INTO t (id, y) VALUES (4, REPEAT('é', 300000))",
        f"INSERT INTO n VALUES (REPEAT('\\0', {large})), (REPEAT('\\0', 9))",
        "UPDATE t SET m = CONCAT('a', SUBSTRING(m, 2)) WHERE id = 1",
        f"DELETE FROM n WHERE LENGTH(b) = {large}",
    )
    carrier.replay()
    sums = "SELECT id, SHA2(m, 256), SHA2(l, 256), SHA2(x, 256), SHA2(y, 256), LENGTH(m), LENGTH(l), LENGTH(y) FROM t"
    for sql in (f"{sums} ORDER BY id", "SELECT SHA2(b, 256), LENGTH(b) FROM n"):
        found = []
        for endpoint in (carrier.source, carrier.target):
            with endpoint.connect(database="large") as connection, connection.cursor() as cursor:
                cursor.execute(sql)
                found.append(cursor.fetchall())
        assert found[0]
        assert found[0] == found[1]


LIMITS: dict[str, tuple[str, tuple[str, ...]]] = {
    "integers": (
        "a TINYINT, b TINYINT UNSIGNED, c SMALLINT UNSIGNED, d MEDIUMINT, e INT, f BIGINT, g BIGINT UNSIGNED, h BOOL",
        (
            "-128, 255, 65535, -8388608, -2147483648, -9223372036854775808, 18446744073709551615, TRUE",
            "127, 0, 0, 8388607, 2147483647, 9223372036854775807, 9223372036854775808, FALSE",
        ),
    ),
    "decimals": (
        "a DECIMAL(65,30), b DECIMAL(65,0), c DECIMAL(30,30), d DECIMAL(5,2) UNSIGNED",
        (
            f"{'9' * 35}.{'9' * 30}, -{'9' * 65}, 0.{'0' * 29}1, 999.99",
            f"-0.{'0' * 29}1, 1, -0.{'9' * 30}, 0.01",
        ),
    ),
    "floats": (
        "a FLOAT, b DOUBLE",
        (
            "3.4028234663852886e38, 1.7976931348623157e308",
            "1.1754943508222875e-38, 2.2250738585072014e-308",
            "1e-45, 4.9406564584124654e-324",
            "16777217, 0.1",
            "0.1, -1e308",
            "-0e0, -0e0",
        ),
    ),
    "bits": (
        "a BIT(1), b BIT(8), c BIT(31), d BIT(32), e BIT(33), f BIT(40), g BIT(63), h BIT(64)",
        (
            "1, 255, 0x7FFFFFFF, 0xFFFFFFFF, 0x1FFFFFFFF, 0xFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF",
            "0, 1, 1, 0x80000000, 0x100000000, 4294967297, 0x4000000000000000, 0x8000000000000000",
        ),
    ),
    "moments": (
        "a DATE, b TIME(6), c DATETIME(6), d TIMESTAMP(6) NULL, e YEAR, f TIME, g DATETIME, h DATETIME(3)",
        (
            "'9999-12-31', '838:59:58.999999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', 2155,"
            " '-838:59:59', '1000-01-01', '2024-02-29 12:00:00.001'",
            "'0000-00-00', '-00:00:00.000001', '0000-00-00', '1970-01-01 00:00:01', 1901, '00:00:00', '2000-01-01', 0",
            "'0001-01-01', '00:00:00.1', '0001-01-01 00:00:00.000001', NULL, 0, '24:00:00', '1582-10-10', NULL",
            "'2024-00-00', NULL, '2024-05-00 12:00:00', '2024-03-31 02:30:00', NULL, '25:00:00', '0000-05-05', NULL",
        ),
    ),
    "texts": (
        "a CHAR(9) CHARACTER SET utf8mb4, b VARCHAR(40) CHARACTER SET utf8mb4, c TEXT CHARACTER SET utf8mb3,"
        " d TINYTEXT CHARACTER SET latin1, e VARCHAR(9) CHARACTER SET gbk, f VARCHAR(9) CHARACTER SET sjis,"
        " g VARCHAR(9) CHARACTER SET ucs2, h LONGTEXT CHARACTER SET utf16",
        (
            "'😀', '\\'\"\\\\\\0\\Z\\n\\r\\t\\b', 'é\u2028\u2029', 'ÿ€', '中文', '表ソ', '中', '😀'",
            "'', ' ', CHAR(0 USING utf8mb3), CHAR(12 USING latin1), '\\\\', 'a', '', 'x ',".removesuffix(","),
            "'x ', '\\\\u0041\\\\f%s{}', '\u0085\u007f', '\\\\', 'null', '\\\\', 'NULL', '\ufeff'",
        ),
    ),
    "bytes": (
        "a BINARY(4), b VARBINARY(9), c TINYBLOB, d BLOB, e MEDIUMBLOB, f LONGBLOB",
        (
            "'a', 'a\\0', '', 0x00, 0xFF00FF, '\\\\'",
            "'', '', '\\0', '''\"', 0x80, NULL",
            "0xFFFFFFFF, 0xC0AF, '😀', '%s', '{}', ''",
        ),
    ),
    "lists and documents": (
        "a ENUM('a', 'it''s', 'b\\\\c', '', '1', '2'), b SET('x', 'y''', 'z\\\\', '1'), c JSON, d JSON NOT NULL",
        (
            "'it''s', 'x,y''', '{\"a\": [1, 1.5, -0.5, true, null, \"\\\\n😀\"]}', 'null'",
            "'b\\\\c', '', '\"text\"', '1'",
            "'', 'z\\\\,1', '18446744073709551615', '\"\"'",
            "2, NULL, NULL, '[]'",
            "'2', '1', '{\"b\": {}, \"a\": {\"c\": \"\\\\u0000\"}}', '\"\\\\\"\"'",
        ),
    ),
    "shapes": (
        "a POINT, b LINESTRING, c POLYGON, d MULTIPOINT, e MULTILINESTRING, f MULTIPOLYGON, g GEOMETRY,"
        " h GEOMETRYCOLLECTION",
        (
            "POINT(1.5, -2), ST_GeomFromText('LINESTRING(0 0,1 2)'), ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))'),"
            " ST_GeomFromText('MULTIPOINT(1 1,2 2)'), ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))'),"
            " ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))'), POINT(0, 0),"
            " ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),MULTIPOINT(1 1,2 2))')",
            "NULL, NULL, NULL, NULL, NULL, NULL, ST_GeomFromText('LINESTRING(1e-5 1e20,2 3)'), NULL",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["replace", "plain"])
def test_every_type_is_equal_at_its_limits_with_a_key_and_without(carrier: Carrier, mode: str) -> None:
    statements = [
        "CREATE DATABASE limits CHARACTER SET utf8mb4",
        "USE limits",
        "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'",
    ]
    for number, (columns, rows) in enumerate(LIMITS.values()):
        statements.append(f"CREATE TABLE k{number} (id INT PRIMARY KEY, {columns})")
        statements.append(f"CREATE TABLE n{number} (id INT, {columns})")
        for place, row in enumerate(rows):
            for name in (f"k{number}", f"n{number}"):
                statements += [f"INSERT INTO {name} VALUES ({place}, {row})"] * (1 if name[0] == "k" else 3)
        # the conditions of a table without a key must find each of these values
        statements += [
            f"UPDATE n{number} SET id = 100 + {place} WHERE id = {place} LIMIT 1" for place in range(len(rows))
        ]
        statements += [f"DELETE FROM n{number} WHERE id = {place} LIMIT 1" for place in range(len(rows))]
        statements.append(f"UPDATE k{number} SET id = id + 1000")
    carrier.run(*statements)
    carrier.replay(apply_mode=mode)
    assert carrier.differences("limits") == []


@pytest.mark.mysql
def test_a_column_s_own_srid_is_given_to_its_values(carrier: Carrier) -> None:
    carrier.run(
        "CREATE DATABASE limits",
        "CREATE TABLE limits.g (id INT PRIMARY KEY, p POINT SRID 4326, q GEOMETRY SRID 3857, r POINT SRID 0)",
        "INSERT INTO limits.g VALUES (1, ST_GeomFromText('POINT(10 50)', 4326), ST_GeomFromText('POINT(1 2)', 3857),"
        " POINT(3, 4))",
        "CREATE TABLE limits.n AS SELECT * FROM limits.g",
        "INSERT INTO limits.n SELECT * FROM limits.g",
        "DELETE FROM limits.n LIMIT 1",
    )
    carrier.replay()
    assert carrier.differences("limits") == []


@pytest.mark.mariadb
def test_a_column_s_own_reference_system_is_given_to_its_values(carrier: Carrier) -> None:
    carrier.run(
        "CREATE DATABASE limits",
        "CREATE TABLE limits.g (id INT PRIMARY KEY, p POINT REF_SYSTEM_ID=4326, r POINT)",
        "INSERT INTO limits.g VALUES (1, ST_GeomFromText('POINT(10 50)', 4326), POINT(3, 4))",
    )
    carrier.replay()
    assert carrier.differences("limits") == []


@pytest.mark.mysql
def test_vectors_come_through_bit_by_bit_with_a_key_and_without(carrier: Carrier) -> None:
    statements = ["CREATE DATABASE limits", "USE limits"]
    for name, key in (("k", " PRIMARY KEY"), ("n", "")):
        statements += [
            f"CREATE TABLE {name} (id INT{key}, v VECTOR(3), w VECTOR NOT NULL)",
            f"INSERT INTO {name} VALUES (1, STRING_TO_VECTOR('[1,2.5,-0]'), STRING_TO_VECTOR('[1e-30,3.4028235e38]')),"
            f" (2, NULL, STRING_TO_VECTOR('[1]')), (3, 0x0000803F00002040, STRING_TO_VECTOR('[1,2]'))",
            f"UPDATE {name} SET id = id + 10, v = STRING_TO_VECTOR('[9]') WHERE id = 1",
            f"UPDATE {name} SET id = 20 WHERE id = 2",
            f"DELETE FROM {name} WHERE id = 3",
        ]
    carrier.run(*statements)
    carrier.replay()
    for name in ("k", "n"):
        query = f"SELECT id, HEX(v), HEX(w) FROM limits.{name} ORDER BY id"
        found = carrier.target.query(query)
        assert carrier.source.query(query) == found
        assert [row[0] for row in found] == [11, 20]
