"""`python -m pydbsync alerts`."""

from __future__ import annotations

import time
from importlib.resources import files
from typing import Annotated

import typer

from pydbsync.commands.shared import CONFIG, ConfigOption, open_settings, text_console
from pydbsync.errors import ConfigError, OperationError


def register(app: typer.Typer) -> None:
    """Add the command."""
    alerts = typer.Typer(no_args_is_help=True, help="Try who is told of alerts; print the rules for Prometheus.")
    app.add_typer(alerts, name="alerts")
    alerts.command("test")(send_test)
    alerts.command("rules")(print_rules)
    alerts.command("dashboard")(print_dashboard)


def send_test(
    config: ConfigOption = CONFIG,
    resolved: Annotated[bool, typer.Option(help="Send the end of an alert rather than its beginning.")] = False,
) -> None:
    """Send a test alert to every webhook and mail address of `alerts`; exit code 2 if one has not taken it."""
    from pydbsync.process.alert_rules import Alert  # noqa: PLC0415 (the other two need none of this)
    from pydbsync.process.notify import AlertNotice, NotTold, senders  # noqa: PLC0415

    settings, _ = open_settings(config, "alerts", require=())
    if not settings.alerts.are_sent:
        raise ConfigError("nobody is to be told: it has neither webhooks nor mail", key="alerts")
    about = Alert(
        "PydbsyncTest", "test", "warning", "This is a test",
        "Somebody has run `pydbsync alerts test`.", "Nothing: alerts arrive here.",
    )  # fmt: skip
    now = time.time()
    notice = AlertNotice(about, not resolved, now, now if resolved else None)
    console, failed = text_console(), 0
    for name, send in senders(settings.alerts):
        try:
            send(notice)
        except NotTold as exc:
            failed += 1
            console.print(f"not told: {exc}", markup=False)
        else:
            console.print(f"told: the {name}", markup=False)
    if failed:
        raise OperationError(f"{failed} of those who are to be told of alerts have not taken the test")


def print_rules() -> None:
    """Print the alert rules for Prometheus, to be kept where its `rule_files` points to."""
    _print("pydbsync.rules.yml")


def print_dashboard() -> None:
    """Print the dashboard for Grafana (JSON), to be imported there."""
    _print("grafana.json")


def _print(name: str) -> None:
    typer.echo((files("pydbsync") / "monitoring" / name).read_text(encoding="utf-8"), nl=False)
