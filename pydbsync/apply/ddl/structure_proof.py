"""Whether the target is already as a statement that it refused makes it: proven by what is there, or not at all."""

from __future__ import annotations

from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.clause_proof import DONE, Proof, other_columns, prove_alter, prove_create, show_table
from pydbsync.errors import PermanentError, PlanError
from pydbsync.model import SchemaChange, TableName
from pydbsync.plan.ddl.definition import read_description
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.lexer import apply_edits, cut_members
from pydbsync.plan.ddl.proof import database_defaults
from pydbsync.plan.ddl.statement import parse_statement


def prove(connection: Connection, change: SchemaChange, planned: PlannedSchemaChange, *, copy: TableName) -> Proof:
    """What of the statement is done, to be asked in the session that it ran in.

    `copy` is the name of a table that may be made and dropped, for comparing. Raises TransientError.
    """
    try:
        if planned.database is not None:
            return _prove_database(connection, planned)
        if not planned.touched:  # words of an operator
            return Proof()
        if planned.action == "drop-table":
            return _prove_drop(connection, planned)
        if planned.action == "rename-table":
            return _prove_rename(connection, change, planned)
        if planned.action == "create-table":
            return prove_create(connection, planned, copy)
        if planned.action in ("alter-table", "create-index", "drop-index"):
            return prove_alter(connection, change, planned, copy)
    except (PlanError, PermanentError) as exc:
        return Proof(reason=f"whether its other parts are done cannot be told: {exc}")
    return Proof()


# -- databases and names of tables -----------------------------------------------------------------------------------


def _prove_database(connection: Connection, planned: PlannedSchemaChange) -> Proof:
    found = connection.rows(
        "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata"
        " WHERE schema_name = %s",
        (planned.database,),
    )
    if planned.action == "drop-database" and not found:
        return DONE
    if planned.action != "create-database" or not found:
        return Proof()
    charset, collation = database_defaults(planned.sql, brand=connection.dialect.brand)
    if charset is None and collation is None:
        collation = str(connection.value("SELECT @@collation_server"))
    if (charset or found[0][0], collation or found[0][1]) == found[0]:
        return DONE
    # Its tables need not differ, and the database may have been made by hand for a reason: it is told, not parked.
    return Proof(
        is_done=True,
        reason=f"the database {planned.database} is there with COLLATE {found[0][1]}, and the statement makes it with"
        f" {collation or charset}: tables that are made in it without a character set are not as at the source;"
        f" ALTER DATABASE mends that",
    )


def _prove_drop(connection: Connection, planned: PlannedSchemaChange) -> Proof:
    """MySQL drops none of several tables if one of them is missing, MariaDB drops the others."""
    there = [each.before is not None and show_table(connection, each.before) is not None for each in planned.touched]
    if not any(there):
        return DONE
    if all(there):
        return Proof()
    statement = parse_statement(planned.sql, brand=connection.dialect.brand)
    return Proof(rest=apply_edits(planned.sql, cut_members([item.span for item in statement.items], there)))


def _not_there(connection: Connection, planned: PlannedSchemaChange) -> TableName | None:
    """The first table that the statement gives another name, and that is missing before it."""
    made: set[TableName | None] = set()
    for before, after in planned.touched:
        if before is not None and before not in made and show_table(connection, before) is None:
            return before
        made.add(after)
    return None


def _prove_rename(connection: Connection, change: SchemaChange, planned: PlannedSchemaChange) -> Proof:
    names = [name for each in planned.touched for name in each if name is not None]
    if len(set(names)) != len(names):
        lacking = _not_there(connection, planned)
        told = f" ({lacking} is not there): if all of it was run here by hand, mark it as done, else copy the tables"
        return Proof(
            reason="its tables change their names in a circle, so that the names do not tell what was done"
            f"{told if lacking else ''}"
        )
    done = []
    for before, after in planned.touched:
        is_old, is_new = (name is not None and show_table(connection, name) is not None for name in (before, after))
        if is_old == is_new:
            return Proof(reason=f"{before} and {after} are {'both' if is_old else 'neither of them'} there")
        done.append(is_new)
    first = planned.touched[0].after
    if done[0] and first is not None and (fault := other_columns(connection, read_description(change.def_), first)):
        return Proof(reason=fault)
    if all(done):
        return DONE
    statement = parse_statement(planned.sql, brand=connection.dialect.brand)
    keep = [not each for each in done]
    return Proof(rest=apply_edits(planned.sql, cut_members([item.span for item in statement.items], keep)))
