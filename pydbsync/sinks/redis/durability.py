"""When what Redis has answered survives its end: in the append-only file on the disk, and at replicas where wanted."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from pydbsync.config.sinks import RedisSettings
from pydbsync.errors import ConfigError
from pydbsync.sinks.keep import KeepWentBack
from pydbsync.sinks.redis.client import RedisClient, translated

_POLL_S = 0.25
_SYNC_S = 1.5
"""With appendfsync everysec a sync of what was written begins within a second and one round of the server's timer."""
_POLL_ALL_S = 0.05
_ASK_S = 5.0
"""So often the servers are asked for their policies: an operator can change them while they run."""


@dataclass(eq=False)
class WrittenMark:
    """A moment at which something was written, by the monotonic clock."""

    at: float
    written_at: float = 0.0
    """When it was seen to be in the file, and no sync under way; 0: not yet."""
    offset: int = 0
    """The end of the replication stream then."""


class Durability:
    """Follows the servers' own figures.

    Redis before 7.2 does not tell when it has synced what (WAITAOF does, later). But what is in the file while no sync
    is under way is synced by one that begins within a second, and that one has ended if none is under way at a second
    look behind that.
    """

    def __init__(self, settings: RedisSettings, client: RedisClient, *, log: logging.Logger) -> None:
        self._settings = settings
        self._client = client
        self._log = log
        self._marks: deque[WrittenMark] = deque()
        self._run_ids: dict[str, str] = {}
        self._is_void = False
        """Whether the marks are those of a process that has ended."""
        self._looked_at = self._asked_at = 0.0
        self._waits_for_disk = False
        self._blocks_sync = False
        """Whether a child process of the server (BGSAVE, a rewrite) may keep it from syncing."""
        self._notes: dict[str, str] = {}
        """What is not promised, as sentences for the log by what they are about; empty where all is."""

    def start(self) -> None:
        """Find out what the server does. Raises ConfigError where that is less than what is asked for."""
        self._asked_at = time.monotonic()
        run_ids = dict(self._client.run_ids)
        self._is_void |= bool(self._marks) and run_ids != self._run_ids
        self._run_ids = run_ids
        wanted = self._settings.durability
        policies = {name: self._policy(node) for name, node in self._client.nodes().items()}
        worst = "off" if "off" in policies.values() else "no" if "no" in policies.values() else ""
        note = ""
        self._waits_for_disk = wanted != "memory" and not worst and "everysec" in policies.values()
        if wanted == "aof" and worst:
            raise ConfigError(
                "Redis keeps no append-only file: set its appendonly to yes, or choose another durability"
                if worst == "off"
                else "Redis syncs its append-only file when the system likes: set its appendfsync to everysec or"
                " always, or choose another durability",
                key="sink.durability",
            )
        if wanted == "memory" or worst:
            note = (
                "messages are acknowledged before Redis has them on its disk: what it loses when it ends does not come"
                " again; `pydbsync repair` mends it"
            )
        self._tell("disk", note, "messages are acknowledged again only when Redis has them on its disk")
        with translated():
            found = [evicted(node.info("memory")) for node in self._client.nodes().values()]
        self._tell("memory", max(found), "Redis removes no keys of pydbsync any more where its memory is full")

    def _tell(self, about: str, note: str, otherwise: str) -> None:
        """Say what is not promised when it begins, and when it ends."""
        if note != self._notes.get(about, ""):
            self._log.warning("%s", note or otherwise)
        self._notes[about] = note

    def _policy(self, node: redis.Redis) -> str:
        """off, no, everysec or always."""
        with translated():
            if not int(node.info("persistence").get("aof_enabled", 0)):
                return "off"
            try:
                found: Mapping[Any, Any] = node.config_get("append*")
                blocks = node.config_get("no-appendfsync-on-rewrite")
            except redis.ResponseError:  # no right to ask (ACL), or renamed: the weaker one is taken
                self._blocks_sync = True
                return "everysec"
        self._blocks_sync |= str(blocks.get("no-appendfsync-on-rewrite", "yes")) == "yes"
        return str(found.get("appendfsync", "everysec"))

    @property
    def is_at_once(self) -> bool:
        """Whether whatever is answered is kept, as far as it is waited for."""
        return not self._waits_for_disk and not self._settings.replicas

    def mark(self) -> WrittenMark | None:
        """Something was written just now; None where it is kept already. Raises TransientError, ConfigError."""
        if time.monotonic() - self._asked_at > _ASK_S:
            self.start()
        if self.is_at_once:
            return None
        mark = WrittenMark(time.monotonic())
        self._marks.append(mark)
        return mark

    def forget(self) -> None:
        """Nobody asks for the marks any more."""
        self._marks.clear()
        self._is_void = False

    def is_kept(self, mark: WrittenMark | None) -> bool:
        """Whether all that was written before the mark is kept. Raises WentBack where another process answers now,
        TransientError."""
        if mark is None or mark not in self._marks:
            return True
        if self._is_void:
            raise KeepWentBack("Redis was started anew before it had all on its disk")
        now = time.monotonic()
        if now - self._looked_at < _POLL_S:
            return False
        self._looked_at = now
        (name, node), *_ = self._client.nodes().items()
        self._look(name, node)
        return mark not in self._marks

    def _look(self, name: str, node: redis.Redis) -> None:
        began = time.monotonic()
        with translated():
            figures: Mapping[str, Any] = node.info()
        ended = time.monotonic()
        if figures["run_id"] != self._client.run_ids.get(name):
            raise KeepWentBack("Redis was started anew, or another one answers")
        is_synced = not self._waits_for_disk or self._is_quiet(figures)
        is_written = is_synced and (not self._waits_for_disk or not int(figures.get("aof_buffer_length", 0)))
        for mark in list(self._marks):
            if not mark.written_at:
                if is_written and began >= mark.at:
                    mark.written_at = ended
                    mark.offset = int(figures.get("master_repl_offset", 0))
                if self._waits_for_disk or not mark.written_at:
                    continue
            is_old = not self._waits_for_disk or began - mark.written_at >= _SYNC_S
            if is_synced and is_old and self._replicas_at(figures, mark.offset):
                self._marks.remove(mark)

    def _is_quiet(self, figures: Mapping[str, Any]) -> bool:
        """Whether no sync is under way, and none is held up or has failed."""
        children = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress")
        return (
            not int(figures.get("aof_pending_bio_fsync", 1))
            and figures.get("aof_last_write_status") == "ok"
            and not (self._blocks_sync and any(int(figures.get(name, 0)) for name in children))
        )

    def _replicas_at(self, figures: Mapping[str, Any], offset: int) -> bool:
        wanted = self._settings.replicas
        if not wanted:
            return True
        found = [each for name, each in figures.items() if name.startswith("slave") and isinstance(each, dict)]
        return sum(int(each.get("offset", 0)) >= offset for each in found) >= wanted

    def wait_for_all(self) -> None:
        """Wait until every node of a cluster has kept what was written. Raises TransientError where one has begun anew
        meanwhile: then all of it must be written again."""
        if self.is_at_once:
            self._refuse_new_nodes()
            return
        left = dict(self._client.nodes())
        for name, node in left.items():
            self._marks.clear()
            mark = self.mark()
            while mark in self._marks:
                self._look(name, node)
                if mark in self._marks:
                    time.sleep(_POLL_ALL_S)
        self._marks.clear()

    def _refuse_new_nodes(self) -> None:
        for name, node in self._client.nodes().items():
            with translated():
                if node.info("server")["run_id"] != self._client.run_ids.get(name):
                    raise KeepWentBack(f"the node {name} was started anew")


def evicted(figures: Mapping[str, Any]) -> str:
    """What a server may remove to make room, as a sentence; empty where it is nothing. `figures` are those of INFO."""
    policy = str(figures.get("maxmemory_policy", "noeviction"))
    if not int(figures.get("maxmemory", 0)) or policy == "noeviction":
        return ""
    if policy.startswith("volatile-"):
        return (
            f"Redis removes keys that have a time to live where its memory is full (maxmemory-policy {policy}): without"
            " the place of a deleted row, or of one with ttl_s, what comes late can be written over what is newer"
        )
    return (
        f"Redis removes any key where its memory is full (maxmemory-policy {policy}): rows, their places, the"
        " checkpoint and what is parked; nothing is promised then, set noeviction, or give pydbsync a Redis of its own"
    )
