"""Where a worker process begins: the supervisor names it and imports nothing of what a worker works with."""

from __future__ import annotations

import importlib
from typing import Any


def begin_worker(*given: Any) -> None:
    """`pydbsync.process.worker.run_worker`, which the process that workers are forked from has loaded."""
    importlib.import_module("pydbsync.process.worker").run_worker(*given)
