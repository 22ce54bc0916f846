"""The words of expressions: what they are called by both brands, and how strongly operators bind."""

from __future__ import annotations

import re
from typing import Final

MEANS_NOTHING: Final = frozenset({"utf8mb4", "utf8mb3", "utf8"})
ASCII_ALIKE: Final = frozenset({"ascii", "latin1"})
"""Character sets in which a text of ASCII is the same text."""
INTRODUCER = re.compile(r"_[a-z0-9]+", re.IGNORECASE)
UTF8_NAME = re.compile(r"^utf8(?=_|$)")
SAME: Final = {
    "adddate": "date_add", "ceil": "ceiling", "character_length": "char_length", "curdate": "current_date",
    "curtime": "current_time", "day": "dayofmonth", "lcase": "lower", "localtime": "current_timestamp",
    "localtimestamp": "current_timestamp", "mid": "substr", "now": "current_timestamp", "octet_length": "length",
    "power": "pow", "sha1": "sha", "st_geomfromtext": "st_geometryfromtext", "substring": "substr", "ucase": "upper",
}  # fmt: skip
"""Functions by other names of their own."""
WITHOUT_BRACKETS: Final = frozenset({
    "current_date", "current_time", "current_timestamp", "current_user", "localtime", "localtimestamp", "utc_date",
    "utc_time", "utc_timestamp",
})  # fmt: skip
SHARED_FUNCTIONS: Final = frozenset({
    "abs", "ascii", "binary", "bit_count", "bit_length", "case", "cast", "ceiling", "char", "char_length", "coalesce",
    "concat", "concat_ws", "conv", "convert", "crc32", "current_date", "current_time", "current_timestamp", "date",
    "date_format", "datetime", "dayofmonth", "dayofweek", "dayofyear", "decimal", "elt", "exp", "extract", "field",
    "find_in_set", "floor", "format", "greatest", "hex", "hour", "if", "ifnull", "inet_aton", "inet_ntoa", "instr",
    "interval", "json_contains", "json_extract", "json_length", "json_type", "json_unquote", "json_valid", "last_day",
    "least", "left", "length", "ln", "locate", "log", "lower", "lpad", "ltrim", "md5", "microsecond", "minute",
    "month", "nullif", "ord", "pow", "quarter", "quote", "regexp_like", "repeat", "replace", "reverse", "right",
    "round", "rpad", "rtrim", "second", "sha", "sha2", "sign", "signed", "sqrt", "strcmp", "substr", "substring_index",
    "time", "timestampdiff", "to_days", "to_seconds", "trim", "truncate", "unhex", "unix_timestamp", "upper", "uuid",
    "week", "weekday", "year", "yearweek",
})  # fmt: skip
"""Functions that both brands print by one name, with their arguments in one order."""
WORDS: Final = frozenset({
    "array", "as", "both", "char", "charset", "for", "from", "leading", "maxvalue", "null", "returning", "signed",
    "trailing", "unknown", "unsigned", "using",
})  # fmt: skip
"""Bare words that are no columns. Servers print the names of these in quotes."""
TRUTH: Final = {"true": "1", "false": "0"}
TIGHT: Final = 90
COMPARING: Final = 40
BITS: Final = 50
"""What stands beside a comparison binds tighter than it."""
INFIX: Final = {
    "or": 10, "||": 10, "xor": 15, "and": 20, "&&": 20, "=": 40, "<=>": 40, ">=": 40, ">": 40, "<=": 40, "<": 40,
    "<>": 40, "!=": 40, "|": 50, "&": 55, "<<": 60, ">>": 60, "+": 65, "-": 65, "*": 70, "/": 70, "div": 70, "%": 70,
    "mod": 70, "^": 75, "collate": TIGHT, "->": 95, "->>": 95,
}  # fmt: skip
SAME_OPERATOR: Final = {"||": "or", "&&": "and", "!=": "<>", "mod": "%"}
PREDICATES: Final = frozenset({"is", "in", "like", "regexp", "rlike", "between", "member", "sounds"})
CHAINS: Final = frozenset({"or", "and"})
NOT: Final = 30
IS_TRUE: Final = " <> 0)"
QUOTE: Final = "'"
SYMMETRIC: Final = frozenset({"=", "<>", "<=>"})
CONSTANT: Final = re.compile(r"-?[0-9]|'|null$|0x|_[a-z0-9]+ '")
USUAL_ESCAPE: Final = "'\\\\'"
