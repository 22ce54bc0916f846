"""Lines of files, gzipped files and pipes become deliveries with their line numbers."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pydbsync.errors import ConfigError, SourceError, StopError
from pydbsync.model import Delivery
from pydbsync.source import file
from pydbsync.source.file import FileSource

STOP = threading.Event()
Write = Callable[[bytes], str]


@pytest.fixture(params=["plain", "gzip"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """write(content): the path of a file with it."""

    def to_file(content: bytes) -> str:
        path = tmp_path / ("lines.ndjson.gz" if request.param == "gzip" else "lines.ndjson")
        path.write_bytes(gzip.compress(content) if request.param == "gzip" else content)
        return str(path)

    return to_file


def opened(path: str) -> FileSource:
    source = FileSource(path, stream="rehearsal")
    source.open(STOP)
    return source


def read_all(source: FileSource) -> list[Delivery]:
    taken: list[Delivery] = []
    while not source.is_drained():
        taken += source.take(timeout_s=10)
    return taken


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"one\ntwo\n", [(1, b"one"), (2, b"two")]),
        (b"one\ntwo", [(1, b"one"), (2, b"two")]),
        (b"\n \none\n\n\ntwo\n", [(3, b"one"), (6, b"two")]),
        ("a\u2028b\u0085c\rd\n".encode(), [(1, "a\u2028b\u0085c\rd".encode())]),
        (b"\xff\xfe\n", [(1, b"\xff\xfe")]),
    ],
)
def test_lines_end_at_line_feeds_alone_and_keep_their_numbers(
    write: Write, content: bytes, expected: list[tuple[int, bytes]]
) -> None:
    assert read_all(opened(write(content))) == [Delivery(body, tag) for tag, body in expected]


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_lines_of_any_length_are_whole_whatever_the_block(
    write: Write, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_READ_BYTES", block)
    lines = [b"x" * length for length in (1, 2, 6, 7, 8, 50, 4095, 4096, 4097, 20_000)]
    source = opened(write(b"\n".join(lines)))
    assert [delivery.body for delivery in read_all(source)] == lines


def test_a_long_file_is_handed_out_in_blocks(write: Write) -> None:
    lines = [b"%d" % number for number in range(200_000)]
    source = opened(write(b"\n".join(lines)))
    first = source.take(timeout_s=10)
    assert 0 < len(first) < len(lines)
    assert not source.is_drained()
    assert [delivery.body for delivery in (*first, *read_all(source))] == lines


def test_what_was_not_acknowledged_comes_again_first_and_marked(write: Write) -> None:
    source = opened(write(b"one\ntwo\nthree\n"))
    source.take(timeout_s=10)
    source.acknowledge(1)
    source.close()
    source.open(STOP)
    assert not source.is_drained()
    assert read_all(source) == [Delivery(b"two", 2, True), Delivery(b"three", 3, True)]
    source.acknowledge(3)
    source.open(STOP)
    assert source.is_drained()


def test_a_pipe_is_waited_for_and_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    source = opened(f"/dev/fd/{reading}")
    assert source.take(timeout_s=0) == []
    os.write(writing, b"one\ntw")
    assert source.take(timeout_s=10) == [Delivery(b"one", 1)]
    assert source.take(timeout_s=0) == []
    os.write(writing, b"o\n")
    assert source.take(timeout_s=10) == [Delivery(b"two", 2)]
    assert not source.is_drained()
    os.close(writing)
    assert source.take(timeout_s=10) == []
    assert source.is_drained()
    os.close(reading)


def test_a_file_that_cannot_be_opened_is_a_wrong_setting(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.ndjson", tmp_path / "missing.gz", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            opened(str(path))


def test_a_damaged_gzip_file_is_named_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"one\n" * 200_000)[:-20])
    source = opened(str(path))
    with pytest.raises(StopError, match=r"cut\.gz cannot be read beyond line \d{6}:"):
        read_all(source)


@pytest.mark.parametrize("block", [1, 5, 4096])
def test_what_stands_before_the_damage_is_handed_out_and_half_a_line_is_not(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_READ_BYTES", block)
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\nthr") + gzip.compress(b"ee\n")[:11])
    source = opened(str(path))
    found: list[bytes] = []
    while deliveries := source.take(timeout_s=10):
        found += [delivery.body for delivery in deliveries]
    assert found == [b"one", b"two"]
    with pytest.raises(StopError, match="beyond line 2"):
        source.is_drained()
    source.close()
    source.open(STOP)
    assert [delivery.body for delivery in source.take(timeout_s=0)] == found
    with pytest.raises(StopError):
        source.is_drained()


def test_a_file_that_is_no_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(b"one\n")
    with pytest.raises(StopError, match="cannot be read beyond line 0"):
        read_all(opened(str(path)))


def test_taking_before_opening_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not open"):
        FileSource(str(tmp_path / "x"), stream="s").take(timeout_s=0)
