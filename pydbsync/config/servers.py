"""How to reach the servers: the databases in PyMySQL's words, RabbitMQ in the original's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydbsync.config.values import (
    FILE,
    FLAG,
    PORT,
    SECRET,
    FrozenMapping,
    OptionKind,
    Secret,
    host,
    join_key,
    nearest,
    option,
    read_mapping,
    read_section,
    refuse,
    required,
    seconds,
    text,
    whole,
)
from pydbsync.errors import ConfigError

PASSWORD_SOURCES: Final = {
    "password": "the password itself",
    "password_env": "name of the environment variable that holds the password",
    "password_file": "file that holds the password; a line end behind it is left out",
}
"""The three ways to give a password; at most one of them may be used."""

PUBLIC_PASSWORD: Final = Secret("guest")
"""RabbitMQ's own default, known to everybody."""

_ANY: Final = OptionKind[object]("anything", lambda value, key: value)


def _read_ssl(value: object, key: str) -> FrozenMapping[str, object]:
    given = dict(read_mapping(value, key, of="a mapping of PyMySQL's ssl settings"))
    for name, each in given.items():
        if not isinstance(each, str | int | None):
            refuse("text, a number, true or false", each, join_key(key, name))
    if "password" in given:
        given["password"] = SECRET.read(given["password"], join_key(key, "password"))
    return FrozenMapping(given)


def _read_public_key(value: object, key: str) -> object:
    if not isinstance(value, str | bytes):
        refuse("a public key (PEM text)", value, key)
    return value


def _plain(value: object) -> object:
    """A value as PyMySQL takes it: it looks for a dict, not for a mapping."""
    if isinstance(value, Secret):
        return value.reveal()
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, FrozenMapping) else value


PYMYSQL_KEYWORDS: Final[Mapping[str, OptionKind[object]]] = {
    "host": host(),
    "port": PORT,
    "user": text(),
    "password": SECRET,
    "database": text(),
    "unix_socket": text(),
    "charset": text(),
    "collation": text(),
    "connect_timeout": whole(1, 31_536_000),
    "read_timeout": seconds(0.001, 31_536_000),
    "write_timeout": seconds(0.001, 31_536_000),
    "max_allowed_packet": whole(1024, 2**30),
    "ssl_ca": FILE,
    "ssl_cert": FILE,
    "ssl_key": FILE,
    "ssl_key_password": SECRET,
    "ssl_verify_cert": FLAG,
    "ssl_verify_identity": FLAG,
    "ssl_disabled": FLAG,
    "ssl": OptionKind("mapping", _read_ssl),
    "init_command": text(),
    "read_default_file": FILE,
    "read_default_group": text(),
    "bind_address": text(),
    "program_name": text(),
    "local_infile": FLAG,
    "server_public_key": OptionKind("text", _read_public_key),
    "passwd": SECRET,
    "db": text(),
    "autocommit": _ANY,
    "auth_plugin_map": _ANY,
    "binary_prefix": _ANY,
    "client_flag": _ANY,
    "compress": _ANY,
    "conv": _ANY,
    "cursorclass": _ANY,
    "defer_connect": _ANY,
    "named_pipe": _ANY,
    "sql_mode": _ANY,
    "use_unicode": _ANY,
}
"""Every keyword of pymysql.connect. A test compares them with the installed PyMySQL."""

OWN_KEYWORDS: Final = frozenset(
    {
        "auth_plugin_map", "autocommit", "binary_prefix", "client_flag", "compress", "conv", "cursorclass",
        "defer_connect", "named_pipe", "sql_mode", "use_unicode",
    }
)  # fmt: skip
"""Keywords that pydbsync decides itself (exactly-once depends on them): accepted, not passed on."""

_ALIASES: Final = {"passwd": "password", "db": "database"}


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """How to reach a MySQL or MariaDB server, target or source. `key` is where it was configured."""

    connect: FrozenMapping[str, object]
    """PyMySQL keywords as configured, without OWN_KEYWORDS; passwords are `Secret`s. Empty if it was not configured."""
    key: str = "db_info"

    def connect_keywords(self) -> dict[str, Any]:
        """The keywords for pymysql.connect, passwords in the clear: for the call alone, never to be logged."""
        if not self.connect:
            raise ConfigError("is missing: it says how to reach the database server", key=self.key)
        return {name: _plain(value) for name, value in self.connect.items()}

    @property
    def address(self) -> str:
        """`user@host:port` for people."""
        if not self.connect:
            return "not configured"
        user = f"{self.connect['user']}@" if "user" in self.connect else ""
        if "unix_socket" in self.connect:
            return f"{user}{self.connect['unix_socket']}"
        return f"{user}{self.connect.get('host', 'localhost')}:{self.connect.get('port', 3306)}"


def read_target(value: object, key: str) -> TargetSettings:
    given = with_password(read_mapping(value, key), key)
    connect: dict[str, object] = {}
    for name, raw in given.items():
        if name not in PYMYSQL_KEYWORDS:
            known = (*PYMYSQL_KEYWORDS, *PASSWORD_SOURCES)
            raise ConfigError(f"is no keyword of PyMySQL; {nearest(name, known)}", key=join_key(key, name))
        if name in OWN_KEYWORDS:
            continue
        connect[_ALIASES.get(name, name)] = PYMYSQL_KEYWORDS[name].read(raw, join_key(key, name))
    if "read_default_file" not in connect:
        if "host" not in connect and "unix_socket" not in connect:
            raise ConfigError("is missing: name or address of the database server", key=join_key(key, "host"))
        if "user" not in connect:
            raise ConfigError("is missing: the database user", key=join_key(key, "user"))
    # Any other character set would lose characters on the way.
    connect["charset"] = "utf8mb4"
    return TargetSettings(connect=FrozenMapping(connect), key=key)


def target_warnings(given: Mapping[str, object], key: str) -> list[str]:
    """What in a `db_info` is not used as it is written. (autocommit is in every config of the original.)"""
    ignored = sorted(OWN_KEYWORDS.intersection(given) - {"autocommit"})
    found = [f"{join_key(key, name)}: pydbsync decides this itself; the value is not used" for name in ignored]
    charset = given.get("charset", "utf8mb4")
    if charset != "utf8mb4":
        found.append(f"{key}.charset: utf8mb4 is used instead of {charset!r}, so that no character is lost")
    return found


def with_password(given: Mapping[str, object], key: str, *, name: str = "password") -> dict[str, object]:
    """The section with `password` (or `name`) as a Secret, taken from the environment or a file where it says so."""
    by_env, by_file = f"{name}_env", f"{name}_file"
    itself = (name, "passwd") if name == "password" else (name,)
    used = [each for each in (*itself, by_env, by_file) if each in given]
    if len(used) > 1:
        word = name.replace("_", " ")
        raise ConfigError(f"the {word} is given more than once, by {' and '.join(used)}; keep one", key=key)
    section = {each: value for each, value in given.items() if each not in (by_env, by_file)}
    if not used or used[0] in itself:
        return section
    where = join_key(key, used[0])
    if used[0] == by_env:
        variable = text("the name of an environment variable").read(given[by_env], where)
        if variable not in os.environ:
            raise ConfigError(f"the environment variable {variable!r} is not set", key=where)
        section[name] = Secret(os.environ[variable])
    else:
        path = FILE.read(given[by_file], where)
        try:
            section[name] = Secret(Path(path).read_text(encoding="utf-8").rstrip("\r\n"))
        except UnicodeDecodeError as exc:
            raise ConfigError(f"the file {path!r} is not UTF-8 text", key=where) from exc
    return section


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """TLS towards RabbitMQ."""

    ca: str | None = option(None, FILE, "certificates to trust (PEM); the system's when not set")
    cert: str | None = option(None, FILE, "own certificate (PEM), with its chain")
    key: str | None = option(None, FILE, "private key of `cert` (PEM)")
    verify: bool = option(True, FLAG, "whether the server's certificate and name are checked")
    server_name: str | None = option(None, text(), "name expected in the server's certificate; `host` when not set")


def read_tls(value: object, key: str) -> TlsSettings | None:
    if isinstance(value, bool):
        return TlsSettings() if value else None
    tls = read_section(TlsSettings, value, key)
    if tls.key and not tls.cert:
        raise ConfigError("is missing: a private key needs its certificate", key=join_key(key, "cert"))
    return tls


@dataclass(frozen=True, kw_only=True)
class AmqpSettings:
    """How to reach RabbitMQ."""

    host: str = required(host(), "name or address of RabbitMQ")
    port: int = option(5672, PORT, "port; with `tls` the default is 5671")
    user: str = option("guest", text(), "user")
    password: Secret = option(PUBLIC_PASSWORD, SECRET, PASSWORD_SOURCES["password"])
    vhost: str = option("/", text(), "virtual host")
    heartbeat_s: int = option(
        30, whole(0, 65535), "silence after which the other side counts as dead; 0 is off", unit="seconds"
    )
    connect_timeout_s: float = option(10.0, seconds(0.1), "limit for one attempt to connect", unit="seconds")
    blocked_timeout_s: float = option(
        300.0, seconds(0), "limit for a connection that RabbitMQ blocks; 0 is none", unit="seconds"
    )
    management_port: int = option(
        15672,
        whole(0, 65_535),
        "port of RabbitMQ's management, which doctor and status read; with `tls` the default is 15671, 0 is none",
    )
    tls: TlsSettings | None = option(
        None, OptionKind("mapping, or true", read_tls, section=TlsSettings), "encrypt the connection"
    )

    @property
    def address(self) -> str:
        """`user@host:port, vhost X` for people."""
        return f"{self.user}@{self.host}:{self.port}, vhost {self.vhost}{', TLS' if self.tls else ''}"


def read_amqp(value: object, key: str) -> AmqpSettings:
    given = with_password(read_mapping(value, key), key)
    amqp = read_section(AmqpSettings, given, key)
    if not amqp.tls:
        return amqp
    return replace(
        amqp,
        port=amqp.port if "port" in given else 5671,
        management_port=amqp.management_port if "management_port" in given else 15671,
    )


TARGET: Final = OptionKind("mapping of PyMySQL keywords", read_target)
AMQP: Final = OptionKind("mapping", read_amqp, section=AmqpSettings)
