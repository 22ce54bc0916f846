"""Listens, and ends in order: what `pydbsync ui` runs."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from pydbsync.config.settings import Settings
from pydbsync.config.ui import UiSettings
from pydbsync.config.values import Secret
from pydbsync.errors import OperationError
from pydbsync.ui.access import Access, SiteNames, is_loopback
from pydbsync.ui.guard import Guard
from pydbsync.ui.overview import OverviewPages
from pydbsync.ui.parked import ParkedPages
from pydbsync.ui.site import Site

_MOST_CONNECTIONS: Final = 500
"""A browser keeps some open."""
_LAST_JOB_S: Final = 5.0


def check(settings: Settings) -> list[str]:
    """What to warn of before the page is served. Raises OperationError where it must not be."""
    ui = settings.ui
    if is_loopback(ui.host):
        return []
    if ui.token is None:
        raise OperationError(
            f"ui.host is {ui.host}: other machines reach the page, so that it needs a token; set ui.token_file"
        )
    found = []
    if ui.certificate is None:
        found.append(
            f"ui.host is {ui.host} and ui.certificate is not set: token and rows cross the network in the clear; set"
            " it, or listen at 127.0.0.1 behind a proxy with TLS"
        )
    if not ui.token_for_reading:
        found.append(
            f"ui.host is {ui.host} and ui.token_for_reading is false: whoever reaches the page reads status and parked"
            " rows"
        )
    return found


def token_for_this_run() -> Secret:
    """For a person at the terminal who has configured none."""
    return Secret(secrets.token_urlsafe(18))


class Page:
    """The page, bound to its address and not served yet."""

    def __init__(self, settings: Settings, log: logging.Logger, *, token: Secret | None) -> None:
        """Raises OperationError if nobody can listen there, or the certificate is none."""
        ui = settings.ui
        self._socket = _listen(ui)
        port = int(self._socket.getsockname()[1])
        is_secure = ui.certificate is not None
        host = f"[{ui.host}]" if ":" in ui.host else ui.host
        self.address = f"{'https' if is_secure else 'http'}://{host}:{port}/"
        access = Access(token, needs_token_to_read=ui.token_for_reading)
        self.site = Site(settings, log, access=access, port=port, is_secure=is_secure)
        self.application = _application(self.site, SiteNames([ui.host, *_own_names(ui.host)], outside=ui.hosts))
        self._config = uvicorn.Config(
            self.application, log_config=None, access_log=False, server_header=False, date_header=True, lifespan="off",
            proxy_headers=False, limit_concurrency=_MOST_CONNECTIONS, timeout_graceful_shutdown=3, ws="none",
            ssl_certfile=ui.certificate, ssl_keyfile=ui.certificate_key,
        )  # fmt: skip
        try:
            self._config.load()
        except (OSError, ValueError) as exc:  # ssl.SSLError among them
            self._socket.close()
            raise OperationError(f"ui.certificate and ui.certificate_key cannot be used: {exc}") from exc

    def serve(self, stop: threading.Event, *, started: Callable[[], None] = lambda: None) -> None:
        """Answer until told to stop. Raises OperationError if it ends by itself."""
        server = uvicorn.Server(self._config)  # in a thread it leaves signals to the command
        self.site.board.start()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._socket]}, name="page", daemon=True)
        thread.start()
        started()
        while thread.is_alive() and not stop.wait(0.2):
            pass
        server.should_exit = True
        thread.join()
        self.site.jobs.close(_LAST_JOB_S)
        self.site.board.close()
        if not stop.is_set():
            raise OperationError("the page has ended by itself: its log says more")


def _application(site: Site, names: SiteNames) -> Starlette:
    def not_found(request: Request, exc: Exception) -> Response:
        status = exc.status_code if isinstance(exc, HTTPException) else 404
        return site.refusal(request, "There is no such page.", status=status)

    def fault(request: Request, exc: Exception) -> Response:
        site.log.error("a fault of pydbsync's page; please report it with these lines", exc_info=exc)
        return site.refusal(request, "This is a fault of pydbsync: its log says more.", status=500)

    return Starlette(
        routes=[
            *OverviewPages(site).routes(),
            *ParkedPages(site).routes(),
            Mount("/static", StaticFiles(packages=[("pydbsync.ui", "static")])),
        ],
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={HTTPException: not_found, Exception: fault},
    )


def _listen(ui: UiSettings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(ui.host, ui.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except OSError as exc:
        raise OperationError(
            f"the page cannot listen at {ui.host}, port {ui.port}: {exc.strerror or exc}; see what is there, or choose"
            " another with --port"
        ) from exc
    return listening


def _own_names(host: str) -> list[str]:
    """Where it listens at all addresses, the names of this machine and the address that others see."""
    with suppress(ValueError):
        if not ipaddress.ip_address(host).is_unspecified:
            return []
        own = {socket.gethostname(), socket.getfqdn()}
        with suppress(OSError):
            own |= {str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None)}
        return sorted(own)
    return []
