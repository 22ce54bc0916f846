"""Where capture has got to and what the source's tables looked like on the way, kept over restarts.

The schema history is a snapshot and the changes behind it, each with its place, so that the binlog can be read again
from any place behind the snapshot with the columns of its time. A place is stored after what lies before it was
confirmed; a change of the schema is stored before the messages that follow from it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol

import msgspec
import pymysql

from pydbsync.apply.raw_connection import RawConnection
from pydbsync.errors import ConfigError, OperationError
from pydbsync.files import write_whole
from pydbsync.killpoints import kill_point
from pydbsync.ops.capture.binlog.reader import BinlogPlace, translated
from pydbsync.ops.capture.history.follow import Delta, FollowedSchema, Snapshot
from pydbsync.places import parse_position
from pydbsync.plan.quoting import quote_name


class Beginning(msgspec.Struct, frozen=True):
    """The first entry of the history."""

    identity: str
    """Which server the places are of: server_uuid, or server_id of a MariaDB."""
    place: BinlogPlace
    snapshot: Snapshot


class HistoryEntry(msgspec.Struct, frozen=True):
    """One change of the schema, and the place behind its statement."""

    place: BinlogPlace
    delta: Delta


class Saved(msgspec.Struct, frozen=True):
    """All of the state."""

    beginning: Beginning
    entries: tuple[HistoryEntry, ...]
    place: BinlogPlace

    def schema_at(self, place: BinlogPlace, schema: FollowedSchema) -> FollowedSchema:
        """`schema`, which has the snapshot, moved on to `place`. Raises OperationError for a place before it."""
        if _order(place) < _order(self.beginning.place):
            raise OperationError(
                f"the state knows the source's tables from {self.beginning.place} on, not at {place}: "
                "start with a new state"
            )
        for entry in self.entries:
            if _order(entry.place) <= _order(place):
                schema.take(entry.delta)
        return schema


class CaptureState(Protocol):
    """A place where the state is kept. One capture uses it at a time."""

    def load(self) -> Saved | None:
        """What is kept; None before the first start."""

    def begin(self, beginning: Beginning) -> None:
        """Keep a new state instead of what was there."""

    def save_place(self, place: BinlogPlace) -> None:
        """Everything up to here is confirmed."""

    def add(self, entry: HistoryEntry) -> None:
        """Remember a change of the schema."""

    def close(self) -> None:
        """Let another capture use it."""


def _order(place: BinlogPlace) -> tuple[int, int]:
    _, file, offset = parse_position(str(place))
    return file, offset


def _half(where: str, there: str, missing: str) -> OperationError:
    return OperationError(
        f"{where} has {there} and no {missing}: begun anew, capture would leave out what it has not published. Restore "
        f"{missing}; or remove both, give --start the place to begin at, and copy or verify the data"
    )


_encode: Final = msgspec.json.Encoder().encode
_read_beginning: Final = msgspec.json.Decoder(Beginning).decode
_read_entry: Final = msgspec.json.Decoder(HistoryEntry).decode
_read_place: Final = msgspec.json.Decoder(BinlogPlace).decode


class FileState:
    """A folder with `place.json`, which is replaced, and `schema.jsonl`, which grows by a line for each change."""

    def __init__(self, folder: Path) -> None:
        """Raises OperationError when another capture uses the folder, ConfigError when it cannot be made."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock: IO[bytes] = (folder / "lock").open("ab")
        except OSError as exc:
            raise ConfigError(f"the folder for capture's state cannot be used: {exc}", key="state") from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._lock.close()
            raise OperationError(f"another capture runs with the state in {folder}") from exc
        self._history: IO[bytes] | None = None

    def load(self) -> Saved | None:
        place_file, history = self._folder / "place.json", self._folder / "schema.jsonl"
        if not place_file.exists() and not history.exists():
            return None
        if not history.exists():
            raise _half(f"the folder {self._folder}", "place.json", "schema.jsonl")
        try:
            lines = history.read_bytes().split(b"\n")
            # The last line is empty, or was cut off by a crash before anything followed from it.
            beginning = _read_beginning(lines[0])
            entries = tuple(_read_entry(line) for line in lines[1:-1])
            # A crash at the first start leaves a beginning without a place: nothing was published yet.
            place = beginning.place if not place_file.exists() else _read_place(place_file.read_bytes())
        except (OSError, msgspec.MsgspecError) as exc:
            raise OperationError(f"the state in {self._folder} cannot be read: {exc}") from exc
        if entries and not place_file.exists():
            raise _half(f"the folder {self._folder}", "schema.jsonl", "place.json")
        saved = Saved(beginning, entries, place)
        kept = [_encode(beginning), *(_encode(entry) for entry in entries if _order(entry.place) <= _order(place))]
        self._replace("schema.jsonl", b"".join(line + b"\n" for line in kept))
        return saved

    def begin(self, beginning: Beginning) -> None:
        self._close_history()
        self._replace("schema.jsonl", _encode(beginning) + b"\n")
        self.save_place(beginning.place)

    def save_place(self, place: BinlogPlace) -> None:
        kill_point("before-place")
        self._replace("place.json", _encode(place))
        kill_point("after-place")

    def add(self, entry: HistoryEntry) -> None:
        with self._writing():
            if self._history is None:
                self._history = (self._folder / "schema.jsonl").open("ab")
            self._history.write(_encode(entry) + b"\n")
            self._history.flush()
            os.fsync(self._history.fileno())
        kill_point("after-schema-entry")

    def close(self) -> None:
        self._close_history()
        self._lock.close()

    def _close_history(self) -> None:
        if self._history is not None:
            with suppress(OSError):  # of a full disk: what was not written is told already
                self._history.close()
            self._history = None

    def _replace(self, name: str, content: bytes) -> None:
        with self._writing():
            write_whole(self._folder / name, [content])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise OperationError(
                f"capture's state in {self._folder} cannot be written: {exc.strerror}; make room there, or give it to"
                " the user that runs capture, and start again: it goes on behind what is confirmed"
            ) from exc


CAPTURE_TABLES: Final = ("capture_place", "capture_schema")
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS {schema}.capture_place ("
    "name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, place TEXT NOT NULL)"
    " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE IF NOT EXISTS {schema}.capture_schema (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,"
    " name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, entry LONGTEXT NOT NULL, KEY (name))"
    " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
)


class TableState:
    """Two tables in the state schema of a server, usually the target: `capture_place` and `capture_schema`."""

    def __init__(self, connect: Mapping[str, Any], schema: str, name: str) -> None:
        """`connect` has PyMySQL's keywords; `name` tells captures apart that share the schema.

        Raises OperationError when another capture uses the name, SourceError when the server cannot be reached.
        """
        keywords = {**connect, "autocommit": True, "charset": "utf8mb4"}
        keywords.pop("database", None)
        self._name = name
        self._schema = quote_name(schema)
        try:
            self._connection = RawConnection(**keywords)
            self._run(f"CREATE DATABASE IF NOT EXISTS {self._schema}")
            for table in _TABLES:
                self._run(table.format(schema=self._schema))
            ((locked,),) = self._run(
                "SELECT GET_LOCK(LEFT(CONCAT('pydbsync capture ', %s, ' ', %s), 64), 0)", schema, name
            )
        except (pymysql.MySQLError, OSError) as exc:
            raise translated(exc, "the server of capture's state") from exc
        if not locked:
            self._connection.close()
            raise OperationError(f"another capture runs with the state {name!r} in {schema}")

    def load(self) -> Saved | None:
        places = self._run(f"SELECT place FROM {self._schema}.capture_place WHERE name = %s", self._name)
        lines = self._run(
            f"SELECT id, entry FROM {self._schema}.capture_schema WHERE name = %s ORDER BY id", self._name
        )
        if not places and not lines:
            return None
        if not places or not lines:
            where = f"the state {self._name!r} in {self._schema}"
            raise _half(
                where, *(("capture_place", "capture_schema") if places else ("capture_schema", "capture_place"))
            )
        place = _read_place(places[0][0])
        entries = [(number, _read_entry(entry)) for number, entry in lines[1:]]
        for number, entry in entries:
            if _order(entry.place) > _order(place):
                self._run(f"DELETE FROM {self._schema}.capture_schema WHERE id = %s", number)
        return Saved(_read_beginning(lines[0][1]), tuple(entry for _, entry in entries), place)

    def begin(self, beginning: Beginning) -> None:
        self._run("START TRANSACTION")
        self._run(f"DELETE FROM {self._schema}.capture_schema WHERE name = %s", self._name)
        self._add(_encode(beginning))
        self.save_place(beginning.place)
        self._run("COMMIT")

    def save_place(self, place: BinlogPlace) -> None:
        self._run(f"REPLACE INTO {self._schema}.capture_place VALUES (%s, %s)", self._name, _encode(place).decode())

    def add(self, entry: HistoryEntry) -> None:
        self._add(_encode(entry))

    def close(self) -> None:
        self._connection.close()

    def _add(self, entry: bytes) -> None:
        self._run(
            f"INSERT INTO {self._schema}.capture_schema (name, entry) VALUES (%s, %s)", self._name, entry.decode()
        )

    def _run(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return list(cursor.fetchall())
        except (pymysql.MySQLError, OSError) as exc:
            raise translated(exc, "the server of capture's state") from exc
