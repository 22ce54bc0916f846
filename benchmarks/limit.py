"""The target's limit: the changes as batched SQL in a file, piped through the server's own client.

Batches hold whole transactions and at least so many changes; of each row only the last image is written, many rows
a statement, as pydbsync does. Nothing is read from a queue and nothing is decoded: what remains is the target's work.
How large a batch is best depends on the disk and the rows: several sizes are tried, and the best one counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.generate import ROWS_A_STATEMENT, Generated, statement
from benchmarks.rig import pipe
from benchmarks.tables import Row, Table, Value
from benchmarks.workload import DATABASE, Change
from lab.mariadb import MariaDB

BATCH_ROWS = (250, 1_000, 4_000, 16_000)


def feed(target: MariaDB, sql: Path) -> float:
    """Seconds of the whole client process."""
    start = time.perf_counter()
    pipe(target, sql, "--max-allowed-packet=1G")
    return time.perf_counter() - start


def batch_file(generated: Generated, rows: int, *, seed: int) -> Path:
    """The batched SQL of a workload, written once; `rows` changes are a batch at least."""
    path = generated.folder / f"batches-{rows}.sql"
    if path.exists():
        return path
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as out:
        out.write(f"SET NAMES utf8mb4; SET time_zone='+00:00', foreign_key_checks=0; USE {DATABASE};\n")
        batch: list[Change] = []
        for transaction in generated.workload.start(seed).transactions():
            batch += transaction
            if len(batch) >= rows:
                write_batch(out.write, batch)
                batch = []
        write_batch(out.write, batch)
    partial.replace(path)
    return path


def write_batch(write: Callable[[str], object], batch: list[Change]) -> None:
    write("BEGIN;\n")
    for line in batch_statements(batch):
        write(line)
    write("COMMIT;\n")


def batch_statements(batch: list[Change]) -> Iterator[str]:
    keyed: dict[Table, dict[Value, Row | None]] = {}
    keyless: list[Change] = []
    for change in batch:
        if change.table.keyless:
            keyless.append(change)
            continue
        row = change.new or change.old
        assert row is not None
        keyed.setdefault(change.table, {})[row[0]] = change.new
    for table, images in keyed.items():
        key = table.columns[0].name
        gone = [str(value) for value, image in images.items() if image is None]
        rows = [table.values(image) for image in images.values() if image is not None]
        for part in parts(gone):
            yield f"DELETE FROM `{table.name}` WHERE `{key}` IN ({','.join(part)});\n"
        for part in parts(rows):
            yield f"REPLACE INTO `{table.name}` VALUES {','.join(part)};\n"
    yield from keyless_statements(keyless)


def keyless_statements(changes: list[Change]) -> Iterator[str]:
    """Neighbouring inserts together, all else one by one in its order."""
    waiting: list[str] = []
    table: Table | None = None
    for change in changes:
        table = change.table
        if change.old is None:
            assert change.new is not None
            waiting.append(table.values(change.new))
            continue
        if waiting:
            yield insert_rows(table, waiting)
            waiting = []
        yield statement(change)
    if waiting and table:
        yield insert_rows(table, waiting)


def insert_rows(table: Table, values: list[str]) -> str:
    return f"INSERT INTO `{table.name}` VALUES {','.join(values)};\n"


def parts(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), ROWS_A_STATEMENT):
        yield items[start : start + ROWS_A_STATEMENT]
