"""Statements of one brand as statements of the other: one table of rules, exact equivalents only."""

from __future__ import annotations

from typing import NamedTuple

from pydbsync.plan.lexer import Brand


class Server(NamedTuple):
    """What the text of a statement depends on."""

    brand: Brand
    version: tuple[int, ...] = ()
    """(10, 11, 6); empty where it is not known."""
    charset: str | None = None
    """The server's default character set, `@@character_set_server`."""
    collation: str | None = None
    """`@@collation_server`."""
