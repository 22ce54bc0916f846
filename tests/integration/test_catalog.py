"""The catalogue: tables as the target's information_schema describes them, on both brands."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pydbsync.apply.catalog import LiveCatalog
from pydbsync.apply.connection import Connection
from pydbsync.model import Referrer, TableName, TableSchema
from tests.servers import Endpoint


@pytest.fixture
def catalog(fresh_target: Endpoint) -> Iterator[LiveCatalog]:
    fresh_target.query("CREATE DATABASE d DEFAULT CHARACTER SET utf8mb4")
    connection = Connection(fresh_target.db_info)
    found = LiveCatalog()
    found.attach(connection)
    yield found
    connection.close()


def described(catalog: LiveCatalog, table: str = "t", database: str = "d") -> TableSchema:
    found = catalog.table(TableName(database, table))
    assert found is not None
    return found


def test_columns_have_what_their_literals_need(fresh_target: Endpoint, catalog: LiveCatalog) -> None:
    fresh_target.query(
        "CREATE TABLE d.t (id BIGINT UNSIGNED PRIMARY KEY, b BINARY(4), vb VARBINARY(9) NOT NULL, bits BIT(32),"
        " e ENUM('a','it''s','back\\\\slash','x,y') NOT NULL, s SET('a','b''c'), f FLOAT, n DECIMAL(65,30),"
        " tx VARCHAR(5) CHARACTER SET latin1, ts TIMESTAMP(6) NULL, y YEAR, j JSON, p POINT,"
        " v INT AS (id + 1) VIRTUAL, st INT AS (id + 2) STORED, d DATETIME DEFAULT CURRENT_TIMESTAMP)"
    )
    columns = {column.name: column for column in described(catalog).columns}
    assert list(columns) == "id b vb bits e s f n tx ts y j p v st d".split()  # noqa: SIM905
    assert [columns[name].kind for name in ("id", "b", "vb", "bits", "e", "s", "j", "p", "y")] == [
        "bigint", "binary", "varbinary", "bit", "enum", "set", "json", "point", "year",
    ]  # fmt: skip
    assert columns["id"].unsigned
    assert [columns[name].size for name in ("b", "vb", "bits")] == [4, 9, 32]
    assert [columns[name].nullable for name in ("vb", "e", "s")] == [False, False, True]
    assert columns["e"].labels == ("a", "it's", "back\\slash", "x,y")
    assert columns["s"].labels == ("a", "b'c")
    assert (columns["tx"].charset, columns["ts"].digits) == ("latin1", 6)
    assert columns["j"].native_json == (fresh_target.brand == "mysql")
    assert [name for name, column in columns.items() if column.generated] == ["v", "st"]


@pytest.mark.mysql
def test_the_srid_of_a_column_is_known(fresh_target: Endpoint, catalog: LiveCatalog) -> None:
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY, p POINT SRID 4326, q POINT)")
    assert [column.srid for column in described(catalog).columns] == [None, 4326, None]


@pytest.mark.parametrize(
    ("definition", "row_key", "unique"),
    [
        ("a INT, b INT, PRIMARY KEY (b, a)", ("b", "a"), ()),
        ("a INT PRIMARY KEY, b INT, UNIQUE u (b)", ("a",), (("b",),)),
        ("a INT NOT NULL, b INT NOT NULL, UNIQUE u (a, b)", ("a", "b"), (("a", "b"),)),
        ("a INT, b INT NOT NULL, UNIQUE u (a, b)", (), (("a", "b"),)),
        ("a VARCHAR(20) NOT NULL, b INT, UNIQUE u (a(5))", (), (("a",),)),
        ("a INT NOT NULL, b INT NOT NULL, UNIQUE z (a), UNIQUE y (b)", ("b",), (("b",), ("a",))),
        ("a INT, b INT, KEY k (a)", (), ()),
        ("a INT NOT NULL, b INT AS (a + 1) STORED NOT NULL, UNIQUE u (b)", (), (("b",),)),
    ],
)
def test_a_row_is_known_by_its_primary_key_or_a_whole_unique_key_without_nulls(
    fresh_target: Endpoint,
    catalog: LiveCatalog,
    definition: str,
    row_key: tuple[str, ...],
    unique: tuple[tuple[str, ...], ...],
) -> None:
    if fresh_target.brand == "mariadb":
        definition = definition.replace("STORED NOT NULL", "STORED")
    fresh_target.query(f"CREATE TABLE d.t ({definition})")
    found = described(catalog)
    assert found.row_key == row_key
    assert sorted(found.unique_keys) == sorted(unique)


@pytest.mark.mysql
def test_a_key_on_an_expression_is_none_to_know_a_row_by(fresh_target: Endpoint, catalog: LiveCatalog) -> None:
    fresh_target.query("CREATE TABLE d.t (a INT NOT NULL, b INT NOT NULL, UNIQUE u ((a + b)))")
    assert described(catalog).row_key == ()


def test_tables_whose_names_differ_in_case_alone_are_told_apart(fresh_target: Endpoint, catalog: LiveCatalog) -> None:
    fresh_target.query("CREATE DATABASE D DEFAULT CHARACTER SET utf8mb4")
    fresh_target.query("CREATE DATABASE Sys")
    fresh_target.query("CREATE TABLE d.t (small INT PRIMARY KEY, j JSON)")
    fresh_target.query("CREATE TABLE d.T (large INT, j TEXT, KEY (large))")
    fresh_target.query("CREATE TABLE D.t (other INT UNIQUE NOT NULL)")
    fresh_target.query(
        "CREATE TABLE Sys.child (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES d.t (small) ON DELETE CASCADE)"
    )
    names = {
        (database, table): [column.name for column in described(catalog, table, database).columns]
        for database, table in (("d", "t"), ("d", "T"), ("D", "t"))
    }
    assert names == {("d", "t"): ["small", "j"], ("d", "T"): ["large", "j"], ("D", "t"): ["other"]}
    assert [described(catalog, *name).row_key for name in (("t", "d"), ("T", "d"), ("t", "D"))] == [
        ("small",), (), ("other",),
    ]  # fmt: skip
    assert [described(catalog, name).columns[1].kind for name in ("t", "T")] == ["json", "text"]
    assert len(described(catalog, "t").referrers) == 1
    assert described(catalog, "T").referrers == ()
    assert catalog.table(TableName("d", "CHILD")) is None


def test_odd_names_are_found(fresh_target: Endpoint, catalog: LiveCatalog) -> None:
    for name in ("a b", "a.b", "a`b", "%", "_", "таблица", "select", "a\\b"):
        fresh_target.query("CREATE TABLE d.`" + name.replace("`", "``") + "` (`id %s` INT PRIMARY KEY)")
        assert described(catalog, name).row_key == ("id %s",)
    assert catalog.table(TableName("d", "a_b")) is None


def test_foreign_keys_that_pass_changes_on_are_listed_with_their_columns(
    fresh_target: Endpoint, catalog: LiveCatalog
) -> None:
    fresh_target.query("CREATE TABLE d.p (a INT, b INT, PRIMARY KEY (a, b), UNIQUE (b))")
    fresh_target.query(
        "CREATE TABLE d.c (id INT PRIMARY KEY, x INT, y INT, up INT,"
        " FOREIGN KEY (x, y) REFERENCES d.p (a, b) ON DELETE CASCADE ON UPDATE SET NULL,"
        " FOREIGN KEY (y) REFERENCES d.p (b) ON UPDATE CASCADE,"
        " FOREIGN KEY (x) REFERENCES d.c (id),"
        " FOREIGN KEY (up) REFERENCES d.c (id) ON DELETE SET NULL)"
    )
    child = TableName("d", "c")
    assert set(described(catalog, "p").referrers) == {
        Referrer(child, ("a", "b"), "CASCADE", "SET NULL"),
        Referrer(child, ("b",), *_no_action(fresh_target), "CASCADE"),
    }
    assert described(catalog, "c").referrers == (Referrer(child, ("id",), "SET NULL", *_no_action(fresh_target)),)


def _no_action(target: Endpoint) -> tuple[str]:
    """The default, as the server calls it."""
    return ("RESTRICT",) if target.brand == "mariadb" else ("NO ACTION",)


def test_triggers_engines_and_views_are_seen(fresh_target: Endpoint, catalog: LiveCatalog) -> None:
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY)")
    fresh_target.query("CREATE TABLE d.m (id INT PRIMARY KEY) ENGINE=MyISAM")
    fresh_target.query("CREATE VIEW d.v AS SELECT * FROM d.t")
    fresh_target.query("CREATE TRIGGER d.b BEFORE INSERT ON d.t FOR EACH ROW SET NEW.id = NEW.id")
    fresh_target.query("CREATE TRIGGER d.a AFTER DELETE ON d.t FOR EACH ROW SET @x = 1")
    assert described(catalog).triggers == ("a", "b")
    assert (described(catalog).transactional, described(catalog, "m").transactional) == (True, False)
    assert described(catalog, "m").triggers == ()
    assert catalog.table(TableName("d", "v")) is None
    assert catalog.table(TableName("nowhere", "t")) is None


def test_a_table_is_looked_at_again_when_it_is_said_to_have_changed(
    fresh_target: Endpoint, catalog: LiveCatalog
) -> None:
    assert catalog.table(TableName("d", "t")) is None
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY)")
    assert len(described(catalog).columns) == 1
    fresh_target.query("ALTER TABLE d.t ADD c INT")
    assert len(described(catalog).columns) == 1
    catalog.forget()
    assert len(described(catalog).columns) == 2


def test_a_table_that_another_session_alters_is_read_whole(fresh_target: Endpoint) -> None:
    """A session that holds a lock, as workers do, waits for no ALTER TABLE in MariaDB's information_schema: it passes
    over the table, and says so in a warning."""
    fresh_target.query("CREATE DATABASE d")
    connection = Connection(fresh_target.db_info)
    connection.rows("SELECT GET_LOCK('a worker', 0)")
    catalog = LiveCatalog()
    catalog.attach(connection)
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY, e INT UNIQUE)")
    fresh_target.query("CREATE TABLE d.c (p INT, FOREIGN KEY (p) REFERENCES d.t (id) ON DELETE CASCADE)")
    is_over = threading.Event()

    def alter() -> None:
        with fresh_target.connect() as connection, connection.cursor() as cursor:
            while not is_over.is_set():
                cursor.execute("ALTER TABLE d.t FORCE")

    def look() -> TableSchema:
        catalog.forget()
        return described(catalog)

    expected = look()
    assert expected.row_key == ("id",)
    assert len(expected.referrers) == 1
    with ThreadPoolExecutor(1) as pool:
        altering = pool.submit(alter)
        try:
            found = {look() for _ in range(15)}
        finally:
            is_over.set()
        altering.result()
    assert found == {expected}
