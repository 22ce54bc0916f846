"""The first page: is it running, is anything lost, how far behind is it, what is stuck, and what is to be done; and the
pauses, the last hours and the last comparison."""

from __future__ import annotations

import contextlib
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pydbsync.errors import ConfigError, OperationError, PermanentError, TransientError
from pydbsync.ops.parked.held import apply_what_waits
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.status.facts import Process, Queue
from pydbsync.ops.status.judge import LATE_S
from pydbsync.ui.access import AccessRefused, PageSession
from pydbsync.ui.charts import lag_chart, rows_chart
from pydbsync.ui.guard import TooLarge, first, read_form
from pydbsync.ui.history import HOURS
from pydbsync.ui.site import FormFields, Site

_HOURS = 6


class OverviewPages:
    """Those that are not about parked changes."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Their addresses."""
        reads, changes = self._site.reads, self._site.changes
        return [
            Route("/", reads(self.overview)),
            Route("/part/overview", reads(self.part)),
            Route("/part/history", reads(self.history)),
            Route("/differences", reads(self.differences)),
            Route("/pause", reads(self.ask_pause)),
            Route("/pause", changes(self.pause), methods=["POST"]),
            Route("/resume", changes(self.resume), methods=["POST"]),
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/logout", changes(self.logout), methods=["POST"]),
        ]

    def overview(self, request: Request) -> Response:
        """The whole page."""
        hours = _hours(request)
        return self._site.page(
            request, "overview.html", **self._found(), **self._lately(hours), hours=hours, all_hours=HOURS
        )

    def part(self, request: Request) -> Response:
        """What of it changes from one second to the next."""
        return self._site.page(request, "part_overview.html", **self._found())

    def history(self, request: Request) -> Response:
        """The last hours alone."""
        return self._site.page(request, "part_history.html", **self._lately(_hours(request)))

    def _found(self) -> dict[str, Any]:
        look = self._site.board.look()
        if look is None:
            raise OperationError("nothing was heard of the target yet; load the page again in some seconds")
        status = look.status
        counted = [queue for queue in status.queues if queue.is_configured]
        return {
            "look": look,
            "status": status,
            "counted": counted,
            "running": sum(queue.health != "down" for queue in counted),
            "gaps": sum(each.kind == "gap" for queue in counted for each in queue.incidents),
            "parked": sum(group.count for queue in counted for group in queue.parked),
            "behind": max(filter(None, map(_lag, counted)), default=None),
            "level": _level(counted),
            "waiting": sum(map(_waiting, counted)),
            "paused": {pause.stream: pause for pause in look.pauses if not pause.schema_changes_of},
            "paused_ddl": [pause for pause in look.pauses if pause.schema_changes_of],
            "late_s": LATE_S,
        }

    def _lately(self, hours: int) -> dict[str, Any]:
        """The last hours, and who did what in them."""
        try:
            found, deeds = self._site.store.lately(hours=hours)
        except (TransientError, ConfigError, PermanentError) as exc:
            return {"charts": [], "deeds": [], "unknown": str(exc)}
        names = {queue.stream: queue.queue for queue in self._site.settings.queues}
        order = [*(stream for stream in names if stream in found), *sorted(found.keys() - names.keys())]
        charts = [
            {
                "queue": names.get(stream, stream),
                "lag": lag_chart(found[stream], late_s=LATE_S),
                "rows": rows_chart(found[stream]),
            }
            for stream in order
        ]
        return {"charts": charts, "deeds": deeds, "unknown": ""}

    def differences(self, request: Request) -> Response:
        """The last comparison, side by side."""
        return self._site.page(request, "differences.html", kept=self._site.store.findings())

    # -- pauses ------------------------------------------------------------------------------------------------------

    def ask_pause(self, request: Request) -> Response:
        """The form with the reason."""
        stream = request.query_params.get("stream", "")
        if stream:
            self._known(stream)
        return self._site.page(request, "pause.html", stream=stream)

    def pause(self, request: Request, form: FormFields, session: PageSession) -> Response:
        """Have workers wait, or park the schema changes of a table."""
        stream, tables = first(form, "stream"), first(form, "tables").strip()
        if stream:
            self._known(stream)
        elif "." not in tables:
            raise OperationError(f"expected database.table, got {tables!r}; for a whole database '{tables}.*'")
        added = self._on_table(request, session, stream, "" if stream else tables, first(form, "reason").strip())
        session.said.append(f"{_about(stream, tables)}: {'paused' if added else 'was paused already'}")
        self._site.board.hurry()
        return RedirectResponse("/", 303)

    def resume(self, request: Request, form: FormFields, session: PageSession) -> Response:
        """End a pause; of schema changes, apply what waits."""
        stream, tables = first(form, "stream"), first(form, "tables")
        removed = self._on_table(request, session, stream, tables, None)
        session.said.append(f"{_about(stream, tables)}: {'goes on' if removed else 'was not paused'}")
        if tables and removed:
            with self._site.desk(self._site.actor(request, session)) as desk:
                found = apply_what_waits(desk, Selection(tables=(tables,)))
            session.said.append(f"{found.applied:,} that waited were applied, {len(found.refused):,} stay parked")
        self._site.board.hurry()
        return RedirectResponse("/", 303)

    def _on_table(self, request: Request, session: PageSession, stream: str, tables: str, reason: str | None) -> bool:
        """Add a pause, or with no reason remove it; whether that changed anything."""
        actor = self._site.actor(request, session)
        if reason is None:
            return self._site.store.resume(stream, tables, actor=actor)
        return self._site.store.pause(stream, tables, actor=actor, reason=reason)

    def _known(self, stream: str) -> None:
        if not any(stream == queue.stream for queue in self._site.settings.queues):
            raise OperationError(f"the configuration has no queue {stream!r}")

    # -- sessions ----------------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        """Ask for the token, or take it. It stands in no address and in no log."""
        wanted = _inside(request.query_params.get("next", "/"))
        error, status = "", 200
        if request.method == "POST":
            where = request.client.host if request.client else "?"
            try:
                form = await read_form(request)
                wanted = _inside(first(form, "next"))
                cookie = self._site.access.enter(first(form, "token"), first(form, "name"), where=where)
            except (AccessRefused, TooLarge, ValueError) as exc:
                error, status = str(exc) or "this form cannot be read", 403
                self._site.log.warning("a sign-in from %s was refused", where)
            else:
                # A proxy may speak TLS for us: the browser tells by its origin.
                is_secure = self._site.is_secure or request.headers.get("origin", "").startswith("https://")
                answer = RedirectResponse(wanted, 303)
                answer.set_cookie(self._site.cookie, cookie, httponly=True, samesite="strict", secure=is_secure)
                return answer
        return self._site.page(request, "login.html", http_status=status, next=wanted, error=error)

    def logout(self, request: Request, form: FormFields, session: PageSession) -> Response:
        """End the session."""
        self._site.access.leave(request.cookies.get(self._site.cookie))
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(self._site.cookie)
        return answer


def _inside(wanted: str) -> str:
    """An address of this page; another one leads to the first page."""
    is_inside = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_inside else "/"


def _hours(request: Request) -> int:
    with contextlib.suppress(ValueError):
        if (hours := int(request.query_params.get("hours", ""))) in HOURS:
            return hours
    return _HOURS


def _about(stream: str, tables: str) -> str:
    return stream or f"schema changes of {tables}"


def _lag(queue: Queue) -> float | None:
    worker = queue.worker
    return worker.figures.get("lag_s") if worker is not None and _is_alive(worker) else None


def _is_alive(worker: Process) -> bool:
    return worker.is_fresh and worker.state != "stopped"


def _waiting(queue: Queue) -> int:
    figures = queue.worker.figures if queue.worker is not None else {}
    depth = queue.broker.depth if queue.broker is not None else figures.get("depth") or 0
    return int(depth) + int(figures.get("held") or 0)


def _level(queues: list[Queue]) -> float | None:
    """When the last queue is empty if it goes on like this; None where one does not get shorter, or nothing waits."""
    waiting = [queue for queue in queues if _waiting(queue)]
    times = [queue.worker.figures.get("level_s") if queue.worker is not None else None for queue in waiting]
    known = [float(each) for each in times if each]
    return max(known) if waiting and len(known) == len(times) else None
