"""The table with whose rows tools mark what they write, for the replay of the other direction."""

from __future__ import annotations

from typing import Final

MARK_TABLE: Final = """
    writer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    number BIGINT UNSIGNED NOT NULL DEFAULT 1,
    tool VARCHAR(64) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
    default_database VARCHAR(64) CHARACTER SET utf8mb4 NULL,
    statement LONGTEXT CHARACTER SET utf8mb4 NULL,
    marked_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)
"""
"""A row a connection that writes, or a stream that looks whether marks come through. `statement` is the schema change
that is about to be run; a later column, `word`, what one end says to the other of a row (plan/agreement.py)."""
