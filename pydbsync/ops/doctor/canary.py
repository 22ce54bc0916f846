"""With --canary: one row of every type is written at the source, and looked for at the target, the way of all
changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError
from pydbsync.model import TableName
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, ok
from pydbsync.ops.verify.run import Verification, VerifyOptions
from pydbsync.ops.verify.settle import SettleOptions
from pydbsync.ops.words import listed
from pydbsync.plan.quoting import quote_name, quote_table

SOURCE: Final = TableName("pydbsync_canary", "canary")
"""In a database of its own, which is dropped again: that travels too."""
_LOOK_S = 0.2
_NO_SUCH = (1049, 1146)
_DENIED = (1044, 1142, 1227)


class TypeSample(NamedTuple):
    """A column of a type, and a value that shows what is lost of it, as SQL."""

    definition: str
    value: str


SAMPLES: Final[Mapping[str, TypeSample]] = {
    "tinyint": TypeSample("TINYINT", "-128"),
    "bigint_unsigned": TypeSample("BIGINT UNSIGNED", "18446744073709551615"),
    "decimal": TypeSample("DECIMAL(65,30)", "-12345678901234567890.000000000000000000000000000001"),
    "float": TypeSample("FLOAT", "16777217"),
    "double": TypeSample("DOUBLE", "1.7976931348623157e308"),
    "bit_1": TypeSample("BIT(1)", "b'1'"),
    "bit_40": TypeSample("BIT(40)", "0xFFFFFFFFFF"),
    "bit_64": TypeSample("BIT(64)", "0x7FFFFFFFFFFFFFFF"),
    "year": TypeSample("YEAR", "1901"),
    "date": TypeSample("DATE", "'9999-12-31'"),
    "time": TypeSample("TIME(6)", "'10:11:12.000001'"),
    "time_over_a_day": TypeSample("TIME", "'838:59:59'"),
    "time_negative": TypeSample("TIME", "'-01:00:00'"),
    "datetime": TypeSample("DATETIME(6)", "'2017-03-12 02:30:00.000001'"),
    "timestamp": TypeSample("TIMESTAMP(6) NULL", "'2037-01-19 03:14:07.999999'"),
    "char_utf8mb4": TypeSample("CHAR(20) CHARACTER SET utf8mb4", "_utf8mb4 0xF09F9880C39F"),
    "varchar_latin1": TypeSample("VARCHAR(20) CHARACTER SET latin1", "_latin1 0x8041DF"),
    "varchar_gbk": TypeSample("VARCHAR(20) CHARACTER SET gbk", "_gbk 0xC4E3BAC3"),
    "varchar_ucs2": TypeSample("VARCHAR(20) CHARACTER SET ucs2", "_ucs2 0x00E94F60"),
    "text": TypeSample(
        "TEXT CHARACTER SET utf8mb4", "CONCAT('a\\'b\"c\\\\d', CHAR(0 USING utf8mb4), CHAR(10 USING utf8mb4))"
    ),
    "binary": TypeSample("BINARY(8)", "0x6162000000000000"),
    "varbinary": TypeSample("VARBINARY(20)", "0x00FF80"),
    "longblob": TypeSample("LONGBLOB", "0x0001FEFF"),
    "enum": TypeSample("ENUM('a','b''c','')", "'b''c'"),
    "set": TypeSample("SET('x','y','z')", "'x,z'"),
    "json": TypeSample("JSON", '\'{"a": [1, 1.5, null, "é"], "b": {"c": true}}\''),
    "point": TypeSample("POINT", "ST_GeomFromText('POINT(1.5 -2)')"),
    "null": TypeSample("INT", "NULL"),
}
"""By the names of their columns; what both brands have."""


def check_canary(exam: Examination) -> Iterator[Finding]:
    """Each type that arrives changed, after its whole way."""
    if not exam.canary_s:
        return
    source, database = SOURCE, SOURCE.database
    target = TableName(exam.router.databases(database)[0], source.table)
    if not exam.router.takes(source):
        yield error("canary", f"{source} is left out by include or exclude: the canary would not arrive",
                    f"add '{source}' to include")  # fmt: skip
        return
    try:
        _write(exam.source(), source)
    except ApplyError as exc:
        if exc.code not in _DENIED:
            raise
        needs = exam.granting("source", ("SELECT", "INSERT", "CREATE", "DROP"), database)
        yield error("canary", f"the canary cannot be written at the source: {exc}", needs)
        return
    try:
        started = time.monotonic()
        if _arrives(exam, target):
            yield from _compared(exam, source, time.monotonic() - started)
        else:
            yield from _missing(exam, source, target)
    finally:
        exam.source().execute(f"DROP DATABASE IF EXISTS {quote_name(database)}")


def _write(connection: Connection, name: TableName) -> None:
    columns = ", ".join(f"{quote_name(column)} {sample.definition}" for column, sample in SAMPLES.items())
    connection.execute(f"CREATE DATABASE IF NOT EXISTS {quote_name(name.database)}")
    connection.execute(f"DROP TABLE IF EXISTS {quote_table(name)}")
    connection.execute(f"CREATE TABLE {quote_table(name)} (id BIGINT UNSIGNED PRIMARY KEY, {columns}) ENGINE=InnoDB")
    values = ", ".join(sample.value for sample in SAMPLES.values())
    # A number of this run: a row that an earlier one left at the target is not taken for this one's.
    connection.execute(f"INSERT INTO {quote_table(name)} SELECT UNIX_TIMESTAMP(NOW(6)) * 1000000, {values}")


def _arrives(exam: Examination, name: TableName) -> bool:
    number = exam.source().value(f"SELECT id FROM {quote_table(SOURCE)}")
    deadline = time.monotonic() + exam.canary_s
    while time.monotonic() < deadline:
        try:
            if exam.target().value(f"SELECT COUNT(*) FROM {quote_table(name)} WHERE id = %s", (number,)):
                return True
        except ApplyError as exc:
            if exc.code not in _NO_SUCH:
                raise
        time.sleep(_LOOK_S)
    return False


def _compared(exam: Examination, source: TableName, seconds: float) -> Iterator[Finding]:
    options = VerifyOptions(
        tables=(str(source),),
        data_only=True,
        settle=SettleOptions(wait_s=0, pause_s=0.01, blind_pause_s=0.01, stall_s=1),
    )
    log = logging.getLogger("pydbsync.doctor")
    report = Verification(exam.settings, options, stop=threading.Event(), log=log).run()
    changed: dict[str, tuple[object, object]] = {}
    for table in report.tables:
        for difference in table.differences:
            if difference.source is not None and difference.target is not None:
                pairs = zip(table.columns, difference.source, difference.target, strict=True)
                changed |= {column: (before, after) for column, before, after in pairs if before != after}
    for column, (before, after) in changed.items():
        sample = SAMPLES.get(column)
        yield error(
            "canary-type",
            f"{sample.definition if sample else column} arrives changed: {before} at the source, {after} at the target",
            "publish with pydbsync capture, which carries it whole; or keep it out (lossy_values: park), and copy"
            " and repair"
            " such columns (docs/types.md)",
        )
    if not changed:
        yield ok("canary", f"one row of {len(SAMPLES)} types arrived equal, in {seconds:.1f} s")
    else:
        kept = [sample.definition for column, sample in SAMPLES.items() if column not in changed]
        yield ok("canary", f"{len(kept)} of {len(SAMPLES)} types arrived equal: {listed(kept, most=40)}")


def _missing(exam: Examination, source: TableName, target: TableName) -> Iterator[Finding]:
    schema = quote_name(exam.settings.state_schema)
    try:
        parked = exam.target().rows(
            f"SELECT id, reason FROM {schema}.`parked` WHERE source_database = %s AND source_table = %s"
            " AND status = 'parked' ORDER BY id DESC LIMIT 1",
            source,
        )
    except ApplyError:
        parked = []
    if parked:
        number, reason = parked[0]
        yield error("canary", f"the canary was parked: {str(reason)[:200]}",
                    f"pydbsync parked show {number}; then pydbsync parked skip {number} --reason canary")  # fmt: skip
        return
    yield error(
        "canary",
        f"the canary did not arrive in {target} within {exam.canary_s:g} s: a worker, Maxwell or capture does not"
        f" run, or the"
        f" queue is not bound to {source.database}.{source.table}",
        "pydbsync status; pydbsync doctor --only broker --only maxwell; a longer --canary-wait where the stream is"
        " behind",
    )
