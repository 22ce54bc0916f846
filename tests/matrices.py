"""Matrices of tests: which of their rows run always, and which in `make test-long` alone."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

LONG = pytest.mark.long
ANOTHER_SEED = int(os.environ.get("PYDBSYNC_SEED", "0")) or random.SystemRandom().randrange(10**6)
"""Drawn anew for each run unless PYDBSYNC_SEED tells it, for long tests alone: what always runs has always the same."""


def thinned(rows: Iterable[Any], kept: Callable[[Any], bool]) -> list[Any]:
    """The rows of a parametrize, those that are not kept marked `long`. The choice is fixed, and shows every kind."""
    return [row if kept(row) else _long(row) for row in rows]


def _long(row: Any) -> Any:
    if isinstance(row, type(pytest.param())):
        return pytest.param(*row.values, id=row.id, marks=[*row.marks, LONG])
    return pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=LONG)
