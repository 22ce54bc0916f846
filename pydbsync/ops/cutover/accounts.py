"""Accounts and what they may do with the data that takes part: compared, and told; nobody is granted anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

from pydbsync.apply.answered import lenient_text
from pydbsync.errors import ApplyError
from pydbsync.ops.servers import Server
from pydbsync.ops.words import listed

_OF_DATA = (
    "SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE", "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES", "TRIGGER",
    "EVENT", "CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "LOCK TABLES", "CREATE TEMPORARY TABLES",
)  # fmt: skip
_PRIVILEGES = (
    "SELECT grantee, '', '', privilege_type FROM information_schema.user_privileges WHERE privilege_type IN %s"
    " UNION ALL SELECT grantee, table_schema, '', privilege_type FROM information_schema.schema_privileges"
    " WHERE privilege_type IN %s"
    " UNION ALL SELECT grantee, table_schema, table_name, privilege_type FROM information_schema.table_privileges"
    " WHERE privilege_type IN %s"
)
_SERVERS_OWN = ("root", "mysql", "mariadb.sys", "PUBLIC", "")

Databases: TypeAlias = "Mapping[str, tuple[str, ...]]"
"""The databases of the source that take part, with their names at the target."""


class Privilege(NamedTuple):
    """What an account was granted; without a table for all of the database, without both for all of the server."""

    account: str
    database: str
    table: str
    what: str


def account_problems(source: Server, target: Server, databases: Databases, own: Collection[str]) -> list[str]:
    """What applications would miss at the target, a sentence each. `own` are the users of our own tools."""
    try:
        here, there = _accounts(source), _accounts(target)
    except ApplyError:
        return ["accounts could not be compared (no SELECT on mysql.user)"]
    here, there = ({each for each in accounts if each.partition("@")[0] not in own} for accounts in (here, there))
    missing = sorted(here - there)
    said = [f"accounts that the target does not have: {listed(missing)}"] if missing else []
    both = here & there
    lacking: dict[str, list[str]] = {}
    for each in lacked(_privileges(source), _privileges(target), databases):
        if each.account in both:
            lacking.setdefault(each.account, []).append(_shown(each))
    try:
        for server in (source, target):
            server.rows("SELECT 1 FROM mysql.db LIMIT 1")  # without that information_schema shows our own rights alone
    except ApplyError:
        return [*said, "rights of accounts could not be compared (no SELECT on mysql.*)"]
    said += [f"the account {account} lacks at the target: {listed(sorted(set(lacks)))}"
             for account, lacks in sorted(lacking.items())]  # fmt: skip
    try:
        roles = sorted(_roles(source) - _roles(target))
    except ApplyError:
        return [*said, "the roles of accounts could not be compared (no SELECT on the tables of mysql)"]
    return said + [f"the account {account} has not the {kind} {role} at the target"
                   for account, role, kind in roles if account in both]  # fmt: skip


def lacked(source: Collection[Privilege], target: Collection[Privilege], databases: Databases) -> list[Privilege]:
    """What accounts may do at the source, and not at the target: there a right on more counts too."""
    has = set(target)
    globs = [each for each in target if "%" in each.database or "_" in each.database]

    def may(account: str, database: str, table: str, what: str) -> bool:
        return (
            Privilege(account, "", "", what) in has
            or Privilege(account, database, "", what) in has
            or bool(table and Privilege(account, database, table, what) in has)
            or any((each.account, each.table, each.what) == (account, "", what) and _matches(each.database, database)
                   for each in globs)
        )  # fmt: skip

    found = set()
    for each in source:
        for own, names in databases.items():
            if each.database in ("", own) or (not each.table and _matches(each.database, own)):
                found |= {
                    Privilege(each.account, name, each.table, each.what)
                    for name in names if not may(each.account, name, each.table, each.what)
                }  # fmt: skip
    return sorted(found)


def _matches(pattern: str, database: str) -> bool:
    """As GRANT means the name of a database: % and _ are any characters, unless a backslash stands before them."""
    text = pattern.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
    text = text.replace("\\_", "\0").replace("\\%", "\1").replace("_", "?").replace("%", "*")
    return fnmatchcase(database, text.replace("\0", "_").replace("\1", "%"))


def _shown(each: Privilege) -> str:
    return f"{each.what} on {each.database}.{each.table or '*'}"


def _accounts(server: Server) -> set[str]:
    found = server.rows("SELECT user, host FROM mysql.user WHERE user NOT LIKE 'mysql.%%' AND user NOT IN %s",
                        (_SERVERS_OWN,))  # fmt: skip
    return {f"{lenient_text(user)}@{lenient_text(host)}" for user, host in found}


def _privileges(server: Server) -> list[Privilege]:
    return [
        Privilege(_account(lenient_text(grantee)), lenient_text(database), lenient_text(table), lenient_text(what))
        for grantee, database, table, what in server.rows(_PRIVILEGES, (_OF_DATA,) * 3)
    ]


def _account(grantee: str) -> str:
    """`'user'@'host'` as user@host; MariaDB shows a role by its name alone."""
    user, _, host = grantee.rpartition("@") if "'@'" in grantee else (grantee, "", "")
    return f"{_unquoted(user)}@{_unquoted(host)}"


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


def _roles(server: Server) -> set[tuple[str, str, str]]:
    """(account, role, "role" or "default role")."""
    if server.dialect.is_mariadb:
        edges = "SELECT user, host, role, 'role' FROM mysql.roles_mapping WHERE host <> ''"
        defaults = "SELECT user, host, default_role, 'default role' FROM mysql.user WHERE default_role <> ''"
    elif server.dialect.version < (8,):
        return set()
    else:
        edges = "SELECT to_user, to_host, from_user, 'role' FROM mysql.role_edges"
        defaults = "SELECT user, host, default_role_user, 'default role' FROM mysql.default_roles"
    return {
        (f"{lenient_text(user)}@{lenient_text(host)}", lenient_text(role), str(kind))
        for user, host, role, kind in server.rows(f"{edges} UNION ALL {defaults}")
    }
