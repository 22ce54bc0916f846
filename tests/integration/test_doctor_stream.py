"""Messages and a Maxwell that are broken: seen in a queue of the doctor's own, in what is parked, and at the source."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pika
import pytest

from pydbsync.config.maxwell_file import read_maxwell_file
from pydbsync.config.two_way import TwoWaySettings
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import DoctorReport
from pydbsync.ops.doctor.stream import SampledMessage, looked_at
from tests.comparing import run_sql
from tests.examining import Fault, examined, must_say, named, settings_of, shown
from tests.integration.test_doctor_broker import settings
from tests.processes import wait_for
from tests.servers import Endpoint, Vhost
from tests.unit.decode.test_encrypted import encrypted

pytestmark = pytest.mark.mariadb

ROW: dict[str, Any] = {
    "database": "shop", "table": "orders", "type": "insert", "ts": 1_700_000_000, "xid": 7, "commit": True,
    "position": "binlog.000001:4", "server_id": 1, "primary_key_columns": ["id"],
    "data": {"id": 1, "unit_price": 5, "note": None},
}  # fmt: skip


def row(**changes: Any) -> bytes:
    """A message of Maxwell's; what is changed to None is left out."""
    found = {name: value for name, value in {**ROW, **changes}.items() if value is not None}
    return json.dumps(found).encode()


BAD = {
    "no position": (row(position=None), "positions", "output_binlog_position=true"),
    "no xoffset": (row(commit=None), "xoffset", "output_xoffset=true"),
    "no transactions": (row(commit=None, xid=None), "commit-info", "output_commit_info=true"),
    "NULLs are left out": (row(data={"id": 1, "unit_price": 5}), "incomplete-rows", "output_nulls=true"),
    "a row is not whole": (row(data={"id": 1, "note": None}), "incomplete-rows", "binlog_row_image"),
    "camel case": (row(data={"id": 1, "unitPrice": 5, "note": None}), "naming", "output_naming_strategy=none"),
    "a column that is not there": (row(data={**ROW["data"], "more": 1}), "unknown-columns", "pydbsync verify"),
    "encrypted": (b'{"encrypted":{"bytes":"x","iv":"y"}}', "encrypted", "encrypt=none"),
    "encrypted data": (row(data={"encrypted": "x"}), "encrypted", "encrypt=none"),
    "another key": (row(primary_key_columns=["note"]), "other-key", "ALTER TABLE"),
    "not JSON": (b"hello", "message-format", "who publishes"),
    "Debezium's format": (b'{"payload":{"op":"c","before":null,"after":{}}}', "message-format", "Maxwell"),
}


@pytest.fixture(scope="module")
def shop(source: Endpoint, target: Endpoint) -> tuple[Endpoint, Endpoint]:
    for end in (source, target):
        if end.server:
            end.server.start()
        end.drop_databases()
        end.query("CREATE DATABASE shop")
        run_sql(end, "CREATE TABLE orders (id INT PRIMARY KEY, unit_price INT, note VARCHAR(20))", database="shop")
    return source, target


@pytest.mark.parametrize("name", BAD)
def test_a_message_is_told_by_what_it_lacks(shop: tuple[Endpoint, Endpoint], name: str) -> None:
    body, check, remedy = BAD[name]
    exam = Examination(settings_of(*shop))
    try:
        report = DoctorReport(
            findings=tuple(looked_at(exam, [SampledMessage(row()), SampledMessage(body)], where="messages"))
        )
    finally:
        exam.close()
    must_say(report, Fault("", check, "error", "1 of 2 messages", remedy))
    assert len(report.findings) == 1, shown(report)


def test_good_messages_and_bundles_have_nothing_wrong(shop: tuple[Endpoint, Endpoint]) -> None:
    exam = Examination(settings_of(*shop))
    bundle = b"".join(b"\x1e" + text + b"\n" for text in (row(), row(type="delete")))
    ddl = b'{"type":"table-alter","database":"shop","table":"orders","sql":"ALTER TABLE orders ADD x INT"}'
    try:
        assert (
            list(
                looked_at(
                    exam,
                    [SampledMessage(bundle, True), SampledMessage(ddl), SampledMessage(row(), True)],
                    where="messages",
                )
            )
            == []
        )
    finally:
        exam.close()


KEY = "0123456789abcdef"
RECORDED = Path(__file__).parents[1] / "data" / "inputs"


@pytest.mark.parametrize(
    ("options", "good", "bad", "check", "remedy"),
    [
        ({"maxwell_secret_key": KEY}, encrypted(row().decode()), encrypted(row().decode(), "x" * 16), "encrypted",
         "maxwell_secret_key"),
        ({"input_format": "canal"}, "canal-1.1.7-mysql-9.7", ROW, "message-format", "it says canal"),
        ({"input_format": "debezium"}, "debezium-3.6.1-mysql-9.7", ROW, "message-format", "it says debezium"),
    ],
    ids=["encrypted", "canal", "debezium"],
)  # fmt: skip
def test_messages_are_looked_at_in_the_format_of_the_configuration(
    shop: tuple[Endpoint, Endpoint], options: dict[str, Any], good: Any, bad: Any, check: str, remedy: str
) -> None:
    """What Maxwell's flags would mend is no fault of another publisher's."""
    spoken = options.get("input_format", "maxwell")
    if isinstance(good, str):
        with gzip.open(RECORDED / f"{good}.ndjson.gz") as file:
            bodies = [line.strip() for _, line in zip(range(20), file, strict=False)]
    else:
        bodies = [json.dumps(good).encode()]
    for wrong in (None, json.dumps(bad).encode()):
        exam = Examination(settings_of(*shop, **options))
        try:
            messages = [SampledMessage(each, True) for each in [*bodies, *([wrong] if wrong else [])]]
            report = DoctorReport(findings=tuple(looked_at(exam, messages, where="messages", spoken=spoken)))
        finally:
            exam.close()
        if wrong is None:
            assert report.findings == (), shown(report)
        else:
            must_say(report, Fault("", check, "error", f"1 of {len(messages)} messages", remedy))


@contextmanager
def published(vhost: Vhost, body: bytes, *, mode: int) -> Iterator[None]:
    """The message again and again, until it is left."""
    ended = threading.Event()

    def publish() -> None:
        with vhost.connect() as connection:
            channel = connection.channel()
            while not ended.is_set():
                channel.basic_publish("maxwell", "shop.orders", body, pika.BasicProperties(delivery_mode=mode))
                connection.process_data_events(time_limit=0.02)

    thread = threading.Thread(daemon=True, target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_what_is_published_is_watched_beside_the_queue(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync")
    with published(vhost, row(position=None), mode=1):
        report = examined(settings(shop, vhost, {"sync": ["#"]}), "stream", watch_s=1.0)
    must_say(report, Fault("", "positions", "error", "no position", "output_binlog_position=true"))
    must_say(report, Fault("", "transient-messages", "error", "they are transient", "rabbitmq_message_persistent=true"))
    assert [each["name"] for each in vhost.broker.call("GET", f"/queues/{vhost.name}")] == ["sync"]
    with vhost.connect() as connection:
        method, _, _ = connection.channel().basic_get("sync", auto_ack=True)
    assert method.redelivered is False


def test_silence_is_said(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync")
    report = examined(settings(shop, vhost, {"sync": ["#"]}), "stream", watch_s=0.3)
    must_say(report, Fault("", "stream", "warning", "no message came", "Maxwell's log"))


def _counts(queue: dict[str, Any]) -> tuple[Any, Any]:
    return queue.get("messages"), queue.get("messages_persistent")


def test_transient_messages_are_seen_without_a_look_at_them(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync")
    with vhost.connect() as connection:
        connection.channel().basic_publish("maxwell", "shop.orders", row(), pika.BasicProperties(delivery_mode=1))
    path = f"/queues/{vhost.name}/sync"
    wait_for(lambda: _counts(vhost.broker.call("GET", path)) == (1, 0), what="the statistics")
    report = examined(settings(shop, vhost, {"sync": ["#"]}), "stream")
    must_say(report, Fault("", "transient-messages", "error", "1 of 1 messages in queue sync", "persistent=true"))
    must_say(report, Fault("", "stream", "unknown", "was not looked at", "--watch-stream"))


GOOD_FLAGS = """
producer=rabbitmq
output_binlog_position=true
output_xoffset=true
output_ddl=true
output_gtid_position=true
output_server_id=true
rabbitmq_exchange_type=topic
rabbitmq_exchange_durable=true
rabbitmq_message_persistent=true
rabbitmq_virtual_host={vhost}
rabbitmq_host=localhost
rabbitmq_port={broker}
host=localhost
port={source}
"""


def good_flags(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> str:
    return GOOD_FLAGS.format(vhost=vhost.name, broker=vhost.broker.port, source=shop[0].port)


@pytest.mark.parametrize(
    ("flag", "check", "says"),
    [
        ("output_xoffset=false", "maxwell-flags", "output_xoffset=false"),
        ("output_ddl=false", "maxwell-flags", "schema changes never arrive"),
        ("output_nulls=false", "maxwell-flags", "are left out"),
        ("encrypt=data", "maxwell-flags", "encrypted"),
        ("replay=true", "maxwell-flags", "keeps no place"),
        ("exclude_dbs=crm", "maxwell-filter", "filters of its former kind (exclude_dbs)"),
        ("output_naming_strategy=underscore_to_camelcase", "maxwell-flags", "other names"),
        ("rabbitmq_message_persistent=false", "maxwell-flags", "loses what is waiting"),
        ("rabbitmq_exchange_type=fanout", "maxwell-exchange", "as fanout, the configuration as topic"),
        ("rabbitmq_exchange_durable=false", "maxwell-exchange", "not durable"),
        ("rabbitmq_exchange=other", "maxwell-exchange", "publishes to exchange other"),
        ("filter=exclude: shop.orders", "maxwell-filter", "leaves out 1 table"),
        ("replica_server_id=1", "server-id", "the source's own"),
        ("rabbitmq_virtual_host=/elsewhere", "maxwell-address", "/elsewhere"),
        ("schema_database=mx", "maxwell-address", "Maxwell's own database is mx"),
        ("rabbitmq_port=5", "maxwell-address", "Maxwell publishes to RabbitMQ at localhost:5, the workers read at"),
        ("port=7", "maxwell-address", "Maxwell reads the binlog of localhost:7, and source_db_info is"),
        ("replication_host=192.0.2.1", "maxwell-address", "Maxwell reads the binlog of 192.0.2.1"),
    ],
)
def test_a_flag_of_maxwell_is_named_with_its_remedy(
    shop: tuple[Endpoint, Endpoint], vhost: Vhost, tmp_path: Path, flag: str, check: str, says: str
) -> None:
    file = tmp_path / "config.properties"
    good = good_flags(shop, vhost)
    file.write_text(good, encoding="utf-8")
    chosen = settings(shop, vhost, {"sync": ["#"]})
    assert examined(chosen, "maxwell", maxwell=read_maxwell_file(file)).exit_code() == 0
    file.write_text(f"{good}{flag}\n", encoding="utf-8")
    report = examined(chosen, "maxwell", maxwell=read_maxwell_file(file))
    name = flag.partition("=")[0].removeprefix("replication_")
    found = [each for each in report.findings if each.check == check and says in each.text and each.level != "ok"]
    assert found, shown(report)
    assert any(name in each.remedy or "maxwell_database" in each.remedy for each in found), shown(report)


@pytest.mark.parametrize(("more", "level"), [("", "error"), (", include: pydbsync.*", "ok")])
def test_a_filter_without_the_marks_of_the_other_direction_is_named(
    shop: tuple[Endpoint, Endpoint], vhost: Vhost, tmp_path: Path, more: str, level: str
) -> None:
    file = tmp_path / "config.properties"
    file.write_text(
        good_flags(shop, vhost) + f"filter=exclude: *.*, include: shop.*, include: pydbsync_heartbeat.*{more}\n",
        encoding="utf-8",
    )
    chosen = replace(settings(shop, vhost, {"sync": ["#"]}), two_way=TwoWaySettings())
    report = examined(chosen, "maxwell", maxwell=read_maxwell_file(file))
    found = [each for each in report.findings if "marks of the other direction" in each.text]
    assert [each.level for each in found] == ([] if level == "ok" else [level]), shown(report)


POSITIONS = """
CREATE TABLE positions (server_id INT UNSIGNED NOT NULL, binlog_file VARCHAR(255), binlog_position INT UNSIGNED,
 gtid_set VARCHAR(4096), client_id VARCHAR(255) NOT NULL DEFAULT 'maxwell', heartbeat_at BIGINT, last_heartbeat_read
 BIGINT,
 PRIMARY KEY (server_id, client_id))
"""


@pytest.mark.parametrize(
    ("file", "age_s", "level", "says", "remedy"),
    [
        (None, 0, "ok", "reads the binlog", ""),
        (None, 7200, "warning", "has read nothing for 7,2", "start it"),
        ("binlog.000000", 7200, "error", "which the source has purged", "pydbsync copy"),
    ],
)
def test_maxwells_own_place_is_looked_at(
    shop: tuple[Endpoint, Endpoint], file: str | None, age_s: int, level: Any, says: str, remedy: str
) -> None:
    source = shop[0]
    source.query("CREATE DATABASE maxwell")
    try:
        run_sql(source, POSITIONS, database="maxwell")
        now_file = source.query("SHOW MASTER STATUS")[0][0]
        source.query(
            "INSERT INTO maxwell.positions VALUES (@@server_id, %s, 4, NULL, 'maxwell', 0, %s)",
            file or now_file, int((time.time() - age_s) * 1000),
        )  # fmt: skip
        report = examined(settings_of(*shop), "maxwell")
        assert not named(report, "publishers"), shown(report)
        source.query("INSERT INTO maxwell.positions SELECT server_id, binlog_file, 4, NULL, 'more', 0, %s FROM"
                     " maxwell.positions", int(time.time() * 1000))  # fmt: skip
        both = named(examined(settings_of(*shop), "maxwell"), "publishers")
    finally:
        source.query("DROP DATABASE maxwell")
    assert [each.level for each in both] == ["warning"][: level == "ok"]  # a silent one publishes nothing
    must_say(report, Fault("", "maxwell-places", level, says, remedy))
