"""The source as an ordinary connection sees it: settings, the head of its binlog, its tables now, its characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pymysql

from pydbsync.apply.catalog import JSON_CHECK, SYSTEM_DATABASES, in_user_databases, read_labels
from pydbsync.apply.raw_connection import RawConnection
from pydbsync.apply.system_zone import system_zone
from pydbsync.errors import OperationError
from pydbsync.model import Column, TableName
from pydbsync.ops.capture.binlog.gtids import MariadbGtids
from pydbsync.ops.capture.binlog.reader import BinlogPlace, is_lost, translated
from pydbsync.ops.capture.history.columns import charset_of_collation
from pydbsync.ops.capture.history.schema import HIDDEN_KEY, LABELLED, TEXT, TableDef
from pydbsync.plan.ddl.lexer import Brand

_NO_SUCH_STATEMENT: Final = 1064
_BASE: Final = "t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"
_SESSION: Final = (
    "SET /*!80030 SESSION show_gipk_in_create_table_and_information_schema = 1, */ SESSION wait_timeout = 60,"
    " SESSION sql_quote_show_create = 1"
)
"""The catalogue has all columns that the binlog has; the server soon forgets a connection whose end it was not told,
and the lock that it held."""


@dataclass(frozen=True)
class SourceFacts:
    """What does not change while the source runs."""

    brand: Brand
    version: str
    identity: str
    """server_uuid, or the server_id of a MariaDB."""
    charset: str
    """Of new databases."""
    fold_names: bool
    collations: Mapping[int, str]
    """Character set by collation id."""
    collation_names: Mapping[int, str]
    """Collation by its id."""
    system_time_zone: str
    """What the time zone SYSTEM is there."""
    default_week_format: int | None
    """This and the next one where they are not 0 and 4, as servers have them."""
    div_precision_increment: int | None
    old_mode: str | None
    """MariaDB's, where `utf8` is utf8mb4 by it."""
    gtid_mode: str
    """MySQL's; ON for a MariaDB."""


class SourceServer:
    """One connection to the source for questions; made anew after it was lost."""

    def __init__(self, connect: Mapping[str, Any]) -> None:
        """`connect` has PyMySQL's keywords. Raises SourceError when the source cannot be reached."""
        self._keywords = {**connect, "autocommit": True, "charset": "utf8mb4"}
        self._keywords.pop("database", None)
        self._connection: RawConnection | None = None

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def rows(self, sql: str, parameters: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query; a lost connection is made anew once."""
        for attempt in (1, 2):
            try:
                if self._connection is None:
                    self._connection = RawConnection(**self._keywords)
                    self._connection.query(_SESSION)
                with self._connection.cursor() as cursor:
                    cursor.execute(sql, parameters)
                    return list(cursor.fetchall())
            except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError) as exc:
                self.close()
                if attempt == 2 or not is_lost(exc):
                    raise translated(exc) from exc
        raise AssertionError

    def holds_server_id(self, number: int) -> bool:
        """Whether no other capture reads this source under the number; True also keeps it so while it is asked for."""
        name = f"pydbsync server_id {number}"
        ((held,),) = self.rows("SELECT IF(IS_USED_LOCK(%s) = CONNECTION_ID(), 1, GET_LOCK(%s, 0))", (name, name))
        return bool(held)

    def facts(self) -> SourceFacts:
        """Read once at start. Raises OperationError where the source writes no row binlog."""
        ((version, charset, case, log_bin, binlog_format, image, letters, week, division),) = self.rows(
            "SELECT VERSION(), @@character_set_server, @@lower_case_table_names, @@log_bin, @@binlog_format,"
            " @@binlog_row_image, @@system_time_zone, @@GLOBAL.default_week_format, @@GLOBAL.div_precision_increment"
        )
        brand: Brand = "mariadb" if "mariadb" in version.lower() else "mysql"
        if brand == "mysql" and version.startswith(("5.5.", "5.6.")):
            raise OperationError(f"the source is MySQL {version}: capture reads 5.7 and newer, Maxwell older ones too")
        if not log_bin:
            raise OperationError("the source writes no binlog: start it with log_bin")
        if binlog_format != "ROW":
            raise OperationError(f"the source writes binlog_format={binlog_format}: set it to ROW, in new sessions too")
        if image not in ("FULL", "FULL_NODUP"):
            raise OperationError(f"the source writes binlog_row_image={image}: set it to FULL, in new sessions too")
        identity = self.rows("SELECT @@server_id" if brand == "mariadb" else "SELECT @@server_uuid")[0][0]
        # An older MariaDB has the variable too, and `utf8` is utf8mb3 there.
        asked = (
            self.rows(
                "SELECT @@GLOBAL.old_mode FROM DUAL WHERE 'utf8mb3' IN (SELECT character_set_name FROM"
                " information_schema.character_sets)"
            )
            if brand == "mariadb"
            else ()
        )
        old_mode = next((str(found) for (found,) in asked if "UTF8_IS_UTF8MB3" not in str(found)), None)
        # MariaDB 10.10 and newer have collations of any character set, which have an id for each set.
        table, name = "collations", "collation_name"
        if self._has_full_names():
            table, name = "collation_character_set_applicability", "full_collation_name"
        collations = self.rows(
            f"SELECT id, character_set_name, {name} FROM information_schema.{table} WHERE id IS NOT NULL"
        )
        return SourceFacts(
            brand=brand,
            version=version,
            identity=str(identity),
            charset=charset,
            fold_names=case != 0,
            collations={int(number): charset for number, charset, _ in collations if charset},
            collation_names={int(number): name for number, _, name in collations if name},
            system_time_zone=system_zone(self.rows, letters),
            default_week_format=week or None,
            div_precision_increment=None if division == 4 else division,
            old_mode=old_mode,
            gtid_mode="ON" if brand == "mariadb" else self.rows("SELECT @@gtid_mode")[0][0],
        )

    def _has_full_names(self) -> bool:
        return bool(
            self.rows(
                "SELECT 1 FROM information_schema.columns WHERE table_schema = 'information_schema'"
                " AND table_name = 'COLLATION_CHARACTER_SET_APPLICABILITY' AND column_name = 'FULL_COLLATION_NAME'"
            )
        )

    def head(self, brand: Brand) -> BinlogPlace:
        """Where the binlog ends now."""
        file, offset, gtids = self._status(brand)
        if brand == "mariadb":
            gtids = self.rows("SELECT BINLOG_GTID_POS(%s, %s)", (file, offset))[0][0]
        return BinlogPlace(file, offset, (gtids or "").replace("\n", ""))

    def end(self, brand: Brand) -> tuple[str, int]:
        """File and offset of `head`, which on MariaDB has to look for its GTIDs."""
        return self._status(brand)[:2]

    def _status(self, brand: Brand) -> tuple[str, int, str]:
        try:
            status = self.rows("SHOW BINARY LOG STATUS" if brand == "mysql" else "SHOW MASTER STATUS")
        except pymysql.err.ProgrammingError as exc:
            if exc.args[0] != _NO_SUCH_STATEMENT:
                raise
            status = self.rows("SHOW MASTER STATUS")
        if not status:
            raise OperationError("the source tells no place in its binlog: it writes none; start it with log_bin")
        return status[0][0], int(status[0][1]), status[0][4] if len(status[0]) > 4 else ""

    def binlogs(self) -> dict[str, int]:
        """The files that the source has, with their sizes in bytes."""
        return {_text(file): int(size) for file, size, *_ in self.rows("SHOW BINARY LOGS")}

    def has_purged(self, brand: Brand, gtids: str) -> bool:
        """Whether transactions up to these GTIDs were in files that the source has no more."""
        if brand == "mysql":
            return bool(self.rows("SELECT GTID_SUBSET(%s, @@GLOBAL.gtid_purged)", (gtids,))[0][0])
        first = next(iter(self.binlogs()))
        there = self.rows("SELECT BINLOG_GTID_POS(%s, 4)", (first,))[0][0] or ""
        return MariadbGtids(there).reaches(MariadbGtids(gtids))

    def databases(self) -> list[tuple[str, str]]:
        """Databases with their default character sets."""
        found = self.rows("SELECT schema_name, default_character_set_name FROM information_schema.schemata")
        return [(name, charset) for name, charset in found if name not in SYSTEM_DATABASES]

    def sequences(self) -> list[TableName]:
        """MariaDB's sequences."""
        return [
            TableName(*row)
            for row in self.rows(
                "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SEQUENCE'"
                f" AND {in_user_databases('table_schema')}"
            )
        ]

    def tables(self, brand: Brand, only: TableName | None = None) -> Iterator[TableDef]:
        """All base tables as they are now, or one."""
        charsets = {
            TableName(database, table): charset_of_collation(collation or "utf8mb4") or "utf8mb4"
            for database, table, collation in self.rows(
                f"SELECT t.table_schema, t.table_name, t.table_collation FROM information_schema.tables t WHERE {_BASE}"
                f" AND {_asked(only, 't')}",
                only,
            )
        }
        keys: dict[TableName, list[str]] = {}
        for database, table, column in self.rows(
            "SELECT t.table_schema, t.table_name, s.column_name FROM information_schema.tables t"
            " JOIN information_schema.statistics s ON s.table_schema = t.table_schema AND s.table_name = t.table_name"
            f" WHERE {_BASE} AND {_asked(only, 't', 's')} AND s.index_name = 'PRIMARY' ORDER BY 1, 2, s.seq_in_index",
            only and (*only, *only),
        ):
            keys.setdefault(TableName(database, table), []).append(column)
        hidden = self._with_hidden_times(only) if brand == "mariadb" else frozenset()
        hashes = self._hash_keys(only) if brand == "mariadb" else {}
        documents = self._json_columns(only) if brand == "mariadb" else frozenset()
        columns: dict[TableName, list[Column]] = {name: [] for name in charsets}
        generated = "c.extra RLIKE '(VIRTUAL|STORED) GENERATED'"
        if brand == "mariadb":
            generated += " AND c.generation_expression NOT IN ('ROW START', 'ROW END')"
        hidden_keys = set()
        for database, table, column, kind, full, charset, digits, is_generated, extra in self.rows(
            "SELECT t.table_schema, t.table_name, c.column_name, c.data_type, c.column_type, c.character_set_name,"
            f" c.datetime_precision, {generated}, LOWER(c.extra) FROM information_schema.tables t"
            " JOIN information_schema.columns c"
            " ON c.table_schema = t.table_schema AND c.table_name = t.table_name"
            f" WHERE {_BASE} AND {_asked(only, 't', 'c')} ORDER BY 1, 2, c.ordinal_position",
            only and (*only, *only),
        ):
            name = TableName(database, table)
            is_hidden = brand == "mysql" and {"invisible", "auto_increment"} <= {*_text(extra).split()}
            if is_hidden and column == HIDDEN_KEY and not columns.get(name) and keys.get(name) == [HIDDEN_KEY]:
                hidden_keys.add(name)
            is_json = kind == "json" or (name, column) in documents
            columns.setdefault(name, []).append(
                _column(column, "json" if is_json else kind, _text(full), charset, digits, bool(is_generated))
            )
        for name, found in columns.items():
            yield TableDef(
                name, charsets.get(name, "utf8mb4"), tuple(found), tuple(keys.get(name, ())), name in hidden,
                hashes.get(name, 0), name in hidden_keys,
            )  # fmt: skip

    def _with_hidden_times(self, only: TableName | None) -> frozenset[TableName]:
        """System-versioned tables without a column that is declared as ROW START."""
        return frozenset(
            TableName(*row)
            for row in self.rows(
                "SELECT t.table_schema, t.table_name FROM information_schema.tables t"
                f" WHERE {_asked(only, 't')} AND t.table_type = 'SYSTEM VERSIONED'"
                " AND NOT EXISTS (SELECT 1 FROM information_schema.columns c"
                f" WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name AND {_asked(None, 'c')}"
                " AND c.generation_expression = 'ROW START')",
                only,
            )
        )

    def _hash_keys(self, only: TableName | None) -> dict[TableName, int]:
        """How many unique keys are kept as a hash, of tables that have any; MEMORY has hashes of another kind."""
        return {
            TableName(database, table): int(count)
            for database, table, count in self.rows(
                "SELECT t.table_schema, t.table_name, COUNT(DISTINCT s.index_name) FROM information_schema.tables t"
                " JOIN information_schema.statistics s"
                " ON s.table_schema = t.table_schema AND s.table_name = t.table_name"
                f" WHERE {_BASE} AND {_asked(only, 't', 's')} AND s.index_type = 'HASH' AND s.non_unique = 0"
                " AND t.engine <> 'MEMORY' GROUP BY 1, 2",
                only and (*only, *only),
            )
        }

    def _json_columns(self, only: TableName | None) -> frozenset[tuple[TableName, str]]:
        found = set()
        for database, table, clause in self.rows(
            "SELECT t.table_schema, t.table_name, k.check_clause FROM information_schema.tables t"
            " JOIN information_schema.check_constraints k"
            " ON k.constraint_schema = t.table_schema AND k.table_name = t.table_name"
            f" WHERE {_BASE} AND {_asked(only, 't')} AND {_asked(only, 'k', schema='constraint_schema')}",
            only and (*only, *only),
        ):
            match = JSON_CHECK.fullmatch(_text(clause).strip())
            if match:
                found.add((TableName(database, table), match[1].replace("``", "`")))
        return frozenset(found)

    def is_transactional(self, name: TableName) -> bool:
        """Whether the table's engine rolls back."""
        found = self.rows(
            "SELECT e.transactions FROM information_schema.tables t"
            " JOIN information_schema.engines e ON e.engine = t.engine"
            " WHERE t.table_schema = %s AND t.table_name = %s",
            name,
        )
        return not found or found[0][0] == "YES"

    def programs(self, databases: Iterable[str]) -> list[str | None]:
        """The texts of all functions, procedures and triggers of these databases; None for one that may not be read."""
        names = tuple(databases)
        if not names:
            return []
        found = self.rows(
            "SELECT routine_definition FROM information_schema.routines WHERE routine_schema IN %s"
            " UNION ALL SELECT action_statement FROM information_schema.triggers WHERE trigger_schema IN %s",
            (names, names),
        )
        return [None if text is None else _text(text) for (text,) in found]

    def ask(self, expressions: str, parameters: Sequence[object]) -> tuple[Any, ...]:
        """One row, for the tables of characters."""
        return self.rows(f"SELECT {expressions}", parameters)[0]


def _asked(only: TableName | None, *tables: str, schema: str = "table_schema") -> str:
    """The condition for each of these tables of information_schema that its rows are of tables of users, or of one."""
    chosen = "" if only is None else " AND {0}.{1} = %s AND {0}.table_name = %s"
    return " AND ".join(in_user_databases(f"{each}.{schema}") + chosen.format(each, schema) for each in tables)


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value or "")


def _column(name: str, kind: str, column_type: str, charset: str | None, digits: int | None, generated: bool) -> Column:
    kind = kind.lower()
    if kind == "json":
        charset = charset or "utf8mb4"  # MariaDB's is a text, which CONVERT TO CHARACTER SET has changed perhaps
    elif kind not in TEXT and kind not in LABELLED:
        charset = None
    return Column(
        name=name,
        kind=kind,
        charset=charset,
        digits=int(digits or 0),
        unsigned="unsigned" in column_type,
        generated=generated,
        labels=read_labels(column_type) if kind in LABELLED else (),
        native_json=kind == "json",
    )
