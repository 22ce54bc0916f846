"""`python -m benchmarks --opensearch`: the same changes to OpenSearch, to the MySQL target, and by bare bulk requests.

All take their messages from a list, so that the broker is not measured. The bare requests decode each message and
index its row by `_bulk`: no place, no checkpoint, no acknowledgement. `PYDBSYNC_OPENSEARCH` says where there is one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec
import urllib3

import lab
from benchmarks.redis import make_tables, messages, tell, through_pydbsync
from tests.servers import Endpoint

URL = os.environ.get("PYDBSYNC_OPENSEARCH", "").rstrip("/")
INDEX, BARE = "bench-t", "bench-bare"
_BULK_ROWS = 1000


class _Cluster:
    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(retries=False, timeout=60)

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/x-ndjson" if path == "/_bulk" else "application/json"}
        answer = self._pool.request(method, URL + path, body=body, headers=headers)
        assert answer.status < 300 or (method == "DELETE" and answer.status == 404), answer.data[:500]
        return answer.data

    def clear(self) -> None:
        """Without what an earlier round has left: its indices, and the checkpoint of its stream."""
        found = msgspec.json.decode(self.ask("GET", "/_cat/indices?format=json"), type=list[dict[str, str | None]])
        for name in {str(each["index"]) for each in found}:
            if name in ("pydbsync-bench", BARE) or name.startswith(f"{INDEX}-"):
                self.ask("DELETE", f"/{name}")

    def count(self, name: str) -> int:
        self.ask("POST", f"/{name}/_refresh")
        return int(msgspec.json.decode(self.ask("GET", f"/{name}/_count"))["count"])


def bare_bulk(cluster: _Cluster, bodies: Sequence[bytes]) -> float:
    began = time.perf_counter()
    encode = msgspec.json.Encoder().encode
    for start in range(0, len(bodies), _BULK_ROWS):
        lines = []
        for body in bodies[start : start + _BULK_ROWS]:
            data = msgspec.json.decode(body)["data"]
            lines += [encode({"index": {"_index": BARE, "_id": str(data["id"])}}), encode(data)]
        answer = cluster.ask("POST", "/_bulk", b"\n".join(lines) + b"\n")
        assert b'"errors":false' in answer[:200], answer[:500]
    return time.perf_counter() - began


def run(*, rows: int, rounds: int, say: Callable[[str], None]) -> None:
    """Measure by turns, and print the median rates; a sentence where there is no OpenSearch."""
    if not URL:
        say("OpenSearch was not measured: PYDBSYNC_OPENSEARCH=http://host:port must say where there is one.")
        return
    cluster, nodes = _Cluster(), [urlsplit(URL).netloc]
    source, target = Endpoint.of_lab(lab.up("source")), Endpoint.of_lab(lab.up("target"))
    bodies = messages(rows, max(1, rows // 10))
    make_tables(source, target)
    tables = {"bench.t": {"id": "{id}", "index": INDEX}}
    sink = {"type": "opensearch", "nodes": nodes, "tables": tables, "state_index": "pydbsync-bench"}
    contestants: dict[str, Callable[[], float]] = {
        "pydbsync to OpenSearch": lambda: through_pydbsync({"sink": sink, "source_db_info": source.db_info}, bodies),
        "bare bulk requests": lambda: bare_bulk(cluster, bodies),
        "pydbsync to MariaDB": lambda: through_pydbsync({"db_info": target.db_info}, bodies),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            cluster.clear()
            target.query("TRUNCATE TABLE bench.t")
            target.query("DROP DATABASE IF EXISTS pydbsync")
            rates[name].append(rows / contestant())
            if "MariaDB" not in name:
                found = cluster.count(INDEX if "pydbsync" in name else BARE)
                assert found == max(1, rows // 10), f"{found} documents by {name}"
    cluster.clear()
    tell(rates, say)
