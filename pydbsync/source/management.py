"""RabbitMQ's management API, read only: what AMQP itself does not tell of queues, bindings, policies and alarms."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydbsync.config.settings import AmqpSettings, QueueSettings
from pydbsync.errors import ConfigError, SourceError
from pydbsync.source.connection import tls_context
from pydbsync.source.topology import what_it_drops, with_policy

_REFUSED = (401, 403)


class NoRight(SourceError):
    """The user may not see this; `tag` is what RabbitMQ asks for."""


class Management:
    """GET requests with the user and password of the AMQP connection, each with a time limit."""

    def __init__(self, amqp: AmqpSettings, *, timeout_s: float) -> None:
        self._amqp = amqp
        self._timeout_s = timeout_s
        self._port = amqp.management_port
        login = f"{amqp.user}:{amqp.password.reveal()}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}

    @property
    def address(self) -> str:
        """`http://host:port` for people."""
        return f"{'https' if self._amqp.tls else 'http'}://{self._amqp.host}:{self._port}"

    def whoami(self) -> tuple[str, ...]:
        """The tags of our user. Raises NoRight, SourceError."""
        answer = self.get("/whoami")
        if not isinstance(answer, dict) or "name" not in answer:
            raise SourceError(f"{self.address} is not RabbitMQ's management: it does not say who we are")
        tags = answer.get("tags", [])
        return tuple(tags) if isinstance(tags, list) else tuple(filter(None, str(tags).split(",")))

    def path(self, kind: str, *names: str) -> str:
        """Where the API has what our virtual host has of a kind, or the one of this name: `/queues/VHOST/NAME`."""
        return "/".join(["", kind, *(quote(name, safe="") for name in (self._amqp.vhost, *names))])

    def dropped_by_policy(self, queue: str) -> list[str]:
        """When the queue drops messages that nobody has acknowledged, by a policy that a declaration does not show, in
        words behind its name. Raises NoRight, SourceError."""
        facts = self.get(self.path("queues", queue))
        policy = (facts or {}).get("effective_policy_definition")
        if not policy:
            return []
        version = str((self.get("/overview") or {}).get("rabbitmq_version", ""))
        own = own_arguments(facts)
        known = what_it_drops(own, server_version=version)
        found = what_it_drops(with_policy(own, policy, server_version=version), server_version=version)
        names = " and ".join(repr(facts[key]) for key in ("policy", "operator_policy") if facts.get(key))
        return [f"{sentence}, by the policy {names}" for sentence in found if sentence not in known]

    def bound_by(self, queue: QueueSettings) -> frozenset[str] | None:
        """By which of its routing keys the queue is bound to its exchange; None where there is no such queue. Raises
        NoRight, SourceError."""
        if self.get(self.path("queues", queue.queue)) is None:
            return None
        found = self.get(self.path("bindings", "e", queue.exchange, "q", queue.queue), missing=())
        return frozenset(str(each["routing_key"]) for each in found).intersection(queue.routing_keys)

    def get(self, path: str, *, missing: Any = None) -> Any:
        """The decoded answer; `missing` where there is no such thing. Raises NoRight, SourceError."""
        if not self._port:
            raise SourceError("rabbitmq_conn_info.management_port is 0, so that RabbitMQ's management is not asked")
        try:
            connection = self._connect()
            try:
                connection.request("GET", f"/api{path}", headers=self._headers)
                response = connection.getresponse()
                status, body = response.status, response.read()
            finally:
                connection.close()
        except http.client.BadStatusLine as exc:
            raise SourceError(f"{self.address} is not RabbitMQ's management: it answers with no HTTP") from exc
        except (OSError, http.client.HTTPException) as exc:
            raise SourceError(f"{self.address} does not answer: {exc or type(exc).__name__}") from exc
        if status in _REFUSED:
            raise NoRight(f"{self.address} lets user {self._amqp.user!r} not see {path.split('/')[1]} ({status})")
        if status == 404:
            return missing
        if status >= 400 and not path.startswith("/health/"):
            raise SourceError(f"{self.address} answers {path} with {status}")
        try:
            return json.loads(body) if body else None
        except ValueError as exc:
            raise SourceError(f"{self.address} is not RabbitMQ's management: its answer is no JSON") from exc

    def _connect(self) -> http.client.HTTPConnection:
        amqp = self._amqp
        if not amqp.tls:
            return http.client.HTTPConnection(amqp.host, self._port, timeout=self._timeout_s)
        try:
            context: ssl.SSLContext = tls_context(amqp.tls)
        except ConfigError as exc:
            raise SourceError(str(exc)) from exc
        return http.client.HTTPSConnection(amqp.host, self._port, timeout=self._timeout_s, context=context)


def own_arguments(queue: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a queue by what the API tells of it, its type among them; policies may set others."""
    return {"x-queue-type": queue.get("type", "classic"), **(queue.get("arguments") or {})}
