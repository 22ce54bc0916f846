"""A route compiled for one pair of tables: what becomes of a row on its way, here and as SQL of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from pydbsync.config.routes import KINDS_OF_ROWS, RouteSettings
from pydbsync.config.values import Secret
from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, Column, RowChange, TableSchema, read_image
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.routed.conditions import CompiledCondition, compile_condition
from pydbsync.plan.routed.masks import Mask, constant, make_mask

ALIAS = "routed"
"""What the rows of a route are called where they are read from the source."""


_LEAVE_ROWS = ("insert", "update_new")
"""The kinds of changes that leave a row at the target."""


class _ColumnWay(NamedTuple):
    """What becomes of one column."""

    name: str
    mask: Callable[[bytes], bytes] | None


class RoutedColumn(NamedTuple):
    """One column of the rows as they come to the target."""

    column: Column
    """Under its name at the target, with the type of what is read."""
    sql: str
    """At the source."""
    is_masked: bool = False
    """Whether the value is made here, for the target's type, and not the column's own."""


class RowRoute:
    """The rows of one source table on their way to one target table. Immutable."""

    def __init__(
        self,
        settings: RouteSettings,
        target: TableSchema,
        source: Mapping[str, Column],
        *,
        key: Secret | None,
        shifted: frozenset[str] = frozenset(),
    ) -> None:
        """`source` are the source's columns, by name in lower case, as far as they are known; those that come as they
        are may be missing. `shifted` are the columns that the configuration has arrive otherwise than their type says.
        Raises PlanError where the route cannot be followed exactly."""
        self.settings = settings
        self._target = {column.name.lower(): column for column in target.columns}
        self._unique = {name.lower() for each in (target.primary_key, *target.unique_keys) for name in each}
        if wrong := sorted(shifted & settings.mask.keys()):
            raise PlanError(f"{wrong[0]} is listed in timestamp_columns or binary_columns, and so cannot be masked")
        self._masks = {name: mask for name in settings.mask if (mask := self._mask(name, key)) is not None}
        self._added = [(name, self._constant(name)) for name in settings.add]
        self._added_tokens = {
            self._target[name.lower()].name: msgspec.Raw(mask.token(b"")) for name, mask in self._added
        }
        self._check_keys(target)
        known = {
            name: column for name in {*source, *self._kept_names()} if (column := self._typed(name, source)) is not None
        }
        self._conditions = self._compile(known, shifted)
        self._ways: dict[str, _ColumnWay | None] = {}

    # -- replay ------------------------------------------------------------------------------------------------------

    def changed(self, change: RowChange) -> RowChange | None:
        """The change as it comes to the target; None where it does not concern it. Raises PlanError."""
        data = read_image(change.data)
        if change.kind == "update" and change.old is not NO_JSON:
            return self._updated(change, data)
        kind = "insert" if change.kind == "bootstrap-insert" else change.kind
        if self._conditions and not self._holds(kind if kind != "update" else "update_new", data):
            return None
        return msgspec.structs.replace(change, data=self._image(data, whole=True))

    def named(self, change: RowChange) -> RowChange:
        """The change as it would come if all conditions were true, by which its rows can be named. Raises PlanError."""
        old = change.old
        if change.kind == "update" and old is not NO_JSON:
            old = self._image(read_image(old), whole=False)
        return msgspec.structs.replace(change, data=self._image(read_image(change.data), whole=True), old=old)

    def row(self, image: Mapping[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw] | None:
        """A row that the source has now, as the target is to have it; None where it is not to be there. Raises
        PlanError."""
        if not all(self._holds(kind, image) for kind in _LEAVE_ROWS):
            return None
        return read_image(self._image(image, whole=True))

    def _updated(self, change: RowChange, data: dict[str, msgspec.Raw]) -> RowChange | None:
        old = read_image(change.old)
        before = {**data, **old}
        was = not self._conditions or self._holds("update_old", before)
        stays = not self._conditions or self._holds("update_new", data)
        if was and not stays:
            return msgspec.structs.replace(change, kind="delete", data=self._image(before, whole=True), old=NO_JSON)
        if not stays:
            return None
        if not was:
            return msgspec.structs.replace(change, kind="insert", data=self._image(data, whole=True), old=NO_JSON)
        seen = self._image(old, whole=False)
        if old and seen == b"{}":
            return None  # only what is left out has changed
        return msgspec.structs.replace(change, data=self._image(data, whole=True), old=seen)

    def _holds(self, kind: str, row: Mapping[str, msgspec.Raw]) -> bool:
        condition = self._conditions.get(kind)
        if condition is None:
            return True
        try:
            return condition.holds({name.lower(): bytes(token) for name, token in row.items()}) is True
        except PlanError as exc:
            raise PlanError(f"whether the route of {self.settings.table} takes the row cannot be told: {exc}") from exc

    def _image(self, row: Mapping[str, msgspec.Raw], *, whole: bool) -> msgspec.Raw:
        found: dict[str, msgspec.Raw] = {}
        for name, token in row.items():
            way = self._ways[name] if name in self._ways else self._way(name)
            if way is not None:
                found[way.name] = token if way.mask is None else msgspec.Raw(way.mask(bytes(token)))
        if whole:
            found.update(self._added_tokens)
        return msgspec.Raw(msgspec.json.encode(found))

    def _way(self, name: str) -> _ColumnWay | None:
        lower = name.lower()
        found: _ColumnWay | None = None
        if lower not in self.settings.leave_out:
            mask = self._mask_of(lower)
            found = _ColumnWay(self.settings.rename.get(lower, name), mask.token if mask else None)
        self._ways[name] = found
        return found

    def _mask_of(self, name: str) -> Mask | None:
        if name in self.settings.mask and name not in self._masks:
            raise PlanError(f"the target has no column {self.settings.rename.get(name, name)}, which the route masks")
        return self._masks.get(name)

    # -- copy, verify, repair ----------------------------------------------------------------------------------------

    def columns(self, source: TableSchema) -> Iterator[RoutedColumn]:
        """The columns of the source's rows as they come to the target, in order; those that it generates are not there
        where it generates them of other values."""
        for column in source.columns:
            lower = column.name.lower()
            if lower in self.settings.leave_out:
                continue
            if column.generated and (self.settings.mask or self.settings.leave_out):
                continue
            name = self.settings.rename.get(lower, column.name)
            mask = self._mask_of(lower)
            if mask is None:
                yield RoutedColumn(msgspec.structs.replace(column, name=name), quote_name(column.name))
            else:
                yield RoutedColumn(msgspec.structs.replace(mask.column, name=name), mask.sql, is_masked=True)
        for name, mask in self._added:
            named = msgspec.structs.replace(mask.column, name=self._target[name.lower()].name)
            yield RoutedColumn(named, mask.sql, is_masked=True)

    @property
    def condition_sql(self) -> str:
        """Which rows of the source are at the target; empty for all of them.

        Where kinds of changes have their own conditions, those that insertions and updates leave there.
        """
        found = [self._conditions[kind].sql for kind in _LEAVE_ROWS if kind in self._conditions]
        return " AND ".join(dict.fromkeys(found))

    def view(self, source: TableSchema, *, condition: str = "") -> TableSchema:
        """The source's table as the target is to have it: its columns under their names there, its keys, and instead of
        its rows those that come by the route (`rows_sql`). `condition` must hold too."""
        self.check_types(source)
        columns = list(self.columns(source))
        names = {column.name: self.settings.rename.get(column.name.lower(), column.name) for column in source.columns}
        there = {each.column.name for each in columns}

        def key(of: tuple[str, ...]) -> tuple[str, ...]:
            found = tuple(names[name] for name in of)
            return found if all(name in there for name in found) else ()

        listed = ", ".join(f"{each.sql} AS {quote_name(each.column.name)}" for each in columns)
        parts = [f"({each})" for each in (self.condition_sql, condition) if each]
        where = f" WHERE {' AND '.join(parts)}" if parts else ""
        index = " FORCE INDEX (PRIMARY)" if source.primary_key else ""
        return msgspec.structs.replace(
            source,
            columns=tuple(each.column for each in columns),
            primary_key=key(source.primary_key),
            unique_keys=tuple(found for each in source.unique_keys if (found := key(each))),
            row_key=key(source.row_key),
            rows_sql=f"(SELECT {listed} FROM {quote_table(source.name)}{index}{where}) AS {ALIAS}",
        )

    def check_types(self, source: TableSchema) -> None:
        """Raises PlanError where a column to be hashed has another type at the source than at the target."""
        for column in source.columns:
            settings = self.settings.mask.get(column.name.lower())
            target = self._target.get(self.settings.rename.get(column.name.lower(), column.name).lower())
            if settings is None or target is None or settings.kind not in ("hash", "fake"):
                continue
            if (column.kind, column.unsigned) != (target.kind, target.unsigned):
                raise PlanError(
                    f"{column.name} is {column.column_type} at the source and {target.column_type} at the target: their"
                    " masks would differ"
                )

    # -- how it is compiled ------------------------------------------------------------------------------------------

    def _kept_names(self) -> set[str]:
        renamed = {new.lower(): old for old, new in self.settings.rename.items()}
        added = {name.lower() for name in self.settings.add}
        return {renamed.get(name, name) for name in self._target if name not in added}

    def _typed(self, name: str, source: Mapping[str, Column]) -> Column | None:
        """A source column with its type: the target's where it comes as it is, since both follow the stream."""
        settings = self.settings
        if name in settings.leave_out or name in settings.mask:
            return source.get(name)
        target = self._target.get(settings.rename.get(name, name).lower())
        if target is None:
            return source.get(name)
        return msgspec.structs.replace(target, name=source[name].name if name in source else name)

    def _mask(self, name: str, key: Secret | None) -> Mask | None:
        """By the type that the column has at the target, so that it is the same mask whoever makes it; None where the
        target has no such column: it was dropped, or a row that has it is refused."""
        target = self._target.get(self.settings.rename.get(name, name).lower())
        if target is None:
            return None
        own = msgspec.structs.replace(target, name=name)
        is_unique = target.name.lower() in self._unique
        return make_mask(self.settings.mask[name], own, target, key=key, is_unique=is_unique)

    def _constant(self, name: str) -> Mask:
        target = self._target.get(name.lower())
        if target is None:
            raise PlanError(
                f"the target has no column {name}, which the route adds: make it, or give its type in `add`"
            )
        return constant(self.settings.add[name].value, target)

    def _check_keys(self, target: TableSchema) -> None:
        """Where a part of the key is left out at the source, the target's rows could not be told apart."""
        gone = {name for name in target.row_key if name.lower() in self.settings.leave_out}
        if gone:
            raise PlanError(f"{target.name} has the key column {', '.join(sorted(gone))}, which the route leaves out")

    def _compile(self, columns: Mapping[str, Column], shifted: frozenset[str]) -> dict[str, CompiledCondition]:
        usable = {name: column for name, column in columns.items() if name not in shifted}
        found = {}
        for kind, condition in self.settings.conditions().items():
            try:
                found[kind] = compile_condition(condition, usable)
            except PlanError as exc:
                raise PlanError(
                    f"the condition of the route of {self.settings.table} cannot be evaluated as the source would"
                    f" ({self.settings.where[kind]}): {exc}"
                ) from exc
        assert set(found) <= set(KINDS_OF_ROWS)  # noqa: S101
        return found


def rows_of(schema: TableSchema) -> str:
    """What stands behind FROM for the rows of a table, or of what a route makes of it."""
    return schema.rows_sql or quote_table(schema.name)


def qualifier(schema: TableSchema) -> str:
    """What stands before the name of a column of `rows_of`."""
    return ALIAS if schema.rows_sql else quote_table(schema.name)


def source_columns(schema: TableSchema | None) -> dict[str, Column]:
    """By name in lower case."""
    return {column.name.lower(): column for column in schema.columns} if schema is not None else {}
