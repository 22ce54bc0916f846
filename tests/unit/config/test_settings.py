"""Settings: the original's shapes are honoured, and every mistake is one sentence with the path of its key."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pymysql
import pytest

from pydbsync.config.servers import OWN_KEYWORDS, PASSWORD_SOURCES, PYMYSQL_KEYWORDS
from pydbsync.config.settings import (
    REQUIRED,
    QueueSettings,
    Secret,
    Settings,
    ShardSettings,
    columns_of,
    describe,
    settings_from_mapping,
)
from pydbsync.config.shapes import SCHEMA_KINDS
from pydbsync.config.values import options_of
from pydbsync.errors import ConfigError

ORIGINAL: dict[str, Any] = {
    "db_info": {
        "host": "db.example",
        "port": 3307,
        "user": "dbuser",
        "password": "db-pass",
        "autocommit": True,
        "charset": "utf8mb4",
    },
    "db_corpmod": 0,
    "log_file_prefix": "maxwell_%s.log",
    "log_level": "info",
    "rabbitmq_conn_info": {
        "host": "mq.example",
        "port": 5673,
        "user": "admin",
        "password": "mq-pass",
        "vhost": "/crm0",
    },
    "rabbitmq_queue_bind2": [{"exchange": ["maxwell.crm0", "topic"], "queues": {"default": ["*.*"]}}],
    "rabbitmq_queue_bind": [
        {"exchange": ["maxwell.AE", "topic"], "queues": {"default": ["*.*"]}},
        {
            "exchange": ["maxwell.crm0", "topic"],
            "queues": {"t1": ["dbtest.t1"], "t2_t3": ["dbtest.t2", "dbtest.t3"]},
        },
    ],
    "binary_columns": {"mydb1": {"t2": ["f_account", "f_password"], "t3": ["f_name"]}},
    "timestamp_columns": {"dbtest": {"t4": ["f_createtime", "f_updatetime"]}},
    "dbname_rewrite": {},
    "dbname_rewrite2": {"dbtest0": "dbtest", "dbtest1": "dbtest"},
}


def config(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ORIGINAL), **changes}


def changed(section: str, **changes: Any) -> dict[str, Any]:
    return config(**{section: {**ORIGINAL[section], **changes}})


def load(given: dict[str, Any]) -> Settings:
    return settings_from_mapping(given)[0]


def test_every_key_of_the_original_is_honoured() -> None:
    settings, warnings = settings_from_mapping(config())

    assert settings.target.connect_keywords() == {
        "host": "db.example",
        "port": 3307,
        "user": "dbuser",
        "password": "db-pass",
        "charset": "utf8mb4",
    }
    assert (settings.amqp.host, settings.amqp.port, settings.amqp.user) == ("mq.example", 5673, "admin")
    assert (settings.amqp.password.reveal(), settings.amqp.vhost) == ("mq-pass", "/crm0")
    assert settings.queues == (
        QueueSettings(queue="default", exchange="maxwell.AE", exchange_type="topic", routing_keys=("*.*",)),
        QueueSettings(queue="t1", exchange="maxwell.crm0", exchange_type="topic", routing_keys=("dbtest.t1",)),
        QueueSettings(
            queue="t2_t3", exchange="maxwell.crm0", exchange_type="topic", routing_keys=("dbtest.t2", "dbtest.t3")
        ),
    )
    assert columns_of(settings.binary_columns, "mydb1", "t2") == {"f_account", "f_password"}
    assert columns_of(settings.timestamp_columns, "dbtest", "t4") == {"f_createtime", "f_updatetime"}
    assert settings.timestamp_offset_s == 8 * 3600
    assert (settings.log_file_prefix, settings.log_level, settings.corpmod) == ("maxwell_%s.log", "info", 0)
    assert settings.direction == "replay"
    assert warnings == (
        "rabbitmq_queue_bind2: not used; it looks like a spare copy of rabbitmq_queue_bind",
        "dbname_rewrite2: not used; it looks like a spare copy of dbname_rewrite",
    )


def test_defaults_of_the_original_fill_in_rabbitmq() -> None:
    amqp = load(config(rabbitmq_conn_info={"host": "mq.example"})).amqp
    assert (amqp.port, amqp.user, amqp.password.reveal(), amqp.vhost) == (5672, "guest", "guest", "/")


def test_rewriting_databases_is_the_rollback_direction() -> None:
    settings = load(config(dbname_rewrite={"dbtest0": "dbtest", "dbtest1": "dbtest"}))
    assert settings.direction == "rollback"
    assert settings.dbname_rewrite == {"dbtest0": "dbtest", "dbtest1": "dbtest"}


def test_names_of_configured_columns_have_no_case() -> None:
    settings = load(config(binary_columns={"MyDb": {"T2": ["F_Account"]}, "mydb": {"t2": ["f_password"]}}))
    assert columns_of(settings.binary_columns, "MYDB", "t2") == {"f_account", "f_password"}
    assert columns_of(settings.binary_columns, "mydb", "t9") == frozenset()
    assert columns_of(settings.binary_columns, "other", "t2") == frozenset()


MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        config(rabbitmq_queue_bind=[{"exchange": ["e", "topic"], "queues": {"t1": ["a", "b", 5]}}]),
        "rabbitmq_queue_bind[0].queues.t1[2]: expected a routing key (text), got 5",
    ),
    (
        config(rabbitmq_queue_bind=[{"exchange": ["e", "topic"], "queues": {"t1": "db.t1"}}]),
        "rabbitmq_queue_bind[0].queues.t1: expected a list of routing keys, got 'db.t1'; write ['db.t1']",
    ),
    (
        config(rabbitmq_queue_bind=[{"exchange": "e", "queues": {}}]),
        "rabbitmq_queue_bind[0].exchange: expected a list of two texts, [name, type], got 'e'; write ['e']",
    ),
    (
        config(rabbitmq_queue_bind=[{"exchange": ["e"], "queues": {}}]),
        "rabbitmq_queue_bind[0].exchange: expected [name, type], got a list of 1",
    ),
    (
        config(rabbitmq_queue_bind=[{"exchange": ["e", "topik"], "queues": {}}]),
        "rabbitmq_queue_bind[0].exchange[1]: unknown type 'topik' of an exchange; did you mean 'topic'?",
    ),
    (
        config(rabbitmq_queue_bind=[{"exchange": ["e", "topic"], "queue": {}}]),
        "rabbitmq_queue_bind[0].queue: unknown key; did you mean 'queues'?",
    ),
    (
        config(rabbitmq_queue_bind=[{"exchange": ["e", "topic"]}]),
        "rabbitmq_queue_bind[0].queues: is missing: {queue: [routing keys]}",
    ),
    (
        config(rabbitmq_queue_bind=[{"exchange": ["e", "topic"], "queues": {"q" * 256: []}}]),
        "rabbitmq_queue_bind[0].queues." + "q" * 256 + ": expected the name of a queue (text) of at most 255 bytes, "
        "got '" + "q" * 57 + "...'",
    ),
    (
        config(
            rabbitmq_queue_bind=[
                {"exchange": ["e", "topic"], "queues": {"t1": ["a"]}},
                {"exchange": ["f", "topic"], "queues": {"t1": ["b"]}},
            ]
        ),
        "rabbitmq_queue_bind[1].queues.t1: the queue is already bound to exchange 'e'; name it once, and bind it to a "
        "second exchange with rabbitmqadmin",
    ),
    (config(rabbitmq_queue_bind=[]), "rabbitmq_queue_bind: expected at least one queue, got none"),
    (config(prefech=1), "prefech: unknown key; did you mean 'prefetch'?"),
    (config(db_infos={}), "db_infos: unknown key; did you mean 'db_info'?"),
    (config(db_info="mysql://u:pw@host"), "db_info: expected a mapping, got text"),
    (changed("db_info", hots="h"), "db_info.hots: is no keyword of PyMySQL; did you mean 'host'?"),
    (changed("db_info", port="3306"), "db_info.port: expected a port number from 1 to 65535, got '3306'"),
    (changed("db_info", port=True), "db_info.port: expected a port number from 1 to 65535, got True"),
    (changed("db_info", password=12345), "db_info.password: expected text, in quotes, got a number"),
    (changed("db_info", password=None), "db_info.password: expected text, in quotes, got nothing"),
    (config(db_info={"user": "u"}), "db_info.host: is missing: name or address of the database server"),
    *(
        (
            config(**{section: {"host": host, "user": "u"}}),
            f"{section}.host: expected a name or an address alone (its port is a key of its own), got {host!r}",
        )
        for section in ("db_info", "rabbitmq_conn_info")
        for host in ("db1:3306", "10.0.0.1:3306", "mysql://db1", "db1/shop")
    ),
    (config(db_info={"host": "h"}), "db_info.user: is missing: the database user"),
    (
        changed("db_info", ssl_ca="/nowhere/ca.pem"),
        "db_info.ssl_ca: the file '/nowhere/ca.pem' cannot be read: No such file or directory",
    ),
    (
        changed("db_info", password_env="X"),
        "db_info: the password is given more than once, by password and password_env; keep one",
    ),
    (changed("rabbitmq_conn_info", vhots="/"), "rabbitmq_conn_info.vhots: unknown key; did you mean 'vhost'?"),
    (config(rabbitmq_conn_info={}), "rabbitmq_conn_info.host: is missing: name or address of RabbitMQ"),
    (changed("rabbitmq_conn_info", tls={"keys": "x"}), "rabbitmq_conn_info.tls.keys: unknown key; did you mean 'key'?"),
    (config(batch_bytes="8XB"), "batch_bytes: expected a size from 1KiB to 1024GiB such as '8MiB', got '8XB'"),
    (config(batch_rows=0), "batch_rows: expected a whole number from 1 to 1000000, got 0"),
    (config(batch_rows=1.5), "batch_rows: expected a whole number from 1 to 1000000, got 1.5"),
    (config(batch_time_s="1s"), "batch_time_s: expected seconds, a number from 0.001 to 86400, got '1s'"),
    (config(batch_time_s=float("nan")), "batch_time_s: expected seconds, a number from 0.001 to 86400, got nan"),
    (config(retry={"first": 1}), "retry.first: unknown key; did you mean 'first_s'?"),
    (config(retry={"first_s": 9, "max_s": 3}), "retry.first_s: expected at most retry.max_s (3), got 9"),
    (config(timestamp_offset=600), "timestamp_offset: expected an offset such as '+08:00', in quotes, got 600"),
    (
        config(timestamp_offset="+99:00"),
        "timestamp_offset: expected an offset such as '+08:00', in quotes, got '+99:00'",
    ),
    (config(include=["shop"]), "include[0]: expected database.table, got 'shop'; for a whole database write 'shop.*'"),
    (config(include="shop.*"), "include: expected a list of globs such as 'shop.*', got 'shop.*'; write ['shop.*']"),
    (config(dbname_rewrite={"a": 1}), "dbname_rewrite.a: expected the name of a database (text), got 1"),
    (
        config(dbname_rewrite={1: "a"}),
        "dbname_rewrite: expected names (text, in quotes), got 1",
    ),
    (
        config(schema_changes={"drop-tabel": "skip"}),
        "schema_changes.drop-tabel: unknown kind of schema change; did you mean 'drop-table'?",
    ),
    (config(schema_changes="no"), "schema_changes: expected apply, skip, park or stop, got 'no'"),
    (config(on_error="skip"), "on_error: expected park or stop, got 'skip'"),
    (config(log_level="loud"), "log_level: expected info, debug, warn or error, got 'loud'"),
    (
        config(log_file_prefix="maxwell.log"),
        "log_file_prefix: expected a file name with one %s for the name of the process, such as 'maxwell_%s.log', "
        "got 'maxwell.log'",
    ),
    (
        config(log_file_prefix="%s_%s.log"),
        "log_file_prefix: expected a file name with one %s for the name of the process, such as 'maxwell_%s.log', "
        "got '%s_%s.log'",
    ),
    (
        config(binary_columns={"a": ["b"]}),
        "binary_columns.a: expected a mapping {table: [columns]}, got a list",
    ),
    (
        config(timestamp_columns={"a": {"t": [None]}}),
        "timestamp_columns.a.t[0]: expected the name of a column (text), got nothing",
    ),
    (config(heartbeat_table="heartbeat"), "heartbeat_table: expected database.table, got 'heartbeat'"),
    (
        config(queue_arguments={"x-queue-type": "quorum"}),
        "queue_arguments.x-queue-type: the type of queues is set by queue_type",
    ),
    (config(queue_arguments={"x-args": []}), "queue_arguments.x-args: expected text or a number, got a list"),
    (config(include_maxwell_database="yes"), "include_maxwell_database: expected true or false, got 'yes'"),
    (
        config(sharding={}, db_corpmod=128),
        "db_corpmod: expected a number below 128 (sharding.modulo), got 128",
    ),
    (
        {**{key: value for key, value in ORIGINAL.items() if key != "db_corpmod"}, "sharding": {}},
        "db_corpmod: is missing: it says which shards this instance owns",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "sentence"), MISTAKES, ids=[sentence[:60] for _, sentence in MISTAKES])
def test_a_mistake_is_named_in_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from_mapping(given)
    assert str(caught.value) == sentence
    assert caught.value.key is not None
    assert sentence.startswith(f"{caught.value.key}: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("missing", ["db_info", "rabbitmq_conn_info", "rabbitmq_queue_bind"])
def test_a_missing_section_is_named_unless_this_run_needs_none(missing: str) -> None:
    given = {key: value for key, value in ORIGINAL.items() if key != missing}
    with pytest.raises(ConfigError, match=rf"^{missing}: is missing: "):
        settings_from_mapping(given)
    settings_from_mapping(given, require=())


def test_a_target_that_was_not_configured_is_missed_when_it_is_used() -> None:
    settings, _ = settings_from_mapping({}, require=())
    assert settings.queues == ()
    with pytest.raises(ConfigError, match=r"^db_info: is missing"):
        settings.target.connect_keywords()


def test_a_source_is_read_in_the_same_shape() -> None:
    settings = load(config(source_db_info={"unix_socket": "/run/mysqld.sock", "user": "u", "passwd": "p", "db": "d"}))
    assert settings.source is not None
    assert settings.source.connect_keywords() == {
        "unix_socket": "/run/mysqld.sock",
        "user": "u",
        "password": "p",
        "database": "d",
        "charset": "utf8mb4",
    }
    assert settings.source.address == "u@/run/mysqld.sock"
    with pytest.raises(ConfigError, match=r"^source_db_info\.user: is missing"):
        load(config(source_db_info={"host": "h"}))


def test_the_known_keywords_are_those_of_the_installed_pymysql() -> None:
    keywords = set(inspect.signature(pymysql.connections.Connection.__init__).parameters) - {"self"}
    assert keywords <= set(PYMYSQL_KEYWORDS)
    assert set(PYMYSQL_KEYWORDS) - keywords <= {"ssl_key_password", "passwd", "db"}, "dropped by a later PyMySQL"
    assert set(PYMYSQL_KEYWORDS) >= OWN_KEYWORDS


@pytest.mark.parametrize("keyword", sorted(OWN_KEYWORDS))
def test_keywords_that_pydbsync_decides_itself_are_not_passed_on(keyword: str) -> None:
    settings, warnings = settings_from_mapping(changed("db_info", **{keyword: object()}))
    assert keyword not in settings.target.connect_keywords()
    told = [warning for warning in warnings if warning.startswith(f"db_info.{keyword}: ")]
    assert len(told) == (0 if keyword == "autocommit" else 1)


def test_another_character_set_is_replaced_and_told() -> None:
    settings, warnings = settings_from_mapping(changed("db_info", charset="utf8"))
    assert settings.target.connect_keywords()["charset"] == "utf8mb4"
    assert "db_info.charset: utf8mb4 is used instead of 'utf8', so that no character is lost" in warnings


@pytest.mark.parametrize("section", ["db_info", "source_db_info", "rabbitmq_conn_info"])
@pytest.mark.parametrize("way", list(PASSWORD_SOURCES))
def test_a_password_comes_from_the_config_the_environment_or_a_file_and_is_never_shown(
    section: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret-päss \n", encoding="utf-8")
    monkeypatch.setenv("PYDBSYNC_TEST_PASSWORD", "s3cret-päss ")
    value = {"password": "s3cret-päss ", "password_env": "PYDBSYNC_TEST_PASSWORD", "password_file": str(file)}[way]
    settings = load(config(**{section: {"host": "h", "user": "u", way: value}}))

    assert settings.source is not None or section != "source_db_info"
    found = {
        "db_info": lambda: settings.target.connect_keywords()["password"],
        "source_db_info": lambda: settings.source.connect_keywords()["password"],  # type: ignore[union-attr]
        "rabbitmq_conn_info": settings.amqp.password.reveal,
    }[section]()
    assert found == "s3cret-päss "
    assert Secret("s3cret-päss ") in settings.secrets()
    for shown in (
        repr(settings),
        str(settings),
        f"{settings}",
        repr(dataclasses.asdict(settings)),
        *describe(settings),
    ):
        assert "s3cret" not in shown


def test_a_password_that_cannot_be_had_is_named_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^db_info\.password_env: the environment variable 'NOT_SET_HERE' is not set"
    ):
        load(config(db_info={"host": "h", "user": "u", "password_env": "NOT_SET_HERE"}))
    with pytest.raises(ConfigError, match=r"^rabbitmq_conn_info\.password_file: the file .* cannot be read: "):
        load(config(rabbitmq_conn_info={"host": "h", "password_file": str(tmp_path / "none")}))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"^db_info\.password_file: the file .* is not UTF-8 text"):
        load(config(db_info={"host": "h", "user": "u", "password_file": str(tmp_path / "binary")}))


def test_a_secret_shows_nothing_of_itself() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", f"{secret:>20}", "%s" % secret, f"{[secret]}"]  # noqa: UP031
    assert not [text for text in shown if "hunter2" in text]
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("hunter3")
    assert secret != "hunter2"
    assert not Secret("")


def test_passwords_inside_tls_settings_are_secrets_too() -> None:
    settings = load(changed("db_info", ssl_key_password="key-pass", ssl={"password": "ssl-pass", "cipher": "X"}))
    assert "-pass'" not in repr(settings)
    keywords = settings.target.connect_keywords()
    assert keywords["ssl_key_password"] == "key-pass"
    assert keywords["ssl"] == {"password": "ssl-pass", "cipher": "X"}
    assert type(keywords["ssl"]) is dict


def test_tls_to_rabbitmq_moves_the_default_port(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("pem")
    tls = {name: str(tmp_path / name) for name in ("ca", "cert", "key")}
    settings, warnings = settings_from_mapping(config(rabbitmq_conn_info={"host": "h", "tls": tls}))
    assert settings.amqp.tls is not None
    assert (settings.amqp.port, settings.amqp.tls.verify, settings.amqp.tls.ca) == (5671, True, tls["ca"])
    assert not [warning for warning in warnings if "tls" in warning]

    settings, warnings = settings_from_mapping(changed("rabbitmq_conn_info", tls={"verify": False}))
    assert settings.amqp.port == 5673
    assert "rabbitmq_conn_info.tls.verify: the certificate of RabbitMQ is not checked" in warnings

    assert load(config(rabbitmq_conn_info={"host": "h", "tls": True})).amqp.tls is not None
    assert load(config(rabbitmq_conn_info={"host": "h", "tls": False})).amqp.tls is None
    with pytest.raises(ConfigError, match=r"^rabbitmq_conn_info\.tls\.cert: is missing"):
        load(changed("rabbitmq_conn_info", tls={"key": tls["key"]}))


def test_shards_of_an_instance_are_those_of_the_original() -> None:
    for corpmod in (0, 1, 2, 3, 5, 127):
        expected = {x if x % 4 == corpmod else corpmod for x in range(128)}
        assert set(ShardSettings().owned(corpmod)) == expected


def test_sharding_is_off_unless_configured_or_asked_for() -> None:
    assert load(config()).sharding is None
    assert load(config()).sharded().sharding == ShardSettings(
        databases=("d_ec_crm",), column="f_corp_id", modulo=128, instances=4
    )
    mine = load(config(sharding={"databases": ["shop"], "column": "id", "modulo": 2, "instances": 1}))
    assert (
        mine.sharding
        == mine.sharded().sharding
        == ShardSettings(databases=("shop",), column="id", modulo=2, instances=1)
    )


def test_sharding_gives_way_to_the_rollback_direction() -> None:
    settings, warnings = settings_from_mapping(config(sharding={}, dbname_rewrite={"d_ec_crm0": "d_ec_crm"}))
    assert settings.sharding is None
    assert settings.sharded().sharding is None
    assert "sharding: not used, because dbname_rewrite is set (rollback direction)" in warnings


def test_queues_are_declared_as_configured() -> None:
    settings = load(config(queue_type="quorum", queue_arguments={"x-delivery-limit": 5}))
    assert {queue.arguments for queue in settings.queues} == {settings.queues[0].arguments}
    assert settings.queues[0].arguments == {"x-queue-type": "quorum", "x-delivery-limit": 5}
    assert load(config(queue_arguments={"x-queue-mode": "lazy"})).queues[0].arguments == {"x-queue-mode": "lazy"}


@pytest.mark.parametrize(
    ("written", "size_bytes"),
    [(8388608, 8388608), ("8MiB", 8388608), ("8 mib", 8388608), ("2MB", 2_000_000), ("1.5KiB", 1536), ("4096", 4096)],
)
def test_sizes_have_units(written: int | str, size_bytes: int) -> None:
    assert load(config(batch_bytes=written)).batch_bytes == size_bytes


@pytest.mark.parametrize(
    ("written", "offset_s"), [("+08:00", 28800), ("-05:30", -19800), ("+00:00", 0), ("+14:00", 50400)]
)
def test_offsets_are_seconds(written: str, offset_s: int) -> None:
    assert load(config(timestamp_offset=written)).timestamp_offset_s == offset_s


def test_on_and_off_may_be_the_booleans_that_yaml_makes_of_them() -> None:
    settings = load(config(online_schema_change=False, referential_actions=True))
    assert (settings.online_schema_change, settings.referential_actions) == ("off", "on")


def test_schema_policies_hold_for_all_kinds_or_per_kind() -> None:
    assert set(load(config()).schema_changes.items()) == {(kind, "apply") for kind in SCHEMA_KINDS}
    assert set(load(config(schema_changes="park")).schema_changes.items()) == {(kind, "park") for kind in SCHEMA_KINDS}
    some = load(config(schema_changes={"drop-table": "stop"})).schema_changes
    assert (some["drop-table"], some["alter-table"]) == ("stop", "apply")


def test_settings_are_frozen_hashable_and_reach_another_process() -> None:
    settings = load(config(sharding={}, schema_changes="skip", include=["a.*"]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.prefetch = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.schema_changes["drop-table"] = "apply"  # type: ignore[index]
    copied = pickle.loads(pickle.dumps(settings))
    assert copied == settings
    assert hash(copied) == hash(settings)
    assert copied.target.connect_keywords() == settings.target.connect_keywords()


def test_the_summary_tells_what_will_be_done() -> None:
    given = config(dbname_rewrite={"a0": "a"}, exclude=["*.tmp_*"], schema_changes={"drop-table": "park"})
    assert describe(load(given)) == [
        "RabbitMQ: admin@mq.example:5673, vhost /crm0; 3 queue(s), classic",
        "target: dbuser@db.example:3307; rows by replace; state in pydbsync",
        "direction: rollback",
        "queue default: from exchange maxwell.AE (topic) by *.*",
        "queue t1: from exchange maxwell.crm0 (topic) by dbtest.t1",
        "queue t2_t3: from exchange maxwell.crm0 (topic) by dbtest.t2, dbtest.t3",
        "database a0 -> a",
        "tables: all, without *.tmp_*",
        "schema changes: apply, drop-table: park",
        "on error: park, at most 10000; lossy values: warn; gaps: warn",
    ]
    assert "shards of d_ec_crm: f_corp_id modulo 128; instance 0 owns 32 of them" in describe(load(config()).sharded())


def option_rows(section: type[Any] = Settings, prefix: str = "") -> list[tuple[str, str, str, str, str]]:
    """(key, type, default, unit, meaning) of every option, sections unfolded, as docs/config.md shows them."""
    rows = []
    for key, option in options_of(section).items():
        kind = option.metadata["kind"]
        needed = option.default is dataclasses.MISSING or key in REQUIRED
        default = "required" if needed else shown_default(kind, option.default)
        rows.append((f"`{prefix}{key}`", kind.name, default, option.metadata["unit"], option.metadata["doc"]))
        if kind.section:
            rows += option_rows(kind.section, f"{prefix}{key}.")
    return rows


def shown_default(kind: Any, default: Any) -> str:
    if default is None:
        return "not set"
    if kind.section:
        return "see below"
    shown = default.reveal() if isinstance(default, Secret) else kind.show(default)
    return "empty" if shown in ("", "empty") else f"`{shown}`"


DOCUMENT = Path(__file__).parents[3] / "docs" / "config.md"


def documented() -> dict[str, list[str]]:
    """The tables of docs/config.md: the cells of each row by its first."""
    lines = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({row[0] for row in rows}) == len(rows), "a key has two rows"
    return {row[0]: row for row in rows}


@pytest.mark.parametrize("row", option_rows(), ids=lambda row: str(row[0]))
def test_every_option_is_documented_with_type_default_and_unit(row: tuple[str, str, str, str, str]) -> None:
    found = documented().get(row[0])
    expected = f"| {' | '.join(row)} |"
    assert found is not None, f"docs/config.md has no row {expected}"
    assert found[:4] == list(row[:4]), f"docs/config.md should say {expected}"
    assert found[4].lower().startswith(row[4].lower()), f"docs/config.md should say {expected}"


def test_nothing_is_documented_that_is_no_option() -> None:
    passwords = {f"`{name}`" for name in PASSWORD_SOURCES}
    assert set(documented()) == {row[0] for row in option_rows()} | passwords


def test_every_keyword_of_pymysql_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in (*PYMYSQL_KEYWORDS, *PASSWORD_SOURCES) if f"`{name}`" not in text] == []
