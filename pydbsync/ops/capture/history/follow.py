"""The source's tables as they are at one place of its binlog, kept up to date by the DDL that is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import Column, TableName
from pydbsync.ops.capture.history.alter import alter_table, spelled, with_documents
from pydbsync.ops.capture.history.columns import begins_period, charset_option, is_versioned, key_columns, read_column
from pydbsync.ops.capture.history.messages import SchemaText
from pydbsync.ops.capture.history.schema import TableDef, is_hidden_key
from pydbsync.ops.capture.history.temporary import TemporaryTable, of_temporary
from pydbsync.plan.ddl.clauses import key_kind, outer, read_clauses
from pydbsync.plan.ddl.lexer import Brand, Token, shorten
from pydbsync.plan.ddl.recognise import only_written, read_sequences
from pydbsync.plan.ddl.statement import Item, NameRef, Statement

_T = TypeVar("_T")

LookUp = Callable[[TableName], TableDef | None]
"""The table as the source has it now: the last resort for a definition that the binlog does not tell."""


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one statement changed; None removes. The schema history is a list of these."""

    tables: tuple[tuple[TableName, TableDef | None], ...] = ()
    databases: tuple[tuple[str, str | None], ...] = ()
    sequences: tuple[tuple[TableName, bool], ...] = ()
    """MariaDB's, whose rows are no rows of a table: whether one exists now."""
    uncertain: tuple[TableName, ...] = ()
    """Tables that exist from now on with unknown columns."""
    temporary: tuple[tuple[TemporaryTable, bool], ...] = ()
    """Whether one exists now; only those that the binlog tells of (binlog_format other than ROW)."""


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is known of the source's tables at one place."""

    tables: tuple[TableDef, ...] = ()
    databases: tuple[tuple[str, str], ...] = ()
    sequences: tuple[TableName, ...] = ()
    uncertain: tuple[TableName, ...] = ()
    """Tables that may or may not exist, with unknown columns: DDL on them lies between the place and the moment at
    which the source's catalogue was read. Without a table's name, a database that may or may not exist."""


class StatementSession(NamedTuple):
    """What a statement's meaning depends on."""

    database: str
    """The default database; empty without one."""
    real_as_float: bool = False
    is_oracle: bool = False
    """MariaDB's sql_mode ORACLE, in which a DATE has a time."""
    thread_id: int = 0
    is_of_thread: bool = False
    """Whether the statement's meaning depends on the connection, as its event says: on its temporary tables, or on
    CONNECTION_ID()."""


class FollowedSchema:
    """Tables and databases at the present place. `apply` moves them over one statement."""

    def __init__(
        self,
        start: Snapshot,
        *,
        server_charset: str = "utf8mb4",
        brand: Brand = "mysql",
        fold_names: bool = False,
        look_up: LookUp | None = None,
    ) -> None:
        """`fold_names` is lower_case_table_names=1 or 2: with both the binlog's rows have names in lower case, while
        with 2 the catalogue has them as they were given."""
        self._fold = fold_names
        self.tables = {self.folded(table.name): table.renamed(self.folded(table.name)) for table in start.tables}
        self.databases = {self._folded(name): charset for name, charset in start.databases}
        self.uncertain = set(map(self.folded, start.uncertain))
        self.sequences = set(map(self.folded, start.sequences))
        self.temporary: set[TemporaryTable] = set()
        self._server_charset = server_charset
        self.brand: Brand = brand
        self.look_up: LookUp = look_up or (lambda name: None)

    def snapshot(self) -> Snapshot:
        """All of it as it is now."""
        return Snapshot(
            tuple(self.tables.values()),
            tuple(self.databases.items()),
            tuple(sorted(self.sequences)),
            tuple(sorted(self.uncertain)),
        )

    def take(self, delta: Delta) -> None:
        """Make the changes of one statement."""
        for name, table in delta.tables:
            self.uncertain.discard(name)
            self.sequences.discard(name)
            if table is None:
                self.tables.pop(name, None)
            else:
                self.tables[name] = table
        for database, charset in delta.databases:
            if charset is None:
                self.databases.pop(database, None)
                for name in [name for name in self.tables if name.database == database]:
                    del self.tables[name]
                self.uncertain -= {name for name in self.uncertain if name.database == database}
                self.sequences -= {name for name in self.sequences if name.database == database}
            else:
                self.databases[database] = charset
                self.uncertain.discard(TableName(database, ""))
        for name in delta.uncertain:
            self.tables.pop(name, None)
            self.sequences.discard(name)
            self.uncertain.add(name)
        _note(self.sequences, delta.sequences)
        _note(self.temporary, delta.temporary)

    def apply(self, statement: Statement, session: StatementSession) -> tuple[list[SchemaText], Delta]:
        """The messages that Maxwell would send for the statement, and what it changes; the change is taken.

        A statement that changed nothing (IF EXISTS of nothing) has no messages. Raises PlanError for what cannot be
        read.
        """
        try:
            messages: list[SchemaText] = []
            temporary = of_temporary(
                statement, self.temporary, brand=self.brand, is_of_thread=session.is_of_thread, exists=self._exists,
                own=lambda name: TemporaryTable(session.thread_id, self._name(name, session)),
            )  # fmt: skip
            if temporary is not None:
                delta = Delta(temporary=temporary)
            else:
                messages, delta = self._applied(statement, session)
        except (IndexError, ValueError, StopIteration) as exc:
            raise PlanError(f"the definition of a column cannot be read ({exc}): {shorten(statement.sql)}") from exc
        self.take(delta)
        return messages, delta

    def _applied(self, statement: Statement, session: StatementSession) -> tuple[list[SchemaText], Delta]:
        action = statement.action
        if action in ("create-database", "alter-database"):
            return self._set_database(statement, session)
        if action == "drop-database":
            return self._drop_database(statement)
        if action == "create-table":
            return self._create(statement, session)
        if action == "drop-table":
            return self._drop(statement, session)
        if action == "rename-table":
            return self._rename(statement.items, session)
        if action == "alter-table":
            return self._alter(statement, session)
        name = self._name(statement.items[0].subject, session)
        table = self._known(name)
        if table is None and name not in self.uncertain:
            return [], Delta()
        return [_altered(name, table, table)], Delta()

    # temporary tables

    def is_of_temporary(self, tokens: Sequence[Token], session: StatementSession) -> bool:
        """Whether a statement that changes rows surely changes those of a temporary table alone."""
        name = only_written(tokens) if session.is_of_thread else None
        if name is None:
            return False
        written = self.folded(TableName(name.database or session.database, name.table))
        return TemporaryTable(session.thread_id, written) in self.temporary

    def restarted(self) -> Delta:
        """The source has begun anew, without any temporary table."""
        return Delta(temporary=tuple((table, False) for table in sorted(self.temporary)))

    # names

    def named_in(self, tokens: Sequence[Token]) -> set[TableName]:
        """The tables that a statement may be about which cannot be read: all, where not even its tokens can."""
        words = {self._folded(token.text) for token in tokens if token.is_name}
        return {name for name in self.tables if not tokens or name.table in words}

    def _name(self, ref: NameRef, session: StatementSession) -> TableName:
        database, table = ref.database if ref.database is not None else session.database, ref.table or ""
        return self.folded(TableName(database, table))

    def folded(self, name: TableName) -> TableName:
        """The name as the binlog's rows have it."""
        return TableName(self._folded(name.database), self._folded(name.table)) if self._fold else name

    def _folded(self, name: str) -> str:
        return name.lower() if self._fold else name

    def _known(self, name: TableName) -> TableDef | None:
        return self.tables.get(name)

    def _exists(self, name: TableName) -> bool:
        return name in self.tables or name in self.uncertain

    # sequences

    def sequence(self, tokens: Sequence[Token], database: str) -> tuple[list[SchemaText], Delta]:
        """CREATE, ALTER or DROP SEQUENCE, as `apply`. One that takes a table's place drops it."""
        names = [self.folded(name) for name in read_sequences(tokens, database)]
        words = [token.upper for token in tokens[:3]]
        messages: list[SchemaText] = []
        delta = Delta(sequences=tuple((name, False) for name in names))
        if words[0] == "CREATE":
            messages, delta = self._sequence_made(names[0], or_replace=words[1:] == ["OR", "REPLACE"])
        elif words[0] == "ALTER":
            delta = Delta()
        self.take(delta)
        return messages, delta

    def _sequence_made(self, name: TableName, *, or_replace: bool) -> tuple[list[SchemaText], Delta]:
        if not self._exists(name):
            return [], Delta(sequences=((name, True),))
        if not or_replace:  # IF NOT EXISTS
            return [], Delta()
        return [_dropped(name)], Delta(tables=((name, None),), sequences=((name, True),))

    # databases

    def _set_database(self, statement: Statement, session: StatementSession) -> tuple[list[SchemaText], Delta]:
        database = self._folded(next((name.database or "" for name in statement.names), session.database))
        options = tuple(token for token in statement.tokens if token.start >= statement.options_start)
        charset = charset_option(outer(options), self._server_charset)
        dropped: tuple[tuple[TableName, None], ...] = ()
        if statement.action == "create-database":
            is_sure = TableName(database, "") not in self.uncertain
            if statement.if_not_exists and database in self.databases and is_sure:
                return [], Delta()
            if statement.or_replace and database in self.databases:
                # MariaDB; Maxwell sends nothing, and the tables in it are lost without a word
                dropped = tuple((name, None) for name in self.tables if name.database == database)
            charset = charset or self._server_charset
            message = SchemaText("database-create", database, None, None, None, charset)
        else:
            charset = charset or self.databases.get(database, self._server_charset)
            message = SchemaText("database-alter", database, None, None, None, charset)
        return [message], Delta(tables=dropped, databases=((database, charset),))

    def _drop_database(self, statement: Statement) -> tuple[list[SchemaText], Delta]:
        database = self._folded(statement.names[0].database or "")
        if statement.if_exists and database not in self.databases:
            return [], Delta()
        return [SchemaText("database-drop", database, None, None, None, None)], Delta(databases=((database, None),))

    # tables

    def _create(self, statement: Statement, session: StatementSession) -> tuple[list[SchemaText], Delta]:
        name = self._name(statement.items[0].subject, session)
        if statement.if_not_exists and name in self.tables:
            return [], Delta()
        like = next((ref for ref in statement.names if ref.role == "like"), None)
        of_sequence = like is not None and self._name(like, session) in self.sequences
        if of_sequence or _makes_sequence(statement):
            return self._sequence_made(name, or_replace=statement.or_replace)
        if like is not None:
            model = self._known(self._name(like, session))
            table = model.renamed(name) if model is not None else None
        else:
            table = self._new_table(name, statement, session)
        message = SchemaText("table-create", name.database, name.table, None, table, None)
        return [message], Delta(uncertain=(name,)) if table is None else _delta((name, table))

    def _new_table(self, name: TableName, statement: Statement, session: StatementSession) -> TableDef:
        default = self.databases.get(name.database, self._server_charset)
        clauses = read_clauses(statement)
        options = [token for clause in clauses if clause.kind == "option" for token in outer(clause.tokens)]
        charset = charset_option(_before_partitions(options), default) or default
        columns: list[Column] = []
        key: tuple[str, ...] = ()
        for clause in clauses:
            if clause.kind == "column":
                definition = read_column(
                    clause, charset, real_as_float=session.real_as_float, is_oracle=session.is_oracle,
                    json_checks=self.brand == "mariadb",
                )  # fmt: skip
                columns.append(definition.column)
                if definition.is_key:
                    key = (definition.column.name,)
            elif clause.kind == "key" and key_kind(clause) == "primary":
                key = key_columns(clause)
        if self.brand == "mariadb":
            columns = with_documents(columns, (clause.tokens for clause in clauses if clause.kind == "check"))
        declared = [clause.tokens for clause in clauses if clause.kind == "column"]
        versioned = any(map(is_versioned, [options, *declared])) and not any(map(begins_period, declared))
        hidden_key = (
            self.brand == "mysql" and is_hidden_key(key, columns)
            and {"INVISIBLE", "AUTO_INCREMENT"} <= {token.upper for token in declared[0]}
        )  # fmt: skip
        return TableDef(name, charset, tuple(columns), spelled(key, columns), versioned, has_hidden_key=hidden_key)

    def _drop(self, statement: Statement, session: StatementSession) -> tuple[list[SchemaText], Delta]:
        names = [self._name(item.subject, session) for item in statement.items]
        dropped = [name for name in names if self._exists(name)]
        delta = _delta(*((name, None) for name in dropped))
        ended = tuple((name, False) for name in names if name in self.sequences)
        return [_dropped(name) for name in dropped], msgspec.structs.replace(delta, sequences=ended)

    def _rename(self, items: Sequence[Item], session: StatementSession) -> tuple[list[SchemaText], Delta]:
        messages: list[SchemaText] = []
        changes: dict[TableName, TableDef | None] = {}
        uncertain: set[TableName] = set()
        sequences: dict[TableName, bool] = {}
        for item in items:
            if item.before is None or item.after is None:
                continue
            before, after = self._name(item.before, session), self._name(item.after, session)
            if sequences.get(before, before in self.sequences):
                sequences |= {before: False, after: True}
                continue
            old = changes[before] if before in changes else self._known(before)
            if old is None and before not in self.uncertain | uncertain:
                continue  # a view, or a table of another RENAME IF EXISTS
            new = old.renamed(after) if old is not None else None
            messages.append(_altered(before, old, new))
            changes[before] = None
            changes[after] = new
            uncertain.discard(before)
            if new is None:
                uncertain.add(after)
        known = {name: table for name, table in changes.items() if table is not None or name not in uncertain}
        return messages, Delta(tuple(known.items()), uncertain=tuple(uncertain), sequences=tuple(sequences.items()))

    def _alter(self, statement: Statement, session: StatementSession) -> tuple[list[SchemaText], Delta]:
        item = statement.items[0]
        before = self._name(item.subject, session)
        after = self._name(item.after or item.subject, session)
        old = self._known(before)
        if old is None:
            if before in self.sequences:
                return [], Delta(sequences=((before, False), (after, True)))
            if before not in self.uncertain:
                return [], Delta()  # ALTER TABLE IF EXISTS of nothing
            made = tuple(name for name, exists in self._converted(statement, session).items() if exists)
            return [_altered(before, None, None)], Delta(uncertain=made)
        is_mariadb = self.brand == "mariadb"
        clauses = read_clauses(statement)
        new = alter_table(
            old, clauses, real_as_float=session.real_as_float, is_oracle=session.is_oracle, json_checks=is_mariadb
        ).renamed(after)
        changes: list[tuple[TableName, TableDef | None]] = [(after, new)]
        if after != before:
            changes.insert(0, (before, None))
        for name, exists in self._converted(statement, session).items():
            changes.append((name, old.renamed(name) if exists else None))
        return [_altered(before, old, new)], _delta(*changes)

    def _converted(self, statement: Statement, session: StatementSession) -> dict[TableName, bool]:
        """MariaDB 10.7 and newer: the tables that partitions become, and (False) those that become partitions."""
        found: dict[TableName, bool] = {}
        others = iter([ref for ref in statement.names if ref.role == "exchange"])
        for clause in statement.clauses:
            words = [token.upper for token in clause[:2]]
            if words in (["CONVERT", "PARTITION"], ["CONVERT", "TABLE"]):
                found[self._name(next(others), session)] = words[1] == "PARTITION"
        return found


def _note(there: set[_T], changes: Iterable[tuple[_T, bool]]) -> None:
    """Whether each of some things exists now."""
    for each, exists in changes:
        (there.add if exists else there.discard)(each)


def _makes_sequence(statement: Statement) -> bool:
    """CREATE TABLE … SEQUENCE=1, as MariaDB shows a sequence."""
    options = [token for token in statement.tokens if token.start >= statement.options_start > 0]
    return any(
        word.upper == "SEQUENCE" and value.text == "1" for word, value in zip(options, options[2:], strict=False)
    )


def _altered(name: TableName, old: TableDef | None, new: TableDef | None) -> SchemaText:
    return SchemaText("table-alter", name.database, name.table, old, new, None)


def _dropped(name: TableName) -> SchemaText:
    return SchemaText("table-drop", name.database, name.table, None, None, None)


def _delta(*tables: tuple[TableName, TableDef | None]) -> Delta:
    return Delta(tables=tables)


def _before_partitions(options: Sequence[Token]) -> Sequence[Token]:
    for index, token in enumerate(options):
        if token.upper == "PARTITION":
            return options[:index]
    return options
