"""Captures of a test's source, and their messages in a form that can be compared."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pydbsync.decode.maxwell import decode_message
from pydbsync.model import Change
from pydbsync.ops.capture import CaptureReport, CaptureSettings, run_capture
from tests.servers import Endpoint


class Capture:
    """One capture to a file, with a state of its own; each `read` is a new start that ends with the binlog."""

    def __init__(self, source: Endpoint, folder: Path, **settings: Any) -> None:
        self.source = source
        self.file = folder / "messages.ndjson"
        self.state = folder / "state"
        self._settings = {
            "source": source.db_info,
            "output": "file",
            "file": self.file,
            "state": self.state,
            **settings,
        }
        self.report = CaptureReport()

    def settings(self, **settings: Any) -> CaptureSettings:
        return CaptureSettings(**{**self._settings, "follow": False, **settings})

    def read(self, **settings: Any) -> list[bytes]:
        """The messages since the last time; the first time begins at the end of the binlog and gives none."""
        before = self.file.stat().st_size if self.file.exists() else 0
        self.report = run_capture(self.settings(**settings), threading.Event())
        return [line for line in self.file.read_bytes()[before:].split(b"\n") if line]

    def of(self, *statements: str, **settings: Any) -> list[dict[str, Any]]:
        """Run the statements in one session and give their messages, parsed."""
        run(self.source, statements)
        return [json.loads(line) for line in self.read(**settings)]


def run(source: Endpoint, statements: Iterable[str]) -> None:
    with source.connect() as connection, connection.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


def head(source: Endpoint) -> str:
    """`file:offset` where the source's binlog ends now."""
    file, offset = source.query("SHOW BINARY LOG STATUS" if source.brand == "mysql" else "SHOW MASTER STATUS")[0][:2]
    return f"{file}:{offset}"


def rows(messages: Iterable[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of each row message."""
    return [(message["type"], message["data"]) for message in messages if "data" in message]


def decoded(capture: Capture, *statements: str) -> list[Change]:
    """The messages of the statements as replay reads them."""
    run(capture.source, statements)
    return [decode_message(line) for line in capture.read()]


_CHANGING = ("ts", "xid", "server_id", "thread_id")
_TEXTS = ("position", "gtid")
_MOMENT = re.compile(r'"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)?"')
_OLD = re.compile(r'"old":\{[^{}]*\}')
_KEY_LAST = re.compile(r'("table":"(?:[^"\\]|\\.)*"),("columns":\[.*?\]),("primary-key":\[[^]]*\])')
_SESSION = re.compile(r',"session":\{[^{}]*\}\}$')
_ANY_ZONE = timedelta(hours=15)


def comparable(message: bytes) -> str:
    """The message's text without what differs from run to run.

    What Maxwell does not send is taken off. Positions, ids and times are blanked, values that the server's clock gave
    are "NOW", also out of `old`, where they stand or not as the clock went on or not. Maxwell's `def` has its
    key in either of two places.
    """
    text = _SESSION.sub("}", message.decode("utf-8"))
    ts = int(re.search(r'"ts":(\d+)', text)[1])  # type: ignore[index]
    made = datetime.fromtimestamp(ts if ts < 10**11 else ts // 1000, timezone.utc).replace(tzinfo=None)
    for name in _CHANGING:
        text = re.sub(rf'"{name}":\d+', f'"{name}":0', text, count=1)
    for name in _TEXTS:
        text = re.sub(rf'"{name}":"[^"]*"', f'"{name}":""', text, count=1)
    text = _MOMENT.sub(
        lambda found: '"NOW"' if abs(_moment(found[1]) - made) < _ANY_ZONE else found[0],
        text,
    )
    text = _OLD.sub(lambda found: re.sub(r'"[^"]*":"NOW",?', "", found[0]).replace(",}", "}"), text)
    return _KEY_LAST.sub(r"\1,\3,\2", text)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # a date that no calendar has
        return datetime.min
