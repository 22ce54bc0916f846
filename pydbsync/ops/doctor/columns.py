"""The columns of the target's tables against the source's: missing ones, narrower ones, other collations."""

from __future__ import annotations

from collections.abc import Iterator

from pydbsync.config.settings import columns_of
from pydbsync.errors import PlanError
from pydbsync.model import TableName
from pydbsync.ops.doctor.catalogue import ColumnFacts, Pair, pairs
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, unknown, warning
from pydbsync.ops.doctor.tables import has_other_columns
from pydbsync.ops.doctor.types import is_cut_at_its_end, narrower, replayed_otherwise
from pydbsync.ops.words import listed
from pydbsync.plan.ddl.collations import StatementServer, translate_collation
from pydbsync.plan.quoting import quote_name, quote_table


def check_columns(exam: Examination) -> Iterator[Finding]:
    """Each column of the source is at the target and takes all its values."""
    across = exam.source().dialect.is_mariadb != exam.target().dialect.is_mariadb
    upsert = exam.settings.apply_mode == "upsert"
    grants, hidden = exam.grants("target"), dict[str, list[TableName]]()
    for source, name, target in pairs(exam):
        if target is None or target.is_view or has_other_columns(exam, source):
            continue
        if grants.lacks(("SELECT",), name.database, name.table):
            hidden.setdefault(name.database, []).append(name)  # no column of it is shown, or not each
            continue
        table = quote_table(name)
        row_key = {column.lower() for column in source.row_key}
        for key, column in source.columns.items():
            other = target.columns.get(key)
            spelled = _spelled(column, across=across)
            if other is not None:
                modify = f"ALTER TABLE {table} MODIFY {quote_name(other.name)} {spelled}"
                yield from _column(exam, Pair(source, name, target), column, other, modify, is_key=key in row_key)
            elif not column.generated:
                yield error(
                    "missing-column",
                    f"{name} lacks the column {column.name} at the target: its rows would be parked",
                    f"ALTER TABLE {table} ADD {quote_name(column.name)} {spelled}",
                )
        own = [c for key, c in target.columns.items() if key not in source.columns and not c.generated]
        stuck = [c.name for c in own if not c.nullable and not c.has_default]
        if stuck:
            yield error(
                "own-column",
                f"{name} has {listed(stuck)} at the target alone, NOT NULL and without a default: no row can be"
                f" inserted",
                f"ALTER TABLE {table} ALTER {quote_name(stuck[0])} SET DEFAULT …, and apply_mode: upsert",
            )
        elif own and not upsert:
            yield warning(
                "own-column",
                f"{name} has {listed(c.name for c in own)} at the target alone: apply_mode"
                f" {exam.settings.apply_mode} sets"
                " it to its default with each change of a row",
                "apply_mode: upsert keeps it, or drop the column",
            )
    for database, names in hidden.items():
        yield unknown(
            "hidden-columns",
            f"the columns of {listed(names)} at the target are not shown to our user",
            f"needs {exam.granting('target', ('SELECT',), database)}",
        )


def _column(
    exam: Examination, pair: Pair, column: ColumnFacts, other: ColumnFacts, modify: str, *, is_key: bool
) -> Iterator[Finding]:
    """One column that is there on both sides; `modify` makes it as the source's."""
    name, key = f"{pair.target_name}.{other.name}", column.name.lower()
    types = (
        f"{name} is {other.column_type}{_charset(other, column)} at the target and"
        f" {column.column_type}{_charset(column, other)} at the source"
    )
    if column.generated != other.generated:
        side = "the source" if column.generated else "the target"
        yield (warning if column.generated else error)(
            "generated-column",
            f"{name} is generated at {side} alone"
            + (": its values would be computed anew, not as the source has them" if other.generated else ""),
            modify + (" as at the source" if column.generated else ""),
        )
    elif column.generated:
        return
    elif why := replayed_otherwise(
        column, other, is_named=key in columns_of(exam.settings.binary_columns, *pair.source.name)
    ):
        yield error("other-bytes", f"{types}: {why}", modify)
    elif why := narrower(column, other):
        yield error("narrower-column", f"{types}: {why}", modify)
    elif is_cut_at_its_end(column, other):
        yield warning("padded-column", f"{types}: spaces at the end of a value are lost", modify)
    elif (column.kind, other.kind) == ("timestamp", "datetime"):
        if column.name not in columns_of(exam.settings.timestamp_columns, *pair.source.name):
            yield warning(
                "timestamp-column",
                f"{types}: its times arrive in UTC, and are stored so",
                f"{modify}; or name it in timestamp_columns, with the timestamp_offset of the application",
            )
    elif why := other_collation(column, other, is_key, exam):
        yield warning("collation", f"{name}: {why}", modify)


def _spelled(column: ColumnFacts, *, across: bool) -> str:
    """The source's type, as ALTER TABLE takes it; each brand has collations of its own."""
    charset = f" CHARACTER SET {column.charset}" if column.charset else ""
    charset += f" COLLATE {column.collation}" if column.collation and not across else ""
    return f"{column.column_type}{charset}{'' if column.nullable else ' NOT NULL'}"


def other_collation(column: ColumnFacts, other: ColumnFacts, is_key: bool, exam: Examination) -> str:
    """What a collation of its own at the target would do."""
    if column.collation is None or other.collation is None or column.collation == other.collation:
        return ""
    wanted = column.collation
    dialect = exam.target().dialect
    if exam.source().dialect.is_mariadb != dialect.is_mariadb:
        try:
            translated = translate_collation(wanted, StatementServer(dialect.brand, dialect.version))
        except PlanError as exc:
            return f"the target has no collation that compares as {wanted} does: {exc}"
        if translated is not None and translated.name == other.collation:
            return ""
    if {wanted.replace("utf8_", "utf8mb3_"), other.collation.replace("utf8_", "utf8mb3_")} == {other.collation}:
        return ""
    what = "keys that are two there can be one here" if is_key else "it compares and sorts in another way"
    return f"its collation is {other.collation} at the target and {wanted} at the source: {what}"


def _charset(column: ColumnFacts, other: ColumnFacts) -> str:
    return f" {column.charset}" if column.charset and column.charset != other.charset else ""
