"""Reads SHOW GRANTS of both brands: which privileges a user has where, and the GRANT that would add what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError
from pydbsync.plan.quoting import quote_name

_GRANT = re.compile(
    r"GRANT (?P<privileges>.+?) ON (?:(?P<kind>TABLE|PROCEDURE|FUNCTION|PACKAGE(?: BODY)?) )?"
    r"(?P<database>\*|`(?:[^`]|``)*`)\.(?P<object>\*|`(?:[^`]|``)*`) TO ",
    re.IGNORECASE,
)
_REVOKE = re.compile(r"REVOKE (?P<privileges>.+?) ON (?P<database>`(?:[^`]|``)*`)\.\* FROM ", re.IGNORECASE)
_ROLES = re.compile(r"GRANT (?P<roles>(?:(?!\bON\b).)+?) TO (?!.* ON )", re.IGNORECASE)
"""A line that gives roles alone: `GRANT `reader`@`%`,`writer`@`%` TO `app`@`%``; MariaDB's have no host."""
_ROLE = re.compile(r"(?:`(?:[^`]|``)*`|'[^']*'|[^`',\s@]+)(?:@(?:`(?:[^`]|``)*`|'[^']*'|[^`',\s]+))?")
_COLUMNS = re.compile(r"\s*\([^)]*\)")
_EVERYTHING = frozenset({"ALL PRIVILEGES", "ALL"})
_SAME = {
    "BINLOG MONITOR": "REPLICATION CLIENT",  # MariaDB 10.5 and newer
    "REPLICATION REPLICA": "REPLICATION SLAVE",  # MariaDB's other name
}
_IN_SUPER = frozenset({"REPLICATION CLIENT", "CONNECTION_ADMIN", "SYSTEM_VARIABLES_ADMIN", "READ_ONLY ADMIN"})


class Grants(msgspec.Struct, frozen=True):
    """Privileges by scope: `("*", "*")`, `(database pattern, "*")` or `(database, table)`, names as they are
    written."""

    scopes: tuple[tuple[str, str, frozenset[str]], ...]
    revoked: tuple[tuple[str, frozenset[str]], ...] = ()
    """MySQL's partial revokes: privileges that a database is exempt from."""
    idle_roles: tuple[tuple[str, Grants], ...] = ()
    """Roles that the user was given and that are not active in a new session, by their quoted names, with its rights
    where they are."""

    def has(self, privilege: str, database: str = "*", table: str = "*") -> bool:
        """Whether the privilege is there on all of the scope: everything, a database, or a table of it."""
        if any(name == database and privilege in taken for name, taken in self.revoked):
            return self._given(privilege, database, table, skip_global=True)
        return self._given(privilege, database, table, skip_global=False)

    def _given(self, privilege: str, database: str, table: str, *, skip_global: bool) -> bool:
        for scope, name, privileges in self.scopes:
            if scope == "*" and name == "*" and not skip_global:
                covers = True
            elif name == "*" and database != "*":
                covers = _matches(scope, database)
            else:
                covers = (scope, name) == (database, table) and table != "*"
            if not covers:
                continue
            if privilege in privileges or privileges & _EVERYTHING:
                return True
            if privilege in _IN_SUPER and scope == "*" and "SUPER" in privileges:
                return True
        return False

    def role_with(self, privileges: Iterable[str], database: str) -> str:
        """The role that gives all of them if it is made active; empty where there is none."""
        wanted = [_SAME.get(each, each) for each in privileges]
        return next((role for role, grants in self.idle_roles if not grants.lacks(wanted, database)), "")

    def lacks(self, privileges: Iterable[str], database: str = "*", table: str = "*") -> list[str]:
        """Those of the privileges that are missing there, in their order."""
        return [each for each in privileges if not self.has(each, database, table)]


def read_grants(lines: Iterable[str]) -> Grants:
    """From the lines of SHOW GRANTS. Roles and proxies in them are passed over: their own lines are to be given too."""
    scopes: list[tuple[str, str, frozenset[str]]] = []
    revoked: list[tuple[str, frozenset[str]]] = []
    for line in lines:
        if found := _GRANT.match(line):
            if (found["kind"] or "TABLE").upper() == "TABLE":
                scopes.append((_name(found["database"]), _name(found["object"]), _privileges(found["privileges"])))
        elif found := _REVOKE.match(line):
            revoked.append((_name(found["database"]), _privileges(found["privileges"])))
    return Grants(tuple(scopes), tuple(revoked))


def own_grants(connection: Connection) -> Grants:
    """Those of the connection's user, with its active roles. Raises ApplyError."""
    own = [str(line) for (line, *_) in connection.rows("SHOW GRANTS")]
    try:
        found = str(connection.value("SELECT CURRENT_ROLE()") or "")
    except ApplyError:  # MySQL before 8
        return read_grants(own)
    active = "" if found.upper() == "NONE" else found
    lines = [*own, *(_lines_with(connection, active) if active else ())]
    idle = [] if active else [role for line in own for role in roles_of(line)]
    return msgspec.structs.replace(
        read_grants(lines),
        idle_roles=tuple((role, read_grants([*own, *_lines_with(connection, role, is_idle=True)])) for role in idle),
    )


def _lines_with(connection: Connection, role: str, *, is_idle: bool = False) -> list[str]:
    """What SHOW GRANTS says of a role that the user was given. Raises ApplyError."""
    if not connection.dialect.is_mariadb:
        return [str(line) for (line, *_) in connection.rows(f"SHOW GRANTS FOR CURRENT_USER() USING {role}")]
    if not is_idle:
        return [str(line) for (line, *_) in connection.rows(f"SHOW GRANTS FOR {_role(role)}")]
    connection.execute(f"SET ROLE {role}")  # MariaDB shows the rights of a role to those in which it is active
    try:
        return [str(line) for (line, *_) in connection.rows(f"SHOW GRANTS FOR {role}")]
    finally:
        connection.execute("SET ROLE NONE")


def role_statement(role: str, account: str, *, is_mariadb: bool) -> str:
    """What makes a role active in each new session. `account` is as CURRENT_USER() has it."""
    user, _, host = account.rpartition("@")
    return f"SET DEFAULT ROLE {role} {'FOR' if is_mariadb else 'TO'} {_quoted(user)}@{_quoted(host)};"


def grant_statement(privileges: Iterable[str], database: str, table: str, account: str) -> str:
    """`GRANT SELECT ON \\`shop\\`.* TO 'u'@'%';`. `account` is as CURRENT_USER() has it."""
    user, _, host = account.rpartition("@")
    scope = "*.*" if database == "*" else f"{quote_name(database)}.{quote_name(table) if table != '*' else '*'}"
    return f"GRANT {', '.join(privileges)} ON {scope} TO {_quoted(user)}@{_quoted(host)};"


def _privileges(text: str) -> frozenset[str]:
    # A privilege on some columns is none on the table.
    whole = [each.strip().upper() for each in re.split(r",(?![^(]*\))", text) if not _COLUMNS.search(each)]
    return frozenset(_SAME.get(each, each) for each in whole)


def _name(text: str) -> str:
    return text if text == "*" else text[1:-1].replace("``", "`")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _matches(pattern: str, database: str) -> bool:
    """A database's name against that of a grant, in which _ and % stand for others unless a backslash is before
    them."""
    spelled = ""
    position = 0
    while position < len(pattern):
        sign = pattern[position]
        if sign == "\\" and position + 1 < len(pattern):
            position += 1
            spelled += re.escape(pattern[position])
        else:
            spelled += {"%": ".*", "_": "."}.get(sign, re.escape(sign))
        position += 1
    return pattern == database or re.fullmatch(spelled, database, re.DOTALL) is not None


def roles_of(line: str) -> list[str]:
    """The roles, quoted, that a line of SHOW GRANTS gives."""
    given = _ROLES.match(line)
    return [] if given is None else _ROLE.findall(given["roles"])


def _role(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
