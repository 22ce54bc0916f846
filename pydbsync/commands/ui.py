"""`python -m pydbsync ui`."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pydbsync.commands.shared import CONFIG, ConfigOption, open_settings
from pydbsync.errors import OperationError
from pydbsync.process.stop_signals import stop_on_signals

if TYPE_CHECKING:
    from types import ModuleType


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ui)


def ui(
    config: ConfigOption = CONFIG,
    host: Annotated[str | None, typer.Option(help="Address to listen at, rather than `ui.host`.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port, rather than `ui.port`; 0 is any free one.")
    ] = None,
) -> None:
    """Serve a web page with the status, what is parked and what differs; with a token it also acts on it."""
    settings, log = open_settings(config, "ui", require=("db_info",))
    where = dataclasses.replace(
        settings.ui, host=host or settings.ui.host, port=settings.ui.port if port is None else port
    )
    settings = dataclasses.replace(settings, ui=where)
    server = _server()
    for text in server.check(settings):
        log.warning("%s", text)
    token = settings.ui.token
    at_terminal = sys.stdout.isatty() and sys.stdin.isatty()
    is_own = token is None and at_terminal
    if is_own:
        token = server.token_for_this_run()
    stop = stop_on_signals()
    page = server.Page(settings, log, token=token)

    def started() -> None:
        typer.echo(f"pydbsync ui: {page.address}")
        if is_own and token is not None:  # never where the output may be kept
            typer.echo(f"token to change something, for this run alone: {token.reveal()}")
        elif token is None:
            typer.echo("it shows, and changes nothing: no token is set (ui.token_file)")

    page.serve(stop, started=started)


def _server() -> ModuleType:
    try:
        return importlib.import_module("pydbsync.ui.server")
    except ModuleNotFoundError as exc:
        library = (exc.name or "").partition(".")[0]
        if library in ("jinja2", "markupsafe", "starlette", "uvicorn"):
            raise OperationError(f"{library} is not installed: pip install 'pydbsync[ui]'") from exc
        raise
