"""What the checks look at: the configuration, and connections with time limits, made when they are first used."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.config.servers import TargetSettings
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import ConfigError, PydbsyncError, SourceError, TransientError
from pydbsync.ops.doctor.grants import Grants, grant_statement, own_grants, role_statement
from pydbsync.route.router import Router
from pydbsync.source.link import BrokerLink, link_for_questions
from pydbsync.source.management import Management

_T = TypeVar("_T")
_CONNECT_S = 8
"""Longer than the five seconds after which a web server, RabbitMQ's management, hangs up on who greets it in AMQP."""


class CheckLimits(msgspec.Struct, frozen=True):
    """How long things may take."""

    answer_s: float = 10.0
    """One statement or request."""
    group_s: float = 30.0
    """All checks of a group."""


_LIMITS = CheckLimits()


class Away(PydbsyncError):
    """A server that cannot be asked; which one, and why, stands among the connections."""

    def __init__(self, end: str, cause: PydbsyncError | None) -> None:
        super().__init__(f"{end} is not configured" if cause is None else f"{end} cannot be asked: {cause}")
        self.end = end
        self.cause = cause


class NoTables(PydbsyncError):
    """The target is a sink: what is asked of a MySQL there means nothing."""


class Examination:
    """One run of the doctor. Used by one thread at a time; `close` may be called by another one."""

    def __init__(
        self,
        settings: Settings,
        *,
        limits: CheckLimits = _LIMITS,
        maxwell: dict[str, str] | None = None,
        watch_s: float = 0,
        canary_s: float = 0,
    ) -> None:
        self.settings = settings
        self.limits = limits
        self.maxwell = maxwell
        """Maxwell's own config.properties, if it was given."""
        self.watch_s = watch_s
        """How long a queue of our own may be declared and read; 0 is not at all."""
        self.canary_s = canary_s
        """How long a row that is written at the source may take to the target; 0 writes none."""
        self._open: dict[str, Any] = {}
        self._away: dict[str, Away] = {}
        self._known: dict[str, Any] = {}

    @cached_property
    def router(self) -> Router:
        """Where tables go."""
        return router_from(self.settings)

    def target(self) -> Connection:
        """Raises Away; NoTables where the target is a sink."""
        if self.settings.sink is not None:
            raise NoTables
        return self._once("the target", lambda: self._database(self.settings.target))

    def source(self) -> Connection:
        """Raises Away, also if no source is configured."""
        given = self.settings.source
        if given is None:
            raise Away("the source (source_db_info)", None)
        return self._once("the source", lambda: self._database(given))

    def link(self) -> BrokerLink:
        """A connection to RabbitMQ. Raises Away."""
        if not self.settings.queues:
            raise Away("RabbitMQ (rabbitmq_queue_bind)", None)
        return self._once("RabbitMQ", self._broker)

    def management(self) -> Management:
        """RabbitMQ's management API, which has answered once. Raises Away."""
        if not self.settings.queues:
            raise Away("RabbitMQ (rabbitmq_queue_bind)", None)
        return self._once("RabbitMQ's management API", self._management)

    def known(self, name: str, find: Callable[[], _T]) -> _T:
        """What several checks need: found once."""
        if name not in self._known:
            self._known[name] = find()
        found: _T = self._known[name]
        return found

    def grants(self, end: str) -> Grants:
        """The rights of our user at `source` or `target`, those of its active roles included. Raises Away,
        ApplyError."""
        return self.known(f"grants {end}", lambda: own_grants(self.target() if end == "target" else self.source()))

    def account(self, end: str) -> str:
        """`user@host` as the server's grants name us."""
        connection = self.target() if end == "target" else self.source()
        return self.known(f"account {end}", lambda: str(connection.value("SELECT CURRENT_USER()")))

    def granting(self, end: str, privileges: Iterable[str], database: str = "*") -> str:
        """What gives our user these rights: a GRANT, or what makes a role active that it was given and that has them.
        Raises Away, ApplyError."""
        wanted = list(privileges)
        connection = self.target() if end == "target" else self.source()
        if role := self.grants(end).role_with(wanted, database):
            is_mariadb = connection.dialect.is_mariadb
            shown = role_statement(role, self.account(end), is_mariadb=is_mariadb)
            return f"{shown} (the role {role} has that, and is not active in a new session)"
        return grant_statement(wanted, database, "*", self.account(end))

    def close(self) -> None:
        """End all connections, under a statement too; the next use makes new ones. Never raises."""
        for each in list(self._open.values()):
            if isinstance(each, Connection):
                each.abort()
            if not isinstance(each, Management):
                each.close()
        self._open.clear()

    def _once(self, end: str, connect: Callable[[], _T]) -> _T:
        if end in self._away:
            raise self._away[end]
        found = self._open.get(end)
        if isinstance(found, Connection) and not found.is_open():
            found = None
        if found is None:
            try:
                found = self._open[end] = connect()
            except (ConfigError, TransientError, SourceError) as exc:
                self._away[end] = Away(end, exc)
                raise self._away[end] from exc
        answer: _T = found
        return answer

    def _database(self, server: TargetSettings) -> Connection:
        keywords = server.connect_keywords()
        seconds = min(_CONNECT_S, int(keywords.get("connect_timeout", _CONNECT_S)))
        answer_s = self.limits.answer_s
        limited = {**keywords, "connect_timeout": seconds, "read_timeout": answer_s, "write_timeout": answer_s}
        return Connection(limited, key=server.key, read_timeout_s=answer_s)

    def _broker(self) -> BrokerLink:
        amqp = self.settings.amqp
        limited = dataclasses.replace(amqp, connect_timeout_s=min(amqp.connect_timeout_s, _CONNECT_S))
        link = link_for_questions(limited, "doctor")
        try:
            link.connect(threading.Event())
        except BaseException:
            link.close()
            raise
        return link

    def _management(self) -> Management:
        management = Management(self.settings.amqp, timeout_s=min(_CONNECT_S, self.limits.answer_s))
        management.whoami()
        return management
