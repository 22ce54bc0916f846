"""The two kinds of connections of a copy: one that prints rows at the source, one that takes them in at the target."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pymysql.cursors

from pydbsync.apply.answered import lenient_text
from pydbsync.apply.connection import Connection
from pydbsync.apply.mark import MarkedConnection
from pydbsync.apply.server_errors import server_error
from pydbsync.errors import PermanentError
from pydbsync.ops.answers import DoubtfulError, check_warnings, exact_rows

COPY_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
"""Not strict: what strict mode refuses comes as a warning, and a warning that is not expected is an error here."""

_LONG_S = 24 * 3600
_BLOCKED_AFTER_S = 10
_NO_PRIVILEGE = 1227
_CUT_CODES = (0, 1260, 1301)
"""Warnings: more than are told; GROUP_CONCAT cut; the result of a function is longer than max_allowed_packet."""


class TooLargeError(PermanentError):
    """The source could not print the rows as one text: it is longer than its max_allowed_packet."""


class SourceReader(Connection):
    """Reads rows as bytes, within one snapshot if it was opened, and holds no lock on a table between two reads."""

    def __init__(self, keywords: Mapping[str, Any], *, key: str) -> None:
        super().__init__(keywords, key=key)
        self.execute("SET NAMES binary")
        self.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self.run("SET SESSION group_concat_max_len = %s", (self.max_allowed_packet,))
        # A reader may wait for the target, or be told to wait, longer than the server would listen.
        self.execute(f"SET SESSION net_write_timeout = {_LONG_S}, SESSION wait_timeout = {_LONG_S}")
        # Where locks are kept all the same, a schema change waits for us, and our next read waits behind it.
        self.execute(f"SET SESSION lock_wait_timeout = {_BLOCKED_AFTER_S}")
        if self.dialect.is_mariadb:
            self._give_up_binlog()
        self.has_snapshot = False

    def _give_up_binlog(self) -> None:
        """MariaDB keeps metadata locks over ROLLBACK TO SAVEPOINT in a session that may write to the binlog.

        Seen on 10.11: ALTER TABLE waits until COMMIT with sql_log_bin = 1, and not at all with 0. That needs
        BINLOG ADMIN; without, a round ends as soon as a schema change is noticed.
        """
        try:
            self.execute("SET SESSION sql_log_bin = 0")
        except PermanentError as exc:
            if exc.code != _NO_PRIVILEGE:
                raise

    def open_snapshot(self) -> None:
        """All later reads see the rows as they are now. Raises TransientError, PermanentError."""
        self.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        self.has_snapshot = True

    def close_snapshot(self) -> None:
        """Read what is there now from here on."""
        self.execute("COMMIT")
        self.has_snapshot = False

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Give up the metadata locks of what is read inside: a DDL that waits for them holds up everybody behind it."""
        if not self.has_snapshot:
            yield
            return
        self.execute("SAVEPOINT pydbsync_copy")
        try:
            yield
        finally:
            if self.is_open():
                self.execute("ROLLBACK TO SAVEPOINT pydbsync_copy")

    def chunk(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query whose texts are whole. Raises TooLargeError where one was cut."""
        try:
            return exact_rows(self, sql)
        except DoubtfulError as exc:
            raise _not_as_stored(exc) from exc

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one, without holding them here; that they were not as stored is known at the end.

        Raises TransientError, PermanentError, TooLargeError where a value was cut.
        """
        cursor = self._raw.cursor(pymysql.cursors.SSCursor)
        warned = 0
        try:
            cursor.execute(sql)
            yield from cursor
            warned = int(cursor._result.warning_count)  # type: ignore[attr-defined]
        except Exception as exc:
            raise server_error(exc) from exc
        finally:
            if not self.is_open():  # nothing is left to be read from a connection that is closed
                cursor._result = None  # type: ignore[attr-defined]
            cursor.close()
        if warned:
            try:
                check_warnings(self, warned)
            except DoubtfulError as exc:
                raise _not_as_stored(exc) from exc


def _not_as_stored(exc: DoubtfulError) -> PermanentError:
    if exc.code in _CUT_CODES:
        return TooLargeError(
            f"a row is longer than the source's max_allowed_packet; raise it there ({exc})", code=exc.code
        )
    return PermanentError(f"the source does not give a value as it is: {exc}", code=exc.code)


class TargetWriter(MarkedConnection):
    """Writes rows and refuses what did not arrive as it was."""

    def __init__(self, keywords: Mapping[str, Any], *, key: str, schema: str, may_load: bool = True) -> None:
        super().__init__(
            {**keywords, "local_infile": may_load}, key=key, wait_timeout_s=_LONG_S, schema=schema, tool="copy"
        )
        self.make_ready()
        self.run("SET SESSION sql_mode = %s", (COPY_SQL_MODE,))
        if self.dialect.is_mariadb:
            # The source's rows are as they are, whatever constraint was added later without looking at them.
            self.execute("SET SESSION check_constraint_checks = 0")
        self.execute("SET NAMES binary")

    def write(self, sql: bytes, *, expected: int, warnings: int, may_replace: bool) -> None:
        """One statement that writes `expected` rows. Raises PermanentError if it did anything else.

        `warnings` is how many values the server must complain about: the error value 0 of an ENUM is taken, but never
        without a word.
        """
        affected = self.execute(sql)
        found = int(self._raw._result.warning_count)  # type: ignore[attr-defined]
        if found and found != warnings:
            # The answer counts up to 65,535. MySQL forgets its warnings over SELECT @@warning_count, not over this.
            found = int(self.value("SHOW COUNT(*) WARNINGS"))
        if found > warnings:
            code, text = self._first_warning()
            raise PermanentError(f"{text} ({code})", code=code)
        if affected < expected or (affected > expected and not may_replace):
            raise PermanentError(f"{affected} of {expected} rows arrived")

    def load(
        self, statement_for: Callable[[str], bytes], text: bytes, *, expected: int, warnings: int, may_replace: bool
    ) -> None:
        """LOAD DATA LOCAL of a text, from memory; `statement_for(file)` is the statement. Raises PermanentError."""
        with _memory_file(text) as file:
            self.write(statement_for(file), expected=expected, warnings=warnings, may_replace=may_replace)

    def _first_warning(self) -> tuple[int, str]:
        found = self.rows("SHOW WARNINGS LIMIT 1")
        if not found:
            return 0, "the target warned about a value"
        return int(found[0][1]), lenient_text(found[0][2])


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """A file's name under which the bytes can be read; in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("pydbsync")
        try:
            with os.fdopen(os.dup(number), "wb") as file:
                file.write(content)
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
        return
    with tempfile.NamedTemporaryFile(prefix="pydbsync-copy-") as file:
        file.write(content)
        file.flush()
        yield file.name
