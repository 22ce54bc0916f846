"""What an old source has in its binlog that the target never got: row by row, beside what the target has there now."""

from __future__ import annotations

import logging
import random
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pydbsync.apply.catalog import LiveCatalog
from pydbsync.apply.connection import Connection
from pydbsync.apply.server_errors import TOO_LONG_CODE
from pydbsync.config.servers import TargetSettings
from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.routing import router_from
from pydbsync.engine.table_plans import TablePlans
from pydbsync.errors import OperationError, PermanentError, PlanError
from pydbsync.model import COMMIT_ROW, NO_JSON, RowChange, SchemaChange, TableName, read_image
from pydbsync.ops.answers import exact_rows
from pydbsync.ops.capture import CaptureSettings, run_capture
from pydbsync.ops.capture.binlog import kinds
from pydbsync.ops.capture.binlog.reader import BinlogPlace, BinlogReader
from pydbsync.ops.cutover.work import Direction
from pydbsync.ops.verify.place import carries
from pydbsync.places import parse_position
from pydbsync.plan.canonical import canonical_bytes
from pydbsync.plan.images import image_expression, image_token
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.rows import TablePlan

_TRANSACTION_BEGINS = frozenset({kinds.GTID, kinds.GTID_TAGGED, kinds.ANONYMOUS_GTID, kinds.MARIADB_GTID})

log = logging.getLogger("pydbsync.failover")


class Last(msgspec.Struct, frozen=True):
    """Up to where a queue was applied when its source died."""

    stream: str
    base: str
    file: int
    offset: int
    xoffset: int
    server_id: int | None
    position: str
    gtids: str
    newest: str
    """The `ts` of the newest change, UTC."""
    xid: int | None = None
    """Of the transaction that the place lies in."""

    def as_facts(self) -> dict[str, Any]:
        """As it is stored."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def is_before(self, change: RowChange | SchemaChange) -> bool:
        """Whether the change lies behind it."""
        _, file, offset = parse_position(change.position or "")
        xoffset = 0
        if isinstance(change, RowChange):
            xoffset = COMMIT_ROW if change.commit else change.xoffset or 0
        return (file, offset, xoffset) > (self.file, self.offset, self.xoffset)


class Dangling(msgspec.Struct):
    """One change that the target never got."""

    number: int
    kind: str
    table: str
    """At the source."""
    position: str
    xid: int | None
    at: int
    """Seconds since 1970, by the source's clock."""
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    now: dict[str, Any] | None
    """What the target has in its place."""
    standing: str
    """free: the target has there what the source had before; done: it has the same already; conflict: it has something
    else; unknown: its row cannot be told (no key), or the change is a statement."""
    statement: str = ""
    """Of a schema change, which is neither carried nor undone by itself."""

    def __str__(self) -> str:
        if self.statement:
            return f"{self.number}  {self.position}  {self.table}: {self.statement}"
        shown = {"insert": self.after, "delete": self.before}.get(self.kind) or self.after
        text = f"{self.number}  {self.position}  {self.kind} {self.table}: {_shown(shown)}"
        if self.kind == "update":
            text += f", before {_shown({k: v for k, v in (self.before or {}).items() if (shown or {}).get(k) != v})}"
        return f"{text}; the target has {_shown(self.now) if self.now else 'no such row'}: {self.standing}"


def _shown(row: Mapping[str, Any] | None) -> str:
    text = ", ".join(f"{name}={value!r}" for name, value in (row or {}).items())
    return text if len(text) <= 300 else f"{text[:300]}…"


def read_changes(
    way: Direction, last: Iterable[Last], stop: threading.Event
) -> list[tuple[bytes, RowChange | SchemaChange]]:
    """(message, change) of all that lies in the source's binlog behind what was applied, in its order.

    Reads the binlog from the transaction in which the oldest queue stood. Raises OperationError where the source has
    purged it, or it is that of another server; SourceError while the source is away.
    """
    settings = way.settings
    if settings.source is None:
        raise OperationError("the source is not configured (source_db_info)")
    places = {each.stream: each for each in last}
    _assert_whole(settings.source, places.values())
    first = min(places.values(), key=lambda each: (each.file, each.offset))
    begin = f"{first.base}.{first.file:06d}:{_transaction_start(settings.source.connect_keywords(), first)}"
    with tempfile.TemporaryDirectory(prefix="pydbsync-failover-") as folder:
        file = Path(folder) / "changes.ndjson"
        try:
            run_capture(
                CaptureSettings(
                    source=settings.source.connect_keywords(), output="file", file=file, state=Path(folder) / "state",
                    name=f"failover-{random.SystemRandom().randrange(10**9)}", start=begin,
                    follow=False, include=settings.include, exclude=settings.exclude, exact=True, retry=settings.retry,
                ),
                stop,
            )  # fmt: skip
        except OperationError as exc:
            raise OperationError(
                f"what {settings.source.address} has beyond the target cannot all be read: {exc.__context__ or exc}."
                " Where a table was altered since, only binlog_row_metadata=FULL tells the rows before that: copy it"
                " anew from the target"
            ) from exc
        lines = file.read_bytes().split(b"\n") if file.exists() else []
    found = []
    router = router_from(settings)
    for line in filter(None, lines):
        change = decode_message(line)
        if not isinstance(change, RowChange | SchemaChange) or change.position is None:
            continue
        name = TableName(change.database, change.table or "")
        if not (router.takes(name) if change.table else router.filters.takes_database(change.database)):
            continue
        queues = [each for each in settings.queues if carries(each, str(name)) and each.stream in places]
        if any(places[each.stream].is_before(change) for each in queues):
            found.append((line, change))
    return found


def _assert_whole(settings: TargetSettings, last: Iterable[Last]) -> None:
    """The old source is the one that was followed, and its binlog reaches up to where the target is.

    Raises OperationError: one that lost its last commits in the crash, or was made anew, can neither be listed nor
    follow.
    """
    source = Connection(settings.connect_keywords(), key=settings.key, read_timeout_s=60)
    try:
        server_id = int(source.value("SELECT @@server_id"))
        sizes = {str(row[0]): int(row[1]) for row in source.rows("SHOW BINARY LOGS")}
    finally:
        source.close()
    for each in last:
        if each.server_id not in (None, server_id):
            raise OperationError(
                f"{settings.address} is the server {server_id}, and {each.stream} was applied from the server"
                f" {each.server_id}: it is not the old source"
            )
        file = f"{each.base}.{each.file:06d}"
        if file not in sizes and min(sizes, default=file) > file:
            raise OperationError(f"{settings.address} has purged {file}, up to which {each.stream} is applied: copy it"
                                 " anew from the target")  # fmt: skip
        if sizes.get(file, 0) < each.offset:
            raise OperationError(
                f"{settings.address} has lost what the target has: its {file} ends at {sizes.get(file, 0)}, and"
                f" {each.stream} is applied up to {each.position} (a crash without sync_binlog=1, an older copy of its"
                " data, or RESET MASTER): copy it anew from the target"
            )


def _transaction_start(source: Mapping[str, Any], last: Last) -> int:
    """Where in its file the transaction begins that the place lies in: a place in its midst cannot be begun at.

    Raises OperationError where another transaction has that place: the binlog was reset, and has grown beyond it.
    """
    keywords = {**source, "charset": "utf8mb4"}
    keywords.pop("database", None)
    reader = BinlogReader(
        keywords, server_id=random.SystemRandom().randrange(2**31, 2**32 - 1),
        place=BinlogPlace(f"{last.base}.{last.file:06d}", 4), follow=False,
    )  # fmt: skip
    start, xid = 4, None
    try:
        for event in reader.events():
            is_behind = event.start > last.offset
            if reader.file != f"{last.base}.{last.file:06d}" or (is_behind and event.kind in _TRANSACTION_BEGINS):
                break
            if event.kind in _TRANSACTION_BEGINS:
                start = event.start
            if is_behind and event.kind == kinds.XID:
                xid = int.from_bytes(event.body[:8], "little")
                break
    finally:
        reader.close()
    if xid is not None and last.xid not in (None, xid):
        raise OperationError(
            f"at {last.position} the old source has the transaction {xid}, and {last.stream} was applied up to"
            f" {last.xid} there: its binlog is another one (RESET MASTER, an older copy of its data); copy it anew from"
            " the target"
        )
    return start


def beside_target(
    settings: Settings, connection: Connection, changes: Iterable[tuple[bytes, RowChange | SchemaChange]]
) -> Iterator[Dangling]:
    """Each change with what the target has of its row. All changes of one row stand as the first of them does."""
    catalog = LiveCatalog()
    catalog.attach(connection)
    plans = TablePlans(settings, router=router_from(settings), catalog=catalog, log=log)
    plans.attach()
    standings: dict[tuple[TableName, bytes], str] = {}
    for number, (_, change) in enumerate(changes, start=1):
        if isinstance(change, SchemaChange):
            yield Dangling(number, change.kind, f"{change.database}.{change.table or ''}".rstrip("."),
                           change.position or "", None, change.ts, None, None, None, "unknown", change.sql)  # fmt: skip
            continue
        yield _row(number, change, plans, connection, standings)


def _row(
    number: int, change: RowChange, plans: TablePlans, connection: Connection,
    standings: dict[tuple[TableName, bytes], str],
) -> Dangling:  # fmt: skip
    before, after = images(change)
    found = Dangling(
        number, change.kind, f"{change.database}.{change.table}", change.position or "", change.xid, change.ts,
        _decoded(before), _decoded(after), None, "unknown",
    )  # fmt: skip
    try:
        _stand(found, change, plans, connection, standings)
    except PlanError as exc:  # a schema change before it, which the target never got either
        found.standing, found.statement = "unknown", f"the target cannot take it: {exc}"
    return found


def _stand(
    found: Dangling, change: RowChange, plans: TablePlans, connection: Connection,
    standings: dict[tuple[TableName, bytes], str],
) -> None:  # fmt: skip
    for plan, routed in plans.route(change):
        if not plan.has_key:
            continue
        images_ = [image for image in images(routed) if image is not None]
        keys = [plan.key_of(image) for image in images_]
        held = [row for row in (held_row(plan, connection, image) for image in images_) if row is not None]
        found.now = held[0] if held else None
        known = [standings[plan.name, key] for key in keys if (plan.name, key) in standings]
        found.standing = known[0] if known else _standing(plan, connection, *images(routed), is_there=bool(held))
        for key in keys:
            standings.setdefault((plan.name, key), found.standing)


def images(change: RowChange) -> tuple[msgspec.Raw | None, msgspec.Raw | None]:
    """The row before and after."""
    if change.kind == "delete":
        return change.data, None
    if change.kind != "update":
        return None, change.data
    before = read_image(change.data)
    if change.old is not NO_JSON:
        before.update(read_image(change.old))
    return msgspec.Raw(msgspec.json.encode(before)), change.data


def _standing(
    plan: TablePlan, connection: Connection, before: msgspec.Raw | None, after: msgspec.Raw | None, *, is_there: bool
) -> str:
    if after is not None and _has(plan, connection, after):
        return "done"
    if before is not None:
        if _has(plan, connection, before):
            return "free"
        return "done" if after is None and not is_there else "conflict"
    return "conflict" if is_there else "free"


def _has(plan: TablePlan, connection: Connection, image: msgspec.Raw) -> bool:
    """Whether the target has a row that is equal to the image."""
    condition = plan.shape_for(image).where_row(image).decode("utf-8")
    try:
        return bool(connection.rows(f"SELECT 1 FROM {quote_table(plan.name)} WHERE {condition} LIMIT 1"))
    except PermanentError as exc:
        if exc.code != TOO_LONG_CODE:
            raise
    # The row is longer than the target lets a statement be, but it may have come there in parts.
    held, wanted = held_row(plan, connection, image), _decoded(image) or {}
    return held is not None and all(held[name] == value for name, value in wanted.items() if name in held)


def held_row(plan: TablePlan, connection: Connection, image: msgspec.Raw) -> dict[str, Any] | None:
    """The row under the image's key, as the target has it now."""
    shape = plan.shape_for(image)
    pairs = zip(plan.row_key, shape.key_literals(image, plan.row_key), strict=True)
    condition = " AND ".join(f"{quote_name(name)} = {literal.decode('utf-8')}" for name, literal in pairs)
    columns = plan.schema.columns
    listed = ", ".join(image_expression(column, connection.dialect) for column in columns)
    rows = exact_rows(connection, f"SELECT {listed} FROM {quote_table(plan.name)} WHERE {condition} LIMIT 1")
    if not rows:
        return None
    return {
        column.name: msgspec.json.decode(image_token(column, canonical_bytes(value)))
        for column, value in zip(columns, rows[0], strict=True)
    }


def _decoded(image: msgspec.Raw | None) -> dict[str, Any] | None:
    return None if image is None else msgspec.json.decode(image)


def inverse(change: RowChange, database: str, *, number: int) -> bytes:
    """The message that takes a change back, under another database's name. Its place is its number among them, so that
    replay knows after a kill which were made: a row without a key must not be given back twice."""
    before, after = images(change)
    message: dict[str, Any] = {
        "database": database, "table": change.table, "ts": change.ts, "position": f"failover-undo.000001:{number}",
        "xid": number, "commit": True,
    }  # fmt: skip
    if before is None:
        message |= {"type": "delete", "data": after}
    elif after is None:
        message |= {"type": "insert", "data": before}
    else:
        former, later = read_image(before), read_image(after)
        old = {name: value for name, value in later.items() if bytes(former.get(name, NO_JSON)) != bytes(value)}
        message |= {"type": "update", "data": before, "old": old}
    return msgspec.json.encode(message)
