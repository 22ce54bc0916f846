"""Private MariaDB and RabbitMQ servers for the demo, the tests and the benchmarks.

    import lab
    target = lab.up("target")          # a running MariaDB; "source" is a second one, "rabbitmq" the broker
    target.url, target.port            # mysql://app:app@127.0.0.1:…
    target.kill(); target.start()      # SIGKILL, and up again on the same port with the same data
    lab.down()                         # everything of this lab

Data and logs are in `.lab/`, or where the environment's PYDBSYNC_LAB says. Only the standard library is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, overload

from lab.mariadb import MariaDB
from lab.monitoring import Alertmanager, Prometheus
from lab.mysql import MySQL, find_mysqld
from lab.process import LabError
from lab.rabbitmq import RabbitMQ
from lab.redis import Redis
from lab.server import Server, Tls
from lab.state import WORKER, common_root, known_servers, lab_root

__all__ = [
    "STANDARD",
    "Alertmanager",
    "LabError",
    "MariaDB",
    "MySQL",
    "Prometheus",
    "RabbitMQ",
    "Redis",
    "Server",
    "Tls",
    "common_root",
    "down",
    "find_mysqld",
    "lab_root",
    "servers",
    "start_mariadb",
    "start_mysql",
    "start_rabbitmq",
    "start_redis",
    "up",
    "up_together",
    "worker_root",
]

STANDARD = ("target", "source", "rabbitmq")
"""What `make lab-up` starts: two MariaDB and a RabbitMQ."""


@overload
def up(name: Literal["target", "source"]) -> MariaDB: ...
@overload
def up(name: Literal["rabbitmq"]) -> RabbitMQ: ...
@overload
def up(name: str) -> Server: ...
def up(name: str) -> Server:
    """The standard server of this name, started with the default settings if it is not running."""
    if name not in STANDARD:
        raise LabError(f"The lab has no server {name!r}: its servers are {', '.join(STANDARD)}.")
    return (RabbitMQ(name) if name == "rabbitmq" else MariaDB(name)).start()


def up_together(names: Sequence[str] = STANDARD) -> list[Server]:
    """As up(), for several at the same time."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(up, names))


def start_mariadb(
    name: str, *, durable: bool = False, tls: Tls | None = None, options: Mapping[str, str] | None = None
) -> MariaDB:
    """A running MariaDB with settings of its own; `durable` syncs every commit to the disk."""
    return MariaDB(name, durable=durable, tls=tls, options=options).start()


def start_mysql(name: str) -> MySQL:
    """A running MySQL. LabError where none is installed."""
    return MySQL(name).start()


def start_rabbitmq(
    name: str, *, tls: Tls | None = None, plugins: Sequence[str] = (), config: Mapping[str, str] | None = None
) -> RabbitMQ:
    """A running RabbitMQ with settings of its own; with `tls` it also listens on `tls_port`."""
    return RabbitMQ(name, tls=tls, plugins=plugins, config=config).start()


def start_redis(
    name: str = "redis", *, tls: Tls | None = None, options: Mapping[str, str] | None = None, sentinel: bool = False
) -> Redis:
    """A running Redis with settings of its own; it syncs its append-only file each second unless told otherwise."""
    return Redis(name, tls=tls, options=options, sentinel=sentinel).start()


_KINDS: Mapping[str, type[Server]] = {
    kind.kind: kind for kind in (MariaDB, MySQL, RabbitMQ, Redis, Prometheus, Alertmanager)
}


def servers(*, root: Path | None = None) -> list[Server]:
    """Every server that this lab has ever started, running or not."""
    root = root or lab_root()
    return [_KINDS[state.kind](name, root=root) for name, state in known_servers(root).items()]


def worker_root(worker: str) -> Path:
    """The lab of one of several processes that run tests side by side; `down` of the whole lab stops it too."""
    return lab_root() / f"{WORKER}{worker}"


def down(*, root: Path | None = None) -> list[str]:
    """Stop every server of this lab; the names of those that ran."""
    root = root or lab_root()
    found = [server for each in (root, *root.glob(f"{WORKER}*")) for server in servers(root=each)]
    running = [server.name for server in found if server.process]
    with ThreadPoolExecutor() as pool:
        list(pool.map(Server.stop, found))
    return running
