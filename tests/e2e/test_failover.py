"""The drill of a failover, which is a test of it too: a source that is killed with writes not carried over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pydbsync.ops.cutover.drill import ENDINGS, Drill
from tests.matrices import thinned
from tests.processes import write_config
from tests.proxy import Proxy
from tests.servers import Endpoint, Vhost

KILLED = {
    "carry-over": {"failover": ("cutover-drain-done", "cutover-carry-done"), "settling": ("failover-replayed",)},
    "undo": {"failover": ("cutover-switch-written",), "settling": ("failover-settling", "failover-following")},
}
"""In which call, and where."""


@pytest.mark.parametrize("ending", thinned(ENDINGS, "undo".__eq__))
def test_all_that_dangles_is_listed_and_either_ending_leaves_both_servers_equal(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, make_proxy: Callable[[int], Proxy], tmp_path: Path,
    ending: str,
) -> None:  # fmt: skip
    source, server = fresh_source.db_info, fresh_source.server
    kill, start = (server.kill, server.start) if server is not None else (lambda: None, lambda: None)
    if server is None:  # named by its address: it is as dead when nobody can reach it
        proxy = make_proxy(urlsplit(fresh_source.url).port or 3306)
        source = {**source, "host": proxy.host, "port": proxy.port}

        def kill() -> None:
            proxy.refuse()
            proxy.cut()

        start = proxy.resume
    forth = write_config(
        {"source_db_info": source, "db_info": fresh_target.db_info, "rabbitmq_conn_info": vhost.conn_info},
        tmp_path / "servers.py",
    )
    told: list[str] = []
    drill = Drill(forth, tmp_path / "drill", kill=kill, start=start, tell=told.append)
    found = drill.run(ending, ENDINGS[ending], kill_at=KILLED[ending])
    assert (found.missing, found.invented, found.differs) == ([], [], [])
    assert (found.dangling > 10, found.conflicts > 0) == (True, True)
    killed = [text.rpartition(" ")[2] for text in told if "was killed at" in text]
    assert killed == [point for points in KILLED[ending].values() for point in points]
