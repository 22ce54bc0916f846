"""Connections to one Redis, a master that sentinels name, or a cluster; what fails as an error of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from pydbsync.config.sinks import RedisSettings, host_and_port
from pydbsync.errors import ConfigError, TransientError
from pydbsync.sinks.redis import scripts

_CHUNK = 500
"""Commands of one pipeline: others are served between two of them."""
_LATER = (
    "OOM", "LOADING", "BUSY", "READONLY", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MOVED",
    "ASK", "UNBLOCKED",
)  # fmt: skip
"""Refusals that end by themselves, or by what an operator does."""
_LATER_WITHIN = re.compile(rf"Error running script .*-(?:{'|'.join(_LATER)})\b|attempted to access a non local key")
"""The same for a command within a script: as servers before 7.0 tell it, and of a slot that is on its way."""
_NAMES = {
    scripts.WRITE: "write", scripts.CHANGE: "change", scripts.TAKE_OVER: "take over", scripts.COMMIT: "commit",
    scripts.KEEP_ALIVE: "keep alive", scripts.RELEASE: "release", scripts.AMEND: "amend", scripts.COUNT: "count",
}  # fmt: skip

_DENIED_WITHIN = re.compile("user executing the script can't|ACL failure in script")
"""How the servers tell it of a command within a script: 6.0 to 7.0, and later ones."""


class ScriptCall(NamedTuple):
    """One script on its way; all keys are in the slot of the first."""

    script: str
    keys: Sequence[str]
    arguments: Sequence[str | bytes | int]


class RedisClient:
    """Used by one thread. Nothing is tried again here: whoever calls knows what must be true first."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._redis: redis.Redis | None = None
        self._cluster: Any = None
        self._shas: dict[str, str] = {}
        self.run_ids: dict[str, str] = {}
        """Each node's own name for this life of its process, as it was at `open`."""

    @property
    def prefix(self) -> str:
        """What the keys of pydbsync itself begin with."""
        return self._settings.prefix

    @property
    def is_cluster(self) -> bool:
        return self._settings.cluster

    def open(self) -> None:
        """Connect anew. Raises TransientError, ConfigError."""
        self.close()
        settings = self._settings
        with translated():
            if settings.cluster:
                self._cluster = RedisCluster(host=settings.host, port=settings.port, **self._keywords())
            elif settings.sentinel is not None:
                self._redis = self._master()
            else:
                self._redis = redis.Redis(host=settings.host, port=settings.port, db=settings.db, **self._keywords())
            for name, node in self.nodes().items():
                server = node.info("server")
                self._check_kind(str(server.get("redis_mode", server.get("server_mode"))))
                for script in _NAMES:
                    self._shas[script] = _text(node.script_load(script))
                self.run_ids[name] = str(server["run_id"])

    def _check_kind(self, mode: str) -> None:
        """What is refused for ever would be waited for as what is away."""
        if mode == "sentinel":
            raise ConfigError("is a sentinel: name it in sink.sentinel.nodes", key="sink.host")
        if mode == "cluster" and not self._settings.cluster:
            raise ConfigError(f"{self._settings.address} is a cluster: set this to true", key="sink.cluster")

    def _keywords(self) -> dict[str, Any]:
        settings = self._settings
        found: dict[str, Any] = {
            "username": settings.user,
            "password": settings.password.reveal() if settings.password else None,
            "socket_timeout": settings.timeout_s,
            "socket_connect_timeout": settings.timeout_s,
            "socket_keepalive": True,
            "protocol": 2,
        }
        if not settings.cluster:
            found["retry"] = Retry(NoBackoff(), 0)
        tls = settings.tls
        if tls is not None:
            found |= {
                "ssl": True,
                "ssl_ca_certs": tls.ca,
                "ssl_certfile": tls.cert,
                "ssl_keyfile": tls.key,
                "ssl_cert_reqs": "required" if tls.verify else "none",
                "ssl_check_hostname": tls.verify,
            }
        return found

    def _master(self) -> redis.Redis:
        asked = self._settings.sentinel
        assert asked is not None  # noqa: S101
        nodes = [host_and_port(node, "sink.sentinel.nodes") for node in asked.nodes]
        keywords = self._keywords()
        own = {
            **keywords,
            "username": asked.user,
            "password": asked.password.reveal() if asked.password else None,
        }
        make: Any = Sentinel  # which redis-py does not type
        host, port = make(nodes, sentinel_kwargs=own).discover_master(asked.service)
        return redis.Redis(host=host, port=port, db=self._settings.db, **keywords)

    @property
    def any(self) -> Any:
        """The client of redis-py, for commands about keys. Raises TransientError if it is not open."""
        found = self._cluster or self._redis
        if found is None:
            raise TransientError("Redis is not connected")
        return found

    def nodes(self) -> Mapping[str, redis.Redis]:
        """A client of each server that is written to, by its address."""
        if self._cluster is not None:
            return {node.name: self._cluster.get_redis_connection(node) for node in self._cluster.get_primaries()}
        return {"": self.any}

    def call(self, call: ScriptCall) -> Any:
        """The answer of one script. Raises TransientError, ConfigError."""
        (answer,) = self.run([call])
        if isinstance(answer, redis.RedisError):
            raise refusal(answer)
        return answer

    def run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """The answers in order, an error of redis-py where one was refused for good. Raises TransientError as soon as
        one is refused for now; those behind it may have been done."""
        answers: list[Any] = [None] * len(calls)
        with translated():
            for client, chosen in self.by_node([call.keys[0] for call in calls]):
                for start in range(0, len(chosen), _CHUNK):
                    part = chosen[start : start + _CHUNK]
                    found = self._pipelined(client, [calls[each] for each in part])
                    for index, answer in zip(part, found, strict=True):
                        answers[index] = answer if self._cluster is None else self._followed(calls[index], answer)
        for answer in answers:
            if isinstance(answer, redis.RedisError) and is_denied(answer):
                raise ConfigError(f"Redis refuses the user: {answer}", key="sink")
            if isinstance(answer, redis.RedisError) and is_for_now(answer):
                raise refusal(answer)
        return answers

    def by_node(self, keys: Sequence[str]) -> Iterator[tuple[redis.Redis, Sequence[int]]]:
        """A client of each server that has some of these keys, with their numbers."""
        if self._cluster is None:
            yield self.any, range(len(keys))
            return
        found: dict[str, tuple[ClusterNode, list[int]]] = {}
        for index, key in enumerate(keys):
            node = self._cluster.get_node_from_key(key)
            if node is None:
                raise TransientError("the cluster has no node for a slot now")
            found.setdefault(node.name, (node, []))[1].append(index)
        for node, chosen in found.values():
            yield self._cluster.get_redis_connection(node), chosen

    def _pipelined(self, client: redis.Redis, calls: Sequence[ScriptCall]) -> list[Any]:
        pipeline: Any = client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command("EVALSHA", self._shas[call.script], len(call.keys), *call.keys, *call.arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        if any(isinstance(answer, redis.exceptions.NoScriptError) for answer in answers):
            raise TransientError("Redis has lost its scripts (SCRIPT FLUSH, or another process)")
        return answers

    def _followed(self, call: ScriptCall, answer: Any) -> Any:
        """The answer of the node that has the slot now, or is getting it key by key; a key that neither of the two has
        yet must wait until all are there (TRYAGAIN), since its mark is a second one."""
        if not isinstance(answer, redis.exceptions.AskError | redis.exceptions.TryAgainError):  # MOVED is an ASK here
            return answer
        try:
            return self._cluster.execute_command(
                "EVALSHA", self._shas[call.script], len(call.keys), *call.keys, *call.arguments
            )
        except redis.exceptions.NoScriptError as exc:
            raise TransientError("a node of the cluster has not got the scripts yet") from exc
        except redis.ResponseError as exc:
            return exc
        except redis.exceptions.ClusterError:
            return answer

    def keys(self, head: str) -> Iterator[str]:
        """All keys that begin so. One that lives while this runs may come twice."""
        pattern = "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in head) + "*"
        with translated():
            for node in self.nodes().values():
                for key in node.scan_iter(match=pattern, count=1000):
                    with suppress(UnicodeDecodeError):  # then it is none of ours
                        yield key.decode("utf-8")

    def close(self) -> None:
        """Never raises."""
        for client in (self._redis, self._cluster):
            if client is not None:
                with suppress(Exception):
                    client.close()
        self._redis = self._cluster = None


def is_denied(error: redis.RedisError) -> bool:
    """Whether the user lacks a right, for a script itself or for a command within it."""
    return isinstance(error, redis.exceptions.NoPermissionError) or _DENIED_WITHIN.search(str(error)) is not None


def is_for_now(error: redis.RedisError) -> bool:
    """Whether what was refused can succeed later."""
    text = str(error)
    return text.split(" ", 1)[0] in _LATER or _LATER_WITHIN.search(text) is not None or isinstance(
        error,
        redis.ConnectionError | redis.TimeoutError | redis.exceptions.OutOfMemoryError | redis.ReadOnlyError
        | redis.exceptions.TryAgainError | redis.exceptions.AskError | redis.exceptions.ClusterDownError,
    )  # fmt: skip


def refusal(error: redis.RedisError) -> TransientError:
    """The error as one that is tried again."""
    return TransientError(f"Redis: {error}")


@contextmanager
def translated() -> Iterator[None]:
    """What redis-py raises as an error of ours."""
    try:
        yield
    except (redis.RedisError, redis.exceptions.RedisClusterException, OSError) as exc:
        why = exc.__cause__ if isinstance(exc, redis.exceptions.RedisClusterException) else exc
        if isinstance(why, redis.AuthenticationError | redis.exceptions.NoPermissionError):
            raise ConfigError(f"Redis refuses the user: {why}", key="sink") from exc
        if "Cluster mode is not enabled on this node" in str(exc):
            raise ConfigError("Redis is no cluster: leave this off", key="sink.cluster") from exc
        if "DB index is out of range" in str(exc):
            raise ConfigError("Redis has no database of this number", key="sink.db") from exc
        raise TransientError(f"Redis: {exc}") from exc


def _text(value: object) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def tag(name: str) -> str:
    """A name as a hash tag: what has it is in one slot of a cluster."""
    return "{" + name.replace("%", "%25").replace("{", "%7B").replace("}", "%7D") + "}"


def mark_key(prefix: str, key: str, *, has_hash_tag: bool) -> str:
    """Where the place of a key is kept: in the same slot."""
    if has_hash_tag:
        begin = key.index("{")
        return f"{prefix}{key[begin : key.index('}', begin) + 1]}:place:{key}"
    return f"{prefix}{{{key}}}:place"
