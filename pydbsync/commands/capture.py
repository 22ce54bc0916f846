"""`python -m pydbsync capture`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pydbsync.commands.shared import CONFIG, ConfigOption, SummaryOption, open_settings
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError
from pydbsync.ops.capture import CaptureSettings, StateTable, run_capture
from pydbsync.ops.capture.publish.bundle import BUNDLE_BYTES
from pydbsync.ops.told import telling
from pydbsync.process.stop_signals import stop_on_signals


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(capture)


def capture(
    config: ConfigOption = CONFIG,
    to: Annotated[
        str, typer.Option("--to", metavar="rabbitmq|FILE|-", help="Where messages go; - is standard output.")
    ] = "rabbitmq",
    exchange: Annotated[
        str | None, typer.Option(help="Exchange to publish to [default: the first of rabbitmq_queue_bind].")
    ] = None,
    routing_key: Annotated[
        str, typer.Option(help="Template of the routing key; %db% and %table% are filled in.")
    ] = "%db%.%table%",
    bundle: Annotated[
        bool,
        typer.Option(help="Several changes with one routing key in one message: for readers that are pydbsync."),
    ] = False,
    state: Annotated[
        str, typer.Option(help="Folder of place and schema history; `target` keeps them in the state schema.")
    ] = "capture-state",
    name: Annotated[str, typer.Option(help="Tells several captures apart.")] = "capture",
    server_id: Annotated[
        int | None,
        typer.Option(min=1, max=2**32 - 1, help="Under which the source knows this reader; else made from the name."),
    ] = None,
    start: Annotated[
        str, typer.Option(help="Where to begin without a state: now, binlog.000002:1234 or a GTID set.")
    ] = "now",
    by_gtid: Annotated[bool, typer.Option(help="Resume by GTIDs, which a fail-over survives.")] = False,
    until_end: Annotated[bool, typer.Option(help="Stop at the end of the binlog.")] = False,
    exact: Annotated[bool, typer.Option(help="Write geometry with its SRID.")] = False,
    skip_unreadable: Annotated[
        bool, typer.Option(help="Log statements that cannot be published and go on, rather than stop.")
    ] = False,
    skip_at: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE:OFFSET", help="Leave out what cannot be published at this place alone."),
    ] = None,
    summary_json: SummaryOption = None,
) -> None:
    """Read the source's binlog and publish Maxwell's JSON, without Maxwell."""
    settings, log = open_settings(config, "capture", require=("source_db_info",))
    if settings.source is None:
        raise ConfigError("is missing: capture reads the source's binlog", key="source_db_info")
    output, file = ("rabbitmq", None) if to == "rabbitmq" else ("stdout", None) if to == "-" else ("file", Path(to))
    first_queue = settings.queues[0] if settings.queues else None
    with telling(settings, "capture", name=name) as told:
        report = run_capture(
            CaptureSettings(
                source=settings.source.connect_keywords(),
                output=output,  # type: ignore[arg-type]
                amqp=settings.amqp if output == "rabbitmq" else None,
                exchange=exchange or (first_queue.exchange if first_queue else "maxwell"),
                exchange_type=first_queue.exchange_type if first_queue else "topic",
                routing_key=routing_key,
                queues=tuple(queue.queue for queue in settings.queues),
                bundle_bytes=BUNDLE_BYTES if bundle else 0,
                file=file,
                state=_state(settings, state),
                name=name,
                server_id=server_id,
                start=start,
                by_gtid=by_gtid,
                follow=not until_end,
                include=settings.include,
                exclude=settings.exclude,
                state_schema=settings.source_state_schema,
                exact=exact,
                on_unreadable="skip" if skip_unreadable else "stop",
                skip_at=tuple(skip_at or ()),
                retry=settings.retry,
            ),
            stop_on_signals(),
            told,
        )
    log.info(
        "captured %s row changes in %s transactions and %s schema changes, up to %s",
        f"{report.rows:,}", f"{report.transactions:,}", report.schema_changes, report.place or "the beginning",
    )  # fmt: skip
    if summary_json is not None:
        summary_json.write_text(json.dumps(asdict(report)) + "\n", encoding="utf-8")


def _state(settings: Settings, state: str) -> Path | StateTable:
    if state == "target":
        return StateTable(connect=settings.target.connect_keywords(), schema=settings.state_schema)
    return Path(state)
