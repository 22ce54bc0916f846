"""Writes a workload to files: the base rows and the changes as SQL, the changes as Maxwell's messages."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import messages, tables, workload
from benchmarks.messages import MessageWriter
from benchmarks.tables import Table, as_sql
from benchmarks.workload import DATABASE, Change, Rows, Workload

ROWS_A_STATEMENT = 500
TRANSACTIONS_A_PACKET = 50
PACKET_END = "$$"


@dataclass(frozen=True)
class Facts:
    """What was generated, kept beside the files."""

    name: str
    changes: int
    transactions: int
    message_bytes: int
    tables: tuple[str, ...]


@dataclass(frozen=True)
class Generated:
    """The files of one workload in `folder`."""

    workload: Workload
    folder: Path
    facts: Facts

    @property
    def base_sql(self) -> Path:
        return self.folder / "base.sql"

    @property
    def changes_sql(self) -> Path:
        return self.folder / "changes.sql"

    @property
    def messages(self) -> Path:
        return self.folder / "messages.ndjson"


def generator_version() -> str:
    """A mark of the code that decides what the files hold: other code, other files."""
    digest = hashlib.sha256()
    for module in (tables, workload, messages):
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:8]


def generate(wanted: Workload, *, seed: int, cache: Path) -> Generated:
    """The workload's files, made now or found in the cache."""
    folder = cache / f"{wanted.name}-{wanted.changes}-{seed}-{generator_version()}"
    facts_file = folder / "facts.json"
    if facts_file.exists():
        kept = json.loads(facts_file.read_text())
        return Generated(wanted, folder, Facts(**{**kept, "tables": tuple(kept["tables"])}))
    folder.mkdir(parents=True, exist_ok=True)
    run = wanted.start(seed)
    write_base(folder / "base.sql", run.rows)
    facts = write_changes(run, folder)
    facts_file.write_text(json.dumps(asdict(facts), indent=1))
    return Generated(wanted, folder, facts)


def write_base(path: Path, rows: list[Rows]) -> None:
    """The tables and their first rows, in few statements."""
    with path.open("w", encoding="utf-8") as out:
        out.write(f"SET NAMES utf8mb4; SET time_zone='+00:00';\nCREATE DATABASE {DATABASE}; USE {DATABASE};\n")
        for table_rows in rows:
            table = table_rows.table
            out.write(table.create() + ";\n")
            values = [table.values(row) for row in table_rows]
            for start in range(0, len(values), ROWS_A_STATEMENT):
                out.write(f"INSERT INTO `{table.name}` VALUES\n" + ",\n".join(values[start : start + ROWS_A_STATEMENT]))
                out.write(";\n")


def write_changes(run: workload.Run, folder: Path) -> Facts:
    """Statements for the source and messages for the queue, side by side."""
    writer = MessageWriter(DATABASE)
    changes = transactions = size = 0
    with (folder / "changes.sql").open("w", encoding="utf-8") as sql, (folder / "messages.ndjson").open("wb") as out:
        sql.write(f"SET NAMES utf8mb4; SET time_zone='+00:00'; USE {DATABASE};\nDELIMITER {PACKET_END}\n")
        for transaction in run.transactions():
            sql.write("BEGIN;\n")
            for number, change in enumerate(transaction, start=1):
                sql.write(statement(change))
                body = message(writer, change, last=number == len(transaction))
                out.write(body + b"\n")
                size += len(body)
            sql.write("COMMIT;\n")
            changes += len(transaction)
            transactions += 1
            if transactions % TRANSACTIONS_A_PACKET == 0:
                sql.write(PACKET_END + "\n")
        sql.write(f"SELECT 1 LIMIT 0 {PACKET_END}\n")
    return Facts(run.workload.name, changes, transactions, size, tuple(t.name for t in run.workload.tables))


def message(writer: MessageWriter, change: Change, *, last: bool) -> bytes:
    if change.old is None:
        assert change.new is not None
        return writer.insert(change.table, change.new, last=last)
    if change.new is None:
        return writer.delete(change.table, change.old, last=last)
    return writer.update(change.table, change.old, change.new, last=last)


def statement(change: Change) -> str:
    """The statement that makes this change on the source."""
    table, old, new = change.table, change.old, change.new
    if old is None:
        assert new is not None
        return f"INSERT INTO `{table.name}` VALUES {table.values(new)};\n"
    if new is None:
        return f"DELETE FROM `{table.name}` WHERE {condition(change)};\n"
    assignments = ",".join(
        f"`{column.name}`={as_sql(column, after)}"
        for column, before, after in zip(table.columns, old, new, strict=True)
        if before != after
    )
    return f"UPDATE `{table.name}` SET {assignments} WHERE {condition(change)};\n"


def condition(change: Change) -> str:
    table: Table = change.table
    row = change.old
    assert row is not None
    if not table.keyless:
        return f"`{table.columns[0].name}`={as_sql(table.columns[0], row[0])}"
    pairs = zip(table.columns, row, strict=True)
    return " AND ".join(f"`{c.name}`<=>{as_sql(c, v)}" for c, v in pairs) + " LIMIT 1"
