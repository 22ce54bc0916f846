"""What the engine asks of the target's side: the applier fits it, and so does the dry run."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from pydbsync.apply.applier import Work
from pydbsync.apply.checkpoint import StreamState
from pydbsync.apply.parked import ParkedChange, ParkedRows
from pydbsync.apply.table_start import CopyStart
from pydbsync.model import SchemaChange
from pydbsync.places import Checkpoint
from pydbsync.plan.ddl import PlannedSchemaChange
from pydbsync.plan.rows import Dialect
from pydbsync.protocols import Catalog


class Target(Protocol):
    """Where changes end; apply/applier.py says what each of these does and raises."""

    @property
    def state(self) -> StreamState | None: ...

    @property
    def parked(self) -> ParkedRows: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def dialect(self) -> Dialect: ...

    def acquire(self, stop: threading.Event, *, is_away: bool = False) -> StreamState | None: ...

    def release(self) -> None: ...

    def keep_alive(self) -> None: ...

    def refresh_parked(self) -> None: ...

    def begin(self, work: Work) -> None: ...

    def advance(self) -> bool: ...

    def finish(self, work: Work) -> list[ParkedChange]: ...

    def change_schema(
        self, change: SchemaChange, planned: PlannedSchemaChange, *, policy: str, state: StreamState, body: bytes
    ) -> str: ...

    def copy_start(self, checkpoint: Checkpoint) -> CopyStart | None: ...

    def databases_with_table(self, table: str) -> Sequence[str]: ...

    def was_parked(self, position: str, message: bytes) -> bool: ...

    def refuse_if_stopping(self, parked: ParkedChange) -> None: ...
