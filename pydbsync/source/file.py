"""Deliveries from Maxwell's output as lines of JSON: a file, a gzipped file, a pipe or standard input."""

from __future__ import annotations

import gzip
import io
import select
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence

from pydbsync.errors import ConfigError, SourceError, StopError
from pydbsync.model import Delivery

STANDARD_INPUT = "-"
_READ_BYTES = 256 * 1024


class FileSource:
    """Lines of a file, tagged with their number from 1; fits protocols.Source.

    A line ends at LF alone: U+2028 and its like stand in Maxwell's JSON as they are. Empty lines count but are not
    delivered. What is not acknowledged is kept and comes again after the next `open`, for a pipe cannot be read twice.
    A file that is damaged ends at the last whole line before the damage; `is_drained` then raises StopError.
    """

    is_new = False

    def __init__(self, path: str, *, stream: str) -> None:
        """`path` may be `-`, standard input; one that ends in `.gz` is unpacked."""
        self.stream: str = stream
        self._path = path
        self._file: io.RawIOBase | gzip.GzipFile | None = None
        self._is_at_end = False
        self._damage = ""
        """Why the end that was reached is not the end of the file."""
        self._tail: list[bytes] = []
        """The pieces of a line whose end was not read yet."""
        self._line = 0
        self._again: list[Delivery] = []
        self._unacknowledged: deque[Delivery] = deque()

    def open(
        self, stop: threading.Event, while_waiting: Callable[[], object] = lambda: None, *, goes_on: bool = False
    ) -> None:
        """Open the file, once; later calls give back what was not acknowledged. Raises ConfigError."""
        self._give_back()
        if self._file is not None or self._is_at_end:
            return
        try:
            if self._path.endswith(".gz"):
                self._file = gzip.GzipFile(self._path, "rb")
            else:
                is_own = self._path != STANDARD_INPUT
                self._file = io.FileIO(self._path if is_own else 0, "rb", closefd=is_own)
        except OSError as error:
            raise ConfigError(f"{self._name} cannot be read: {error.strerror}") from error

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        """The lines that the next 256 KiB complete; see protocols.Source."""
        if self._again:
            deliveries, self._again = self._again, []
        else:
            deliveries = self._read_lines(timeout_s)
        self._unacknowledged.extend(deliveries)
        return deliveries

    def acknowledge(self, tag: int) -> None:
        """Forget the lines up to number `tag`."""
        while self._unacknowledged and self._unacknowledged[0].tag <= tag:
            self._unacknowledged.popleft()

    def is_drained(self) -> bool:
        """Whether the end was reached and every line handed out. Raises StopError where that is not the file's end."""
        is_drained = self._is_at_end and not self._again
        if is_drained and self._damage:
            raise StopError(
                f"{self._name} cannot be read beyond line {self._line}: {self._damage}; the lines before were taken."
                " Get the file whole, then start again: what was applied is left out"
            )
        return is_drained

    def finish(self) -> bool:
        return False

    def depth(self) -> int | None:
        """Not known: nobody has counted the lines."""
        return None

    def close(self) -> None:
        """Give back what was not acknowledged. The file stays open until its end was read."""
        self._give_back()

    @property
    def _name(self) -> str:
        return "standard input" if self._path == STANDARD_INPUT else self._path

    def _give_back(self) -> None:
        self._again = [each._replace(redelivered=True) for each in self._unacknowledged] + self._again
        self._unacknowledged.clear()

    def _read_lines(self, timeout_s: float) -> list[Delivery]:
        deadline = time.monotonic() + timeout_s
        deliveries: list[Delivery] = []
        while not deliveries and not self._is_at_end:
            if self._file is None:
                raise SourceError(f"{self._name} is not open")
            if not self._is_readable(self._file, max(0.0, deadline - time.monotonic())):
                break
            try:
                data = self._read(self._file)
            except (OSError, EOFError, zlib.error) as error:
                self._damage = str(error)
                self._tail.clear()  # half a line
                data = b""
            deliveries = self._split(data)
        return deliveries

    @staticmethod
    def _is_readable(file: io.RawIOBase | gzip.GzipFile, timeout_s: float) -> bool:
        """A pipe may have nothing to read for long; a file on disk always has, if only its end."""
        poll = select.poll()
        poll.register(file.fileno(), select.POLLIN)
        return isinstance(file, gzip.GzipFile) or bool(poll.poll(timeout_s * 1000))

    @staticmethod
    def _read(file: io.RawIOBase | gzip.GzipFile) -> bytes:
        """The next bytes; empty at the end."""
        return file.read1(_READ_BYTES) if isinstance(file, gzip.GzipFile) else file.read(_READ_BYTES) or b""

    def _split(self, data: bytes) -> list[Delivery]:
        """The lines that `data` completes; at the end (no data) the last one, which may lack its LF."""
        lines = data.split(b"\n")
        if data:
            rest = lines.pop()
        else:
            self._is_at_end, rest = True, b""
            if self._file is not None:
                self._file.close()
                self._file = None
            if not self._tail:
                return []
        if lines:
            lines[0] = b"".join((*self._tail, lines[0]))
            self._tail.clear()
        if rest:
            self._tail.append(rest)
        first = self._line + 1
        self._line += len(lines)
        return [Delivery(line, tag) for tag, line in enumerate(lines, first) if line and not line.isspace()]
