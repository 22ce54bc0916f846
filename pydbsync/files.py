"""Files that are whole or not there after any crash."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pydbsync.errors import OperationError

_OWNER_ALONE = 0o600


def write_whole(path: Path, chunks: Iterable[bytes], *, replaces: bool = True, mode: int = 0o666) -> None:
    """Write a file that is on the disk when this returns; what the process masks is taken from `mode`. Raises OSError,
    FileExistsError where it exists and must not be replaced; then it is as it was."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)  # of a former process with this number
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        if replaces:
            partial.replace(path)
        else:
            os.link(partial, path)  # unlike a look and a rename it cannot meet a file that was made in between
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_result(path: Path, chunks: Iterable[bytes], *, replaces: bool) -> None:
    """The same for what an operator asked for: readable by its owner alone. Raises OperationError."""
    try:
        write_whole(path, chunks, replaces=replaces, mode=_OWNER_ALONE)
    except FileExistsError as exc:
        raise OperationError(f"{path} exists, and is not overwritten") from exc
    except OSError as exc:
        raise OperationError(f"{path} cannot be written: {exc.strerror}") from exc


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
