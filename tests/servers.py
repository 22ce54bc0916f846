"""The servers that tests talk to: MariaDB and MySQL ends, and virtual hosts of the broker."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

import pika
import pymysql
from pika.adapters.blocking_connection import BlockingChannel
from pymysql.cursors import Cursor

from lab import MariaDB, MySQL, RabbitMQ
from pydbsync.apply.raw_connection import RawConnection
from pydbsync.apply.tables.migrations import MIGRATIONS, newest_version

SYSTEM_DATABASES = {"information_schema", "mysql", "performance_schema", "sys"}
STATE = "pydbsync"
"""The state schema, where a test gives it no other name."""
PERSISTENT = 2
PUBLISH_STEP = 1000
"""Messages in one AMQP transaction."""


@dataclass(frozen=True)
class Endpoint:
    """A database server and how to log in. `server` is there when it is the lab's, to be killed and started."""

    brand: Literal["mariadb", "mysql"]
    host: str
    port: int
    user: str
    password: str
    server: MariaDB | None = None

    @classmethod
    def of_lab(cls, server: MariaDB) -> Endpoint:
        brand: Literal["mariadb", "mysql"] = "mysql" if isinstance(server, MySQL) else "mariadb"
        return cls(brand, server.host, server.port, server.user, server.password, server)

    @classmethod
    def of_url(cls, url: str) -> Endpoint:
        """A MySQL from mysql://user:password@host:port."""
        parts = urlsplit(url)
        if parts.scheme != "mysql" or not parts.hostname:
            raise ValueError(f"not a mysql://user:password@host:port: {url}")
        user, password = unquote(parts.username or "root"), unquote(parts.password or "")
        return cls("mysql", parts.hostname, parts.port or 3306, user, password)

    @property
    def url(self) -> str:
        return f"mysql://{self.user}:{self.password}@{self.host}:{self.port}"

    @property
    def db_info(self) -> dict[str, Any]:
        """The keywords of the configuration's `db_info`."""
        return {"host": self.host, "port": self.port, "user": self.user, "password": self.password}

    def connect(self, **keywords: Any) -> pymysql.Connection[Any]:
        """A new connection, in autocommit mode and utf8mb4 unless `keywords` say otherwise."""
        return RawConnection(**{**self.db_info, "charset": "utf8mb4", "autocommit": True, **keywords})

    def query(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """One statement over a connection of its own; all rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())

    def databases(self) -> list[str]:
        """All but the server's own."""
        return [name for (name,) in self.query("SHOW DATABASES") if name not in SYSTEM_DATABASES]

    def drop_databases(self, *, keep_state: bool = False) -> None:
        """Drop all but the server's own. `keep_state` leaves the state schema that the test before, which asked for the
        same, has made: without rows. To make it takes longer than most tests do."""
        may_be_kept = keep_state and (self.host, self.port) in _WITH_PLAIN_STATE
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW DATABASES")
            names = [name for (name,) in cursor.fetchall() if name not in SYSTEM_DATABASES]
            if names:
                cursor.execute("SET foreign_key_checks = 0")
            for name in names:
                if not (may_be_kept and name == STATE and _is_emptied(cursor)):
                    cursor.execute("DROP DATABASE `" + name.replace("`", "``") + "`")
        (_WITH_PLAIN_STATE.add if keep_state else _WITH_PLAIN_STATE.discard)((self.host, self.port))

    def habits(self) -> Habits:
        """Who may log in, and every setting."""
        accounts = self.query("SELECT user, host FROM mysql.user")
        return Habits(
            frozenset((str(user), str(host)) for user, host in accounts),
            {str(name): value for name, value in self.query("SHOW GLOBAL VARIABLES") if not _MOVES.search(str(name))},
        )

    def put_back(self, habits: Habits) -> None:
        """Set what was set otherwise, drop the accounts that have come since, and forget GTIDs with tags, by which no
        capture can ask."""
        now = self.habits()
        for name, value in habits.variables.items():
            if now.variables.get(name) != value:
                text = value if _NUMBER.fullmatch(value) else f"'{value}'"
                with contextlib.suppress(pymysql.MySQLError):  # of those that follow others, and cannot be set
                    self.query(f"SET GLOBAL {name} = {text}")
        for user, host in sorted(now.accounts - habits.accounts):
            self.query("DROP USER IF EXISTS %s@%s", user, host)
        if self.brand == "mysql" and _TAG.search(str(self.query("SELECT @@GLOBAL.gtid_executed")[0][0])):
            self.query("RESET BINARY LOGS AND GTIDS")


class Habits(NamedTuple):
    """What a test may have changed at a server, and has to leave as it was for those in other files."""

    accounts: frozenset[tuple[str, str]]
    variables: Mapping[str, str]


_MOVES = re.compile(r"gtid|_pos$|_now$|timestamp|server_u")
"""Variables that nobody sets back: they tell what the server does."""
_TAG = re.compile(r":[a-z_]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_WITH_PLAIN_STATE: set[tuple[str, int]] = set()
"""Servers whose state schema, if there is one, nobody has altered."""


def _is_emptied(cursor: Cursor) -> bool:
    """Whether the state schema is that of this version, without rows and with its counters at 1 now."""
    cursor.execute(f"SHOW TABLES FROM {STATE}")
    tables = [str(name) for (name,) in cursor.fetchall()]
    if "schema_version" not in tables:
        return False
    cursor.execute(f"SELECT MAX(version), COUNT(*) FROM {STATE}.schema_version")
    if cursor.fetchone() != (newest_version(), len(MIGRATIONS)):
        return False
    tables.remove("schema_version")
    cursor.execute(
        " UNION ALL ".join(f"SELECT '{name}' FROM DUAL WHERE EXISTS (SELECT 1 FROM {STATE}.{name})" for name in tables)
    )
    used = {str(name) for (name,) in cursor.fetchall()}
    if not _COUNTED:
        cursor.execute(
            f"SELECT table_name FROM information_schema.columns WHERE table_schema = '{STATE}' AND extra LIKE 'auto%'"
        )
        _COUNTED.update(str(name) for (name,) in cursor.fetchall())
    for name in used:  # TRUNCATE would make them anew, which takes long
        cursor.execute(f"DELETE FROM {STATE}.{name}")
    cursor.execute("SET /*!80000 information_schema_stats_expiry = 0, */ @unused = 0")
    cursor.execute(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{STATE}' AND auto_increment > 1"
        " AND table_name IN %s",
        (tuple(_COUNTED),),
    )
    for (name,) in cursor.fetchall():
        cursor.execute(f"ALTER TABLE {STATE}.{name} AUTO_INCREMENT = 1")
    return True


_COUNTED: set[str] = set()
"""Tables of the state schema with an AUTO_INCREMENT; the same ones on all servers."""


@dataclass(frozen=True)
class Vhost:
    """A virtual host of the broker that one test has for itself."""

    broker: RabbitMQ
    name: str

    @property
    def conn_info(self) -> dict[str, Any]:
        """The configuration's `rabbitmq_conn_info`."""
        return {
            "host": self.broker.host,
            "port": self.broker.port,
            "user": self.broker.user,
            "password": self.broker.password,
            "vhost": self.name,
        }

    def connect(self, **keywords: Any) -> pika.BlockingConnection:
        credentials = pika.PlainCredentials(self.broker.user, self.broker.password)
        parameters = {
            "host": self.broker.host,
            "port": self.broker.port,
            "virtual_host": self.name,
            "credentials": credentials,
            **keywords,
        }
        return pika.BlockingConnection(pika.ConnectionParameters(**parameters))

    def declare(
        self,
        queue: str,
        *,
        exchange: str = "maxwell",
        exchange_type: str = "topic",
        routing_keys: Iterable[str] = ("#",),
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """A durable queue, bound to a durable exchange; `arguments` such as {"x-queue-type": "quorum"}."""
        with self.connect() as connection:
            channel = connection.channel()
            channel.exchange_declare(exchange, exchange_type, durable=True)
            channel.queue_declare(queue, durable=True, arguments=dict(arguments or {}))
            for key in routing_keys:
                channel.queue_bind(queue, exchange, key)

    def publish(self, messages: Iterable[bytes], *, exchange: str = "maxwell") -> int:
        """Publish as Maxwell does: persistent, with the routing key `database.table`. How many there were.

        All are in their queues when this returns, also for a reader of the queue's length.
        """
        with self.connect() as connection:
            return publish(connection.channel(), messages, exchange=exchange)

    def depth(self, queue: str) -> int:
        """Messages that wait in the queue; those which a consumer holds unacknowledged are not counted."""
        with self.connect() as connection:
            return int(connection.channel().queue_declare(queue, passive=True).method.message_count)

    def consumers(self, queue: str) -> int:
        with self.connect() as connection:
            return int(connection.channel().queue_declare(queue, passive=True).method.consumer_count)


def publish(channel: BlockingChannel, messages: Iterable[bytes], *, exchange: str) -> int:
    """Publish in AMQP transactions: the commit answers when the queues have the messages."""
    properties = pika.BasicProperties(delivery_mode=PERSISTENT, content_type="application/json")
    channel.tx_select()
    count = 0
    for count, body in enumerate(messages, start=1):
        channel.basic_publish(exchange, routing_key(body), body, properties)
        if count % PUBLISH_STEP == 0:
            channel.tx_commit()
    channel.tx_commit()
    return count


def routing_key(body: bytes) -> str:
    """Maxwell's default template `%db%.%table%`; a message about a whole database has no table."""
    try:
        message = json.loads(body)
    except ValueError:
        return "."
    if not isinstance(message, dict):
        return "."
    return f"{message.get('database') or ''}.{message.get('table') or ''}"
