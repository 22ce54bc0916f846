"""Reads parked messages that could not be read when they came: in the format that each came in, with the settings and
tables of now."""

from __future__ import annotations

from collections.abc import Sequence

from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.decode.spoken import DefinitionOf, Translate
from pydbsync.errors import DecodeError
from pydbsync.model import Change, SchemaChange
from pydbsync.process.inputs import translator_of


class Foreign:
    """Messages of one configuration's formats."""

    def __init__(self, settings: Settings, columns_of: DefinitionOf) -> None:
        self._settings = settings
        self._columns_of = columns_of
        self._known: dict[str, Translate | None] = {}

    def texts(self, input_format: str, message: bytes) -> list[bytes]:
        """The message in Maxwell's form. Raises DecodeError, ConfigError."""
        if input_format not in self._known:
            settings = self._settings
            has_tables = settings.sink is None or settings.source is not None
            self._known[input_format] = translator_of(settings, input_format, self._columns_of, has_tables=has_tables)
        translate = self._known[input_format]
        return [message] if translate is None else list(translate(message))

    def changes(self, input_format: str, message: bytes, *, takes_unread: bool) -> Sequence[Change]:
        """What the message says, for a retry. Raises DecodeError: nothing waits behind what could not be read, so that
        it is written by those alone who ask for it."""
        found = [decode_message(text) for text in self.texts(input_format, message)]
        if any(isinstance(change, SchemaChange) for change in found):
            raise DecodeError("it can be read now, and is a schema change: run it at the target by hand, then skip it")
        if not takes_unread:
            raise DecodeError(
                "it can be read now, but later changes of the same rows may have been applied since: verify and repair"
                " the table, then skip it; `parked retry --unread` writes it all the same"
            )
        return found
