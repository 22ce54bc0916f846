"""Files and streams as receivers of messages."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pydbsync.errors import ConfigError
from pydbsync.model import TableName
from pydbsync.ops.capture.batch import TableMessages
from pydbsync.ops.capture.publish.publisher import FilePublisher, StreamPublisher
from pydbsync.ops.capture.settings import CaptureSettings

TABLE = TableName("d", "t")


def test_a_message_is_a_line() -> None:
    stream = io.BytesIO()
    publisher = StreamPublisher(stream)
    publisher.publish(TableMessages(TABLE, [b'{"a":1}', b'{"a":2}']))
    publisher.publish(TableMessages(TABLE, [b'{"j":[1,\r\n 2]}']))
    publisher.flush()
    assert stream.getvalue() == b'{"a":1}\n{"a":2}\n{"j":[1,   2]}\n'


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (None, b""), (b"", b""), (b"one\n", b"one\n"), (b"one\ntw", b"one\n"), (b"on", b""),
        (b"one\n" + b"x" * 200_000, b"one\n"), (b"x" * 200_000 + b"\n", b"x" * 200_000 + b"\n"),
    ],
)  # fmt: skip
def test_a_file_goes_on_behind_its_last_whole_line(before: bytes | None, kept: bytes, tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    if before is not None:
        path.write_bytes(before)
    publisher = FilePublisher(path)
    publisher.publish(TableMessages(TABLE, [b"next"]))
    publisher.flush()
    publisher.close()
    assert path.read_bytes() == kept + b"next\n"


def test_a_file_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        FilePublisher(tmp_path / "missing" / "out.ndjson")


def test_the_routing_key_is_maxwells() -> None:
    settings = CaptureSettings(source={}, output="stdout")
    assert settings.routing_key_of(TableName("shop", "orders")) == "shop.orders"
    assert settings.routing_key_of(TableName("shop", "")) == "shop."
    own = CaptureSettings(source={}, output="stdout", routing_key="cdc.%table%.%db%")
    assert own.routing_key_of(TableName("shop", "orders")) == "cdc.orders.shop"


@pytest.mark.parametrize("wrong", [{}, {"output": "file"}, {"output": "stdout", "name": ""}])
def test_settings_that_lack_something_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        CaptureSettings(source={}, **wrong)  # type: ignore[arg-type]
