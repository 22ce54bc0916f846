"""What a source must write to its binlog, where no server here has the setting."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pydbsync.ops.doctor import binlog


@pytest.mark.parametrize(("maxwell", "level"), [(None, "warning"), ({}, "error")])
def test_a_binlog_without_places_is_named_for_maxwell(
    monkeypatch: pytest.MonkeyPatch, maxwell: dict[str, str] | None, level: str
) -> None:
    known = {"log_bin": "ON", "binlog_legacy_event_pos": "OFF"}
    monkeypatch.setattr(binlog, "variables", lambda _exam, _end: known)
    exam: Any = SimpleNamespace(maxwell=maxwell)
    found = next(binlog.check_binlog(exam))
    assert (found.check, found.level) == ("binlog-places", level)
    assert "SET GLOBAL binlog_legacy_event_pos = ON" in found.remedy
