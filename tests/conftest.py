"""Fixtures: real servers, real runs, faults on the way. A server that cannot be had is an error, never a skip; but for
OpenSearch, which no package has: what needs it runs where PYDBSYNC_OPENSEARCH names one, by `make test-opensearch`.

Tests run in two legs. The first leg has the lab's MariaDB as target. The second one, PYDBSYNC_TEST_LEG=mysql, has the
lab's MySQL where one is found (lab/mysql.py), or the servers that the environment names, PYDBSYNC_TEST_MYSQL_SOURCE and
PYDBSYNC_TEST_MYSQL_TARGET (mysql://user:password@host:port; all their databases are dropped). What runs where:

  a test that takes `target` or `source`                      both legs, on the leg's servers
  … and is marked `mariadb`                                   the first leg alone
  a test marked `mysql`, or that takes `mysql_target/_source` the second leg alone
  any other test                                              the first leg alone

`long` marks the rest of a matrix, of which a fixed part runs always: `make test` leaves it out, `make test-long` runs
it. No kind of thing is shown by `long` tests alone (docs/delivery.md).

Files run side by side (pytest-xdist), each process with servers of its own; with named ones there is one process.
"""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_rerunfailures  # type: ignore[import-untyped]
from hypothesis import settings as hypothesis_settings

import lab
from tests.certificates import Certificates, make_certificates
from tests.maxwell import Binlog
from tests.processes import Finished, SyncProcess, write_config
from tests.proxy import Proxy
from tests.servers import Endpoint, Habits, Vhost

# The same examples in every run, so that a change alone decides; `--hypothesis-profile long` draws others, and more.
# A machine under load is no fault of what is tested.
hypothesis_settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
hypothesis_settings.register_profile("long", deadline=None, max_examples=2000, print_blob=True)
hypothesis_settings.load_profile("fixed")

LEG = os.environ.get("PYDBSYNC_TEST_LEG", "mariadb")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
HAS_OWN_SERVERS = WORKER not in ("", "gw0")
"""The first process has the servers of the lab itself."""
MYSQL_URLS = {"source": "PYDBSYNC_TEST_MYSQL_SOURCE", "target": "PYDBSYNC_TEST_MYSQL_TARGET"}


GARBAGE = 20_000
"""How many more objects there are when the garbage collector looks at them. Python itself waits for 700, and looks most
of the time at what the syntax trees and documents of tests still hold."""


def pytest_configure(config: pytest.Config) -> None:
    gc.set_threshold(GARBAGE)
    config.addinivalue_line("markers", "mysql: needs the MySQL servers; runs in the MySQL leg alone")
    config.addinivalue_line("markers", "mariadb: runs in the MariaDB leg alone")
    config.addinivalue_line("markers", "kept_state: does not care who made the state schema, and does not alter it")
    config.addinivalue_line("markers", "long: the rest of a matrix, of which a part runs always; for make test-long")
    if HAS_OWN_SERVERS:
        os.environ["PYDBSYNC_LAB"] = str(lab.worker_root(WORKER))
    keep_bytecode()
    if LEG not in ("mariadb", "mysql"):
        raise pytest.UsageError(f"PYDBSYNC_TEST_LEG is {LEG!r}; it can be mariadb or mysql")
    missing = [name for name in MYSQL_URLS.values() if not os.environ.get(name)]
    if LEG == "mysql" and len(missing) == 1:
        raise pytest.UsageError(f"the MySQL leg needs {missing[0]} too: mysql://user:password@host:port")
    if LEG == "mysql" and missing and not lab.find_mysqld():
        raise pytest.UsageError(
            f"the MySQL leg needs PYDBSYNC_MYSQL, or {' and '.join(missing)}: see tests/conftest.py"
        )
    if LEG == "mysql" and not missing and WORKER:
        raise pytest.UsageError("the named pair of servers is for one process: without -n, or with PYDBSYNC_MYSQL")


def pytest_sessionstart(session: pytest.Session) -> None:
    """What counts failures for `--reruns` would be asked over a socket before each test, and most unit tests take less
    than its answer. It only matters where a whole process of tests has died; that is a failure then."""
    if WORKER and isinstance(getattr(session.config, "failures_db", None), pytest_rerunfailures.StatusDB):
        session.config.failures_db = pytest_rerunfailures.StatusDB()  # type: ignore[attr-defined]


def pytest_sessionfinish() -> None:
    if HAS_OWN_SERVERS:
        lab.down()


def keep_bytecode() -> None:
    """Tests start some hundred processes: none of them compiles all modules anew, also where nothing may be written
    beside the sources."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(lab.common_root() / "bytecode"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if LEG in legs_of(item)]
    config.hook.pytest_deselected(items=[item for item in items if LEG not in legs_of(item)])
    items[:] = chosen


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was collected stays to the end: the garbage collector need not go through it again and again."""
    gc.freeze()


def legs_of(item: pytest.Item) -> set[str]:
    fixtures = set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("mysql") or fixtures & {"mysql_source", "mysql_target"}:
        return {"mysql"}
    if fixtures & {"source", "target"} and not item.get_closest_marker("mariadb"):
        return {"mariadb", "mysql"}
    return {"mariadb"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Between two files the lab's servers get back the accounts and settings that they began with."""
    if [item.path] != _LAST_FILE and SERVERS & set(getattr(item, "fixturenames", ())):
        _LAST_FILE[:] = [item.path]
        for endpoint, habits in _HABITS:
            if endpoint.server:
                endpoint.server.start()
            endpoint.put_back(habits)


SERVERS = {"source", "target", "mariadb", "mariadb_source", "mysql_source", "mysql_target"}
_LAST_FILE: list[Path] = []
_HABITS: list[tuple[Endpoint, Habits]] = []


def remembered(endpoint: Endpoint) -> Endpoint:
    """A server of the lab, whose settings are noted; those of a named one are its owner's."""
    if endpoint.server:
        _HABITS.append((endpoint, endpoint.habits()))
    return endpoint


@pytest.fixture(scope="session")
def mariadb() -> Endpoint:
    """The lab's MariaDB that is a target."""
    return remembered(Endpoint.of_lab(lab.up("target")))


@pytest.fixture(scope="session")
def mariadb_source() -> Endpoint:
    """The lab's MariaDB that is a source: row binlog with full images."""
    return remembered(Endpoint.of_lab(lab.up("source")))


@pytest.fixture(scope="session")
def mysql_target() -> Endpoint:
    return mysql_server("target")


@pytest.fixture(scope="session")
def mysql_source() -> Endpoint:
    return mysql_server("source")


def mysql_server(name: str) -> Endpoint:
    """The one that the environment names, else the lab's."""
    url = os.environ.get(MYSQL_URLS[name])
    return Endpoint.of_url(url) if url else remembered(Endpoint.of_lab(lab.start_mysql(f"mysql-{name}")))


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Endpoint:
    """The leg's target."""
    endpoint: Endpoint = request.getfixturevalue("mysql_target" if LEG == "mysql" else "mariadb")
    return endpoint


@pytest.fixture(scope="session")
def source(request: pytest.FixtureRequest) -> Endpoint:
    """The leg's source."""
    endpoint: Endpoint = request.getfixturevalue("mysql_source" if LEG == "mysql" else "mariadb_source")
    return endpoint


@pytest.fixture
def fresh_target(target: Endpoint, request: pytest.FixtureRequest) -> Endpoint:
    """The leg's target without any database; with an empty state schema, perhaps, for tests marked `kept_state`."""
    if target.server:
        target.server.start()  # an earlier test may have left it down
    target.drop_databases(keep_state=request.node.get_closest_marker("kept_state") is not None)
    return target


@pytest.fixture
def fresh_source(source: Endpoint) -> Endpoint:
    """The leg's source without any database."""
    if source.server:
        source.server.start()
    source.drop_databases()
    return source


@pytest.fixture
def binlog() -> Binlog:
    """A source's binlog without anything in it, for the messages of one test."""
    return Binlog()


@pytest.fixture(scope="session")
def rabbitmq() -> lab.RabbitMQ:
    return lab.up("rabbitmq")


@pytest.fixture
def vhost(rabbitmq: lab.RabbitMQ) -> Iterator[Vhost]:
    """A virtual host that nobody has used before."""
    rabbitmq.start()
    vhost = Vhost(rabbitmq, f"test-{uuid.uuid4().hex[:12]}")
    rabbitmq.create_vhost(vhost.name)
    yield vhost
    rabbitmq.start()
    rabbitmq.delete_vhost(vhost.name)


@pytest.fixture
def make_proxy() -> Iterator[Callable[[int], Proxy]]:
    """make_proxy(port): a proxy in front of a server on 127.0.0.1, closed after the test."""
    proxies: list[Proxy] = []

    def make(upstream_port: int) -> Proxy:
        proxies.append(Proxy(upstream_port))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class StartSync(Protocol):
    def __call__(
        self,
        config: Mapping[str, Any] | Path | None,
        *arguments: str,
        script: str = "mysql_sync.py",
        environment: Mapping[str, str] | None = None,
    ) -> SyncProcess: ...


class RunSync(Protocol):
    def __call__(
        self,
        config: Mapping[str, Any] | Path | None,
        *arguments: str,
        script: str = "mysql_sync.py",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 120,
    ) -> Finished: ...


@pytest.fixture
def start_sync(tmp_path: Path) -> Iterator[StartSync]:
    """start_sync(config, *arguments): `python mysql_sync.py --config FILE …`, killed after the test.

    `config` is a dict under the names of config.py, a file, or None for no --config at all. Logs go to the
    test's folder unless the dict says where.
    """
    started: list[SyncProcess] = []

    def start(
        config: Mapping[str, Any] | Path | None,
        *arguments: str,
        script: str = "mysql_sync.py",
        environment: Mapping[str, str] | None = None,
    ) -> SyncProcess:
        folder = tmp_path / f"run-{len(started) + 1}"
        folder.mkdir()
        if isinstance(config, Mapping):
            config = write_config({"log_file_prefix": str(folder / "%s.log"), **config}, folder / "config.py")
        options = [] if config is None else ["--config", str(config)]
        started.append(SyncProcess(script, [*options, *arguments], folder=folder, environment=environment or {}))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def run_sync(start_sync: StartSync) -> RunSync:
    """As start_sync, but waits for the end: run_sync(config, "--until-drained").exit_code."""

    def run(
        config: Mapping[str, Any] | Path | None,
        *arguments: str,
        script: str = "mysql_sync.py",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 120,
    ) -> Finished:
        return start_sync(config, *arguments, script=script, environment=environment).wait(timeout_s=timeout_s)

    return run
