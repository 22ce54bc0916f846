"""JSON documents that the source writes as changes to the document before (binlog_row_value_options=PARTIAL_JSON).

Source: https://dev.mysql.com/doc/dev/mysql-server/latest/json__diff_8h.html
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import msgspec

from pydbsync.errors import OperationError
from pydbsync.ops.capture.binlog.tablemap import packed_integer
from pydbsync.ops.capture.rows.jsonb import read_json
from pydbsync.ops.capture.text import quote_raw

_REPLACE, _INSERT, _REMOVE = 0, 1, 2
_STEP: Final = re.compile(r'\.("(?:[^"\\]|\\.)*"|[^.\["]+)|\[(\d+)\]')

_Node: TypeAlias = "dict[str, _Node] | list[_Node] | msgspec.Raw"
_parse_any = msgspec.json.Decoder(msgspec.Raw).decode
_parse_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_parse_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def apply_diffs(before: bytes, diffs: bytes) -> str:
    """The text of a document: `before` in binary form, changed by a sequence of diffs."""
    document: _Node = _grow(read_json(before).encode("utf-8"))
    at = 0
    while at < len(diffs):
        operation = diffs[at]
        size, at = packed_integer(diffs, at + 1)
        path = diffs[at : at + size].decode("utf-8")
        at += size
        value: _Node | None = None
        if operation != _REMOVE:
            size, at = packed_integer(diffs, at)
            value = _grow(read_json(diffs[at : at + size]).encode("utf-8"))
            at += size
        try:
            document = _changed(document, path, operation, value)
        except (LookupError, TypeError) as exc:
            raise _no_fit(path) from exc
    return _write(document)


def _grow(text: bytes) -> _Node:
    """A document as containers of containers; scalars stay the text they are."""
    if text[:1] == b"{":
        return {key: _grow(bytes(value)) for key, value in _parse_object(text).items()}
    if text[:1] == b"[":
        return [_grow(bytes(value)) for value in _parse_array(text)]
    return _parse_any(text)


def _write(node: _Node) -> str:
    if isinstance(node, dict):
        # The server keeps keys by length, then by bytes.
        keys = sorted(node, key=lambda key: (len(key.encode("utf-8")), key.encode("utf-8")))
        return "{" + ",".join(f"{quote_raw(key)}:{_write(node[key])}" for key in keys) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(_write, node)) + "]"
    return bytes(node).decode("utf-8")


def _steps(path: str) -> list[str | int]:
    """`$.a."b c"[3]` as ["a", "b c", 3]."""
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise OperationError(f"the path {path!r} of a JSON change is not known")
        if found[2] is not None:
            steps.append(int(found[2]))
        else:
            steps.append(msgspec.json.decode(found[1], type=str) if found[1][0] == '"' else found[1])
        at = found.end()
    return steps


def _changed(document: _Node, path: str, operation: int, value: _Node | None) -> _Node:
    steps = _steps(path)
    if not steps:
        if value is None:
            raise OperationError("a JSON change removes the whole document")
        return value
    parent: Any = document
    for step in steps[:-1]:
        parent = parent[step]
    last = steps[-1]
    if isinstance(parent, dict) and isinstance(last, str):
        if value is None:
            del parent[last]
        else:
            parent[last] = value
    elif isinstance(parent, list) and isinstance(last, int):
        if value is None:
            del parent[last]
        elif operation == _INSERT:
            parent.insert(last, value)
        else:
            parent[last] = value
    else:
        raise _no_fit(path)
    return document


def _no_fit(path: str) -> OperationError:
    return OperationError(f"the path {path!r} of a JSON change does not fit the document")
