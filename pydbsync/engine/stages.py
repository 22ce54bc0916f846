"""The parts that one queue is followed with, as they are handed to the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pydbsync.config.settings import Settings
from pydbsync.engine.echoes import Echoes
from pydbsync.protocols import Decode, Plans, SchemaPlanner, Sink, Source, StateStore


class Stages(NamedTuple):
    """In the order in which a delivery meets them."""

    source: Source
    decode: Decode
    plans: Plans[Any]
    schema: SchemaPlanner[Any]
    store: StateStore
    sink: Sink[Any, Any]
    use: Callable[[Settings], object] = lambda settings: None
    """Hands them other settings, between two batches."""
    echoes: Callable[[str | None], Echoes] = lambda state: Echoes("", state)
    """Makes, from what the state keeps of it, what tells the echoes where replay runs in both directions."""
