"""Who asked what of the workers, and when: the table `operator_audit`."""

from __future__ import annotations

import getpass
import socket

from pydbsync.apply.connection import Connection
from pydbsync.plan.quoting import quote_name

_ACTOR_CHARACTERS = 190


def actor_here() -> str:
    """Who runs this command, and where."""
    return f"{getpass.getuser()}@{socket.gethostname()}"[:_ACTOR_CHARACTERS]


def write_audit(connection: Connection, schema: str, action: str, about: str, *, actor: str, detail: str) -> None:
    """Write down a step, as part of the transaction that takes it."""
    connection.run(
        f"INSERT INTO {quote_name(schema)}.`operator_audit` (action, about, actor, detail) VALUES (%s, %s, %s, %s)",
        (action, about[:255], actor, detail),
    )
