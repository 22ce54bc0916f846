"""Can the servers be reached and used: connections, versions, TLS, and whether both ends are what they are meant to
be."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final

from pydbsync.apply.connection import Connection
from pydbsync.config.servers import PUBLIC_PASSWORD, TargetSettings
from pydbsync.errors import ApplyError, SourceError
from pydbsync.model import End
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning

_OLDEST_MARIADB = (10, 4)
"""A connection to a MySQL that is too old is refused."""
_OLDEST_BROKER = (3, 8)
_EXPIRES_SOON_DAYS = 21
_CODE = re.compile(r"\((\d+)\)(?!.*\(\d+\))", re.DOTALL)

_EXPIRED = re.compile(r"certificate (has )?expired|not yet valid", re.IGNORECASE)
_RELOAD = "MySQL: ALTER INSTANCE RELOAD TLS; MariaDB: FLUSH SSL"
_REMEDIES: Final = {
    1040: "SET GLOBAL max_connections = … there, or end connections that nobody needs",
    1044: "GRANT the user the database that `{key}.database` names, or leave that key out",
    1045: "correct `{key}.user` and `{key}.password`, or there: ALTER USER … IDENTIFIED BY '…'; the user must also"
    " exist for"
    " the host we come from",
    1049: "leave `{key}.database` out (it is not needed), or correct it",
    1129: "FLUSH HOSTS (mariadb-admin flush-hosts) there",
    1130: "CREATE USER '…'@'…' there for the host that the message names, and grant it the rights",
    1203: "raise max_user_connections of the user there",
    1226: "ALTER USER … WITH MAX_USER_CONNECTIONS 0 MAX_CONNECTIONS_PER_HOUR 0 there",
    1698: "correct `{key}.user` and `{key}.password`; a user that logs in by the operating system (auth_socket,"
    " unix_socket)"
    " needs a password instead: ALTER USER … IDENTIFIED BY '…'",
    1820: "there: ALTER USER … IDENTIFIED BY '…' (the password has expired)",
    1862: "there: ALTER USER … IDENTIFIED BY '…' (the password has expired)",
    2026: "look at `{key}.ssl_ca` and at the names in the server's certificate; `{key}.ssl_verify_identity` checks"
    " the name",
    2059: "pip install cryptography, or there: ALTER USER … IDENTIFIED WITH a plugin that PyMySQL knows",
    2061: "pip install cryptography, or connect with TLS (`{key}.ssl_ca`)",
    3118: "there: ALTER USER … ACCOUNT UNLOCK",
    3159: "set `{key}.ssl_ca` to the file of the certificates: the server takes encrypted connections alone",
    4151: "there: ALTER USER … ACCOUNT UNLOCK",
}
_UNREACHED: Final = (
    "see that the server runs and that nothing is between it and us: `{key}.host` and `{key}.port`, a firewall, its"
    " bind_address"
)


def check_target(exam: Examination) -> Iterator[Finding]:
    """The target answers, and has a version that is known to work."""
    if exam.settings.sink is not None:
        return
    yield from _database(exam, "target", exam.settings.target)


def check_source(exam: Examination) -> Iterator[Finding]:
    """The source as well, where it is configured."""
    if exam.settings.source is None:
        yield unknown(
            "source-connection",
            "the source is not configured: what concerns it cannot be looked at",
            "set source_db_info (docs/rights.md says which rights the user needs)",
        )
        return
    yield from _database(exam, "source", exam.settings.source)


def check_ends(exam: Examination) -> Iterator[Finding]:
    """Source and target are two servers, unless databases get other names."""
    if exam.settings.source is None:
        return
    source, target = (_identity(end) for end in (exam.source(), exam.target()))
    if source != target:
        yield ok("two-servers", "source and target are two servers")
        return
    renamed = exam.settings.dbname_rewrite
    if not renamed or any(database == renamed[database] for database in renamed):
        yield error(
            "two-servers",
            "db_info and source_db_info lead to the same server: each change would be written onto itself, and captured"
            " again",
            "correct host and port of db_info or source_db_info",
        )
    else:
        yield warning(
            "two-servers",
            "source and target are the same server: what replay writes is in the binlog that is read",
            "see that no target database is captured: `exclude` them, or Maxwell's filter",
        )


def check_broker(exam: Examination) -> Iterator[Finding]:
    """RabbitMQ lets us in, and its management API answers."""
    if not exam.settings.queues:
        yield unknown(
            "broker-connection", "no queue is configured: RabbitMQ is not looked at", "set rabbitmq_queue_bind"
        )
        return
    amqp = exam.settings.amqp
    try:
        link = exam.link()
    except Away as exc:
        yield error("broker-connection", f"{exc.cause}", _broker_remedy(str(exc.cause), exam))
        return
    yield ok("broker-connection", f"RabbitMQ {link.server_version} answers at {amqp.address}")
    if link.server_numbers[:2] < _OLDEST_BROKER:
        yield warning(
            "broker-version",
            f"RabbitMQ {link.server_version} is older than anything that was tried",
            "upgrade it to 3.10",
        )
    if amqp.tls is None and not is_local(amqp.host):
        yield warning(
            "broker-tls",
            f"the connection to RabbitMQ at {amqp.host} is not encrypted: password and rows can be read on the way",
            "rabbitmq_conn_info: {tls: {ca: FILE}, port: 5671}, with listeners.ssl.default = 5671 in rabbitmq.conf",
        )
    elif amqp.tls is not None and not amqp.tls.verify:
        yield warning(
            "broker-tls",
            "the certificate of RabbitMQ is not checked: anybody on the way can pass for it",
            "rabbitmq_conn_info: {tls: {ca: FILE, verify: true}}",
        )
    if amqp.user == "guest" and amqp.password == PUBLIC_PASSWORD and not is_local(amqp.host):
        yield warning("broker-user", "RabbitMQ is used as guest with the password that everybody knows",
                      "rabbitmqctl add_user pydbsync, and name it in rabbitmq_conn_info")  # fmt: skip
    try:
        management = exam.management()
    except Away as exc:
        yield unknown(
            "broker-management",
            f"policies, bindings and alarms of RabbitMQ cannot be seen: {exc.cause}",
            management_remedy(exam),
        )
        return
    yield ok("broker-management", f"RabbitMQ's management answers at {management.address}")


def management_remedy(exam: Examination) -> str:
    """How to let us see what the management API has."""
    amqp = exam.settings.amqp
    return (
        f"rabbitmq-plugins enable rabbitmq_management; rabbitmqctl set_user_tags {amqp.user} monitoring;"
        f" rabbitmq_conn_info.management_port is {amqp.management_port}"
    )


def _database(exam: Examination, end: End, server: TargetSettings) -> Iterator[Finding]:
    try:
        connection = exam.target() if end == "target" else exam.source()
    except Away as exc:
        remedy = _remedy(exc, server.key, is_encrypted=_asks_for_tls(server))
        yield error(f"{end}-connection", f"the {end}: {exc.cause}", remedy)
        return
    brand = connection.dialect.brand
    yield ok(f"{end}-connection", f"the {end} answers at {server.address}: {_spelled(brand)} {connection.version}")
    if connection.dialect.is_mariadb and connection.dialect.version < _OLDEST_MARIADB:
        yield warning(
            f"{end}-version",
            f"the {end} is {_spelled(brand)} {connection.version}, older than anything that was tried",
            f"upgrade it to {_spelled(brand)} {'.'.join(map(str, _OLDEST_MARIADB))} or newer, or try a rehearsal first",
        )
    yield from _tls(end, server, connection)


def _tls(end: End, server: TargetSettings, connection: Connection) -> Iterator[Finding]:
    cipher = connection.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    host = str(server.connect.get("host", "localhost"))
    is_encrypted = bool(cipher and cipher[0][1])
    if not is_encrypted and "unix_socket" not in server.connect and not is_local(host):
        yield warning(
            f"{end}-tls",
            f"the connection to the {end} at {host} is not encrypted: password and rows can be read on the way",
            f"{server.key}: {{ssl_ca: FILE, ssl_verify_cert: true, ssl_verify_identity: true}}",
        )
    elif is_encrypted and not _verifies(server) and not is_local(host):
        yield warning(
            f"{end}-tls",
            f"the certificate of the {end} is not checked: anybody on the way can pass for it",
            f"{server.key}: {{ssl_ca: FILE, ssl_verify_cert: true, ssl_verify_identity: true}}",
        )
    elif is_encrypted:
        yield ok(f"{end}-tls", f"the connection to the {end} is encrypted ({cipher[0][1]})")
    yield from _certificate(end, connection.certificate())


def _certificate(end: str, certificate: Any) -> Iterator[Finding]:
    if not certificate or "notAfter" not in certificate:
        return
    ends_at = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), dt.timezone.utc)
    left = ends_at - dt.datetime.now(dt.timezone.utc)
    if left.days < _EXPIRES_SOON_DAYS:
        yield warning(
            f"{end}-certificate",
            f"the certificate of the {end} ends in {max(left.days, 0)} days, at {ends_at:%Y-%m-%d %H:%M} UTC: nothing"
            " connects after that",
            "have it renewed, and reload it there"
            + (" (a new file is read within a minute or two)" if end == "RabbitMQ" else f" ({_RELOAD})"),
        )


def _asks_for_tls(server: TargetSettings) -> bool:
    return any(name == "ssl" or name.startswith("ssl_") for name in server.connect)


def _verifies(server: TargetSettings) -> bool:
    given = server.connect
    nested = given.get("ssl")
    return bool(given.get("ssl_verify_cert") or given.get("ssl_ca") or (hasattr(nested, "get") and nested.get("ca")))


def _remedy(away: Away, key: str, *, is_encrypted: bool) -> str:
    code = int(getattr(away.cause, "code", 0) or 0)
    text = str(away.cause)
    if not code and (found := _CODE.search(text)):
        code = int(found[1])
    for hidden in (3118, 3159, 4151, 2026, 1130, 1129):  # in the text of an error that counts as unreachable
        if f"{hidden}" in text:
            code = hidden
    if _EXPIRED.search(text):
        return f"have the certificate there renewed and reloaded ({_RELOAD}); see that the clocks are right"
    if code == 2013 or "packet sequence" in text.lower() or "bad handshake" in text.lower():
        return (
            f"what answers there may be no server of MySQL's own protocol: see `{key}.port` (3306 as a rule; 33060 is"
            " MySQL's X protocol, 5672 RabbitMQ, 15672 its management); else see the server's error log"
        )
    if "certificate" in text.lower() or "ssl" in text.lower():
        code = code if code == 3159 else 2026
    if code == 1045 and not is_encrypted:
        return (
            _REMEDIES[1045].format(key=key)
            + "; a server or an account that demands TLS (require_secure_transport, REQUIRE SSL) can refuse in the"
            f" same words: set `{key}.ssl_ca`, and with REQUIRE X509 `{key}.ssl_cert` and `{key}.ssl_key`"
        )
    if "does not let the session set" in text or "changed the session's settings" in text:
        return "take the init_connect of that server, or the proxy before it, out of the way of this user"
    return _REMEDIES.get(code, _UNREACHED).format(key=key)


def _broker_remedy(text: str, exam: Examination) -> str:
    amqp = exam.settings.amqp
    if "refuses user" in text:
        return f"correct rabbitmq_conn_info.user and .password, or: rabbitmqctl change_password {amqp.user} …" + (
            " (guest is let in from its own machine alone)" if amqp.user == "guest" else ""
        )
    if "into vhost" in text:
        vhost = amqp.vhost
        return (
            f"correct rabbitmq_conn_info.vhost, or: rabbitmqctl add_vhost {vhost}; rabbitmqctl set_permissions -p"
            f" {vhost}"
            f" {amqp.user} '.*' '.*' '.*' (docs/rights.md has narrower ones)"
        )
    if _EXPIRED.search(text):
        return "have the certificate of RabbitMQ renewed; see that the clocks are right"
    if "closed the connection at once" in text:
        return (
            "correct rabbitmq_conn_info.port: 5672 as a rule, 5671 with rabbitmq_conn_info.tls (15672 is RabbitMQ's"
            " management, 3306 MySQL)"
        )
    if "certificate" in text or "TLS" in text or "tls" in text:
        return (
            "look at rabbitmq_conn_info.tls (ca, server_name) and .port: 5671 is the usual one with TLS, 5672 without"
        )
    if "resolved" in text:
        return "correct rabbitmq_conn_info.host"
    return (
        "see that RabbitMQ runs (rabbitmqctl status) and that nothing is between it and us: rabbitmq_conn_info.host and"
        " .port, a firewall, listeners.tcp in rabbitmq.conf"
    )


def _identity(connection: Connection) -> tuple[object, ...]:
    names = ("server_uuid", "server_uid", "hostname", "port", "datadir", "server_id")
    found = dict(
        connection.rows(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({', '.join(repr(name) for name in names)})")
    )
    lowered = {str(name).lower(): value for name, value in found.items()}
    unique = lowered.get("server_uuid") or lowered.get("server_uid")
    # Copied data folders have one uuid; a server's address alone may be that of two machines.
    return (unique, *(lowered.get(name) for name in ("hostname", "port", "datadir")))


def addresses_of(host: str) -> set[str]:
    """What a name stands for, as this machine sees it; the name itself where that is not known."""
    name = host.lower() or "localhost"
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    except OSError:
        return {name}
    return {"127.0.0.1" if ipaddress.ip_address(each.partition("%")[0]).is_loopback else each for each in found}


def is_local(host: str) -> bool:
    """Whether nothing leaves this machine on the way there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "")


def _spelled(brand: str) -> str:
    return {"mysql": "MySQL", "mariadb": "MariaDB"}[brand]


def broker_certificate(exam: Examination) -> Iterator[Finding]:
    """How long RabbitMQ's certificate is good for, where it is checked."""
    amqp = exam.settings.amqp
    if amqp.tls is None or not amqp.tls.verify or not exam.settings.queues:
        return
    try:
        yield from _certificate("RabbitMQ", exam.link().certificate())
    except (SourceError, ApplyError):
        return
