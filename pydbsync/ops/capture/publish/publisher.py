"""Who publishes messages: what a publisher must be able to do, and those to a file and to standard output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Final, Protocol

from pydbsync.errors import ConfigError, OperationError
from pydbsync.ops.capture.batch import TableMessages

_LARGE_BYTES: Final = 2**16


class Publisher(Protocol):
    """Hands messages to one receiver."""

    def publish(self, batch: TableMessages) -> None:
        """Hand over messages; may wait for room. Raises SourceError (try again later) or OperationError."""

    def push(self) -> None:
        """Keep nothing back for later: there is nothing more to publish at this moment."""

    def flush(self) -> None:
        """Wait until all of them are safe. Raises as `publish`, and for what was handed over before."""

    @property
    def confirmed(self) -> int:
        """How many of the messages handed over are safe, from the first on without a gap."""

    @property
    def waits_for(self) -> str:
        """Why nothing is taken at this moment, as a sentence; empty where it is."""

    def close(self) -> None:
        """Let go, without waiting."""


def one_line(body: bytes) -> bytes:
    """A message without line breaks: MariaDB's JSON is carried as it was written, and can have them between values."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in body or b"\r" in body else body


class StreamPublisher:
    """Standard output, or any binary stream: one message a line."""

    waits_for = ""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._published = self.confirmed = 0

    def publish(self, batch: TableMessages) -> None:
        self._published += len(batch.bodies)
        try:
            if len(batch.bodies) > 1:
                lines = b"\n".join(batch.bodies) + b"\n"
                if b"\r" in lines or lines.count(b"\n") != len(batch.bodies):
                    lines = b"".join([one_line(body) + b"\n" for body in batch.bodies])
                self._stream.write(lines)
            elif len(batch.bodies[0]) < _LARGE_BYTES:
                self._stream.write(one_line(batch.bodies[0]) + b"\n")
            else:
                self._stream.write(one_line(batch.bodies[0]))
                self._stream.write(b"\n")
        except OSError as exc:
            raise OperationError(f"the messages cannot be written: {exc}") from exc

    def push(self) -> None:
        self.flush()

    def flush(self) -> None:
        try:
            self._stream.flush()
            self.confirmed = self._published
        except OSError as exc:
            raise OperationError(f"the messages cannot be written: {exc}") from exc

    def close(self) -> None:
        """The stream is not ours to close."""


class FilePublisher(StreamPublisher):
    """A file that grows; a line that a crash cut off is taken away first."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if the file cannot be opened."""
        try:
            file = path.open("r+b" if path.exists() else "w+b")
            _cut_broken_line(file)
        except OSError as exc:
            raise ConfigError(f"the file {path} cannot be written: {exc.strerror}") from exc
        super().__init__(file)
        self._file = file

    def push(self) -> None:
        super().flush()

    def flush(self) -> None:
        super().flush()
        try:
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise OperationError(f"the messages cannot be written: {exc}") from exc

    def close(self) -> None:
        self._file.close()


def _cut_broken_line(file: IO[bytes]) -> None:
    end = file.seek(0, os.SEEK_END)
    at = end
    while at > 0:
        start = max(0, at - 65536)
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            file.truncate(start + found + 1)
            break
        at = start
    else:
        file.truncate(0)
    file.seek(0, os.SEEK_END)
