"""The recorded cases, replayed through RabbitMQ by a real `python mysql_sync.py`, end as the source ended.

All cases of a brand go through one queue in the order of their positions, each has databases of its own, and each is
compared by itself. Then the same messages come once more, and nothing may change. The cases of the other brand follow
on an emptied target: what differs there is listed, with its reason, and nothing else may.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import lab
from tests.conftest import LEG
from tests.corpus import VERSIONS, Brand, Case, cases
from tests.processes import SyncProcess, sync_config, write_config
from tests.servers import Endpoint, Vhost
from tests.state import State, differences, read_state

OTHER: dict[Brand, Brand] = {"mariadb": "mysql", "mysql": "mariadb"}
OWN: Brand = "mysql" if LEG == "mysql" else "mariadb"


class Exempt(NamedTuple):
    """Where a case of one brand cannot end equal on the other: why, and exactly what differs."""

    reason: str
    differences: tuple[str, ...]
    parked: tuple[tuple[str, str, str, str], ...] = ()


NO_EQUIVALENT: dict[Brand, dict[str, Exempt]] = {
    "mariadb": {
        "02-decimal-float": Exempt(
            "MariaDB keeps no sign of zero in FLOAT and DOUBLE: -0.0 is stored as 0",
            (
                "c_num.f: missing 1 x ['5', '-0.0', '-0.0', '0.0', '0.0']",
                "c_num.f: unexpected 1 x ['5', '0.0', '0.0', '0.0', '0.0']",
            ),
        ),
        "03-text-charsets": Exempt(
            "MariaDB has no character set gb18030: the table is parked, and its rows behind it",
            ("c_text.g18: missing",),
            (
                ("table-create", "c_text", "g18", "MariaDB has no character set gb18030"),
                ("insert", "c_text", "g18", "the target has no table c_text.g18"),
                ("insert", "c_text", "g18", "the target has no table c_text.g18"),
            ),
        ),
        "10-json": Exempt(
            "Maxwell spells the double 1.25E-7 of MySQL's JSON with 66 digits, and in MariaDB JSON is text",
            (
                "c_json.j: missing 1 x ['12', '[0.1,-0.5,1.25E-7,3.141592653589793]']",
                "c_json.j: unexpected 1 x ['12', '[0.1,-0.5,1.249999999999999943435139782E-7,3.141592653589793]']",
            ),
        ),
    },
    "mysql": {},
}
"""By the brand of the target, and by the name of the other brand's case."""


class Replay(NamedTuple):
    """One run of mysql_sync.py over all cases of a brand, and what the target held afterwards."""

    figures: dict[str, Any]
    parked: list[tuple[Any, ...]]
    state: State

    def differences(self, case: Case, *, data_only: bool = False) -> list[str]:
        return list(differences(case.state, self.state, data_only=data_only))


def recorded_server(brand: Brand) -> str:
    """`mariadb 10.11`, as the configuration names the source."""
    return VERSIONS[brand].replace("-", " ")


def in_stream_order(brand: Brand) -> list[Case]:
    def place(case: Case) -> tuple[str, int]:
        position = next(json.loads(message)["position"] for message in case.messages)
        return position.split(":")[0], int(position.split(":")[1])

    return sorted(cases(brand), key=place)


def replay(brand: Brand, target: Endpoint, vhost: Vhost, folder: Path) -> Replay:
    """Publish every case of the brand to one queue, follow it until it is drained."""
    folder.mkdir(exist_ok=True)
    logs = str(folder / "%s.log")
    config = sync_config(target, vhost, source_server=recorded_server(brand), log_file_prefix=logs)
    path = write_config(config, folder / "config.py")
    vhost.declare("sync")
    vhost.publish(message for case in in_stream_order(brand) for message in case.messages)
    figures = folder / "figures.json"
    process = SyncProcess(
        "mysql_sync.py",
        ["--config", str(path), "--until-drained", "--summary-json", str(figures)],
        folder=folder,
        environment={},
    )
    finished = process.wait()
    assert finished.exit_code == 0, finished
    assert vhost.depth("sync") == 0
    names = sorted({name for case in cases(brand) for name in case.state})
    with target.connect() as connection:
        state = read_state(connection, names)
    parked = target.query("SELECT kind, source_database, source_table, reason FROM pydbsync.parked ORDER BY id")
    return Replay(json.loads(figures.read_text()), parked, state)


@pytest.fixture(scope="module")
def own_vhost(rabbitmq: lab.RabbitMQ) -> Iterator[Vhost]:
    rabbitmq.start()
    vhost = Vhost(rabbitmq, "test-corpus")
    rabbitmq.delete_vhost(vhost.name)
    rabbitmq.create_vhost(vhost.name)
    yield vhost
    rabbitmq.delete_vhost(vhost.name)


@pytest.fixture(scope="module")
def first(target: Endpoint, own_vhost: Vhost, tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """The cases of the target's own brand."""
    if target.server:
        target.server.start()
    target.drop_databases()
    return replay(OWN, target, own_vhost, tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def again(first: Replay, target: Endpoint, own_vhost: Vhost, tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """The same messages once more."""
    return replay(OWN, target, own_vhost, tmp_path_factory.mktemp("again"))


@pytest.fixture(scope="module")
def crossed(again: Replay, target: Endpoint, own_vhost: Vhost, tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """The cases of the other brand on an emptied target."""
    target.drop_databases()
    return replay(OTHER[OWN], target, own_vhost, tmp_path_factory.mktemp("crossed"))


@pytest.mark.parametrize("case", cases(OWN), ids=str)
def test_a_recorded_case_ends_as_the_source_ended(first: Replay, case: Case) -> None:
    assert first.differences(case) == []


def test_nothing_of_the_recorded_cases_is_parked(first: Replay) -> None:
    assert first.parked == []


@pytest.mark.parametrize("case", cases(OWN), ids=str)
def test_the_same_messages_once_more_change_nothing(first: Replay, again: Replay, case: Case) -> None:
    assert again.differences(case) == []


def test_the_same_messages_once_more_are_all_duplicates(first: Replay, again: Replay) -> None:
    assert again.figures["applied"] == len(rows_to_repeat(OWN))
    assert again.figures["schema_changes"] == 0
    assert again.figures["duplicates"] >= first.figures["applied"] - len(rows_to_repeat(OWN))


def rows_to_repeat(brand: Brand) -> list[bytes]:
    """Rows of a bootstrap, which have no place, and all others of a table whose last rows they are: what comes again of
    it cannot be told from what Maxwell held back meanwhile."""
    messages = [message for case in in_stream_order(brand) for message in case.messages]
    changes = [(message, change) for message in messages if (change := json.loads(message)).get("data")]
    last = {(change["database"], change["table"]): change["type"] for _, change in changes}
    tables = {table for table, kind in last.items() if kind == "bootstrap-insert"}
    return [message for message, change in changes if (change["database"], change["table"]) in tables]


@pytest.mark.parametrize("case", cases(OTHER[OWN]), ids=str)
def test_a_case_of_the_other_brand_ends_with_the_same_data(crossed: Replay, case: Case) -> None:
    exempt = NO_EQUIVALENT[OWN].get(case.name)
    assert crossed.differences(case, data_only=True) == (list(exempt.differences) if exempt else [])


def test_of_the_other_brand_only_what_has_no_equivalent_is_parked(crossed: Replay) -> None:
    assert crossed.parked == [each for exempt in NO_EQUIVALENT[OWN].values() for each in exempt.parked]
