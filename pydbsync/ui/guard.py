"""Stands before every page: takes our own names and origins, forms of a bounded size, and keeps the browser strict."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pydbsync.ui.access import SiteNames

MOST_FORM_BYTES: Final = 4 * 2**20
_MOST_FIELDS: Final = 5000
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with it a browser sends `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class TooLarge(Exception):
    """A form is larger than anything that this page sends."""


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, names: SiteNames) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 421 or 403, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                # What is the same for everybody is kept, and asked for with its ETag.
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host")
        if not self._names.has_host(host):
            return PlainTextResponse(
                "pydbsync: this page is not known by this name. If the name is right, add it to `ui.hosts` in the"
                " configuration.\n",
                421,
            )
        if scope["method"] in ("GET", "HEAD"):
            return None
        is_ours = self._names.is_same_site(
            host=host or "", origin=headers.get("origin"), site=headers.get("sec-fetch-site")
        )
        return None if is_ours else PlainTextResponse("pydbsync: this was sent by another site.\n", 403)


async def read_form(request: Request) -> MutableMapping[str, list[str]]:
    """The fields of a form (`application/x-www-form-urlencoded`). Raises TooLarge, ValueError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise TooLarge
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(
        body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
    ):
        found.setdefault(name, []).append(value)
    return found


def first(form: MutableMapping[str, list[str]], name: str) -> str:
    """The field's value; '' where it is not there."""
    values: list[Any] = form.get(name) or [""]
    return str(values[0])
