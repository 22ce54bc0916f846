"""Reads `routes`: tables that have another name, other columns, masked values, or only some rows at the target."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from pydbsync.config.conditions import Condition, ExpressionError
from pydbsync.config.expressions import names_in, parse_condition
from pydbsync.config.values import (
    FILE,
    SECRET,
    FrozenMapping,
    OptionKind,
    Secret,
    join_key,
    nearest,
    one_of,
    read_list,
    read_mapping,
    refuse,
    text,
)
from pydbsync.errors import ConfigError

FAKES: Final = ("email", "first_name", "last_name", "name", "phone", "city", "street", "company", "date")
KINDS_OF_ROWS: Final = ("insert", "update_old", "update_new", "delete")
APPLY_MODES: Final = ("replace", "upsert", "plain")
_ROUTE: Final = ("table", "to", "columns", "where", "apply_mode")
_COLUMNS: Final = ("leave_out", "rename", "add", "mask")
_KEY_BYTES: Final = 16


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """What stands in place of a column's value."""

    kind: str
    """hash, fake, constant or null."""
    fake: str = ""
    constant: str | int = ""
    key: Secret | None = None
    """Of hash and fake; the one of `mask_key` where it has none of its own."""


@dataclass(frozen=True, kw_only=True)
class AddedColumn:
    """A column that only the target has, with the same value in all rows that come by the route."""

    value: str | int | None
    type: str = ""
    """As CREATE TABLE says it, for tables that are made; empty where the table is there."""


@dataclass(frozen=True, kw_only=True)
class RouteSettings:
    """How tables that a glob names come to the target. Names of columns are those of the source, in lower case."""

    table: str
    """Glob of database.table at the source."""
    to: str = ""
    """database.table; either may be `*`, for the name as it is. Empty is what the rest of the configuration says."""
    leave_out: frozenset[str] = frozenset()
    rename: FrozenMapping[str, str] = FrozenMapping[str, str]()
    add: FrozenMapping[str, AddedColumn] = FrozenMapping[str, AddedColumn]()
    mask: FrozenMapping[str, MaskSettings] = FrozenMapping[str, MaskSettings]()
    where: FrozenMapping[str, str] = FrozenMapping[str, str]()
    """Kind of row → condition in SQL; the same for all four, or only some."""
    apply_mode: str = ""

    @property
    def has_columns(self) -> bool:
        """Whether rows have other columns or values at the target."""
        return bool(self.leave_out or self.rename or self.add or self.mask)

    @property
    def changes_rows(self) -> bool:
        """Whether rows have to be looked at one by one."""
        return self.has_columns or bool(self.where)

    @property
    def no_way_back(self) -> str:
        """The key of what a route of the other direction cannot turn round; empty where it only renames."""
        found = {"columns.leave_out": self.leave_out, "columns.add": self.add, "columns.mask": self.mask}
        return next((key for key, value in (*found.items(), ("where", self.where)) if value), "")

    @property
    def merges(self) -> bool:
        """Whether several tables that the glob names may go to one."""
        parts = zip(self.table.split(".", 1), self.to.split(".", 1), strict=True) if self.to else ()
        return any(name != "*" and any(mark in glob for mark in "*?[") for glob, name in parts)

    @property
    def condition(self) -> str:
        """The one condition by which rows are at the target; empty if there is none, or kinds of rows have others."""
        found = set(self.where.values())
        return found.pop() if len(found) == 1 and set(self.where) == set(KINDS_OF_ROWS) else ""

    @property
    def is_by_history(self) -> bool:
        """Whether what the target has depends on how rows came to be as they are: nobody can tell that afterwards."""
        return bool(self.where) and not self.condition

    @property
    def needs_source(self) -> bool:
        """Whether a condition reads columns that the target has not as they are: the source must be asked for them."""
        changed = self.leave_out | self.mask.keys()
        return any(names_in(each) & changed for each in self.conditions().values())

    def conditions(self) -> dict[str, Condition]:
        """The conditions, read."""
        return {kind: parse_condition(sql) for kind, sql in self.where.items()}


def read_key(value: object, key: str) -> Secret:
    """`{key: …}`, `{key_env: NAME}` or `{key_file: PATH}`. Raises ConfigError."""
    given = read_mapping(value, key, of="{key_env: NAME}, {key_file: PATH} or {key: text}")
    _known(given, ("key", "key_env", "key_file"), key)
    if len(given) != 1:
        raise ConfigError("expected one of key_env, key_file and key", key=key)
    ((name, source),) = given.items()
    where = join_key(key, name)
    if name == "key_env":
        variable = text("the name of an environment variable").read(source, where)
        if variable not in os.environ:
            raise ConfigError(f"the environment variable {variable!r} is not set", key=where)
        found = Secret(os.environ[variable])
    elif name == "key_file":
        path = FILE.read(source, where)
        try:
            found = Secret(Path(path).read_text(encoding="utf-8").rstrip("\r\n"))
        except UnicodeDecodeError as exc:
            raise ConfigError(f"the file {path!r} is not UTF-8 text", key=where) from exc
    else:
        found = SECRET.read(source, where)
    if len(found.reveal().encode()) < _KEY_BYTES:
        raise ConfigError(
            f"the key is shorter than {_KEY_BYTES} bytes, and would be found by trying; take the output of"
            " `openssl rand -hex 32`",
            key=where,
        )
    return found


def _known(given: Mapping[str, object], names: tuple[str, ...], key: str) -> None:
    for name in given:
        if name not in names:
            raise ConfigError(f"unknown key; {nearest(name, names)}", key=join_key(key, name))


def _table(value: object, key: str, expected: str) -> str:
    name = text(expected).read(value, key)
    database, dot, table = name.partition(".")
    if not (database and dot and table):
        refuse(expected, value, key)
    return name


def _column(value: object, key: str) -> str:
    return text("the name of a column (text)").read(value, key)


def _read_route(value: object, key: str) -> RouteSettings:
    given = read_mapping(value, key, of="a mapping {table: glob, …}")
    _known(given, _ROUTE, key)
    if "table" not in given:
        raise ConfigError("is missing: a glob of database.table at the source", key=join_key(key, "table"))
    here = join_key(key, "columns")
    columns = read_mapping(given.get("columns", {}), here)
    _known(columns, _COLUMNS, here)
    leave_out = frozenset(
        _column(each, f"{here}.leave_out[{n}]").lower()
        for n, each in enumerate(read_list(columns.get("leave_out", ()), f"{here}.leave_out", of="columns"))
    )
    rename = {
        name.lower(): _column(each, f"{here}.rename.{name}")
        for name, each in read_mapping(columns.get("rename", {}), f"{here}.rename").items()
    }
    add = {
        name: _read_added(each, f"{here}.add.{name}")
        for name, each in read_mapping(columns.get("add", {}), f"{here}.add").items()
    }
    mask = {
        name.lower(): _read_mask(each, f"{here}.mask.{name}")
        for name, each in read_mapping(columns.get("mask", {}), f"{here}.mask").items()
    }
    for name in sorted(leave_out & (rename.keys() | mask.keys())):
        raise ConfigError(f"the column {name} is left out, and so can be neither renamed nor masked", key=here)
    target_names = [name.lower() for name in (*rename.values(), *add)]
    for name in target_names:
        if target_names.count(name) > 1:
            raise ConfigError(f"two columns would be called {name} at the target", key=here)
    route = RouteSettings(
        table=_table(given["table"], join_key(key, "table"), "database.table, a glob such as 'shop.orders_*'"),
        to=_read_to(given["to"], join_key(key, "to")) if "to" in given else "",
        leave_out=leave_out,
        rename=FrozenMapping(rename),
        add=FrozenMapping(add),
        mask=FrozenMapping(mask),
        where=_read_where(given["where"], join_key(key, "where")) if "where" in given else FrozenMapping(),
        apply_mode=one_of(*APPLY_MODES).read(given["apply_mode"], join_key(key, "apply_mode"))
        if "apply_mode" in given
        else "",
    )
    if not (route.to or route.changes_rows or route.apply_mode):
        raise ConfigError("the route changes nothing: give it to, columns, where or apply_mode", key=key)
    return route


def _read_to(value: object, key: str) -> str:
    name = _table(value, key, "database.table at the target, either of which may be '*'")
    for part in name.split(".", 1):
        if part != "*" and any(mark in part for mark in "*?[]"):
            raise ConfigError(f"expected a name, or '*' for the name as it is, got {part!r}", key=key)
    if name == "*.*":
        raise ConfigError("'*.*' renames nothing: leave it out", key=key)
    return name


def _read_added(value: object, key: str) -> AddedColumn:
    if isinstance(value, Mapping):
        _known(value, ("value", "type"), key)
        if "value" not in value:
            raise ConfigError("is missing: what the column holds", key=join_key(key, "value"))
        kind = text("a type such as INT NOT NULL").read(value["type"], join_key(key, "type")) if "type" in value else ""
        return AddedColumn(value=_constant(value["value"], join_key(key, "value"), null=True), type=kind)
    return AddedColumn(value=_constant(value, key, null=True))


def _constant(value: object, key: str, *, null: bool = False) -> str | int | None:
    if value is None and null:
        return None
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, str | int):
        refuse("text or a whole number (1.5 and dates in quotes)", value, key)
    return value


def _read_mask(value: object, key: str) -> MaskSettings:
    if value is None or value == "null":
        return MaskSettings(kind="null")
    if value == "hash":
        return MaskSettings(kind="hash")
    expected = "null, hash, {hash: {key_env: …}}, {constant: …} or {fake: …}"
    given = read_mapping(value, key, of=expected)
    _known(given, ("hash", "constant", "fake", "key_env", "key_file", "key"), key)
    own = {name: each for name, each in given.items() if name.startswith("key")}
    kinds = [name for name in given if name not in own]
    if len(kinds) != 1:
        raise ConfigError(f"expected one mask: {expected}", key=key)
    kind, what = kinds[0], given[kinds[0]]
    where = join_key(key, kind)
    if kind == "hash":
        return MaskSettings(kind="hash", key=read_key(what, where) if what else _own_key(own, key))
    if kind == "constant":
        if own:
            raise ConfigError("a constant has no key", key=key)
        found = _constant(what, where)
        assert found is not None  # noqa: S101
        return MaskSettings(kind="constant", constant=found)
    fake = text("the name of a fake").read(what, where)
    if fake not in FAKES:
        raise ConfigError(f"unknown fake {fake!r}; known are: {', '.join(FAKES)}", key=where)
    return MaskSettings(kind="fake", fake=fake, key=_own_key(own, key))


def _own_key(own: Mapping[str, object], key: str) -> Secret | None:
    return read_key(own, key) if own else None


def _read_where(value: object, key: str) -> FrozenMapping[str, str]:
    if isinstance(value, Mapping):
        given = read_mapping(value, key)
        _known(given, KINDS_OF_ROWS, key)
        if not given:
            raise ConfigError(f"expected a condition for some of {', '.join(KINDS_OF_ROWS)}", key=key)
    else:
        given = dict.fromkeys(KINDS_OF_ROWS, value)
    found = {}
    for kind, each in given.items():
        place = key if given is not value else join_key(key, kind)
        sql = text("a condition in SQL, such as \"status <> 'draft'\"").read(each, place)
        try:
            parse_condition(sql)
        except ExpressionError as exc:
            raise ConfigError(f"the condition cannot be evaluated as the source would: {exc}", key=place) from exc
        found[kind] = sql
    return FrozenMapping(found)


def _read_routes(value: object, key: str) -> tuple[RouteSettings, ...]:
    return tuple(_read_route(each, f"{key}[{n}]") for n, each in enumerate(read_list(value, key, of="routes")))


def _show_routes(routes: tuple[RouteSettings, ...]) -> str:
    return "; ".join(map(describe_route, routes)) or "empty"


def describe_route(route: RouteSettings) -> str:
    """One route for people, without secrets."""
    parts = [f"{route.table}{f' -> {route.to}' if route.to else ''}"]
    if route.leave_out:
        parts.append(f"without {', '.join(sorted(route.leave_out))}")
    parts += [f"{old} renamed {new}" for old, new in route.rename.items()]
    parts += [f"{name} = {each.value!r}" for name, each in route.add.items()]
    parts += [f"{name} masked ({mask.fake or mask.kind})" for name, mask in route.mask.items()]
    if route.condition:
        parts.append(f"where {route.condition}")
    else:
        parts += [f"{kind} where {sql}" for kind, sql in route.where.items()]
    if route.apply_mode:
        parts.append(f"rows by {route.apply_mode}")
    return ", ".join(parts)


def check_routes(
    routes: tuple[RouteSettings, ...], mask_key: Secret | None, *, sharded: Collection[str], is_two_way: bool
) -> None:
    """Raises ConfigError where a mask has no key, or a route cannot go with what else is configured."""
    taken: set[str] = set()
    for n, route in enumerate(routes):
        if is_two_way and route.to and (route.merges or route.to in taken):
            raise ConfigError(
                "with two_way a route cannot merge tables: nothing tells to which of them a row goes back",
                key=f"routes[{n}].to",
            )
        taken.add(route.to)
        if is_two_way and (key := route.no_way_back):
            raise ConfigError(
                "with two_way a route can only rename tables and columns: what is masked, left out, added or filtered"
                " cannot come back",
                key=f"routes[{n}].{key}",
            )
        if any(fnmatchcase(database, route.table.partition(".")[0]) for database in sharded):
            raise ConfigError(
                "the database is split by sharding, and its tables can have no routes", key=f"routes[{n}].table"
            )
        for name, mask in route.mask.items():
            if mask.kind in ("hash", "fake") and mask.key is None and mask_key is None:
                raise ConfigError(
                    "is missing: without a key anybody could find the masked values by trying; give mask_key"
                    " {key_env: NAME}, or a key of its own",
                    key=f"routes[{n}].columns.mask.{name}",
                )


def check_sink_routes(routes: tuple[RouteSettings, ...], *, has_source: bool) -> None:
    """Raises ConfigError where a route says what only a table of a target can be."""
    for n, route in enumerate(routes):
        if route.to:
            raise ConfigError(
                "the sink's own settings say what rows are called there (key, index): leave it out",
                key=f"routes[{n}].to",
            )
        if route.apply_mode:
            raise ConfigError("a sink has no tables, and one way to write: leave it out", key=f"routes[{n}].apply_mode")
        if not has_source:
            raise ConfigError("is missing: routes go by the types of the source's columns", key="source_db_info")


ROUTES: Final = OptionKind(
    "list of `{table: glob, to: …, columns: …, where: …, apply_mode: …}`", _read_routes, _show_routes
)
MASK_KEY: Final = OptionKind("mapping `{key_env: NAME}`", read_key)
