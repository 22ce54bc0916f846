"""What copy, verify and repair need of a target that is no MySQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from pydbsync.model import TableName, TableSchema
from pydbsync.sinks.routes import SinkRoutes
from pydbsync.sinks.shapes import RawImage
from pydbsync.work import StreamState

StoredKey: TypeAlias = Any
"""Of what stands for a row: it can be hashed and shown; two rows never have one."""
StoredContent: TypeAlias = Any
"""What is there of a row."""


class Shape(Protocol):
    """How the rows of one table are written."""

    def key(self, image: RawImage) -> StoredKey:
        """Raises PlanError."""

    def content(self, image: RawImage) -> StoredContent:
        """Raises PlanError."""


class ToolTarget(Protocol):
    """A sink as the tools see it. All raises TransientError while it is away."""

    product: str
    """For people."""
    is_filled_aside: bool
    """Whether a copy fills something new, which then takes the place of what there was."""
    routes: SinkRoutes | None
    """None where rows come as they are."""

    def takes(self, name: TableName) -> bool:
        """Whether the table goes there."""

    def why_not(self, name: TableName) -> str:
        """Why its rows cannot be compared, as a sentence; empty where they can."""

    def shape(self, name: TableName) -> Shape | None:
        """None for a table that does not go there."""

    def state(self, stream: str) -> StreamState | None:
        """What is kept of a stream."""

    def new_generation(self) -> int:
        """That of a stream that nobody knows."""

    def begin_stream(self, stream: str, state: StreamState) -> bool:
        """Have the stream begin so, if it has not begun; whether it had not."""

    def begin_copy(self, shape: Shape, floor: str) -> None:
        """Rows of the table as they are behind this place will come."""

    def end_copy(self, shape: Shape) -> None:
        """All have come."""

    def write(self, shape: Shape, rows: Sequence[tuple[StoredKey, StoredContent | None]], place: str) -> None:
        """Each as it is at the place, or, without content, gone. Raises OperationError for one that is refused."""

    def held(self, shape: Shape, keys: Sequence[StoredKey]) -> list[StoredContent | None]:
        """What is there; None where nothing is."""

    def ours(self, shape: Shape, keys: Sequence[StoredKey]) -> set[StoredKey]:
        """Of these keys those that the sink has written, and not deleted since."""

    def keys(self, shape: Shape) -> Iterator[Sequence[StoredKey]]:
        """All that could be of the table's rows, some at a time; one may come twice."""

    def is_equal(self, shape: Shape, schema: TableSchema, wanted: StoredContent, found: StoredContent | None) -> bool:
        """Whether what is there is the row. Generated columns, which not every binlog has, may be absent."""

    def close(self) -> None:
        """Never raises."""
