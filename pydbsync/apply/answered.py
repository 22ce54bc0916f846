"""Texts that a server may answer as bytes: MySQL does so in its catalogue, and in what SHOW tells."""

from __future__ import annotations


def exact_text(value: object) -> str:
    """As it is. Raises UnicodeDecodeError for bytes that are no text."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def lenient_text(value: object) -> str:
    """For people: what is no text is shown as U+FFFD."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def text_or_empty(value: object) -> str:
    """As `exact_text`, and nothing for NULL."""
    return "" if value is None else exact_text(value)
