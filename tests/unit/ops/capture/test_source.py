"""Sources that capture does not begin with."""

from __future__ import annotations

import pytest

from pydbsync.errors import OperationError
from pydbsync.ops.capture.source import SourceServer


def test_a_source_older_than_what_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ("5.6.24-log", "utf8mb4", 0, 1, "ROW", "FULL", "UTC", 0, 4)
    monkeypatch.setattr(SourceServer, "rows", lambda _self, _sql: [told])
    with pytest.raises(OperationError, match=r"the source is MySQL 5\.6\.24-log: capture reads 5\.7 and newer"):
        SourceServer({}).facts()
