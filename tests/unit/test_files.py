"""Files that are whole or not there, for their owner alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydbsync.errors import OperationError
from pydbsync.files import write_result


def test_a_file_is_its_owner_s_alone_and_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    real = os.fsync

    def sync(file: int) -> None:
        synced.append(os.path.isdir(f"/proc/self/fd/{file}"))
        real(file)

    monkeypatch.setattr(os, "fsync", sync)
    path = tmp_path / "plan.sql"
    path.write_bytes(b"former")
    path.chmod(0o644)
    write_result(path, [b"a", b"b"], replaces=True)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"ab", 0o600)
    assert synced == [False, True]  # the file, then its folder
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "plan.sql"
    path.write_bytes(b"former")
    with pytest.raises(OperationError, match="exists, and is not overwritten"):
        write_result(path, [b"new"], replaces=False)
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    path = tmp_path / "report.json"
    path.write_bytes(b"former")
    with pytest.raises(RuntimeError):
        write_result(path, chunks(), replaces=True)
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"cannot be written: No such file"):
        write_result(tmp_path / "no" / "plan.sql", [b"x"], replaces=True)
