"""The pages of parked changes: found by filters, looked at whole, retried, edited and given up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pydbsync.errors import OperationError
from pydbsync.model import BYTES_KINDS, TableSchema
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.parked.retry import RetryOutcome
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.parked.view import UNREADABLE, Parked
from pydbsync.ops.sinks.desk import SinkDesk
from pydbsync.ui.access import PageSession
from pydbsync.ui.fields import KINDS, FieldError, RowField, editable, fields_of, from_form, with_fields
from pydbsync.ui.guard import first
from pydbsync.ui.site import FormFields, Site, at

_PAGE: Final = 50
_GROUPS: Final = 12
_RETRY_WAIT_S: Final = 4.0
"""A retry that takes longer goes on behind the page."""
_MESSAGE: Final = 65_536
FILTERS: Final = ("stream", "table", "kind", "because", "code", "status")


class ParkedPages:
    """All of them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Their addresses."""
        reads, changes = self._site.reads, self._site.changes
        return [
            Route("/parked", reads(self.list)),
            Route("/parked/retry", changes(self.retry), methods=["POST"]),
            Route("/parked/skip", reads(self.ask_skip)),
            Route("/parked/skip", changes(self.skip), methods=["POST"]),
            Route("/parked/{id:int}", reads(self.look)),
            Route("/parked/{id:int}/edit", reads(self.ask_edit)),
            Route("/parked/{id:int}/edit", changes(self.edit), methods=["POST"]),
            Route("/part/job", reads(self.job)),
        ]

    def list(self, request: Request) -> Response:
        """What is parked, with what is alike in it."""
        filters = _filters(request.query_params)
        selection = _selection(filters)
        above = _whole(request.query_params.get("above", "")) or 0
        streams = [queue.stream for queue in self._site.settings.queues]
        with self._site.desk() as desk:
            briefs = desk.briefs(selection, above=above, limit=_PAGE + 1)
            total = desk.count(selection)
            groups = desk.groups(selection, limit=_GROUPS + 1) if total else []
        return self._site.page(
            request, "parked.html", briefs=briefs[:_PAGE], has_more=len(briefs) > _PAGE, total=total,
            groups=groups[:_GROUPS], has_more_groups=len(groups) > _GROUPS, filters=filters,
            query=urlencode(_given(filters)), is_filtered=bool(_given(filters)), above=above,
            streams=streams, job=self._site.jobs.newest,
            # Each stream of a sink numbers its own: those of several are not marked together.
            can_mark=self._site.settings.sink is None or bool(filters["stream"]) or len(streams) < 2,
        )  # fmt: skip

    def job(self, request: Request) -> Response:
        """How far the retry is."""
        return self._site.page(request, "part_job.html", job=self._site.jobs.newest)

    def look(self, request: Request) -> Response:
        """One of them whole."""
        with self._site.desk() as desk:
            each = _named(desk, request)
            history = desk.history(each.id, stream=each.stream)
            table = _table(desk, each)
        found = None if each.is_schema_change else fields_of(each.text)
        return self._site.page(
            request, "change.html", each=each, history=history, rows=_rows(found or [], table), has_fields=bool(found),
            table=table, sql=_sql(each), message=_shown(each.message), size_bytes=len(each.message),
            edited=None if each.edited is None else _shown(each.edited), job=self._site.jobs.newest,
            is_unread=each.kind == UNREADABLE and each.edited is None,
        )  # fmt: skip

    def ask_edit(self, request: Request) -> Response:
        """The form with its values."""
        with self._site.desk() as desk:
            each = _named(desk, request)
            table = _table(desk, each)
        return self._edit_page(request, each, table)

    def _edit_page(
        self,
        request: Request,
        each: Parked,
        table: TableSchema | None,
        *,
        error: str = "",
        form: FormFields | None = None,
    ) -> Response:
        whole = request.query_params.get("whole") == "1" or each.is_schema_change
        found = None if whole else fields_of(each.text)
        text = _sql(each) if each.is_schema_change else editable(each.text)
        typed = {number: (kind, text) for number, kind, text in _typed(form)} if form is not None else {}
        if form is not None and "text" in form:
            text = from_form(first(form, "text"))
        return self._site.page(
            request, "edit.html", http_status=409 if error else 200, each=each, kinds=KINDS, error=error,
            rows=list(enumerate(_rows(found or [], table))), typed=typed, is_whole=found is None, text=text,
            digest=_digest(each.text),
        )  # fmt: skip

    def edit(self, request: Request, form: FormFields, session: PageSession) -> Response:
        """Keep what was typed, and retry if that was asked."""
        parked_id = request.path_params["id"]
        with self._site.desk(self._site.actor(request, session)) as desk:
            each = _named(desk, request)
            if first(form, "digest") != _digest(each.text):
                raise OperationError(f"somebody has changed {parked_id} meanwhile; load the page again")
            try:
                text = _edited(each, form)
                desk.edit(parked_id, text, stream=each.stream)
            except (FieldError, OperationError) as exc:
                return self._edit_page(request, each, _table(desk, each), error=str(exc), form=form)
        session.said.append(f"{parked_id} is edited")
        if first(form, "then") == "retry":
            meant = Selection(ids=(parked_id,), stream=each.stream)
            self._retry(request, session, meant, f"retry of {parked_id}")
        return RedirectResponse(at(parked_id, request.query_params.get("stream", "")), 303)

    def retry(self, request: Request, form: FormFields, session: PageSession) -> Response:
        """Those that are named, or all that the filters mean."""
        selection = _meant(form)
        what = f"retry of {selection.ids[0]}" if len(selection.ids) == 1 else "retry"
        self._retry(request, session, selection, what, takes_unread=first(form, "unread") == "1")
        return RedirectResponse(_back(form), 303)

    def _retry(
        self, request: Request, session: PageSession, selection: Selection, title: str, *, takes_unread: bool = False
    ) -> None:
        actor = self._site.actor(request, session)

        def work() -> Iterator[RetryOutcome]:
            with self._site.desk(actor) as desk:
                yield from desk.retry(selection, takes_unread=takes_unread)

        job = self._site.jobs.start(title, work, wait_s=_RETRY_WAIT_S)
        if job is None:
            raise OperationError("another retry is at work; wait for its end")
        if not job.is_over:
            session.said.append("the retry goes on; its progress stands below")
        elif job.error:
            session.said.append(job.error)
        elif job.applied + job.stayed == 1:
            session.said.append(job.last)
        else:
            session.said.append(f"{job.applied:,} applied, {job.stayed:,} stay parked")

    def ask_skip(self, request: Request) -> Response:
        """What would be given up, and the form with the reason."""
        filters = _filters(request.query_params)
        ids = [number for each in request.query_params.getlist("id") if (number := _whole(each)) is not None]
        selection = _selection({"stream": filters["stream"]} if ids else filters, ids)
        with self._site.desk() as desk:
            total = desk.count(selection)
            groups = desk.groups(selection, limit=_GROUPS)
        return self._site.page(
            request, "skip.html", total=total, groups=groups, ids=ids, stream=filters["stream"],
            filters={} if ids else _given(filters),
        )  # fmt: skip

    def skip(self, request: Request, form: FormFields, session: PageSession) -> Response:
        """Give them up for good. What came since the form was shown is not meant."""
        selection = _meant(form)
        with self._site.desk(self._site.actor(request, session)) as desk:
            if (total := desk.count(selection)) != _whole(first(form, "total")):
                raise OperationError(f"it would be {total:,} changes now; look again before you give them up")
            skipped = desk.skip(selection, reason=first(form, "reason"))
        one = selection.ids[0] if len(selection.ids) == 1 else None
        session.said.append(f"{one} is skipped" if one is not None else f"{skipped:,} skipped")
        return RedirectResponse(at(one, first(form, "stream")) if one is not None else "/parked", 303)


def _filters(given: QueryParams) -> dict[str, str]:
    return {name: given.get(name, "").strip() for name in FILTERS}


def _given(filters: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in filters.items() if value}


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _selection(filters: dict[str, str], ids: list[int] | None = None) -> Selection:
    code = filters.get("code", "")
    if code and _whole(code) is None:
        raise OperationError(f"an error number is a number, and not {code!r}")
    return Selection(
        ids=tuple(ids or ()), stream=filters.get("stream") or None,
        tables=(filters["table"],) if filters.get("table") else (),
        kinds=(filters["kind"],) if filters.get("kind") else (), because=filters.get("because", ""),
        code=_whole(code), every_status=filters.get("status") == "all",
    )  # fmt: skip


def _meant(form: FormFields) -> Selection:
    """By ids, else by the filters. A form that names ids, and none of them, means nothing."""
    ids = [number for each in form.get("id", []) if (number := _whole(each)) is not None]
    if first(form, "by") == "id" and not ids:
        raise OperationError("mark the changes that you mean, or take all that are shown")
    if ids:
        return Selection(ids=tuple(ids), stream=first(form, "stream").strip() or None)
    return msgspec.structs.replace(
        _selection({name: first(form, name).strip() for name in FILTERS}), every_status=False
    )


def _back(form: FormFields) -> str:
    number = _whole(first(form, "id")) if first(form, "one") else None
    return "/parked" if number is None else at(number, first(form, "stream"))


def _named(desk: ParkedDesk | SinkDesk, request: Request) -> Parked:
    return desk.named(request.path_params["id"], stream=request.query_params.get("stream") or None)


def _table(desk: ParkedDesk | SinkDesk, each: Parked) -> TableSchema | None:
    return desk.target_table(each.target) if each.source_table and not each.is_schema_change else None


def _rows(fields: list[RowField], table: TableSchema | None) -> list[dict[str, Any]]:
    """Each value with the type of its column at the target."""
    columns = {column.name.lower(): column for column in table.columns} if table is not None else {}
    keys = {name.lower() for name in (table.row_key if table is not None else ())}
    found = []
    for field in fields:
        column = columns.get(field.name.lower())
        found.append(
            {
                "field": field,
                "type": column.column_type if column is not None else "",
                "is_key": field.name.lower() in keys,
                "is_missing": table is not None and column is None,
                "bytes": _bytes_of(field) if column is not None and column.kind in BYTES_KINDS else None,
            }
        )
    return found


def _bytes_of(field: RowField) -> int | None:
    """How long a value is that stands there as base64."""
    if field.kind != "text" or len(field.text) % 4:
        return None
    return len(field.text) // 4 * 3 - (len(field.text) - len(field.text.rstrip("=")))


def _sql(each: Parked) -> str | None:
    """Of a schema change; what was edited is SQL."""
    if not each.is_schema_change:
        return None
    if each.edited is not None:
        return editable(each.edited)
    try:
        return str(msgspec.json.decode(each.message)["sql"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return None


def _shown(message: bytes) -> str:
    """For people: indented, cut, and with its length where it is cut."""
    try:
        text = msgspec.json.format(message, indent=2).decode("utf-8", "backslashreplace")
    except msgspec.DecodeError:
        text = message.decode("utf-8", "backslashreplace")
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}… ({len(message):,} bytes in all)"


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _typed(form: FormFields) -> Iterator[tuple[int, str, str]]:
    """(number of the field, kind, text)."""
    for name in form:
        number = _whole(name.removeprefix("kind-")) if name.startswith("kind-") else None
        if number is not None:
            yield number, first(form, name), from_form(first(form, f"text-{number}"))


def _edited(each: Parked, form: FormFields) -> bytes:
    """Raises FieldError."""
    if "text" in form:
        if not (text := from_form(first(form, "text")).strip()):
            raise FieldError("nothing is left of it; to give the change up, skip it")
        return text.encode()
    return with_fields(each.text, {number: (kind, text) for number, kind, text in _typed(form)})
