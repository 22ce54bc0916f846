"""Broken sources and targets, made for real: the doctor names each, and its remedy."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.cli import application
from pydbsync.config.settings import settings_from_mapping
from pydbsync.ops.capture.history.state import TableState
from pydbsync.ops.doctor.examination import CheckLimits, Examination
from pydbsync.ops.doctor.run import examine
from pydbsync.ops.heartbeat import run_heartbeat
from tests.comparing import LOG, run_sql
from tests.examining import Fault, examined, global_variables, must_say, named, settings_of, shown
from tests.integration.copying import OWN
from tests.processes import write_config
from tests.servers import Endpoint

IN_FILES = "SET GLOBAL innodb_file_per_table = ON"
"""Which the lab's MariaDB has not."""
SHOP = """
CREATE TABLE orders (id INT PRIMARY KEY, note VARCHAR(50) CHARACTER SET utf8mb4, amount DECIMAL(10,2), made
DATETIME(3), flags BIT(16), small VARCHAR(20) CHARACTER SET utf8, seen DATETIME, share DOUBLE, token VARBINARY(16),
changed TIMESTAMP NULL, word CHAR(10) CHARACTER SET ascii);
CREATE TABLE items (id INT PRIMARY KEY, order_id INT NOT NULL, big BIGINT UNSIGNED, code VARCHAR(20) CHARACTER SET
latin1);
CREATE TABLE plain (a INT NOT NULL, b VARCHAR(20) CHARACTER SET latin1, UNIQUE (a))
"""

SERVERS = {
    "the source writes statements": Fault(
        "source", "binlog-format", "error", "binlog_format=STATEMENT", "SET GLOBAL binlog_format = 'ROW'",
        source=("SET GLOBAL binlog_format = STATEMENT",),
    ),
    "the source writes minimal images": Fault(
        "source", "binlog-row-image", "error", "binlog_row_image=MINIMAL", "SET GLOBAL binlog_row_image = 'FULL'",
        source=("SET GLOBAL binlog_row_image = MINIMAL",),
    ),
    "the source writes no names of columns": Fault(
        "source", "binlog-row-metadata", "warning", "binlog_row_metadata=MINIMAL", "SET GLOBAL binlog_row_metadata",
        source=("SET GLOBAL binlog_row_metadata = MINIMAL",),
    ),
    "the source purges its binlog early": Fault(
        "source", "binlog-retention", "warning", "keeps its binlog for 1 h", "binlog_expire_logs_seconds = 604800",
        source=("SET GLOBAL binlog_expire_logs_seconds = 3600",),
    ),
    "a crash can part the source's two logs": Fault(
        "source", "source-durability", "warning", "sync_binlog=0", "SET GLOBAL sync_binlog = 1",
        source=("SET GLOBAL sync_binlog = 0",),
    ),
    "the servers have other time zones": Fault(
        "target", "time-zone", "warning", "+08:00 at the source", "SET GLOBAL time_zone = '+08:00'",
        source=("SET GLOBAL time_zone = '+08:00'",),
    ),
    "the target logs statements": Fault(
        "target", "target-binlog-format", "error", "refuses each row of replay", "SET GLOBAL binlog_format = 'ROW'",
        target=("SET GLOBAL binlog_format = STATEMENT",),
    ),
    "the way back reads images that are not whole": Fault(
        "target", "way-back", "error", "binlog_row_image=MINIMAL", "SET GLOBAL binlog_row_image = 'FULL';",
        target=("SET GLOBAL binlog_row_image = MINIMAL",), options={"two_way": {}},
    ),
    "the way back has lost its place soon": Fault(
        "target", "way-back", "warning", "keeps its binlog for 0.2 h", "binlog_expire_logs_seconds = 604800",
        target=("SET GLOBAL binlog_expire_logs_seconds = 600",), options={"two_way": {}},
    ),
    "a database goes into the state schema": Fault(
        "tables", "own-names", "error", "shop of the source goes into pydbsync", "another name in dbname_rewrite",
        options={"dbname_rewrite": {"shop": "pydbsync"}},
    ),
    "a database goes into one of the target's own": Fault(
        "tables", "own-names", "error", "rows would go into mysql", "another name in dbname_rewrite",
        options={"dbname_rewrite": {"shop": "mysql"}},
    ),
    "the heartbeat stands among the tables of others": Fault(
        "tables", "own-names", "error", "(shop.items) has other tables too: shop.orders", "heartbeat_table:",
        options={"heartbeat_table": "shop.items"},
    ),
    "a database is called as the state schema": Fault(
        "tables", "own-names", "error", "the source has shop.items", "another name that no database",
        options={"state_schema": "shop"},
    ),
    "no place for the log files": Fault(
        "connections", "log-files", "error", "/no/such/folder of the log files does not exist", "mkdir -p",
        options={"log_file_prefix": "/no/such/folder/%s.log"},
    ),
    "the target writes nothing": Fault(
        "target", "read-only", "error", "read_only=", "SET GLOBAL read_only = OFF",
        target=("SET GLOBAL read_only = 1",),
    ),
    "the target takes smaller packets than the source": Fault(
        "target", "max-allowed-packet", "error", "takes packets of 1,048,576 bytes", "SET GLOBAL max_allowed_packet",
        target=("SET GLOBAL max_allowed_packet = 1048576",),
    ),
    "the target answers before it is on disk": Fault(
        "target", "durability", "warning", "innodb_flush_log_at_trx_commit=0", "innodb_flush_log_at_trx_commit = 1",
        target=("SET GLOBAL innodb_flush_log_at_trx_commit = 0",),
    ),
    "the servers have other modes": Fault(
        "target", "sql-mode", "warning", "ANSI_QUOTES", "SET GLOBAL sql_mode",
        target=("SET GLOBAL sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'",),
    ),
    "the target changes each session": Fault(
        "target", "init-connect", "warning", "SET @a = 1", "init_connect = ''",
        target=("SET GLOBAL init_connect = 'SET @a = 1'",),
    ),
    "new tables of the target take short keys alone": Fault(
        "target", "row-format", "warning", "have the row format compact", "innodb_default_row_format = dynamic",
        target=("SET GLOBAL innodb_default_row_format = compact",),
    ),
    "new tables of the target have no transactions": Fault(
        "target", "default-engine", "warning", "made as MyISAM", "default_storage_engine = InnoDB",
        target=("SET GLOBAL default_storage_engine = MyISAM",),
    ),
}  # fmt: skip
MYSQL_SERVERS = {
    "the source writes partial JSON": Fault(
        "source", "partial-json", "error", "PARTIAL_JSON", "binlog_row_value_options = ''",
        source=("SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'",),
    ),
    "a password that ends": Fault(
        "target", "account-password", "warning", "must be changed every 90 days", "PASSWORD EXPIRE NEVER",
        target=("SET GLOBAL default_password_lifetime = 90",),
    ),
    "the source compresses transactions": Fault(
        "source", "binlog-compression", "error", "binlog_transaction_compression", "compression = OFF",
        source=("SET GLOBAL binlog_transaction_compression = ON",),
    ),
    "a session at the source writes nothing": Fault(
        "source", "sessions", "error", "sql_log_bin=OFF", "KILL ", source=("SET SESSION sql_log_bin = 0",),
    ),
    "a session at the source writes minimal images": Fault(
        "source", "sessions", "error", "binlog_row_image=MINIMAL", "KILL ",
        source=("SET SESSION binlog_row_image = MINIMAL",),
    ),
    "GTIDs are off": Fault(
        "source", "gtid-mode", "warning", "gtid_mode=ON_PERMISSIVE", "OFF_PERMISSIVE",
        source=("SET GLOBAL gtid_mode = ON_PERMISSIVE",),
    ),
}  # fmt: skip
MARIADB = {
    "a CHECK of the target's own": Fault(
        "tables", "own-check", "error", "has the CHECK positive (`amount` > 0) at the target alone",
        "DROP CONSTRAINT `positive`", target=("ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 0)",),
    ),
    "a CHECK of a column": Fault(
        "tables", "own-check", "error", "(json_valid(`note`))", "MODIFY `note`",
        target=("ALTER TABLE orders MODIFY note JSON",),
    ),
    "children go with a parent, which no binlog tells": Fault(
        "tables", "conflict-cascades", "warning", "change rows of shop.items, which stands in no binlog", "RESTRICT",
        source=("ALTER TABLE items ADD CONSTRAINT parent FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE"
                " CASCADE",),
        target=("ALTER TABLE items ADD CONSTRAINT parent FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE"
                " CASCADE",),
        options={"detect_conflicts": "on", "conflicts": {"prefer": "source"}},
    ),
    "a foreign key acts at the source alone": Fault(
        "tables", "cascades", "error", "the target has no such key: it keeps rows", "ON DELETE CASCADE",
        source=("ALTER TABLE items ADD CONSTRAINT parent FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE"
                " CASCADE",),
    ),
    "a foreign key acts at the target alone": Fault(
        "tables", "cascades", "error", "at the target alone: it deletes", "DROP FOREIGN KEY `parent`",
        target=("ALTER TABLE items ADD CONSTRAINT parent FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE"
                " CASCADE",),
    ),
    "a foreign key acts otherwise": Fault(
        "tables", "cascades", "error", "ON DELETE SET NULL", "as the source's",
        source=("ALTER TABLE plain ADD c INT, ADD CONSTRAINT up FOREIGN KEY (c) REFERENCES items (id) ON DELETE"
                " CASCADE",),
        target=("ALTER TABLE plain ADD c INT, ADD CONSTRAINT up FOREIGN KEY (c) REFERENCES items (id) ON DELETE"
                " SET NULL",),
    ),
    "a foreign key cascades at the target alone": Fault(
        "tables", "cascades", "error", "referential_actions is off", "referential_actions: auto",
        options={"referential_actions": "off"},
        target=("ALTER TABLE items ADD CONSTRAINT parent FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE"
                " CASCADE",),
    ),
    "the target demands TLS": Fault(
        "connections", "target-connection", "error", "the target: ", "demands TLS (require_secure_transport",
        target=("SET GLOBAL require_secure_transport = ON",),
    ),
    "the target holds each commit back": Fault(
        "target", "commit-delay", "warning", "for 0.1 s so that others come with it", "binlog_commit_wait_count = 0",
        target=("SET GLOBAL binlog_commit_wait_count = 100",),
    ),
    "the target waits for a replica that is not there": Fault(
        "target", "semi-sync", "warning", "for up to 10 s at a commit", "SET GLOBAL rpl_semi_sync_master_enabled = OFF",
        target=("SET GLOBAL rpl_semi_sync_master_enabled = ON",),
    ),
    "a compressed table that nobody may write": Fault(
        "tables", "read-only-tables", "error", "and shop.plain is", "SET GLOBAL innodb_read_only_compressed = OFF",
        target=("SET GLOBAL innodb_read_only_compressed = OFF", IN_FILES, "ALTER TABLE plain ROW_FORMAT=COMPRESSED",
                "set global innodb_read_only_compressed = ON"),
    ),
    "the target makes no table without a key": Fault(
        "target", "forced-keys", "warning", "the source has shop.plain", "innodb_force_primary_key = OFF",
        source=("ALTER TABLE plain DROP INDEX a",), target=("SET GLOBAL innodb_force_primary_key = ON",),
    ),
    "the text of an address is longer": Fault(
        "tables", "narrower-column", "error", "its values are longer", "MODIFY `y` inet6",
        source=("ALTER TABLE plain ADD y INET6",), target=("ALTER TABLE plain ADD y VARCHAR(15)",),
    ),
    "the source compresses events": Fault(
        "source", "binlog-compression", "error", "log_bin_compress=ON", "log_bin_compress = OFF",
        source=("SET GLOBAL log_bin_compress = ON",),
    ),
}  # fmt: skip
TABLES = {
    "both servers give out the same numbers": Fault(
        "tables", "two-way-numbers", "warning", "in 1 table: shop.items", "auto_increment_increment = 2",
        source=("ALTER TABLE items MODIFY id INT AUTO_INCREMENT",), options={"two_way": {}},
    ),
    "a table is missing": Fault(
        "tables", "missing-tables", "error", "the target has no shop.items", "pydbsync copy --tables 'shop.items'",
        target=("DROP TABLE items",),
    ),
    "a table has lost its file": Fault(
        "tables", "unreadable-tables", "error", "shop.items cannot be read at the target", "IMPORT TABLESPACE",
        target=(IN_FILES, "ALTER TABLE items ENGINE=InnoDB", "ALTER TABLE items DISCARD TABLESPACE"),
    ),
    "a source table has lost its file": Fault(
        "tables", "unreadable-tables", "error", "shop.items cannot be read at the source", "IMPORT TABLESPACE",
        source=(IN_FILES, "ALTER TABLE items ENGINE=InnoDB", "ALTER TABLE items DISCARD TABLESPACE"),
    ),
    "the database is missing": Fault(
        "tables", "missing-tables", "error", "the target has no database shop", "pydbsync copy",
        target=("DROP DATABASE shop",),
    ),
    "a view stands in the place of a table": Fault(
        "tables", "table-is-a-view", "error", "shop.items is a view", "DROP VIEW",
        target=("DROP TABLE items", "CREATE VIEW items AS SELECT id, note FROM orders"),
    ),
    "a table has lost its key": Fault(
        "tables", "other-key", "error", "shop.orders has no key at the target", "ADD PRIMARY KEY (`id`)",
        target=("ALTER TABLE orders DROP PRIMARY KEY",),
    ),
    "a table has another key": Fault(
        "tables", "other-key", "error", "(order_id, id) at the target", "ADD PRIMARY KEY (`id`)",
        target=("ALTER TABLE items DROP PRIMARY KEY, ADD PRIMARY KEY (order_id, id)",),
    ),
    "neither side has a key": Fault(
        "tables", "no-key", "warning", "shop.plain", "primary key",
        source=("ALTER TABLE plain DROP INDEX a",), target=("ALTER TABLE plain DROP INDEX a",),
    ),
    "a column is missing": Fault(
        "tables", "missing-column", "error", "shop.orders lacks the column amount",
        "ALTER TABLE `shop`.`orders` ADD `amount` decimal(10,2)", target=("ALTER TABLE orders DROP COLUMN amount",),
    ),
    "a column is shorter": Fault(
        "tables", "narrower-column", "error", "longer values do not fit", "MODIFY `note` varchar(50)",
        target=("ALTER TABLE orders MODIFY note VARCHAR(20) CHARACTER SET utf8mb4",),
    ),
    "a column has a smaller character set": Fault(
        "tables", "narrower-column", "error", "characters that latin1 lacks", "CHARACTER SET utf8mb4",
        target=("ALTER TABLE orders MODIFY note VARCHAR(50) CHARACTER SET latin1",),
    ),
    "a number is smaller": Fault(
        "tables", "narrower-column", "error", "larger numbers do not fit", "MODIFY `big` bigint",
        target=("ALTER TABLE items MODIFY big INT UNSIGNED",),
    ),
    "bytes would be stored in base64": Fault(
        "tables", "other-bytes", "error", "bytes come in base64", "MODIFY `token` varbinary(16)",
        target=("ALTER TABLE orders MODIFY token VARCHAR(40)",),
    ),
    "text would be taken for base64": Fault(
        "tables", "other-bytes", "error", "taken for base64", "MODIFY `note` varchar(50)",
        target=("ALTER TABLE orders MODIFY note VARBINARY(400)",),
    ),
    "zeros at the end do not come": Fault(
        "tables", "other-bytes", "error", "zeros at the end", "MODIFY `k` binary(4)",
        source=("ALTER TABLE plain ADD k BINARY(4)",), target=("ALTER TABLE plain ADD k VARBINARY(9)",),
    ),
    "a point takes no other shape": Fault(
        "tables", "narrower-column", "error", "other shapes do not fit", "MODIFY `g` geometry",
        source=("ALTER TABLE plain ADD g GEOMETRY",), target=("ALTER TABLE plain ADD g POINT",),
    ),
    "a day is longer than the text": Fault(
        "tables", "narrower-column", "error", "its values are longer", "MODIFY `d` datetime(3)",
        source=("ALTER TABLE plain ADD d DATETIME(3)",), target=("ALTER TABLE plain ADD d VARCHAR(22)",),
    ),
    "a number has a sign": Fault(
        "tables", "narrower-column", "error", "numbers above the middle", "unsigned",
        target=("ALTER TABLE items MODIFY big BIGINT",),
    ),
    "digits are cut": Fault(
        "tables", "narrower-column", "error", "more digits", "decimal(10,2)",
        target=("ALTER TABLE orders MODIFY amount DECIMAL(10,1)",),
    ),
    "fractions are cut": Fault(
        "tables", "narrower-column", "error", "fractions of seconds", "datetime(3)",
        target=("ALTER TABLE orders MODIFY made DATETIME",),
    ),
    "a column takes no NULL": Fault(
        "tables", "narrower-column", "error", "NULL does not fit", "MODIFY `amount`",
        target=("ALTER TABLE orders MODIFY amount DECIMAL(10,2) NOT NULL",),
    ),
    "a column is computed": Fault(
        "tables", "generated-column", "error", "amount is generated at the target", "MODIFY `amount` decimal(10,2)",
        target=("ALTER TABLE orders DROP amount, ADD amount DECIMAL(10,2) AS (id * 2) STORED",),
    ),
    "a collation holds two keys for one": Fault(
        "tables", "collation", "warning", "its collation is utf8mb4_bin", "COLLATE utf8mb4_",
        target=("ALTER TABLE orders MODIFY note VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",),
    ),
    "a column of the target's own takes no row": Fault(
        "tables", "own-column", "error", "own at the target alone, NOT NULL", "SET DEFAULT",
        target=("ALTER TABLE orders ADD own INT NOT NULL",),
    ),
    "a column of the target's own is lost": Fault(
        "tables", "own-column", "warning", "own at the target alone", "apply_mode: upsert",
        target=("ALTER TABLE orders ADD own INT",),
    ),
    "a table has no transactions": Fault(
        "tables", "engine", "error", "shop.orders (MyISAM)", "ENGINE=InnoDB",
        target=("ALTER TABLE orders ENGINE=MyISAM",),
    ),
    "bits are cut": Fault(
        "tables", "narrower-column", "error", "larger numbers do not fit", "MODIFY `flags` bit(16)",
        target=("ALTER TABLE orders MODIFY flags BIT(8)",),
    ),
    "the character set of Europe for that of the world": Fault(
        "tables", "narrower-column", "error", "characters that latin1 lacks", "MODIFY `small` varchar(20)",
        target=("ALTER TABLE orders MODIFY small VARCHAR(20) CHARACTER SET latin1",),
    ),
    "ASCII for the character set of Europe": Fault(
        "tables", "narrower-column", "error", "characters that ascii lacks", "CHARACTER SET latin1",
        target=("ALTER TABLE items MODIFY code VARCHAR(20) CHARACTER SET ascii",),
    ),
    "a whole number for one with a fraction": Fault(
        "tables", "narrower-column", "error", "more digits behind the point", "decimal(10,2)",
        target=("ALTER TABLE orders MODIFY amount INT",),
    ),
    "a short decimal for a whole number": Fault(
        "tables", "narrower-column", "error", "larger numbers do not fit", "bigint",
        target=("ALTER TABLE items MODIFY big DECIMAL(10,0)",),
    ),
    "a floating point number for a long one": Fault(
        "tables", "narrower-column", "error", "digits are lost", "bigint",
        target=("ALTER TABLE items MODIFY big DOUBLE",),
    ),
    "an exact number for a floating point one": Fault(
        "tables", "narrower-column", "error", "digits are lost", "MODIFY `share` double",
        target=("ALTER TABLE orders MODIFY share DECIMAL(20,5)",),
    ),
    "a time that ends in 2038": Fault(
        "tables", "narrower-column", "error", "after 2038", "MODIFY `seen` datetime",
        target=("ALTER TABLE orders MODIFY seen TIMESTAMP NULL",),
    ),
    "a time that loses its zone": Fault(
        "tables", "timestamp-column", "warning", "arrive in UTC", "timestamp_columns",
        target=("ALTER TABLE orders MODIFY changed DATETIME NULL",),
    ),
    "spaces at the end are lost": Fault(
        "tables", "padded-column", "warning", "spaces at the end", "MODIFY `note` varchar(50)",
        target=("ALTER TABLE orders MODIFY note CHAR(50) CHARACTER SET utf8mb4",),
    ),
    "bytes are filled up": Fault(
        "tables", "narrower-column", "error", "filled with zeros", "MODIFY `token` varbinary(16)",
        target=("ALTER TABLE orders MODIFY token BINARY(16)",),
    ),
    "labels instead of a text": Fault(
        "tables", "narrower-column", "error", "none of its labels", "MODIFY `code` varchar(20)",
        target=("ALTER TABLE items MODIFY code ENUM('a', 'b') CHARACTER SET latin1",),
    ),
    "a unique key of the target's own": Fault(
        "tables", "own-unique-key", "error", "unique key own (code) at the target alone", "DROP INDEX `own`",
        target=("ALTER TABLE items ADD UNIQUE own (code)",),
    ),
    "a unique key of the source is missing": Fault(
        "tables", "lost-unique-key", "warning", "shop.items lacks the unique key own of the source",
        "ADD UNIQUE `own` (`code`)", source=("ALTER TABLE items ADD UNIQUE own (code)",),
    ),
    "two tables go into one": Fault(
        "tables", "merged-tables", "warning", "shop.plain gets the rows of other.plain, shop.plain: where",
        "a target of its own", options={"dbname_rewrite": {"other": "shop"}},
        source=("CREATE DATABASE other", "CREATE TABLE other.plain LIKE plain"),
    ),
    "a unique key of a part of the text": Fault(
        "tables", "own-unique-key", "error", "unique key own (code(5))", "DROP INDEX `own`",
        source=("ALTER TABLE items ADD UNIQUE own (code)",), target=("ALTER TABLE items ADD UNIQUE own (code(5))",),
    ),
    "a table without a place for each row": Fault(
        "tables", "partitions", "error", "the last part with 100, and not at the source", "LESS THAN (MAXVALUE)",
        target=("ALTER TABLE items PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (100))",),
    ),
    "a name in another case": Fault(
        "tables", "missing-tables", "error", "the target has shop.Orders, and no shop.orders",
        "RENAME TABLE `shop`.`Orders` TO `shop`.`orders`", target=("RENAME TABLE orders TO Orders",),
    ),
    "a foreign key without an action at the target alone is no fault": Fault(
        "tables", "missing-tables", "ok", "all 3 tables", "",
        target=("ALTER TABLE items ADD CONSTRAINT own FOREIGN KEY (order_id) REFERENCES orders (id)",),
    ),
    "other tables in the state schema": Fault(
        "state", "state-schema", "error", "there are other tables in it (items, orders, plain)", "state_schema: a name",
        options={"state_schema": "shop"},
    ),
    "a trigger would fire": Fault(
        "tables", "target-triggers", "error", "shop.doubles on orders", "DROP TRIGGER `shop`.`doubles`",
        target=("CREATE TRIGGER doubles BEFORE INSERT ON orders FOR EACH ROW SET NEW.amount = 2 * NEW.amount",),
    ),
    "an event would run": Fault(
        "tables", "target-events", "error", "shop.sweeps", "ALTER EVENT `shop`.`sweeps` DISABLE",
        target=("SET GLOBAL event_scheduler = 1", "CREATE EVENT sweeps ON SCHEDULE EVERY 1 DAY STARTS '2035-01-01'"
                                                  " DO DELETE FROM orders"),
    ),
    "new tables get another collation": Fault(
        "tables", "database-collation", "warning", "new tables of shop get the collation"
                                                   " utf8mb4_bin", "ALTER DATABASE `shop`",
        target=("ALTER DATABASE shop COLLATE utf8mb4_bin",),
    ),
    "a name of dbname_rewrite is wrong": Fault(
        "tables", "rewrite", "warning", "dbname_rewrite names Shop", "write 'shop'",
        options={"dbname_rewrite": {"Shop": "shop"}},
    ),
    "a table of timestamp_columns is wrong": Fault(
        "tables", "timestamp-columns", "warning", "names shop.ordres, which the source", "correct timestamp_columns",
        options={"timestamp_columns": {"shop": {"ordres": ["changed"]}}},
    ),
    "a column of binary_columns is wrong": Fault(
        "tables", "binary-columns", "warning", "names column tokn of shop.orders", "correct binary_columns",
        options={"binary_columns": {"shop": {"orders": ["tokn", "token"]}}},
    ),
    "a glob of trusted_columns is wrong": Fault(
        "tables", "trusted-columns", "warning", "'shop.orders.shre'", "correct trusted_columns",
        options={"trusted_columns": ["shop.orders.shre"]},
    ),
    "a name of exclude is wrong": Fault(
        "tables", "exclude", "warning", "'shop.itmes'", "correct exclude", options={"exclude": ["shop.itmes", "tmp.*"]},
    ),
    "a glob of include is wrong": Fault(
        "tables", "include", "warning", "'shop.ordres'", "correct include", options={"include": ["shop.ordres"]},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ends(source: Endpoint, target: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Both servers with the same shop."""
    for end in (source, target):
        if end.server:
            end.server.start()
        end.drop_databases()
        _make(end)
    return source, target


def _make(end: Endpoint) -> None:
    for database in ("shop", "other"):
        end.query(f"DROP DATABASE IF EXISTS {database}")
    end.query("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    run_sql(end, SHOP, database="shop")


def _broken(ends: tuple[Endpoint, Endpoint], fault: Fault) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    for end, statements in zip(ends, (fault.source, fault.target), strict=True):
        changes_shop = [sql for sql in statements if not sql.startswith("SET ")]
        stack.enter_context(global_variables(end, [sql for sql in statements if sql.startswith("SET ")]))
        if changes_shop:
            stack.callback(_make, end)
            run_sql(end, changes_shop, database="shop")
    return stack


@pytest.mark.parametrize("name", [*SERVERS, *TABLES])
def test_a_fault_is_named_with_its_remedy(ends: tuple[Endpoint, Endpoint], name: str) -> None:
    fault = {**SERVERS, **TABLES}[name]
    with _broken(ends, fault):
        must_say(examined(settings_of(*ends, **fault.options), fault.group), fault)


@pytest.mark.mysql
@pytest.mark.parametrize("name", MYSQL_SERVERS)
def test_a_fault_of_mysql_is_named_with_its_remedy(ends: tuple[Endpoint, Endpoint], name: str) -> None:
    with _broken(ends, MYSQL_SERVERS[name]):
        must_say(examined(settings_of(*ends), MYSQL_SERVERS[name].group), MYSQL_SERVERS[name])


@pytest.mark.mysql
def test_a_database_that_is_closed_to_writes(ends: tuple[Endpoint, Endpoint]) -> None:
    fault = Fault(
        "target", "read-only-database", "error", "the database shop at the target is READ ONLY", "READ ONLY = 0"
    )
    ends[1].query("ALTER DATABASE shop READ ONLY = 1")
    try:
        must_say(examined(settings_of(*ends), "target"), fault)
    finally:
        ends[1].query("ALTER DATABASE shop READ ONLY = 0")


def test_a_table_that_somebody_has_locked(ends: tuple[Endpoint, Endpoint]) -> None:
    """It is said soon, and the other tables are looked at."""
    fault = Fault("tables", "locked-tables", "warning", "shop.items at the target is locked", "UNLOCK TABLES")
    with ends[1].connect() as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES shop.items WRITE")
        report = examined(settings_of(*ends), "tables")
    must_say(report, fault)
    assert not named(report, "unreadable-tables"), shown(report)


@pytest.mark.mariadb
@pytest.mark.parametrize("name", MARIADB)
def test_a_fault_of_mariadb_is_named_with_its_remedy(ends: tuple[Endpoint, Endpoint], name: str) -> None:
    with _broken(ends, MARIADB[name]):
        must_say(examined(settings_of(*ends, **MARIADB[name].options), MARIADB[name].group), MARIADB[name])


def test_nothing_is_wrong_with_what_is_well(ends: tuple[Endpoint, Endpoint]) -> None:
    durable = ("SET GLOBAL innodb_flush_log_at_trx_commit = 1", "SET GLOBAL sync_binlog = 1")
    kept = (*durable, "SET GLOBAL binlog_expire_logs_seconds = 604800", "SET GLOBAL binlog_row_metadata = FULL")
    with global_variables(ends[0], kept), global_variables(ends[1], durable):
        report = examined(settings_of(*ends), "connections", "rights", "source", "target", "tables", "state")
    # How full the disk is that the tests run on is nobody's fault here.
    wrong = [each for each in report.findings if each.level in ("warning", "error") and each.check != "free-space"]
    assert wrong == [], shown(report)


def test_what_capture_keeps_in_a_state_schema_is_its_own(ends: tuple[Endpoint, Endpoint]) -> None:
    """Of the way back of a cut-over it stands at the server that is the source forth."""
    state = TableState(ends[0].db_info, "pydbsync", "back")
    try:
        found = examined(settings_of(*ends), "tables").findings
        assert [each.text for each in found if each.check == "own-names"] == []
    finally:
        state.close()
        ends[0].query("DROP DATABASE IF EXISTS pydbsync")


def test_nothing_is_left_behind(ends: tuple[Endpoint, Endpoint]) -> None:
    """Nor made: no state schema, no table, no row."""
    examined(settings_of(*ends))
    for end in ends:
        assert not set(end.databases()) & set(OWN)


def test_one_server_as_both_ends(ends: tuple[Endpoint, Endpoint]) -> None:
    settings = settings_of(ends[1], ends[1])
    must_say(examined(settings, "connections"), Fault("", "two-servers", "error", "same server", "host and port"))


@pytest.mark.parametrize(
    ("change", "check", "says", "remedy"),
    [
        ({"password": "wrong"}, "target-connection", "user or password is wrong", "IDENTIFIED BY"),
        ({"port": 1}, "target-connection", "cannot be reached", "`db_info.port`"),
        ({"host": "no-such-host.invalid"}, "target-connection", "cannot be reached", "`db_info.host`"),
        ({"database": "nowhere"}, "target-connection", "no such database", "leave `db_info.database` out"),
        ({"ssl_ca": __file__}, "target-connection", "", "`db_info.ssl_ca`"),
    ],
)
def test_a_target_that_cannot_be_used(
    ends: tuple[Endpoint, Endpoint], change: dict[str, Any], check: str, says: str, remedy: str
) -> None:
    """The other groups say once that they could not look, and end."""
    given = {"db_info": {**ends[1].db_info, **change}, "source_db_info": ends[0].db_info, "log_file_prefix": ""}
    report = examined(settings_from_mapping(given, require=())[0])
    must_say(report, Fault("", check, "error", says, remedy))
    assert [each.group for each in named(report, "away") if "the target" in each.text] == [
        "connections", "rights", "source", "stream", "target", "tables", "state"
    ], shown(report)  # fmt: skip


def test_without_a_source_what_needs_it_is_unknown(ends: tuple[Endpoint, Endpoint]) -> None:
    report = examined(settings_of(None, ends[1]), "connections", "source", "tables")
    unknowns = [each for each in report.findings if each.level == "unknown"]
    assert {each.group for each in unknowns} >= {"source", "tables"}
    assert all("source_db_info" in each.remedy for each in unknowns if "source" in each.text), shown(report)


def test_without_a_queue_no_table_is_said_to_lack_one(ends: tuple[Endpoint, Endpoint]) -> None:
    """As in a configuration for copy and verify alone."""
    report = examined(settings_of(*ends), "broker")
    assert {each.level for each in report.findings} == {"unknown"}, shown(report)


def test_a_lock_that_is_held_does_not_keep_the_doctor(ends: tuple[Endpoint, Endpoint]) -> None:
    """A statement that waits for ever is given up in time, and the next group is looked at."""
    settings = settings_of(*ends)

    class Stuck(Examination):
        def grants(self, end: str) -> Any:
            return self.target().rows("SELECT SLEEP(1000)")

    exam = Stuck(settings, limits=CheckLimits(answer_s=30, group_s=1))
    report = examine(exam, only=("rights", "target"))
    must_say(report, Fault("", "rights-time", "warning", "did not end within 1 s", "--timeout"))
    assert any(each.group == "target" and each.check == "max-allowed-packet" for each in report.findings), shown(report)


def test_a_heartbeat_that_has_stopped_is_no_proof(ends: tuple[Endpoint, Endpoint]) -> None:
    settings = settings_of(*ends)
    must_say(
        examined(settings, "source"), Fault("", "heartbeat", "unknown", "there is no heartbeat", "pydbsync heartbeat")
    )
    try:
        run_heartbeat(settings, threading.Event(), LOG, beats=1)
        must_say(examined(settings, "source"), Fault("", "heartbeat", "ok", "beats", ""))
        ends[0].query("UPDATE pydbsync_heartbeat.heartbeat SET written_at = NOW() - INTERVAL 1 HOUR")
        must_say(examined(settings, "source"), Fault("", "heartbeat", "warning", "stopped 1 h ago", "start pydbsync"))
    finally:
        ends[0].query("DROP DATABASE IF EXISTS pydbsync_heartbeat")


STATE_FAULTS = {
    "a newer state schema": (
        "INSERT INTO schema_version (version, says, made_by) VALUES (9999, 'x', 'pydbsync 99')",
        Fault("state", "state-version", "error", "has version 9999, made by pydbsync 99", "run the newer one"),
    ),
    "an older state schema": (
        "DELETE FROM schema_version WHERE version > 1",
        Fault("state", "state-version", "warning", "has version 1", "CREATE, ALTER and INDEX"),
    ),
    "a trigger of the state schema": (
        "CREATE TRIGGER back BEFORE UPDATE ON checkpoint FOR EACH ROW SET NEW.epoch = 0",
        Fault("state", "state-changed", "error", "the trigger back of checkpoint", "DROP TRIGGER `pydbsync`.`back`"),
    ),
    "an event of the state schema": (
        "CREATE EVENT tidy ON SCHEDULE EVERY 1 YEAR DO DELETE FROM pydbsync.parked",
        Fault("state", "state-changed", "error", "the event tidy", "DROP EVENT `pydbsync`.`tidy`"),
    ),
    "a state table without its key": (
        "ALTER TABLE checkpoint DROP PRIMARY KEY",
        Fault("state", "state-changed", "error", "pydbsync.checkpoint has lost its primary key", "ADD PRIMARY KEY"),
    ),
    "a state table without transactions": (
        "ALTER TABLE checkpoint ENGINE = MyISAM",
        Fault("state", "state-engine", "error", "pydbsync.checkpoint", "ENGINE=InnoDB"),
    ),
    "a column of the state that is shorter": (
        "ALTER TABLE parked MODIFY reason VARCHAR(20) CHARACTER SET utf8mb4 NOT NULL",
        Fault("state", "state-changed", "error", "pydbsync.parked.reason is varchar(20) and was made as text",
              "`parked` MODIFY reason TEXT"),
    ),
    "a key of the state that compares otherwise": (
        "ALTER TABLE checkpoint MODIFY stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL",
        Fault("state", "state-changed", "error", "checkpoint.stream is compared by utf8mb4_general_ci",
              "COLLATE utf8mb4_bin NOT NULL"),
    ),
    "a checkpoint that was removed": (
        "INSERT INTO worker (stream, host, pid, queue, state, written_at, applied) VALUES ('sync', 'h', 1, 'sync',"
        " 'stopped', NOW(6), 5)",
        Fault("state", "checkpoint", "error", "the checkpoint of queue sync is gone", "pydbsync checkpoint set"),
    ),
    "a state that came with a copy of the target": (
        "INSERT INTO checkpoint (stream, gtids, ghosts) VALUES ('sync', '', '');"
        "INSERT INTO stream_origin (stream, queue, vhost, cluster, address, server) VALUES ('sync', 'sync', '/', 'c',"
        " 'a', 'server_uuid other')",
        Fault("state", "other-target", "warning", "at another server (server_uuid other)", "correct db_info"),
    ),
    "parked changes": (
        "INSERT INTO parked (stream, position, kind, source_database, source_table, target_database, row_keys,"
        " is_whole_table, reason, code, message) VALUES ('sync', 'b.1:4', 'insert', 'shop', 'orders', 'shop', '', 0,"
        " 'Duplicate entry 7', 1062, '{}')",
        Fault("state", "parked", "warning", "1 change of shop.orders parked: Duplicate entry 7", "pydbsync parked"
                                                                                                 " retry"),
    ),
    "changes behind a parked one": (
        "INSERT INTO parked (stream, position, kind, source_database, source_table, target_database, row_keys,"
        " is_whole_table, reason, code, message, behind) VALUES ('sync', 'b.1:4', 'table-alter', 'shop', 'orders',"
        " 'shop', '', 1, 'Unknown column', 1054, '{}', NULL), ('sync', 'b.1:5', 'insert', 'shop', 'orders', 'shop', '',"
        " 0, 'waits', 0, '{}', 1)",
        Fault("state", "parked", "warning", "1 change of shop.orders parked, and 1 change waiting behind", "retry"),
    ),
    "a pause that was forgotten": (
        "INSERT INTO pause (stream, schema_changes_of, actor, reason) VALUES ('sync', '', 'ann', 'index')",
        Fault("state", "paused", "warning", "by ann: index; nothing of it is applied", "pydbsync resume sync"),
    ),
    "a pause of schema changes": (
        "INSERT INTO pause (stream, schema_changes_of, actor, reason) VALUES ('', 'shop.orders', 'ann', '')",
        Fault("state", "paused", "warning", "the schema changes of shop.orders", "resume --ddl 'shop.orders'"),
    ),
    "a pause of no queue": (
        "INSERT INTO pause (stream, schema_changes_of, actor, reason) VALUES ('synk', '', 'ann', '')",
        Fault("state", "paused", "warning", "no queue of this configuration", "pydbsync resume synk"),
    ),
    "a capture that died": (
        "INSERT INTO task (kind, name, host, pid, state, started_at, written_at) VALUES ('capture', 'maxwell', 'h', 1,"
        " 'running', NOW(6) - INTERVAL 9 DAY, NOW(6) - INTERVAL 8 DAY)",
        Fault("state", "tools", "error", "capture maxwell has gone without a word 8 days ago", "run it again"),
    ),
    "a heartbeat that failed": (
        "INSERT INTO task (kind, name, host, pid, state, written_at, ended_at, exit_code, last_error, remedy) VALUES"
        " ('heartbeat', '', 'h', 1, 'failed', NOW(6), NOW(6), 2, 'access denied', 'GRANT it')",
        Fault("state", "tools", "warning", "heartbeat ended with exit code 2 (access denied)", "GRANT it"),
    ),
    "a comparison that found differences": (
        "INSERT INTO task (kind, name, host, pid, state, written_at, ended_at, exit_code, result) VALUES ('verify', '',"
        " 'h', 1, 'done', NOW(6), NOW(6), 1, '3 rows differ')",
        Fault("state", "tools", "warning", "verify found differences (3 rows differ)", "pydbsync repair"),
    ),
    "a hole in the stream": (
        "INSERT INTO incident (stream, kind, text, remedy) VALUES ('sync', 'gap', '3 heartbeats are missing', '')",
        Fault("state", "gaps", "error", "3 heartbeats are missing", "pydbsync verify"),
    ),
    "a place of another server": (
        "INSERT INTO checkpoint (stream, binlog_base, binlog_file, gtids, ghosts, commits) VALUES ('sync', 'elsewhere',"
        " 12, '', '', 5)",
        Fault("state", "other-source", "warning", "stands at elsewhere.000012:0", "host and port of source_db_info"),
    ),
    "a state table that is gone": (
        "DROP TABLE parked",
        Fault("state", "state-tables", "error", "lacks parked: what was in it", "pydbsync verify"),
    ),
    "a column of the state that is gone": (
        "ALTER TABLE conflict DROP COLUMN decision",
        Fault("state", "state-tables", "error", "lacks conflict (decision)", "pydbsync verify"),
    ),
    "a worker that waits": (
        "INSERT INTO worker (stream, host, pid, queue, state, state_since, written_at) VALUES ('sync', 'h', 1, 'sync',"
        " 'the target is read-only', NOW(6) - INTERVAL 1 HOUR, NOW(6))",
        Fault("state", "workers", "warning", "applies nothing: the target is read-only for 1 h", "pydbsync status"),
    ),
    "a worker that is late": (
        "INSERT INTO worker (stream, host, pid, queue, state, written_at, lag_s) VALUES ('sync', 'h', 1, 'sync',"
        " 'following', NOW(6), 86400)",
        Fault("state", "workers", "warning", "is 1 day behind the source", "catching up"),
    ),
    "a schema change without an end": (
        "INSERT INTO schema_change (statement_hash, position, stream, status, statement, before_state, note, ts,"
        " started_at) VALUES ('y', 'b.1:4', 'sync', 'intent', 'ALTER TABLE t ADD x INT', '', '', 0,"
        " NOW() - INTERVAL 1 HOUR)",
        Fault("state", "schema-change", "warning", "ALTER TABLE t ADD x INT", "SHOW PROCESSLIST"),
    ),
    "messages without positions": (
        "INSERT INTO checkpoint (stream, gtids, ghosts, commits, applied) VALUES ('sync', '', '', 5, 5)",
        Fault("state", "positions", "error", "carry no position", "output_binlog_position=true"),
    ),
    "a worker that has gone with an error": (
        "INSERT INTO worker (stream, host, pid, queue, state, written_at, last_error, last_error_at, remedy)"
        " VALUES ('sync', 'h', 1, 'sync', 'following', NOW() - INTERVAL 1 HOUR, 'the disk is full', NOW(), 'make"
        " room')",
        Fault("state", "worker-error", "error", "ended with: the disk is full", "make room"),
    ),
    "two captures": (
        "INSERT INTO task (kind, name, host, pid, state, written_at) VALUES ('capture', 'a', 'h', 1, 'running',"
        " NOW(6)), ('capture', 'b', 'h', 2, 'running', NOW(6))",
        Fault("maxwell", "publishers", "warning", "2 programs read this source to publish it", "stop all but one"),
    ),
    "a copy that outlasts the binlog": (
        "INSERT INTO task (kind, name, host, pid, state, started_at, written_at, done, total)"
        " VALUES ('copy', '', 'h', 1, 'copying', NOW(6) - INTERVAL 10 HOUR, NOW(6), 10, 1000)",
        Fault("source", "binlog-retention", "error", "will take about", "SET GLOBAL binlog_expire_logs_seconds"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATE_FAULTS)
def test_a_fault_of_the_state_is_named_with_its_remedy(ends: tuple[Endpoint, Endpoint], name: str) -> None:
    sql, fault = STATE_FAULTS[name]
    bound: dict[str, Any] = {"rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}]}
    connection = Connection(ends[1].db_info)
    try:
        ensure_state_schema(connection, "pydbsync")
        run_sql(ends[1], sql.split(";"), database="pydbsync")
        must_say(
            examined(settings_of(*ends, **bound, rabbitmq_conn_info={"host": "127.0.0.1", "port": 1}), fault.group),
            fault,
        )
    finally:
        connection.close()
        ends[1].query("DROP DATABASE IF EXISTS pydbsync")


def test_a_place_beyond_the_end_of_the_binlog_is_named(ends: tuple[Endpoint, Endpoint]) -> None:
    """A source that a crash or a restore has taken back."""
    connection = Connection(ends[1].db_info)
    bound: dict[str, Any] = {"rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}]}
    settings = settings_of(*ends, **bound, rabbitmq_conn_info={"host": "127.0.0.1", "port": 1})
    base, _, file = str(ends[0].query("SHOW BINARY LOGS")[-1][0]).rpartition(".")
    end = int(ends[0].query("SHOW BINARY LOGS")[-1][1])
    try:
        ensure_state_schema(connection, "pydbsync")
        for offset, says in ((end, ""), (end + 1_000_000, "other-source")):
            ends[1].query(
                "REPLACE INTO pydbsync.checkpoint (stream, binlog_base, binlog_file, binlog_offset, gtids, ghosts,"
                " commits) VALUES ('sync', %s, %s, %s, '', '', 5)", base, int(file), offset,
            )  # fmt: skip
            found = [each.check for each in examined(settings, "state").findings if each.check == "other-source"]
            assert found == [says][: bool(says)]
    finally:
        connection.close()
        ends[1].query("DROP DATABASE IF EXISTS pydbsync")


def test_how_a_worker_ended_says_nothing_where_another_one_works_on_its_queue(ends: tuple[Endpoint, Endpoint]) -> None:
    sql, fault = STATE_FAULTS["a worker that has gone with an error"]
    bound: dict[str, Any] = {"rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}]}
    connection = Connection(ends[1].db_info)
    try:
        ensure_state_schema(connection, "pydbsync")
        alive = ("INSERT INTO worker (stream, host, pid, queue, state, written_at) VALUES ('sync', 'h', 2, 'sync',"
                 " 'following', NOW(6))")  # fmt: skip
        run_sql(ends[1], [sql, alive], database="pydbsync")
        found = examined(settings_of(*ends, **bound, rabbitmq_conn_info={"host": "127.0.0.1", "port": 1}), fault.group)
        assert "worker-error" not in [each.check for each in found.findings]
    finally:
        connection.close()
        ends[1].query("DROP DATABASE IF EXISTS pydbsync")


@pytest.mark.mariadb
def test_a_type_at_which_maxwell_ends(ends: tuple[Endpoint, Endpoint]) -> None:
    fault = Fault("maxwell", "maxwell-types", "warning", "columns of type UUID: shop.items.u", "pydbsync capture",
                  source=("ALTER TABLE items ADD u UUID",))  # fmt: skip
    with _broken(ends, fault):
        must_say(examined(settings_of(*ends), "maxwell"), fault)
        assert not named(examined(settings_of(*ends, lossy_values="off"), "maxwell"), "maxwell-types")


def doctor(*arguments: str) -> Any:
    return CliRunner().invoke(application("doctor"), ["doctor", *arguments])


def test_from_the_terminal_and_for_programs(ends: tuple[Endpoint, Endpoint], tmp_path: Path) -> None:
    """Grouped, the counts last, no colours where there is no terminal; the exit code is that of the worst."""
    config = {"db_info": ends[1].db_info, "source_db_info": ends[0].db_info, "log_file_prefix": ""}
    file = str(write_config(config, tmp_path / "c.py"))
    with global_variables(ends[1], ["SET GLOBAL read_only = 1"]):
        done = doctor("--config", file, "--only", "target", "--quiet")
        assert done.exit_code == 2
        assert "error   the target has read_only" in done.stdout
        assert "→ SET GLOBAL read_only = OFF" in done.stdout
        assert "\x1b" not in done.stdout
        assert done.stdout.splitlines()[-1].startswith("1 error, ")
        found = json.loads(doctor("--config", file, "--only", "target", "--json").stdout)
    assert found["exit_code"] == 2
    assert {"level", "group", "check", "text", "remedy"} == set(found["findings"][0])
    assert doctor("--config", file, "--only", "nothing").exit_code != 0


def test_a_configuration_that_cannot_be_read_is_an_error_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("db_info: {host: h, user: u, passwrd: secret}\n", encoding="utf-8")
    done = doctor("--config", str(tmp_path / "c.yaml"))
    assert done.exit_code == 2
    assert "db_info.passwrd" in done.stdout
    assert "secret" not in done.stdout


def test_two_configurations_are_held_against_each_other(ends: tuple[Endpoint, Endpoint], tmp_path: Path) -> None:
    files = []
    for name, vhost, schema in (("a", "/", "pydbsync"), ("b", "/other", "pydbsync"), ("c", "/", "elsewhere")):
        config = {
            "db_info": ends[1].db_info, "state_schema": schema, "log_file_prefix": "",
            "rabbitmq_conn_info": {"host": "127.0.0.1", "port": 1, "vhost": vhost},
            "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}],
        }  # fmt: skip
        files += ["--config", str(write_config(config, tmp_path / f"{name}.py"))]
    done = doctor(*files, "--only", "state", "--json")
    together = [each for each in json.loads(done.stdout)["findings"] if each["group"] == "together"]
    assert [each["check"] for each in together] == ["one-stream-twice", "one-queue-twice"]
    assert "stream_names" in together[0]["remedy"]
