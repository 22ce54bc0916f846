from __future__ import annotations

import pytest

from pydbsync.commands.times import read_time
from pydbsync.commands.verify import read_since
from pydbsync.errors import OperationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-02", "2030-01-02 00:00:00"),
        ("2030-01-02 12:00:00", "2030-01-02 12:00:00"),
        ("2030-01-02 3:04", "2030-01-02 03:04:00"),
        ("2030-1-2", "2030-01-02 00:00:00"),
        ("2030/01/02 3pm", "2030-01-02 15:00:00"),
        ("20300102", "2030-01-02 00:00:00"),
        ("2030-01-02 12:00:00.1234567", "2030-01-02 12:00:00.123456"),
        ("2030-01-31T12:00:00+02:00", "2030-01-31 10:00:00"),
        ("2030-01-31 12:00 -0230", "2030-01-31 14:30:00"),
        ("2030-01-01 00:30 +02:00", "2029-12-31 22:30:00"),
        ("2030-01-02 12:00 UTC", "2030-01-02 12:00:00"),
        ("2030-01-02T12:00:00Z", "2030-01-02 12:00:00"),
        ("2030-01-31 24:00", "2030-02-01 00:00:00"),
        (" 31 Jan 2030 12:00 ", "2030-01-31 12:00:00"),
        ("31-JAN-2030", "2030-01-31 00:00:00"),
        ("31/01/2030", "2030-01-31 00:00:00"),
    ],
)
def test_a_time_is_read_as_utc(text: str, expected: str) -> None:
    assert str(read_time(text, option="--since")) == expected


@pytest.mark.parametrize(
    "text",
    ["01/02/2030", "30-01-02", "01.02.2030", "2030", "Jan 2030", "12:00", "10", "Friday",
     "2030-01-02 12:00 GMT+3", "2030-01-02 12:00 CET+1"],
)  # fmt: skip
def test_what_has_several_meanings_is_refused(text: str) -> None:
    with pytest.raises(OperationError, match=r"--since: .* can be understood in several ways"):
        read_time(text, option="--since")


@pytest.mark.parametrize(
    "text",
    ["", " ", "now", "yesterday", "5 years", "1700000000", "9" * 30, "2030-02-30", "2030-01-31 25:00", "0000-00-00",
     "2030-01-31 12:00 XYZ", "0001-01-01T00:00:00+02:00", "' OR 1 = 1"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(OperationError, match=r"--since: .* is no time; write it as in '2030-01-31 12:00:00'"):
        read_time(text, option="--since")


def test_since_names_a_column_and_a_time() -> None:
    since = read_since("changed=2030-01-31T12:00+02:00")
    assert since is not None
    assert tuple(since) == ("changed", "2030-01-31 10:00:00")
    assert read_since(None) is None
    for text in ("changed", "=2030-01-31", "changed="):
        with pytest.raises(OperationError, match=r"expected COLUMN=TIME"):
            read_since(text)
