"""How columns are stored in the binlog's rows: the types of table maps, by their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TINY: Final = 1
SHORT: Final = 2
LONG: Final = 3
FLOAT: Final = 4
DOUBLE: Final = 5
TIMESTAMP: Final = 7
LONGLONG: Final = 8
INT24: Final = 9
DATE: Final = 10
TIME: Final = 11
DATETIME: Final = 12
YEAR: Final = 13
NEWDATE: Final = 14
VARCHAR: Final = 15
BIT: Final = 16
TIMESTAMP2: Final = 17
DATETIME2: Final = 18
TIME2: Final = 19
BLOB_COMPRESSED: Final = 140
VARCHAR_COMPRESSED: Final = 141
VECTOR: Final = 242
JSON: Final = 245
NEWDECIMAL: Final = 246
ENUM: Final = 247
SET: Final = 248
BLOB: Final = 252
VAR_STRING: Final = 253
STRING: Final = 254
GEOMETRY: Final = 255


@dataclass(frozen=True, slots=True)
class Wire:
    """How the table map says that a column is stored."""

    kind: int
    size: int = 0
    """Bytes of the length in front of a value, of an ENUM or SET, or of a BIT."""
    precision: int = 0
    """Of a DECIMAL; fractional digits of temporal columns."""
    scale: int = 0
    length: int = 0
    """Longest value in bytes, of CHAR and BINARY."""
