"""The exit codes of docs/operations.md are those of the errors, and the tree in errors.py tells the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pydbsync import cli, errors
from pydbsync.errors import OperationError, PydbsyncError, SourceError, StopError, TransientError
from pydbsync.process.stop_signals import ENDED_AT_ONCE
from pydbsync.process.worker import INTERNAL_ERROR

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize(
    ("error", "code"),
    [(TransientError("away"), 2), (SourceError("away"), 2), (OperationError("no"), 2), (StopError("stop"), 3)],
    ids=str,
)
def test_a_command_that_an_error_ends_has_found_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: PydbsyncError, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "overview", lambda: fail)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert (ended.value.code, capsys.readouterr().err) == (code, f"pydbsync: {error}\n")


def classes(root: type[PydbsyncError] = PydbsyncError) -> list[type[PydbsyncError]]:
    return [root, *(each for child in root.__subclasses__() for each in classes(child))]


def test_the_table_has_every_exit_code_and_no_other() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("### Exit codes")[2].partition("\n#")[0]
    written = [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert written == sorted(written)
    assert set(written) == {0, *(each.exit_code for each in classes()), INTERNAL_ERROR, ENDED_AT_ONCE}


def test_the_tree_of_errors_tells_their_exit_codes() -> None:
    told = dict(re.findall(r"── (\w+) .*?\bexit (\d+)", errors.__doc__ or ""))
    known = {each.__name__: each.exit_code for each in classes() if each.__module__ == errors.__name__}
    assert {name: int(code) for name, code in told.items()} == {
        name: code for name, code in known.items() if code != PydbsyncError.exit_code
    }
