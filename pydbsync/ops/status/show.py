"""The status as text for a terminal: the answer first, then each queue, what else is at work, and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from pydbsync.ops.status.facts import Health, Queue, Status, TaskRun
from pydbsync.ops.words import age, counted, rate, seconds

_STYLES: dict[Health, str] = {"healthy": "bold green", "degraded": "bold yellow", "down": "bold red"}
_REASONS = 6
_REASON_LENGTH = 160
_WARNING_LENGTH = 400
"""A sentence whose end says what to do."""


def shown(status: Status, *, todo_first: bool = False) -> Text:
    """All of it. `todo_first` is for a screen that may be too short for the rest."""
    text = Text()
    text.append(status.health.upper(), style=_STYLES[status.health])
    text.append(f": {status.says}    {status.at} UTC\n")
    if todo_first:
        _append_todo(text, status)
        text.append("\n" if status.todo else "")
    text.append(f"{_servers(status)}\n", style="dim")
    for queue in status.queues:
        text.append("\n")
        for line in _queue_lines(queue):
            text.append_text(line)
            text.append("\n")
    if status.tasks:
        text.append("\n")
    for task in status.tasks:
        text.append_text(_task_line(task))
        text.append("\n")
    for each in status.cutovers:
        text.append(f"\n{each.command} of {each.plan}", style="bold")
        done = f"{each.target} has been in charge since" if each.state == "done" else f"{each.state}, from"
        text.append(f"  {done} {each.started}\n")
        if each.way_back:
            text.append_text(_line("way back", each.way_back))
            text.append("\n")
    if not todo_first:
        _append_todo(text, status)
    return text


def _append_todo(text: Text, status: Status) -> None:
    if status.todo:
        text.append("\nwhat to do now\n", style="bold")
        for number, todo in enumerate(status.todo, start=1):
            text.append(f"  {number}. {todo}\n")


def _servers(status: Status) -> str:
    note = status.target_note or (f"state schema {status.state_schema}" if status.state_schema else "")
    parts = [f"target {status.target}{f': {note}' if note else ''}"]
    if not status.target_note and status.state_schema:
        parts[0] += f" version {status.state_version}" if status.state_version else " is not there yet"
    if status.rabbitmq:
        note = f" cannot be asked from here: {status.rabbitmq_note}" if status.rabbitmq_note else ""
        parts.append(f"RabbitMQ {status.rabbitmq}{note}")
    return "; ".join(parts)


def _queue_lines(queue: Queue) -> Iterator[Text]:
    worker = queue.worker
    head = Text("queue ")
    head.append(queue.queue, style="bold")
    if queue.stream != queue.queue:
        head.append(f" (checkpoint {queue.stream})")
    if not queue.is_configured:
        head.append("  not in this configuration", style="dim")
    head.append("  ")
    if worker is not None and worker.is_fresh:
        head.append(f"{worker.state} for {seconds(worker.state_s)}", style=_STYLES[queue.health])
    else:
        head.append(queue.health, style=_STYLES[queue.health])
    if worker is not None:
        head.append(f"  pid {worker.pid} on {worker.host}, pydbsync {worker.pydbsync_version}", style="dim")
    yield head
    for problem in queue.problems:
        yield _line("!", problem, style=_STYLES[queue.health] if queue.health != "healthy" else "")
    yield _line("behind", queue.behind)
    if worker is not None:
        yield from _figure_lines(queue, worker.figures if worker.is_fresh else {})
    elif queue.broker is not None:
        yield _line(
            "queue", f"{counted(queue.broker.depth, 'message')} wait, {counted(queue.broker.consumers, 'consumer')}"
        )
    if queue.broker_note:
        yield _line("queue", queue.broker_note)
    if worker is not None and worker.last_error and not any(worker.last_error in each for each in queue.problems):
        when = f" ({age(worker.last_error_s)})" if worker.last_error_s is not None else ""
        yield _line("warning", f"{_shortened(worker.last_error, _WARNING_LENGTH)}{when}")
        if worker.remedy:
            yield _line("", worker.remedy)
    if queue.place is not None:
        newest = f"; newest change {seconds(queue.place.newest_s)} old" if queue.place.newest_s is not None else ""
        gtid = f" ({queue.place.gtid})" if queue.place.gtid else ""
        yield _line("place", f"{queue.place.position or 'the beginning'}{gtid}{newest}")
        yield _line(
            "applied",
            f"{counted(queue.place.applied, 'row')} in all, {queue.place.duplicates:,} duplicates left out"
            + (f", last commit {age(queue.place.changed_s)}" if queue.place.changed_s is not None else ""),
        )
    yield from _parked_lines(queue)
    if queue.conflicts:
        counts = ", ".join(f"{each.count:,} {_DECIDED[each.decision]}" for each in queue.conflicts)
        yield _line("conflicts", f"within a day: {counts}; `pydbsync conflicts list`")
    gaps = [incident for incident in queue.incidents if incident.kind == "gap"]
    yield _line("lost", "; ".join(f"{gap.text} ({age(gap.age_s)})" for gap in gaps[:3]) or "nothing is known to be")
    for process in queue.stand_by:
        yield _line("stand-by", f"pid {process.pid} on {process.host} for {seconds(process.state_s)}")


def _figure_lines(queue: Queue, figures: dict[str, object]) -> Iterator[Text]:
    def number(name: str) -> float | None:
        value = figures.get(name)
        return float(value) if isinstance(value, int | float) else None

    published, received, committed = number("published_s"), number("received_s"), number("committed_s")
    if received is not None and committed is not None:
        first = (
            f"source to publisher {seconds(published)}, RabbitMQ {seconds(received)}"
            if published is not None
            else f"source to worker {seconds(received)} (publisher and RabbitMQ: no time in the messages)"
        )
        yield _line("of which", f"{first}, worker to commit {seconds(committed)}; of the last batch")
    depth, held = number("depth"), number("held")
    if queue.broker is not None:
        depth = float(queue.broker.depth)
    rates = ", ".join(
        filter(
            None,
            (
                rate(number("arriving_per_s"), "arriving message").replace("message/s", "messages/s"),
                rate(number("messages_per_s"), "done"),
                rate(number("rows_per_s"), "rows"),
            ),
        )
    )
    waits = "depth not known" if depth is None else f"{depth:,.0f} wait"
    batch_rows, batch_s = number("batch_rows"), number("batch_s")
    batches = f"; batches of {batch_rows:,.0f} rows in {seconds(batch_s or 0)}" if batch_rows is not None else ""
    if figures:
        known = f"; {rates}" if rates else ""
        yield _line("queue", f"{waits}, {held or 0:,.0f} taken in{known}{batches}")
    elif depth is not None:
        yield _line("queue", f"{waits}")
    redelivered, restarts = number("redelivered"), number("target_reconnects")
    if redelivered:
        yield _line("again", f"{redelivered:,.0f} messages were delivered again, {restarts or 0:,.0f} reconnects")


_DECIDED = {
    "source": "by the source's row", "target": "by the target's row", "same": "the same on both sides",
    "parked": "parked",
}  # fmt: skip


def _parked_lines(queue: Queue) -> Iterator[Text]:
    if not queue.parked:
        yield _line("parked", "nothing")
        return
    for group in queue.parked[:_REASONS]:
        reason = _shortened(group.reason)
        waiting = " behind others" if group.waits else ""
        what = f"{group.count:,} of {group.table}{waiting}, the oldest {age(group.oldest_s)}"
        yield _line("parked", f"{what}, first id {group.first_id}: {reason}")
    if len(queue.parked) > _REASONS:
        rest = queue.parked[_REASONS:]
        yield _line("parked", f"{sum(group.count for group in rest):,} more of {len(rest)} other tables or reasons")


def _shortened(text: str, most: int = _REASON_LENGTH) -> str:
    one = text.replace("\n", " ")
    return one if len(one) <= most else f"{one[:most]}…"


def _task_line(task: TaskRun) -> Text:
    text = Text()
    text.append(f"{task.kind} {task.name}".strip(), style="bold")
    if task.is_over:
        text.append(f"  {task.state} {age(task.state_s)}", style=_STYLES[task.health])
    elif task.is_fresh:
        text.append(f"  {task.state} for {seconds(task.started_s)}", style=_STYLES[task.health])
    else:
        text.append(f"  gone without a word {age(task.written_s)}", style=_STYLES[task.health])
    parts = []
    if task.done is not None:
        of = f" of about {task.total:,}" if task.total else ""
        parts.append(f"{task.done:,}{of} {task.unit}")
    if task.per_s is not None and not task.is_over:
        parts.append(f"{task.per_s:,.0f}/s")
        if task.total and task.done is not None and task.per_s > 0 and task.total > task.done:
            parts.append(f"about {seconds((task.total - task.done) / task.per_s)} left")
    parts += [each for each in ((task.result or task.last_error) if task.is_over else task.detail,) if each]
    if parts:
        text.append(f": {', '.join(parts)}")
    text.append(f"  pid {task.pid} on {task.host}", style="dim")
    return text


def _line(name: str, value: str, style: str = "") -> Text:
    text = Text(f"  {name:<9}", style="dim" if name != "!" else style)
    text.append(value, style=style)
    return text
