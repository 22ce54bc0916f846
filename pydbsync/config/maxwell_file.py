"""Reads Maxwell's own config.properties: Java's properties, with Maxwell's defaults for what decides on the stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydbsync.errors import ConfigError

DEFAULTS: Final[Mapping[str, str]] = {
    "host": "localhost",
    "port": "3306",
    "client_id": "maxwell",
    "replica_server_id": "6379",
    "schema_database": "maxwell",
    "producer": "stdout",
    "output_binlog_position": "false",
    "output_gtid_position": "false",
    "output_xoffset": "false",
    "output_commit_info": "true",
    "output_nulls": "true",
    "output_server_id": "false",
    "output_ddl": "false",
    "output_null_zerodates": "false",
    "output_naming_strategy": "none",
    "encrypt": "none",
    "filter": "",
    "javascript": "",
    "exclude_columns": "",
    "replay": "false",
    "rabbitmq_host": "localhost",
    "rabbitmq_port": "5672",
    "rabbitmq_user": "guest",
    "rabbitmq_virtual_host": "/",
    "rabbitmq_exchange": "maxwell",
    "rabbitmq_exchange_type": "fanout",
    "rabbitmq_exchange_durable": "false",
    "rabbitmq_exchange_autodelete": "false",
    "rabbitmq_routing_key_template": "%db%.%table%",
    "rabbitmq_message_persistent": "false",
    "rabbitmq_declare_exchange": "true",
}
"""What Maxwell 1.45 takes where the file says nothing. Source: https://maxwells-daemon.io/config/"""

_PAIR = re.compile(r"((?:[^\\=:\s]|\\.)+)\s*(?:[=:]\s*|\s+|$)(.*)", re.DOTALL)


def read_maxwell_file(path: Path) -> dict[str, str]:
    """The settings of the file over Maxwell's defaults; names in lower case. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", key=str(path)) from exc
    return {**DEFAULTS, **read_properties(text)}


def read_properties(text: str) -> dict[str, str]:
    """Java's properties: # and ! begin comments, a backslash at the end goes on in the next line."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        line = line.strip()
        if not line or line[0] in "#!":
            continue
        while line.endswith("\\") and (len(line) - len(line.rstrip("\\"))) % 2:
            line = line[:-1] + next(lines, "").strip()
        pair = _PAIR.match(line)
        if pair:
            found[_unescaped(pair[1]).lower().removeprefix("maxwell.")] = _unescaped(pair[2].strip())
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"t": "\t", "n": "\n", "r": "\r"}.get(match[1], match[1]), text)
