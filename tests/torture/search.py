"""The torture of the sink `opensearch`: workers, supervisors, the broker and the line are ended, tables are truncated
and indices built anew, old changes are written out of order by somebody else, and a watcher searches all the time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from pydbsync.config.file import load_settings
from pydbsync.errors import OperationError, TransientError
from pydbsync.ops.sinks.tool import SinkTool
from tests.integration.search_sink import URL, Cluster, parts_of
from tests.integration.sink_runs import LOG
from tests.processes import wait_for
from tests.proxy import Proxy
from tests.torture.sinks import (
    LAST_ROW,
    QUEUE,
    SETTLE_S,
    Busy,
    Overhearer,
    Result,
    Rig,
    Writer,
    freeze_worker,
    kill_broker,
    kill_supervisor,
    kill_worker,
    run_faults,
    unequal_rows,
    write_last_row,
)

TABLES: dict[str, Any] = {
    "shop.t": {"id": "{a}-{b}", "index": "t"},
    "shop.j": {"id": "{a}-{b}", "index": "j", "routing": "{a}", "settings": {"number_of_shards": 2}},
}
COPIED_S = 60


class SearchRig(Rig):
    """With an OpenSearch, behind a proxy."""

    name = "torture-search"

    def __init__(self, folder: Path, opened: contextlib.ExitStack, seed: int) -> None:
        super().__init__(folder, opened, seed)
        self.cluster = Cluster(URL)
        self.cluster.clear()
        self.proxy = Proxy(self.cluster.port, upstream_host=self.cluster.host)
        opened.callback(self.proxy.close)
        nodes = [f"{self.proxy.host}:{self.proxy.port}"]
        self.write_config({"type": "opensearch", "nodes": nodes, "tables": TABLES, "timeout_s": 5})


class Watcher(Busy):
    """Searches: what is there is never older than what was there, whichever index serves."""

    def __init__(self, rig: SearchRig, result: Result) -> None:
        super().__init__()
        self._rig, self._result = rig, result
        self._newest: dict[str, int] = {}

    def once(self) -> None:
        for key, value in values_in(self._rig.cluster).items():
            assert value >= self._newest.get(key, 0), f"{key}: {value} over {self._newest[key]}"
            self._newest[key] = value
        self._result.looks += 1
        time.sleep(0.1)


def values_in(cluster: Cluster) -> dict[str, int]:
    """`v` by table and id, as a search has it; nothing of a table that has no index yet."""
    found: dict[str, int] = {}
    for name in "tj":
        if name in {each["alias"] for each in cluster.get("/_cat/aliases?format=json")}:
            with contextlib.suppress(HTTPException, AssertionError):  # an index that is exchanged at this moment
                index = cluster.index(name)
                seen = {f"{name} {key}": int(document["v"]) for key, document in cluster.search(name).items()}
                if cluster.index(name) == index:  # else what was refreshed is not what was searched
                    found |= seen
    return found


# -- faults ------------------------------------------------------------------------------------------------------------


def cut_line(rig: SearchRig) -> None:
    """In the middle of an answer, or for a while."""
    if rig.chance.random() < 0.5:
        rig.proxy.cut_behind(rig.chance.randrange(1, 20_000))
        return
    rig.proxy.refuse()
    time.sleep(rig.chance.choice((0.2, 2.0)))
    rig.proxy.resume()


def swallow_line(rig: SearchRig) -> None:
    """Requests arrive, and no answer comes."""
    rig.proxy.swallow("to_client")
    time.sleep(rig.chance.choice((0.5, 3.0)))
    rig.proxy.cut()
    rig.proxy.resume()


def close_index(rig: SearchRig) -> None:
    """By an operator; the worker waits."""
    name = rig.cluster.index("t")
    rig.cluster.ask("POST", f"/{name}/_close")
    time.sleep(rig.chance.choice((0.2, 1.0)))
    rig.cluster.ask("POST", f"/{name}/_open")
    rig.cluster.ask("GET", f"/_cluster/health/{name}?wait_for_status=yellow&timeout=30s")


def truncate(rig: SearchRig) -> None:
    rig.source.query(f"TRUNCATE TABLE shop.{rig.chance.choice('tj')}")


def rebuild(rig: SearchRig) -> None:
    """While all goes on; a TRUNCATE that overtakes it ends it with a sentence. Where a line that was cut before has hit
    it, it is called again, as an operator would."""
    settings, _ = load_settings(rig.config)
    with contextlib.suppress(OperationError):
        while True:
            with contextlib.closing(SinkTool(settings, stop=threading.Event(), log=LOG)) as tool:
                try:
                    tool.copy()
                    return
                except TransientError:
                    LOG.info("the copy is called again: its line was cut")


FAULTS: dict[str, tuple[Callable[[SearchRig], None], int]] = {
    "worker killed": (kill_worker, 5),
    "supervisor killed": (kill_supervisor, 3),
    "worker frozen": (freeze_worker, 3),
    "line cut": (cut_line, 4),
    "answers lost": (swallow_line, 2),
    "index closed": (close_index, 2),
    "table truncated": (truncate, 2),
    "index built anew": (rebuild, 4),
    "broker killed": (kill_broker, 1),
}


def torture(folder: Path, *, faults: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Result:
    """Run `faults` random faults, let all come to rest, compare."""
    result, began_at = Result("OpenSearch"), time.monotonic()
    with contextlib.ExitStack() as opened:
        rig = SearchRig(folder, opened, seed)
        threads: list[Busy] = [Writer(rig, result, seed, rest_s=0.05), Watcher(rig, result)]
        threads.append(Overhearer(rig, result, seed, parts_of))
        run_faults(
            result, rig, threads, FAULTS, faults=faults, seed=seed, say=say,
            has_begun=lambda: {key[0] for key in values_in(rig.cluster)} == {"t", "j"},
            come_to_rest=lambda: _come_to_rest(rig),
        )  # fmt: skip
        result.differences = list(_differences(rig))
        result.keys = len(values_in(rig.cluster))
    result.seconds = time.monotonic() - began_at
    return result


def _come_to_rest(rig: SearchRig) -> None:
    rig.proxy.resume()
    write_last_row(rig)

    def has_come() -> bool:
        rig.ensure_supervisors()
        return f"j {LAST_ROW}-{LAST_ROW}" in values_in(rig.cluster) and rig.vhost.depth(QUEUE) == 0

    wait_for(has_come, what="the last row", timeout_s=SETTLE_S)


def _differences(rig: SearchRig) -> Iterator[str]:
    found = values_in(rig.cluster)
    wanted = {
        f"{name} {a}-{b}": int(v) for name in "tj" for a, b, v in rig.source.query(f"SELECT a, b, v FROM shop.{name}")
    }
    yield from unequal_rows(found, wanted, product="OpenSearch")
    settings, _ = load_settings(rig.config)
    parts = parts_of(settings, stream=QUEUE)
    yield from (f"parked: {kept.change.reason}" for kept in parts.keep.parked())
    parts.writer.close()
