"""The drill of a failover, which is a test of it too: a source that is killed with writes not carried over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from pydbsync.commands.drill import drill_of
from pydbsync.ops.cutover.drill import ENDINGS
from pydbsync.ops.cutover.failover import failover_steps
from tests.matrices import LONG
from tests.processes import write_config
from tests.proxy import Proxy
from tests.servers import Endpoint, Vhost

FEW = {"failover": ["cutover-switch-written"], "settling": ["failover-settling"]}
"""In which call it is killed, and where."""
ALL: dict[str, list[str]] = {
    "failover": [f"cutover-{step.name}-{when}" for step in failover_steps() for when in ("begun", "done", "written")],
    "listing": ["failover-returned-closed"],
    "settling": [
        f"failover-{each}" for each in ("returned-closed", "settling", "replayed", "settled", "forgotten", "following")
    ],
}
CASES = [
    pytest.param("undo", FEW, id="undo"),
    *(pytest.param(ending, ALL, id=f"{ending}, killed everywhere", marks=LONG) for ending in ENDINGS),
]


@contextmanager
def hooks_of(folder: Path, kill: Callable[[], object], start: Callable[[], object]) -> Iterator[dict[str, str]]:
    """Commands that do so: each asks this process by a file, and has done its work when that is gone."""
    over = threading.Event()
    does = {"drill_kill": kill, "drill_start": start}

    def obey() -> None:
        while not over.wait(0.02):
            for name, action in does.items():
                if (file := folder / name).exists():
                    action()
                    file.unlink()

    thread = threading.Thread(target=obey, name="hooks", daemon=True)
    thread.start()
    try:
        yield {name: f"touch {folder / name}; while test -e {folder / name}; do sleep 0.02; done" for name in does}
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(("ending", "kill_at"), CASES)
def test_all_that_dangles_is_listed_and_either_ending_leaves_both_servers_equal(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, make_proxy: Callable[[int], Proxy], tmp_path: Path,
    ending: str, kill_at: Mapping[str, Sequence[str]],
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
    write_config(
        {"source_db_info": source, "db_info": fresh_target.db_info, "rabbitmq_conn_info": vhost.conn_info},
        tmp_path / "servers.py",
    )
    told: list[str] = []
    with hooks_of(tmp_path, kill, start) as hooks:
        plan = tmp_path / "plan.yaml"
        plan.write_text(yaml.safe_dump({"name": "shop", "forth": "servers.py", "hooks": hooks}), encoding="utf-8")
        drill, folder = drill_of(plan, told.append, yes=True)
        found = drill.run(ending, ENDINGS[ending], kill_at=kill_at)
    assert folder == tmp_path / "shop-drill"
    assert (found.missing, found.invented, found.differs) == ([], [], [])
    assert (found.dangling > 10, found.conflicts > 0) == (True, True)
    killed = [text.rpartition(" ")[2] for text in told if "was killed at" in text]
    assert killed == [point for points in kill_at.values() for point in points]
