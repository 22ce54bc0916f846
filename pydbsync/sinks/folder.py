"""Keeps the state of one stream in a folder of its own, for sinks that have no better place."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from pydbsync.errors import ConfigError, TransientError
from pydbsync.files import write_whole
from pydbsync.places import Checkpoint
from pydbsync.sinks.keep import KeptChange, KeptPause, behind_ids, decode_kept, decode_pauses, encode
from pydbsync.work import ParkedChange, StreamState


class _StateDocument(msgspec.Struct):
    state: StreamState
    parked_bytes: int = 0
    """So much of the file `parked.ndjson` belongs to this state."""
    parked_count: int = 0


class _Became(msgspec.Struct):
    """Of a line of `amended.ndjson` what counts."""

    id: int
    status: str


_decode = msgspec.json.Decoder(_StateDocument).decode
_decode_became = msgspec.json.Decoder(_Became).decode


class FolderKeep:
    """`state.json` is exchanged whole; `parked.ndjson` only grows, and `amended.ndjson` has what became of it.

    Who holds `lock` owns the stream, and loses it with his process. Not for folders that several machines share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None
        self._document = _StateDocument(StreamState(Checkpoint()))
        self._mended: set[int] = set()
        """What is not parked any more, by `amended.ndjson` so far as it was read."""
        self._read_bytes = 0

    def open(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # parked rows are in it
        except OSError as exc:
            raise ConfigError(f"{str(self._folder)!r} cannot be made: {exc.strerror}", key="sink.state") from exc

    def lock(self) -> bool:
        with _transient():
            fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            os.truncate(fd, 0)
            os.write(fd, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._lock = fd
        return True

    def holder(self) -> str:
        try:
            return (self._folder / "lock").read_text(encoding="utf-8") or "another worker"
        except OSError:
            return "another worker"

    def is_ours(self) -> bool:
        return self._lock is not None

    def take_over(self) -> StreamState:
        self._document = self._read() or _StateDocument(StreamState(Checkpoint()))
        self._document.state.epoch += 1
        self._write(self._document)
        return msgspec.structs.replace(self._document.state)

    def _read(self) -> _StateDocument | None:
        path = self._folder / "state.json"
        with _transient():
            if not path.exists():
                return None
            try:
                return _decode(path.read_bytes())
            except msgspec.MsgspecError as exc:
                raise ConfigError(f"{path} is damaged ({exc}): restore it, or remove its folder") from exc

    def commit(self, state: StreamState, parked: Sequence[ParkedChange]) -> list[int]:
        document = self._document
        first = document.parked_count + 1
        ids = list(range(first, first + len(parked)))
        size = document.parked_bytes
        if parked:
            resolved = [behind_ids(each, ids) for each in parked]
            lines = b"".join(
                encode(KeptChange(number, each, generation=state.generation, parked_at=time.time())) + b"\n"
                for number, each in zip(ids, resolved, strict=True)
            )
            with _transient(), (self._folder / "parked.ndjson").open("ab") as file:
                file.truncate(size)  # what a crash left behind the state
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            size += len(lines)
        document = _StateDocument(state, size, document.parked_count + len(parked))
        self._write(document)
        self._document = document
        return ids

    def keep_alive(self) -> None:
        """The lock lives as long as the process."""

    def parked(self) -> list[KeptChange]:
        document = self._document if self._lock is not None else self._read()
        size = document.parked_bytes if document is not None else 0
        found = {kept.id: kept for kept in self._lines("parked.ndjson", size)}
        for kept in self._lines("amended.ndjson"):
            if kept.id in found:
                found[kept.id] = kept
        return list(found.values())

    def _lines(self, name: str, size: int | None = None) -> list[KeptChange]:
        path = self._folder / name
        with _transient():
            data = path.read_bytes()[:size] if path.exists() else b""
        found = []
        for line in data.split(b"\n")[:-1]:
            with suppress(msgspec.MsgspecError):  # half a line that a crash has left
                found.append(decode_kept(line))
        return found

    def parked_count(self) -> int:
        document = self._document if self._lock is not None else self._read()
        if document is None or not document.parked_count:
            return 0
        self._read_on()
        return document.parked_count - sum(number <= document.parked_count for number in self._mended)

    def _read_on(self) -> None:
        """What was amended since the last look."""
        path = self._folder / "amended.ndjson"
        with _transient():
            if not path.exists() or path.stat().st_size < self._read_bytes:
                self._mended, self._read_bytes = set(), 0
            if not path.exists():
                return
            with path.open("rb") as file:
                file.seek(self._read_bytes)
                data = file.read()
        whole = data.rfind(b"\n") + 1
        self._read_bytes += whole
        for line in data[:whole].split(b"\n")[:-1]:
            with suppress(msgspec.MsgspecError):
                found = _decode_became(line)
                (self._mended.discard if found.status == "parked" else self._mended.add)(found.id)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- what an operator asks ---------------------------------------------------------------------------------------

    lock_lasts_s = 0.0

    def open_to_look(self) -> None:
        """The files are read when they are asked for."""

    def changed_at(self) -> float | None:
        with _transient():
            path = self._folder / "state.json"
            return path.stat().st_mtime if path.exists() else None

    def peek(self) -> StreamState | None:
        document = self._read()
        return None if document is None else document.state

    def is_locked(self) -> bool:
        try:
            fd = os.open(self._folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise TransientError(f"the state cannot be read: {exc}") from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def amend(self, kept: KeptChange) -> None:
        with _transient():
            fd = os.open(self._folder / "amended.ndjson", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)  # of two operators
                end = os.lseek(fd, 0, os.SEEK_END)
                is_whole = not end or os.pread(fd, 1, end - 1) == b"\n"
                os.write(fd, (b"" if is_whole else b"\n") + encode(kept) + b"\n")
                os.fsync(fd)
            finally:
                os.close(fd)

    def pauses(self) -> list[KeptPause]:
        path = self._folder / "pauses.json"
        with _transient():
            return decode_pauses(path.read_bytes()) if path.exists() else []

    def pause(self, pauses: Sequence[KeptPause]) -> None:
        self.open()
        self._replace("pauses.json", encode(pauses))

    # -- what a worker tells of itself -------------------------------------------------------------------------------

    def note(self, name: str, text: bytes) -> None:
        with _transient():
            folder = self._folder / "notes"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = folder / f"{name}.{os.getpid()}.partial"
            partial.write_bytes(text)  # lost with the machine's power, as what it tells is then
            partial.replace(folder / name)

    def notes(self, names: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        with _transient():
            for name in names:
                try:
                    found.append((self._folder / "notes" / name).read_bytes())
                except FileNotFoundError:
                    found.append(None)
        return found

    # -- files -------------------------------------------------------------------------------------------------------

    def _write(self, document: _StateDocument) -> None:
        self._replace("state.json", msgspec.json.encode(document))

    def _replace(self, name: str, text: bytes) -> None:
        with _transient():
            write_whole(self._folder / name, [text])


@contextmanager
def _transient() -> Iterator[None]:
    """A disk that is full, or away, is waited for."""
    try:
        yield
    except OSError as exc:
        raise TransientError(f"the state cannot be kept: {exc}") from exc
