"""From a report of verify to a plan: the rows are looked at once more, and only what still differs is planned."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import ApplyError, OperationError, PlanError, TransientError
from pydbsync.model import NO_JSON, TableName, read_image
from pydbsync.ops.conditions import condition_of, leaving_nothing_out, unmatched, without_table
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.documents import Documents
from pydbsync.ops.repair.images import CountedImage, read_all_images, read_images
from pydbsync.ops.repair.keyless import count_rows, count_under
from pydbsync.ops.repair.plan import PlanHead, RepairPlan, new_plan_name, render_change
from pydbsync.ops.repair.writer import ChangeWriter
from pydbsync.ops.servers import Servers
from pydbsync.ops.verify.matching import TableSides, open_sides
from pydbsync.ops.verify.pairs import TablePair, find_pairs
from pydbsync.ops.verify.report import TableReport, VerifyReport
from pydbsync.ops.verify.settle import RowVerdict, Settler
from pydbsync.ops.verify.sides import Request
from pydbsync.plan.rows import overrides_for
from pydbsync.route.filters import Filters

RowImage: TypeAlias = tuple[bytes, ...]
"""The tokens of the compared columns."""

_AROUND_BYTES = 1_000
"""Of a statement in which the condition of a row without a key stands twice."""
_KINDS = ("delete", "update", "insert")
"""The order within a table: what goes makes room for what comes."""


class Choice(msgspec.Struct, frozen=True):
    """Which of the report's differences are planned."""

    tables: tuple[str, ...] = ()
    """Globs of source names; empty for all."""
    exclude: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    """Globs of source tables, with a condition in SQL that the row fulfils at either side."""


class Planner:
    """Plans the repair of one report's differences."""

    def __init__(
        self,
        settings: Settings,
        servers: Servers,
        settler: Settler,
        *,
        takes_unproven: bool = False,
        choice: Choice | None = None,
    ) -> None:
        self._settings = settings
        self._servers = servers
        self._settler = settler
        self._takes_unproven = takes_unproven
        self._choice = choice or Choice()
        self._chosen = Filters(include=self._choice.tables, exclude=self._choice.exclude)
        self._left_out: list[str] = []
        self._rows_left_out: Counter[tuple[TableName, str]] = Counter()
        self.writers: dict[TableName, ChangeWriter] = {}
        """Of the tables that are in the plan."""

    def plan(self, report: VerifyReport) -> RepairPlan:
        """The plan, which may be empty. Raises ApplyError, Stopped."""
        pairs = self._pairs(report)
        sources = [name for table in report.tables for name in table.sources]
        choice, done = self._choice, "in the report"
        known = [*sources, *(table.target for table in report.tables if not table.sources)]
        if wrong := [
            *without_table(choice.where, sources, done=done),
            *unmatched(choice.tables, known, known=known, done=done),
            *leaving_nothing_out(choice.exclude, known),
        ]:
            raise OperationError("; ".join(wrong))
        changes: list[PlannedChange] = []
        for table in report.tables:
            if not any(self._chosen.takes(name) for name in table.sources or [table.target]):
                continue
            self._note_whole(table)
            if not table.differences:
                continue
            pair = pairs.get(table.target)
            if pair is None:
                self._leave_out(
                    table.target, "it takes no part in the comparison any more, or a user has no SELECT on it"
                )
                continue
            try:
                changes += self._plan_table(table, pair)
            except TransientError:
                raise
            except (ApplyError, OperationError, PlanError) as exc:
                self._leave_out(table.target, str(exc))
        numbered = tuple(msgspec.structs.replace(change, number=n) for n, change in enumerate(changes, start=1))
        head = PlanHead(
            plan=new_plan_name(),
            source=report.source,
            target=report.target,
            made_at=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            changes=len(numbered),
        )
        rows = [
            f"{table}: {'a row' if count == 1 else f'{count} rows'}: {why}"
            for (table, why), count in self._rows_left_out.items()
        ]
        return RepairPlan(head, numbered, (*self._left_out, *rows))

    def _pairs(self, report: VerifyReport) -> dict[TableName, TablePair]:
        found = find_pairs(
            self._settings,
            router_from(self._settings),
            self._servers.source,
            self._servers.target,
            tables=(),
            is_shared=report.options.get("shared target") == "yes",
        )
        return {pair.target: pair for pair in found.pairs}

    def _note_whole(self, table: TableReport) -> None:
        for text in table.structure:
            self._leave_out(table.target, f"{text} (repair changes rows alone)")
        if table.error:
            self._leave_out(table.target, f"could not be compared: {table.error}")
        if table.is_cut:
            self._leave_out(table.target, "more rows differ than the report lists; verify again afterwards")

    def _leave_out(self, table: TableName, why: str) -> None:
        self._left_out.append(f"{table}: {why}")

    def _leave_out_row(self, table: TableName, why: str) -> None:
        self._rows_left_out[table, why] += 1

    def _plan_table(self, table: TableReport, pair: TablePair) -> list[PlannedChange]:
        sides = open_sides(pair, self._settings, self._servers.source, self._servers.target)
        if list(sides.key_names) != table.key or [column.name for column in sides.columns] != table.columns:
            raise OperationError("the table was altered since the report was made; verify it again")
        self.writers[table.target] = make_writer(self._settings, sides)
        requests = {tuple(request) for difference in table.differences for request in difference.requests}
        if where := condition_of(self._choice.where, [part.name for part in pair.sources]):
            requests = sides.source.holding(requests, where) | sides.target.holding(requests, where)
        settled = self._settler.settle(sides, requests)
        if settled.in_flux:
            self._leave_out(table.target, f"{settled.in_flux} rows change all the time; verify again later")
        for key, why in settled.unreadable.items():
            self._leave_out(table.target, f"the row {', '.join(key)} cannot be read as it is: {why}")
        verdicts = [verdict for verdict in settled.different if verdict.is_proven or self._takes_unproven]
        if len(verdicts) < len(settled.different):
            self._leave_out(
                table.target,
                f"{len(settled.different) - len(verdicts)} rows are unproven, as the target is not known to have passed"
                f" the source's place{self._settler.why_unproven}; --stall-s waits for longer,"
                " --unproven takes them all the same",
            )
        plan = self._plan_keyed if sides.has_key else self._plan_keyless
        changes = list(plan(sides, verdicts))
        return sorted(changes, key=lambda change: _KINDS.index(change.kind))

    def _plan_keyed(self, sides: TableSides, verdicts: Iterable[RowVerdict]) -> Iterator[PlannedChange]:
        for part in _parts(verdicts):
            requests = {verdict.identity for verdict in part if isinstance(verdict.identity, tuple)}
            source, target = read_images(sides.source, requests), read_images(sides.target, requests)
            changes: list[PlannedChange] = []
            for verdict in part:
                request: Request = verdict.identity  # type: ignore[assignment]
                if (verdict.source is not None and verdict.source.count > 1) or request is None:
                    self._leave_out(sides.pair.target, "a key that several source tables have cannot be repaired")
                    continue
                after, before = source.get(request), target.get(request)
                if isinstance(after, str) or isinstance(before, str):
                    self._leave_out_row(sides.pair.target, after if isinstance(after, str) else str(before))
                    continue
                if (after is None) != (verdict.source is None) or (before is None) != (verdict.target is None):
                    self._leave_out(sides.pair.target, "a row changed while the plan was made; verify again")
                    continue
                changes.append(_change(sides, request, before, after))
            yield from self._writable(sides, changes)

    def _plan_keyless(self, sides: TableSides, verdicts: Iterable[RowVerdict]) -> Iterator[PlannedChange]:
        writer = self.writers[sides.pair.target]
        for part in _parts(verdicts):
            at_source = {r for verdict in part if verdict.source for r in verdict.source.requests}
            at_target = {r for verdict in part if verdict.target for r in verdict.target.requests}
            source = read_all_images(sides.source, at_source)
            target = read_all_images(sides.target, at_target, own=writer.own)
            changes: list[PlannedChange] = []
            for verdict in part:
                wanted = verdict.source.count if verdict.source else 0
                held = verdict.target.count if verdict.target else 0
                is_extra = held > wanted
                found, images = (verdict.target, target) if is_extra else (verdict.source, source)
                missing = abs(wanted - held)
                for request in sorted(found.requests if found else ()):
                    for image in images.get(request, ()):
                        if isinstance(image, str):
                            self._leave_out_row(sides.pair.target, image)
                            missing = 0
                        if isinstance(image, str) or not missing:
                            break
                        copies = min(missing, image.copies) if is_extra else missing
                        missing -= copies
                        change = _change(sides, request, image if is_extra else None, None if is_extra else image)
                        changes.append(msgspec.structs.replace(change, copies=copies, also=_digests(verdict, request)))
            yield from self._counted(sides, self._writable(sides, changes))

    def _writable(self, sides: TableSides, changes: list[PlannedChange]) -> list[PlannedChange]:
        """The changes that the target will hold as they are, and of which it can have the former row back."""
        documents = Documents(self._servers.target, sides.target_schema, across_brands=sides.across_brands)
        unkept = documents.unkept([image for change in changes for image in (change.before, change.after)])
        found: list[PlannedChange] = []
        stand_ins: Counter[RowImage] = Counter()
        for place, change in enumerate(changes):
            lost = unkept.get(2 * place + 1) or unkept.get(2 * place)
            if lost is not None:
                self._leave_out_row(change.table, lost.why)
                stand_ins[_as_row(lost.stored, sides)] += change.copies
            elif self._can_be_written(change):
                found.append(change)
        return found if sides.has_key or not stand_ins else list(self._without(stand_ins, found, sides))

    def _without(
        self, stand_ins: Counter[RowImage], changes: Iterable[PlannedChange], sides: TableSides
    ) -> Iterator[PlannedChange]:
        """Without the deletion of rows that stand for those which the target cannot hold as they are."""
        for change in changes:
            row = _as_row(change.before, sides) if change.kind == "delete" else None
            spared = min(change.copies, stand_ins[row]) if row is not None else 0
            if row is not None and spared:
                stand_ins[row] -= spared
                self._leave_out_row(change.table, "it stands for a row that the target cannot hold as it is")
            if spared < change.copies:
                yield msgspec.structs.replace(change, copies=change.copies - spared)

    def _can_be_written(self, change: PlannedChange) -> bool:
        try:
            render_change(change, self.writers[change.table])
        except PlanError as exc:
            self._leave_out_row(change.table, str(exc))
            return False
        return True

    def _counted(self, sides: TableSides, changes: list[PlannedChange]) -> Iterator[PlannedChange]:
        """With the numbers of such rows that both sides hold now."""
        writer = self.writers[sides.pair.target]
        most = self._servers.target.call(lambda connection: connection.max_allowed_packet) // 2 - _AROUND_BYTES
        asked = [(change, condition) for change in changes if len(condition := writer.where(change)) < most]
        for _ in range(len(changes) - len(asked)):
            self._leave_out_row(
                sides.pair.target, "it has no key, and is too long to be looked for at the target (max_allowed_packet)"
            )
        changes, conditions = [change for change, _ in asked], [condition for _, condition in asked]
        counts = self._servers.target.call(lambda connection: count_rows(connection, writer, conditions))
        at_source = count_under(sides.source, {change.request for change in changes})
        for change, had in zip(changes, counts, strict=True):
            yield msgspec.structs.replace(change, had=had, source_had=at_source[change.request])


def _digests(verdict: RowVerdict, but: Request) -> tuple[Request, ...]:
    sides = (verdict.source, verdict.target)
    return tuple(sorted({request for found in sides if found for request in found.requests} - {but}))


def _as_row(image: msgspec.Raw, sides: TableSides) -> RowImage:
    values = {name.lower(): bytes(token) for name, token in read_image(image).items()} if image else {}
    return tuple(values.get(column.name.lower(), b"") for column in sides.columns)


def make_writer(settings: Settings, sides: TableSides) -> ChangeWriter:
    """The writer of a pair's target table. Raises OperationError, PlanError."""
    if not sides.target_schema.transactional:
        raise OperationError(
            f"{sides.target_schema.name} has no transactions at the target (its storage engine), so that a row could"
            " not be put back as it was when its change is refused; ALTER TABLE ... ENGINE=InnoDB, and make a new plan"
        )
    source = sides.source_schemas[0].name
    overrides = overrides_for(source, settings.binary_columns, settings.timestamp_columns, settings.timestamp_offset_s)
    named = {column.target.name for column in sides.columns}
    columns = sides.target_schema.columns
    own = frozenset(column.name for column in columns if column.name not in named and not column.generated)
    return ChangeWriter(sides.target_schema, overrides=overrides, dialect=sides.target.server.dialect, own=own)


def _change(
    sides: TableSides, request: Request, before: CountedImage | None, after: CountedImage | None
) -> PlannedChange:
    return PlannedChange(
        number=0,
        table=sides.pair.target,
        sources=tuple(part.name for part in sides.pair.sources),
        kind="insert" if before is None else "delete" if after is None else "update",
        request=request,
        before=before.data if before else NO_JSON,
        after=after.data if after else NO_JSON,
    )


def _parts(verdicts: Iterable[RowVerdict], size: int = 200) -> Iterator[list[RowVerdict]]:
    part: list[RowVerdict] = []
    for verdict in verdicts:
        part.append(verdict)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
