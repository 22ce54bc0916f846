"""What the help says without loading a command: its sentence in the list of all, and examples below its options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

SENTENCES: Final[Mapping[str, str]] = {
    "run": "Follow the queues of the configuration (as `python mysql_sync.py` does).",
    "replay": "Replay a file of messages through the same pipeline.",
    "alerts": "Try who is told of alerts; print the rules for Prometheus.",
    "capture": "Read the source's binlog and publish Maxwell's JSON, without Maxwell.",
    "checkpoint": "Look how far each stream is applied, and move that place.",
    "config": "Look at the configuration without connecting anywhere.",
    "conflicts": "Look at changes that found another row at the target, and decide anew whose stays.",
    "copy": "Copy tables from source to target, and have replay go on exactly there. Run again, it goes on.",
    "counters": "List the tables and sequences of the target that would give out numbers which the source has given.",
    "cutover": "Send the applications from the source of a plan to its target, step by step, each with its undo.",
    "failover": "Open the target of a source that is dead, with all that has arrived; with --returned settle what",
    "rehearse": "Everything of a cutover but the switch: how long writing would stop, and what would stop it.",
    "rollback": "Go back to the server that a cutover has left, with all that was written meanwhile.",
    "doctor": "Look at source, broker, target and state, and say what is wrong and how it is mended.",
    "heartbeat": "Count up one row at the source each second, so that a loss on the way here can be proven.",
    "init": "Write a commented configuration from a few answers; passwords stay in the environment.",
    "parked": "Look at changes that could not be applied, and mend them.",
    "pause": "Have workers wait, or park the schema changes of a table, until `resume`; without a name, list pauses.",
    "prune": "Delete old history from the state schema: what is mended, run or repaired, and recognises no repeat.",
    "repair": "Make rows that verify found to differ equal again, by a plan that can be read, applied and undone.",
    "resume": "End what `pause` began; of a table's schema changes, apply what waits. Exit code 1 if some of it stays.",
    "status": "What workers and tools are doing: exit code 0 healthy, 1 degraded (it says how), 2 down.",
    "ui": "Serve a web page with the status, what is parked and what differs; with a token it also acts on it.",
    "verify": "Compare source and target, structure and rows: exit code 0 equal, 1 different, 2 could not be compared.",
}
"""The beginning of each command's own help."""

EXAMPLES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "run": (
        ("follow the queues of config.py", "pydbsync run"),
        (
            "apply what waits and stop, with the figures in a file",
            "pydbsync run --until-drained --summary-json run.json",
        ),
        ("show the SQL and change nothing", "pydbsync run --dry-run"),
    ),
    "replay": (
        ("replay what Maxwell wrote with producer=file", "pydbsync replay messages.json --stream shop"),
        ("from a pipe", "zcat messages.json.gz | pydbsync replay -"),
    ),
    "alerts test": (("see that a message arrives", "pydbsync alerts test"),),
    "alerts rules": (("for Prometheus", "pydbsync alerts rules"),),
    "alerts dashboard": (("for Grafana", "pydbsync alerts dashboard"),),
    "capture": (
        ("publish to RabbitMQ, with place and history kept at the target", "pydbsync capture --state target --by-gtid"),
        ("write what is in the binlog to the screen", "pydbsync capture --to - --start binlog.000002:4 --until-end"),
    ),
    "conflicts list": (
        ("what was decided today", "pydbsync conflicts list --newer-than 1d"),
        ("of one table, for programs", "pydbsync conflicts list --table shop.orders --json"),
    ),
    "conflicts show": (("all three rows, by column", "pydbsync conflicts show 17"),),
    "conflicts resolve": (
        ("have the target's row after all", "pydbsync conflicts resolve 17 --take target"),
        ("another row", """pydbsync conflicts resolve 17 --row '{"id": 5, "state": "paid"}'"""),
    ),
    "copy": (
        ("copy all tables of a database", "pydbsync copy --tables 'shop.*'"),
        ("say what would be done", "pydbsync copy --dry-run"),
    ),
    "counters": (("list and raise them at the switch", "pydbsync counters --apply"),),
    "cutover": (
        ("asking before it begins and before the switch", "pydbsync cutover plan.yaml"),
        ("without questions, as it was rehearsed", "pydbsync cutover plan.yaml --yes"),
        ("take back what a killed call has left", "pydbsync cutover plan.yaml --undo"),
    ),
    "failover": (
        ("try it on private servers, both endings", "pydbsync failover --drill"),
        ("what the target has and lacks now", "pydbsync failover plan.yaml --dry-run"),
        ("the source is dead", "pydbsync failover plan.yaml"),
        ("it is back: what it has beyond the target", "pydbsync failover plan.yaml --returned"),
        ("carry that over, its own rows win", "pydbsync failover plan.yaml --returned --carry-over target --follow"),
        ("or take it back there", "pydbsync failover plan.yaml --returned --undo-old --follow"),
    ),
    "rehearse": (
        ("with its reports in a folder", "pydbsync rehearse plan.yaml --reports rehearsals"),
        ("the way back", "pydbsync rehearse plan.yaml --rollback"),
    ),
    "rollback": (("to the old server, with all that was written meanwhile", "pydbsync rollback plan.yaml"),),
    "doctor": (
        ("before the first run", "pydbsync doctor"),
        ("with Maxwell's flags", "pydbsync doctor --maxwell config.properties --watch-stream 10"),
        ("for programs", "pydbsync doctor --json"),
    ),
    "config check": (("another file", "pydbsync config check --config forth.py"),),
    "config show": (("what is not the default", "pydbsync config show | grep -v '# default'"),),
    "init": (
        ("asking", "pydbsync init"),
        ("from Maxwell's own file", "pydbsync init --maxwell config.properties --target mysql://pydbsync@new-server"),
    ),
    "heartbeat": (("as long as the source is followed", "pydbsync heartbeat"),),
    "checkpoint show": (("of all streams", "pydbsync checkpoint show"),),
    "checkpoint set": (("skip up to a place", "pydbsync checkpoint set orders --to binlog.000002:1234"),),
    "pause": (
        ("a queue, with the reason for whoever looks", "pydbsync pause orders --reason 'index is being built'"),
        ("the schema changes of a table", "pydbsync pause --ddl shop.orders"),
        ("what is paused", "pydbsync pause"),
    ),
    "resume": (
        ("a queue", "pydbsync resume orders"),
        ("the schema changes of a table, with what waits behind them", "pydbsync resume --ddl shop.orders"),
    ),
    "prune": (("what is older than a quarter", "pydbsync prune --days 90"),),
    "parked list": (
        ("what cannot be applied to one table", "pydbsync parked list --table shop.orders"),
        ("for programs", "pydbsync parked list --json"),
    ),
    "parked counts": (
        ("by table and reason", "pydbsync parked counts"),
        ("by table", "pydbsync parked counts --by table"),
    ),
    "parked show": (("one of them whole", "pydbsync parked show 17"),),
    "parked retry": (
        ("all, in order", "pydbsync parked retry"),
        ("of a table", "pydbsync parked retry --table shop.orders"),
    ),
    "parked edit": (("in $EDITOR", "pydbsync parked edit 17"),),
    "parked skip": (
        ("with the reason for whoever asks later", "pydbsync parked skip 17 --reason 'row was deleted'"),
        ("many, without a question", "pydbsync parked skip --table shop.log --because 'too long' --reason junk --yes"),
    ),
    "repair": (
        ("write the plan for what verify found", "pydbsync repair --report differences.json --plan repair.sql"),
        ("apply the plan when it was read", "pydbsync repair --plan repair.sql"),
        ("put back what it changed", "pydbsync repair --plan repair.sql --undo"),
    ),
    "status": (("live in the terminal", "pydbsync status --watch"), ("for programs", "pydbsync status --json")),
    "ui": (
        ("for this machine alone", "pydbsync ui"),
        ("at another port", "pydbsync ui --port 8080"),
    ),
    "verify": (
        ("compare everything while changes flow", "pydbsync verify"),
        ("one table, with what differs in a file", "pydbsync verify --tables shop.orders --report differences.json"),
    ),
}


def name_values(app: typer.Typer) -> None:
    """What an option or argument takes as a word that people know: FILE, TEXT, NUMBER; not the type in the code."""
    for command in app.registered_commands:
        if command.callback is None:
            continue
        hints = get_type_hints(command.callback, include_extras=True)
        command.callback.__annotations__ = hints  # as text they would be read again, and what is set here forgotten
        for hint in hints.values():
            kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            for note in notes:
                if isinstance(note, OptionInfo) and note.metavar is None:
                    note.metavar = next((word for type_, word in _WORDS if type_ in (kind, *_parts(kind))), None)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            name_values(group.typer_instance)


def _parts(kind: object) -> tuple[object, ...]:
    """The types within `list[str] | None`."""
    return tuple(each for part in get_args(kind) for each in (part, *_parts(part)))


_WORDS = ((Path, "FILE"), (float, "NUMBER"), (int, "NUMBER"), (str, "TEXT"))


def add_examples(app: typer.Typer, *above: str) -> None:
    """Below the help of each command."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        if examples := EXAMPLES.get(" ".join((*above, name))):
            lines = "\n".join(f"  {text}:\n    {line}" for text, line in examples)
            command.epilog = f"\b\nExamples:\n{lines}"
    for group in app.registered_groups:
        if group.typer_instance is not None and isinstance(group.name, str):
            add_examples(group.typer_instance, *above, group.name)
