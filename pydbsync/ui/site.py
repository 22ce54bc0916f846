"""What all pages have in common: settings, people, templates, and the way a request becomes a page."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, MutableMapping
from functools import cache
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pydbsync import __version__
from pydbsync.apply.tables.operator_audit import actor_here
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, OperationError, PermanentError, PydbsyncError, TransientError
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.sinks.desk import SinkDesk
from pydbsync.ops.words import age, counted, seconds
from pydbsync.ui.access import Access, PageSession, is_form_of
from pydbsync.ui.board import Board
from pydbsync.ui.guard import TooLarge, first, read_form
from pydbsync.ui.jobs import Jobs
from pydbsync.ui.store import store_of

FormFields = MutableMapping[str, list[str]]
Reads = Callable[[Request], Response]
ChangingPage = Callable[[Request, FormFields, PageSession], Response]
CUT: Final = 2000
_SIZES: Final = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


class Site:
    """Handed to every page."""

    def __init__(self, settings: Settings, log: logging.Logger, *, access: Access, port: int, is_secure: bool) -> None:
        self.settings = settings
        self.log = log
        self.access = access
        self.store = store_of(settings, log)
        self.board = Board(settings, log, store=self.store)
        self.jobs = Jobs(log)
        self.cookie = f"pydbsync_ui_{port}"  # cookies are shared by all ports of a host
        self.is_secure = is_secure

    def session(self, request: Request) -> PageSession | None:
        """Of whoever asks."""
        return self.access.session(request.cookies.get(self.cookie))

    def page(self, request: Request, template: str, *, http_status: int = 200, **values: Any) -> HTMLResponse:
        """A page, or a part of one."""
        session = self.session(request)
        said: list[str] = []
        if session is not None and not template.startswith("part_"):
            said, session.said = session.said, []
        html = (
            _templates()
            .get_template(template)
            .render(
                session=session,
                said=said,
                can_change=self.access.can_change,
                here=_here(request),
                of_sink=self.settings.sink is not None,
                **values,
            )
        )
        return HTMLResponse(html, http_status)

    def refusal(self, request: Request, text: str, *, status: int) -> HTMLResponse:
        """A page that says why not."""
        return self.page(request, "refusal.html", http_status=status, text=text)

    def reads(self, show: Reads) -> Callable[[Request], Any]:
        """The endpoint of a page that changes nothing."""

        async def endpoint(request: Request) -> Response:
            if self.access.needs_token_to_read and self.session(request) is None:
                return self._to_login(request)
            return await run_in_threadpool(self._answer, request, lambda: show(request))

        return endpoint

    def changes(self, change: ChangingPage) -> Callable[[Request], Any]:
        """The endpoint of a form that changes something: for a session, and from a form that was made for it."""

        async def endpoint(request: Request) -> Response:
            session = self.session(request)
            if session is None:
                return self._to_login(request)
            try:
                form = await read_form(request)
            except TooLarge:
                return self.refusal(request, "This is larger than what can be changed here.", status=413)
            except ValueError:
                return self.refusal(request, "This form cannot be read.", status=400)
            if not is_form_of(session, first(form, "csrf")):
                text = "This form is not of your present session. Go back, load the page again and repeat it."
                return self.refusal(request, text, status=403)
            return await run_in_threadpool(self._answer, request, lambda: change(request, form, session))

        return endpoint

    def actor(self, request: Request, session: PageSession) -> str:
        """Who is written down beside a step."""
        where = request.client.host if request.client else "?"
        return f"{session.name} (page of {actor_here()}, from {where})"[:190]

    @contextlib.contextmanager
    def desk(self, actor: str | None = None) -> Iterator[ParkedDesk | SinkDesk]:
        """The parked changes, for one request."""
        desk = self.store.desk(actor=actor)
        try:
            yield desk
        finally:
            desk.close()

    def _to_login(self, request: Request) -> Response:
        if request.url.path.startswith("/part/"):
            return self.page(request, "part_gone.html", http_status=401)
        wanted = _here(request) if request.method == "GET" else "/"
        return RedirectResponse(f"/login?next={quote(wanted, safe='/')}", 303)

    def _answer(self, request: Request, show: Callable[[], Response]) -> Response:
        try:
            return show()
        except (OperationError, PermanentError) as exc:
            return self.refusal(request, str(exc), status=409)
        except (TransientError, ConfigError) as exc:
            return self.refusal(request, f"The target does not answer: {exc}", status=503)
        except PydbsyncError as exc:
            return self.refusal(request, str(exc), status=500)


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("pydbsync.ui", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters.update(span=seconds, ago=age, cut=cut, size=size, path=path, at=at)
    found.globals.update(count=counted, version=__version__)
    return found


def _here(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def at(parked_id: int, stream: str, of_sink: bool = True, what: str = "") -> str:
    """Where a parked change is looked at. Each stream of a sink numbers its own."""
    return f"/parked/{parked_id}{what}" + (f"?stream={path(stream)}" if of_sink and stream else "")


def path(text: str) -> str:
    """As one part of an address."""
    return quote(text, safe="")


def cut(text: str, most: int = CUT) -> str:
    """A long text is cut, and says how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters in all)"


def size(number: int) -> str:
    """`1.5 MiB`."""
    for unit, name in _SIZES:
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return f"{number:,} bytes"
