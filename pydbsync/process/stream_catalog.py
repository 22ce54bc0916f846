"""The target's tables as the stream would have made them, for a dry run."""

from __future__ import annotations

import re

import msgspec

from pydbsync.apply.catalog import LiveCatalog
from pydbsync.model import Referrer, SchemaChange, TableName, TableSchema
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.plan.ddl.table_definition import TableDefinition, alter_table, define_table
from pydbsync.plan.target import Dialect

_NAME = r"(?:`(?:[^`]|``)+`|[\w$]+)"
_FOREIGN_KEY = re.compile(
    rf"\bREFERENCES\s+(?:(?P<database>{_NAME})\s*\.\s*)?(?P<table>{_NAME})\s*\((?P<columns>[^)]*)\)", re.IGNORECASE
)
_ACTION = re.compile(r"\bON\s+(DELETE|UPDATE)\s+(CASCADE|SET\s+NULL|SET\s+DEFAULT)\b", re.IGNORECASE)


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


class StreamCatalog:
    """`Catalog` of the tables that the DDL in the stream has made, over a live one where there is one."""

    def __init__(self, live: LiveCatalog | None, *, is_mariadb: bool) -> None:
        """`is_mariadb` is what to write for where there is no live catalogue."""
        self._live = live
        self._referrers: dict[TableName, dict[str, Referrer]] = {}
        self._defined: dict[TableName, TableDefinition | None] = {}
        self.dialect = live.dialect if live is not None else Dialect(is_mariadb=is_mariadb, version=())

    def table(self, name: TableName) -> TableSchema | None:
        """The table as the stream made it, else as it is on the target."""
        if name in self._defined:
            definition = self._defined[name]
            if definition is None:
                return None
            referrers = tuple(self._referrers.get(name, {}).values())
            return msgspec.structs.replace(definition.schema(name), referrers=referrers)
        return self._live.table(name) if self._live is not None else None

    def forget(self, database: str | None = None) -> None:
        """Nothing to do: what the stream says does not age."""

    def collation_of(self, database: str) -> str | None:
        """What a table of the target's database gets that names none; None where that is not known."""
        return self._live.collation_of(database) if self._live is not None else None

    def feeders(self, name: TableName, server_id: int | None) -> tuple[str, ...]:
        """None: nothing is written, so nobody is asked."""
        return ()

    def is_fed(self, name: TableName) -> bool:
        return True

    def feeders_in(self, database: str, table: str | None) -> tuple[str, ...]:
        """None, likewise."""
        return ()

    def named(self, table: str) -> list[str]:
        """The databases where the stream has made a table of this name."""
        return [name.database for name, definition in self._defined.items() if definition and name.table == table]

    def take(self, change: SchemaChange, planned: PlannedSchemaChange) -> None:
        """What a schema change does to the tables. Raises PlanError where the message does not describe them."""
        if planned.action == "drop-database":
            for name in [name for name in self._defined if name.database == planned.database]:
                self._defined[name] = None
        brand = self.dialect.brand
        for old, new in planned.touched:
            before = self._defined.get(old) if old is not None else None
            if old is not None and old != new:
                self._defined[old] = None
            if new is None:
                continue
            if old is None:
                self._defined[new] = define_table(change, target=brand, like=self._like(change, planned))
            elif before is not None:
                is_renamed_only = planned.action == "rename-table"
                self._defined[new] = before if is_renamed_only else alter_table(before, change, target=brand)
            self._take_foreign_keys(new, planned)

    def _take_foreign_keys(self, child: TableName, planned: PlannedSchemaChange) -> None:
        default = planned.default_database or child.database
        for clause in parse_statement(planned.sql).clauses:
            words = [token.upper for token in clause]
            if "REFERENCES" not in words:
                continue
            text = planned.sql[clause[0].start : clause[-1].end]
            if (key := _FOREIGN_KEY.search(text)) is None or not (actions := _ACTION.findall(text)):
                continue
            database, table = (_unquoted(part) if part else None for part in key.group("database", "table"))
            columns = tuple(_unquoted(part.strip()) for part in key["columns"].split(","))
            by_event = {event.upper(): " ".join(action.upper().split()) for event, action in actions}
            parent = TableName(database or default, table or "")
            self._referrers.setdefault(parent, {})[f"{child} {text}"] = Referrer(
                child, columns, by_event.get("DELETE", "RESTRICT"), by_event.get("UPDATE", "RESTRICT")
            )

    def _like(self, change: SchemaChange, planned: PlannedSchemaChange) -> TableDefinition | None:
        statement = parse_statement(planned.sql)
        for ref in statement.names:
            if ref.role == "like":
                database = ref.database or planned.default_database or change.database
                return self._defined.get(TableName(database, ref.table or ""))
        return None
