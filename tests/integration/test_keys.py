"""Keys of every shape: the right row is found, two rows that swap values both arrive, nothing is taken for another."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pydbsync.model import Column
from pydbsync.plan.identity import is_known, readings_of, skeleton
from tests.integration.carried import Carrier, without_places
from tests.integration.engine import LOG, parked, replay
from tests.maxwell import Binlog, delete, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

MODES = ("replace", "upsert", "plain")
CUTS: tuple[dict[str, Any], ...] = ({}, {"batch_rows": 1}, {"transaction_rows": 1, "batch_rows": 1})


SWAPS = (
    "CREATE DATABASE k",
    "USE k",
    "CREATE TABLE u (id INT PRIMARY KEY, e INT UNIQUE, f VARCHAR(9) UNIQUE)",
    "CREATE TABLE n (id INT NOT NULL, e INT NOT NULL, UNIQUE (id), UNIQUE (e))",
    "INSERT INTO u VALUES (1, 10, 'a'), (2, 20, 'b'), (5, NULL, NULL)",
    "INSERT INTO n VALUES (1, 10), (2, 20)",
    "BEGIN",
    "UPDATE u SET e = -1 WHERE id = 1",
    "UPDATE u SET e = 10 WHERE id = 2",
    "UPDATE u SET e = 20 WHERE id = 1",
    "UPDATE u SET f = 'tmp' WHERE id = 1",
    "UPDATE u SET f = 'a' WHERE id = 2",
    "UPDATE u SET f = 'b' WHERE id = 1",
    "COMMIT",
    "BEGIN",
    "UPDATE u SET id = 3 WHERE id = 1",
    "INSERT INTO u VALUES (1, 30, 'c')",
    "UPDATE u SET id = 99 WHERE id = 3",
    "UPDATE u SET id = 3 WHERE id = 2",
    "UPDATE u SET id = 2 WHERE id = 99",
    "COMMIT",
    "BEGIN",
    "UPDATE n SET e = -1 WHERE id = 1",
    "UPDATE n SET e = 10 WHERE id = 2",
    "UPDATE n SET e = 20 WHERE id = 1",
    "UPDATE n SET id = 0 WHERE id = 1",
    "UPDATE n SET id = 1 WHERE id = 2",
    "UPDATE n SET id = 2 WHERE id = 0",
    "COMMIT",
    "UPDATE u SET e = e + 1 ORDER BY e DESC",
    "REPLACE INTO u VALUES (7, 31, 'b')",
    "INSERT INTO u VALUES (8, 31, 'z') ON DUPLICATE KEY UPDATE e = 77, f = 'zz'",
)


@pytest.fixture(scope="module")
def swapped(source: Endpoint, target: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Carrier:
    """A source where rows have swapped their values, and the messages of that."""
    source.drop_databases()
    carrier = Carrier(source, target, tmp_path_factory.mktemp("swaps"))
    carrier.run(*SWAPS)
    return carrier


@pytest.mark.parametrize("cut", CUTS, ids=["one batch", "a transaction each", "a row each"])
@pytest.mark.parametrize("mode", MODES)
def test_values_of_unique_keys_that_are_swapped_arrive_swapped(
    swapped: Carrier, fresh_target: Endpoint, mode: str, cut: dict[str, Any]
) -> None:
    swapped.replay(apply_mode=mode, **cut)
    assert swapped.differences("k") == []
    swapped.replay(apply_mode=mode, **cut)
    assert swapped.differences("k") == []


def test_messages_without_places_that_come_again_end_in_the_same_state(
    swapped: Carrier, fresh_target: Endpoint
) -> None:
    swapped.replay()
    swapped.replay(without_places(swapped.messages))
    swapped.replay(without_places(swapped.messages), batch_rows=1)
    assert swapped.differences("k") == []


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    return Carrier(fresh_source, fresh_target, tmp_path)


IN_USE = (
    (0x20, 0x7E), (0xA0, 0x1BD), (0x1C0, 0x1DC), (0x386, 0x3CE), (0x400, 0x45F), (0x5D0, 0x5EA), (0x621, 0x64A),
    (0x1E00, 0x1EFF), (0x2000, 0x200F), (0x3041, 0x30FF), (0x4E00, 0x4E7F), (0xAC00, 0xAC7F), (0xFF01, 0xFF9D),
    (0x1F600, 0x1F64F),
)  # fmt: skip
"""Letters of today, and what collations pass over."""
TWO = (
    "aa",
    "AE",
    "oe",
    "ue",
    "ss",
    "th",
    "ch",
    "dz",
    "ij",
    "ll",
    "nj",
    "vy",
    "uy",
    "iy",
    "jv",
    "aea",
    "oöe",
    "ccs",
    "cscs",
)


def test_a_change_waits_behind_a_parked_one_of_every_spelling_of_its_key(target: Endpoint) -> None:
    """What the server holds for one key, the engine does too, in each collation; or it knows that it does not know."""
    texts = [*TWO, *(chr(code) for first, last in IN_USE for code in range(first, last + 1))]
    columns = " UNION ALL ".join(["SELECT %s AS c", *["SELECT %s"] * (len(texts) - 1)])
    name, table = "collation_name", "collations"
    if target.brand == "mariadb":
        name, table = "full_collation_name", "collation_character_set_applicability"
    unknown, misread = [], {}
    for charset, collation in target.query(
        f"SELECT character_set_name, {name} FROM information_schema.{table} WHERE {name} NOT LIKE '%%\\_bin'"
        " AND character_set_name NOT IN ('binary', 'ucs2', 'utf16', 'utf16le', 'utf32', 'utf8mb3')"
        f" AND {name} NOT LIKE '%%nopad%%' AND {name} NOT LIKE '%%\\_as\\__s' AND {name} NOT LIKE '%%\\_ai\\_cs'"
    ):
        readings = readings_of([Column(name="a", kind="varchar", collation=collation)])
        if readings is None:
            unknown.append(collation)
            continue
        sent = f"CONVERT(c USING {charset})"
        weighed = (
            f"SELECT HEX(WEIGHT_STRING({sent} COLLATE {collation})), c FROM ({columns}) AS t"
            f" WHERE CONVERT({sent} USING utf8mb4) COLLATE utf8mb4_bin = c"
        )
        alike: dict[str, dict[str, str]] = {}
        for weight, text in target.query(weighed, *texts):
            if is_known(text):
                alike.setdefault(weight, {})[skeleton(text, readings.get("a"))] = text
        if found := [texts for texts in alike.values() if len(texts) > 1]:
            misread[collation] = found
    assert misread == {}
    assert 0 < len(unknown) < 30


COLLATIONS = {
    "mariadb": ("utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_nopad_bin", "latin1_german2_ci"),
    "mysql": ("utf8mb4_general_ci", "utf8mb4_0900_ai_ci", "utf8mb4_0900_as_cs", "latin1_german2_ci"),
}
WORDS = ("Foo", "foo", "foo ", "FOO", "ß", "ss", "é", "e", "E ", "strasse", "straße", "", " ", "a", "ä", "ae", "A")


@pytest.fixture(scope="module")
def renamed(source: Endpoint, target: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Carrier:
    """A source where rows take each other's names, in several collations."""
    draw = random.Random(12)
    statements = ["CREATE DATABASE k", "USE k"]
    tables = []
    for number, collation in enumerate(COLLATIONS[source.brand]):
        column = f"name VARCHAR(20) CHARACTER SET {collation.split('_')[0]} COLLATE {collation}"
        statements.append(f"CREATE TABLE c{number} (id INT PRIMARY KEY, {column}, UNIQUE (name))")
        statements.append(f"CREATE TABLE p{number} ({column} PRIMARY KEY, id INT)")
        tables += [f"c{number}", f"p{number}"]
    for _ in range(120):
        statements.append("BEGIN")
        for _ in range(draw.randint(1, 6)):
            table, number, word = draw.choice(tables), draw.randint(1, 6), draw.choice(WORDS)
            forms = (
                f"INSERT IGNORE INTO {table} (id, name) VALUES ({number}, '{word}')",
                f"UPDATE IGNORE {table} SET name = '{word}' WHERE id = {number} LIMIT 1",
                f"REPLACE INTO {table} (id, name) VALUES ({number}, '{word}')",
                f"DELETE FROM {table} WHERE name = '{word}' LIMIT 1",
            )
            statements.append(draw.choice(forms))
        statements.append("COMMIT")
    source.drop_databases()
    carrier = Carrier(source, target, tmp_path_factory.mktemp("names"))
    carrier.run(*statements)
    return carrier


@pytest.mark.parametrize("cut", [{}, {"batch_rows": 20, "transaction_rows": 2}], ids=["one batch", "many"])
@pytest.mark.parametrize("mode", MODES)
def test_names_that_a_collation_takes_for_equal_follow_in_the_source_s_order(
    renamed: Carrier, fresh_target: Endpoint, mode: str, cut: dict[str, Any]
) -> None:
    renamed.replay(apply_mode=mode, **cut)
    assert renamed.differences("k") == []


BINARY = "0xBF500C00A2034521B819D6EB7065D200"


@pytest.mark.parametrize("mode", MODES)
def test_the_zero_bytes_that_the_binlog_strips_of_binary_are_put_back(carrier: Carrier, mode: str) -> None:
    carrier.run(
        "CREATE DATABASE k",
        "USE k",
        "CREATE TABLE keyless (a INT, b BINARY(16), c VARBINARY(4))",
        "CREATE TABLE pk (b BINARY(16) PRIMARY KEY, a INT)",
        "CREATE TABLE composite (b BINARY(4), c VARBINARY(4), a INT, PRIMARY KEY (b, c))",
        f"INSERT INTO keyless VALUES (1, {BINARY}, 'a'), (1, {BINARY}, 'a\\0'), (1, '', ''), (1, NULL, NULL)",
        f"INSERT INTO pk VALUES ({BINARY}, 1), ('', 1), ('a', 1), ('a\\0b', 1), (0xFF, 1)",
        "INSERT INTO composite VALUES ('a', 'a', 1), ('a', 'a\\0', 1), ('', '', 1), ('\\0b', '\\0', 1)",
        "UPDATE keyless SET a = 2",
        "UPDATE pk SET a = 2",
        "UPDATE composite SET a = 2",
        "DELETE FROM keyless WHERE c = 'a' AND LENGTH(c) = 1",
        "DELETE FROM pk WHERE b IN (CAST('a' AS BINARY(16)), CAST('' AS BINARY(16)))",
        "DELETE FROM composite WHERE c IN ('a\\0', '')",
        "UPDATE pk SET b = 'moved' WHERE b = 0xFF000000000000000000000000000000",
    )
    carrier.replay(apply_mode=mode)
    assert carrier.differences("k") == []


def test_of_rows_without_a_key_exactly_the_right_one_goes(carrier: Carrier) -> None:
    carrier.run(
        "CREATE DATABASE k CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "USE k",
        "CREATE TABLE t (id INT, f FLOAT, d DOUBLE, b VARCHAR(9), j JSON, m DECIMAL(20, 10), bi BIT(40), g POINT)",
        "INSERT INTO t (b) VALUES ('a'), ('A'), ('x'), ('x '), (NULL), (''), ('á'), ('a'), ('A')",
        "INSERT INTO t (f, d, m) VALUES (1.1, 1.1, 1.1), (1.2, 1.2, 0), (NULL, NULL, NULL), (16777216, 1e308, -1e-10)",
        """INSERT INTO t (j) VALUES ('{"a": 1}'), ('{"a": 1.0}'), ('{"a": "1"}'), ('[]'), ('"x"'), ('{"a": 1}')""",
        "INSERT INTO t (bi, g) VALUES (b'1', POINT(1, 2)), (1099511627775, POINT(2, 1)), (NULL, NULL)",
        "DELETE FROM t WHERE BINARY b = 'A' LIMIT 1",
        "DELETE FROM t WHERE BINARY b = 'x ' LIMIT 1",
        "UPDATE t SET id = 1 WHERE BINARY b = 'a' LIMIT 1",
        "UPDATE t SET b = 'Á' WHERE BINARY b = 'á' LIMIT 1",
        "DELETE FROM t WHERE f BETWEEN 1.09 AND 1.11",
        "UPDATE t SET d = -0.5 WHERE d = 1e308",
        """DELETE FROM t WHERE JSON_EXTRACT(j, '$.a') = '1' OR JSON_EXTRACT(j, '$.a') = 1 LIMIT 1""",
        "UPDATE t SET j = '{\"a\": 2}' WHERE JSON_TYPE(j) = 'ARRAY'",
        "DELETE FROM t WHERE bi = 1099511627775",
        "INSERT INTO t SELECT * FROM t",
        "DELETE FROM t WHERE id IS NULL LIMIT 3",
    )
    carrier.replay()
    assert carrier.differences("k") == []


@pytest.mark.parametrize("mode", MODES)
def test_columns_of_the_target_s_own_and_wider_types_keep_working(fresh_target: Endpoint, mode: str) -> None:
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query(
        "CREATE TABLE d.t (own INT NOT NULL DEFAULT 7, id BIGINT UNSIGNED PRIMARY KEY,"
        " v VARCHAR(500) CHARACTER SET utf8mb4, n DECIMAL(40, 20), mark TEXT)"
    )
    log = Binlog()

    def row(number: int, text: str) -> dict[str, object]:
        return {"id": number, "v": text, "n": 1.5}

    replay(fresh_target, log.transaction(*(insert("d.t", row(n, "a")) for n in (1, 2, 3))), apply_mode=mode)
    fresh_target.query("UPDATE d.t SET own = id * 10, mark = 'mine'")
    replay(
        fresh_target,
        [
            *log.transaction(update("d.t", row(1, "b"), {"v": "a"})),
            *log.transaction(update("d.t", row(22, "a"), {"id": 2})),
            *log.transaction(update("d.t", row(33, "c"), {"id": 3, "v": "a"}), insert("d.t", row(3, "new"))),
        ],
        apply_mode=mode,
    )
    assert parked(fresh_target) == []
    assert fresh_target.query("SELECT id, v, own, mark FROM d.t ORDER BY id") == [
        (1, "b", 10, "mine"),
        (3, "new", 7, None),
        (22, "a", 20, "mine"),
        (33, "c", 30, "mine"),
    ]


def test_a_trigger_of_the_target_is_named(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    carrier.run("CREATE DATABASE k", "CREATE TABLE k.t (id INT PRIMARY KEY)")
    carrier.replay()
    carrier.target.query("CREATE TRIGGER k.on_t BEFORE INSERT ON k.t FOR EACH ROW SET @seen = 1")
    carrier.run("INSERT INTO k.t VALUES (1)")
    with caplog.at_level("WARNING", LOG.name):
        carrier.replay()
    assert "k.t has triggers at the target (on_t)" in caplog.text


def test_what_the_server_fills_in_itself_is_as_the_source_filled_it(carrier: Carrier) -> None:
    now = "TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"
    carrier.run(
        "CREATE DATABASE k",
        "USE k",
        "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO', timestamp = 1700000000",
        f"CREATE TABLE ts (id INT PRIMARY KEY, v INT, t {now})",
        "CREATE TABLE ai (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
        "CREATE TABLE g (a INT, s INT AS (a + 1) STORED, w INT AS (a * 2) VIRTUAL, h INT DEFAULT 3 INVISIBLE, KEY (s))",
        "INSERT INTO ts (id, v) VALUES (1, 1), (2, 1)",
        "UPDATE ts SET v = 2, t = t WHERE id = 1",
        "INSERT INTO ai VALUES (0, 0), (5, 5)",
        "INSERT INTO ai (v) VALUES (6)",
        "INSERT INTO g (a, h) VALUES (1, 4), (1, 4), (NULL, NULL)",
        "INSERT INTO g (a) VALUES (2)",
        "DELETE FROM g WHERE a = 1 LIMIT 1",
        "SET timestamp = 1700000100",
        "UPDATE ts SET v = 3 WHERE id = 2",
    )
    carrier.replay()
    assert carrier.differences("k") == []
    assert carrier.target.query("SELECT UNIX_TIMESTAMP(t) FROM k.ts ORDER BY id") == [(1700000000,), (1700000100,)]


@pytest.mark.parametrize("mode", MODES)
def test_a_row_of_another_source_is_never_removed(fresh_target: Endpoint, mode: str) -> None:
    fresh_target.query("CREATE DATABASE both_of")
    fresh_target.query("CREATE TABLE both_of.u (id INT PRIMARY KEY, mail VARCHAR(30) NOT NULL, UNIQUE KEY (mail))")
    fresh_target.query("CREATE TABLE both_of.k (id INT PRIMARY KEY, v INT)")
    log = Binlog()
    options: dict[str, Any] = {"apply_mode": mode, "dbname_rewrite": {"s1": "both_of", "s2": "both_of"}}

    def user(number: int, mail: str) -> dict[str, object]:
        return {"id": number, "mail": mail}

    first = [insert("s1.u", user(1, "ann")), insert("s1.u", user(2, "bob")), insert("s1.k", {"id": 5, "v": 1})]
    second = [insert("s2.u", user(11, "ann")), insert("s2.u", user(12, "cid")), insert("s2.k", {"id": 5, "v": 2})]
    replay(fresh_target, log.each(first + second), **options)

    def content() -> list[tuple[Any, ...]]:
        rows = fresh_target.query("SELECT id, mail FROM both_of.u ORDER BY id")
        return [*rows, *fresh_target.query("SELECT id, v FROM both_of.k")]

    assert content() == [(1, "ann"), (2, "bob"), (12, "cid"), (5, 1)]
    reasons = {each.table: each.reason for each in parked(fresh_target)}
    assert list(reasons) == ["s2.u", "s2.k"]
    assert 'the row that came: {"id":11,"mail":"ann"}; in its way: {"id":1,"mail":"ann"}' in reasons["s2.u"]
    assert 'the row that came: {"id":5,"v":2}; in its way: {"id":5,"v":1}' in reasons["s2.k"]
    # what follows of the parked rows waits; the others go on
    more = [
        update("s1.u", user(1, "anna"), {"mail": "ann"}),
        update("s1.u", user(2, "cid"), {"mail": "bob"}),
        update("s2.u", user(1, "cid"), {"id": 12}),
        delete("s2.u", user(11, "ann")),
        delete("s2.k", {"id": 5, "v": 2}),
    ]
    replay(fresh_target, log.each(more), **options)
    assert content() == [(1, "anna"), (2, "bob"), (12, "cid"), (5, 1)]
    assert [each.kind for each in parked(fresh_target)[2:]] == ["update", "update", "delete", "delete"]


@pytest.mark.parametrize("mode", MODES)
def test_a_row_of_another_configuration_s_source_is_never_removed(fresh_target: Endpoint, mode: str) -> None:
    fresh_target.query("CREATE DATABASE bucket")
    fresh_target.query("CREATE TABLE bucket.`t` (digest INT PRIMARY KEY, mail VARCHAR(30) NOT NULL, UNIQUE KEY (mail))")
    one, two, same = Binlog(server_id=1), Binlog(server_id=2), Binlog(server_id=1)

    def user(number: int, mail: str) -> dict[str, object]:
        return {"digest": number, "mail": mail}

    def content() -> list[tuple[Any, ...]]:
        return fresh_target.query("SELECT digest, mail FROM bucket.`t` ORDER BY digest")

    replay(fresh_target, one.each([insert("bucket.t", user(1, "ann"))]), stream="of one", apply_mode=mode)
    rows = [
        insert("bucket.t", user(11, "ann")),
        insert("bucket.t", user(1, "eve")),
        insert("bucket.t", user(12, "cid")),
    ]
    replay(fresh_target, two.each(rows), stream="of two", apply_mode=mode)
    assert content() == [(1, "ann"), (12, "cid")]
    assert [each.table for each in parked(fresh_target)] == ["bucket.t", "bucket.t"]
    # the first one has learnt of the second meanwhile
    rows = [insert("bucket.t", user(2, "cid")), update("bucket.t", user(1, "anna"), {"mail": "ann"})]
    replay(fresh_target, one.each(rows), stream="of one", apply_mode=mode)
    assert content() == [(1, "anna"), (12, "cid")]
    # what a statement takes away would be that of the other too
    replay(fresh_target, two.ddl("DROP TABLE t", "bucket.t"), stream="of two", apply_mode=mode)
    assert content() == [(1, "anna"), (12, "cid")]
    # another queue of the first one's source is no other source
    fresh_target.query("DELETE FROM pydbsync.feeder WHERE stream = 'of two'")
    replay(fresh_target, same.each([insert("bucket.t", user(1, "dan"))]), stream="of one too", apply_mode="replace")
    assert content() == [(1, "dan"), (12, "cid")]
