"""Says what the facts mean: healthy, degraded or down, how far behind, and what to do. Pure."""

from __future__ import annotations

from pydbsync.ops.status.facts import Cutover, Gap, Health, Process, Queue, Status, TaskRun
from pydbsync.ops.words import age, counted, seconds

LATE_S = 15.0
"""As the alert rules: a lag that is longer is worth a look."""
_WAITING_S = 10.0
_BUSY_S = 30.0
_LONG_AGO_S = 2 * 86_400.0
_ORDER: tuple[Health, ...] = ("healthy", "degraded", "down")


def judge(status: Status) -> None:
    """Fill in health and words of the whole and of each part."""
    for task in status.tasks:
        task.health, todo = task_trouble(task)
        status.todo += [todo] if todo else []
    over = {stream: each for each in status.cutovers if each.state == "done" for stream in each.ended_streams}
    for queue in status.queues:
        if queue.stream in over and not status.target_note:
            queue.behind = f"this direction is over, by the {over[queue.stream].command} of {over[queue.stream].plan}"
        else:
            _judge_queue(status, queue)
    if status.target_note:
        status.health = "down"
        status.says = "the target does not answer"
        status.todo.insert(
            0,
            f"the target does not answer ({status.target_note}): see whether it runs and can be reached from here;"
            " workers wait for it, and meanwhile messages wait in RabbitMQ",
        )
        return
    parts: list[Health] = []
    if status.state_lost:
        parts.append("down")
        status.todo.append(
            f"the state schema {status.state_schema} lacks {', '.join(status.state_lost)}: what was in it is not known"
            " any more, and the next start makes it anew, empty: see who has removed it before you start a worker"
        )
    own = [queue for queue in status.queues if queue.is_configured and queue.stream not in over]
    parts += [*(queue.health for queue in own), *(task.health for task in status.tasks)]
    parts += [_judge_cutover(status, each) for each in status.cutovers]
    if not own and not over:
        parts.append("down")
        status.todo.append(
            "nothing was ever replayed into this target: start `pydbsync run` (docs/operations.md, Running)"
        )
    status.health = max(parts, key=_ORDER.index, default="down")
    abandoned = [queue for queue in status.queues if queue.parked and not queue.is_configured and not _is_alive(queue)]
    for queue in abandoned:
        status.todo.append(
            f"{counted(sum(group.count for group in queue.parked), 'change')} of {queue.queue} parked, which is not in"
            f" this configuration and which nobody follows: `pydbsync parked list --stream {queue.stream}`"
        )
        status.health = max(status.health, "degraded", key=_ORDER.index)
    status.says = _summary(status, own)
    for health in reversed(_ORDER):
        for queue in own:
            if queue.health == health:
                status.todo += queue.todo
    status.todo = list(dict.fromkeys(status.todo))


def _is_alive(queue: Queue) -> bool:
    return queue.is_owned or (queue.worker is not None and queue.worker.is_fresh)


def _judge_cutover(status: Status, cutover: Cutover) -> Health:
    if cutover.state in ("running", "undoing"):
        status.todo.append(
            f"the {cutover.command} of {cutover.plan} that began at {cutover.started} has not ended: if nobody is at"
            f" it, `pydbsync {cutover.command}` with the plan goes on with it"
        )
        return "degraded"
    if cutover.is_level is False:
        status.todo.append(f"the way back of {cutover.plan}: {cutover.way_back}")
        return "degraded"
    return "healthy"


def _summary(status: Status, queues: list[Queue]) -> str:
    parts = []
    following = [queue for queue in queues if queue.health != "down"]
    over = next((each for each in status.cutovers if each.state == "done" and each.ended_streams), None)
    if queues or over is None:
        parts.append(
            f"{len(following)} of {counted(len(queues), 'queue')} at work" if queues else "no queue is at work"
        )
    else:
        parts.append(f"{over.target} has taken over")
    if parked := sum(group.count for queue in queues for group in queue.parked):
        parts.append(f"{counted(parked, 'change')} parked")
    if gaps := sum(incident.kind == "gap" for queue in queues for incident in queue.incidents):
        parts.append(f"{counted(gaps, 'gap')} in the stream")
    if late := max((_lag(queue) or 0.0 for queue in following), default=0.0):
        parts.append(f"{seconds(late)} behind" if late >= 1 else "level")
    if busy := [task.kind for task in status.tasks if task.is_fresh and not task.is_over]:
        parts.append(f"{', '.join(busy)} at work")
    return ", ".join(parts)


def _lag(queue: Queue) -> float | None:
    return queue.worker.figures.get("lag_s") if queue.worker is not None else None


def _judge_queue(status: Status, queue: Queue) -> None:
    if status.target_note:
        queue.health, queue.behind = "down", "not known: the target does not answer"
        return
    _judge_worker(queue, status)
    _judge_pauses(queue)
    _judge_stream(queue)
    _judge_parked(queue)
    _judge_gaps(queue, status.tasks)
    queue.behind = _behind(queue)


def _worse(queue: Queue, health: Health, problem: str, todo: str = "") -> None:
    queue.health = max(queue.health, health, key=_ORDER.index)
    queue.problems.append(problem)
    if todo:
        queue.todo.append(f"{queue.queue}: {todo}")


def _judge_without_figures(queue: Queue) -> None:
    """Of a sink: its lock says whether somebody owns the stream, and RabbitMQ whether he reads."""
    if not queue.is_owned:
        ever = "follows it" if queue.place is not None else "has ever followed it"
        when = queue.place.changed_s if queue.place is not None else None
        last = f"; the last commit was {age(when)}" if when is not None else ""
        _worse(queue, "down", f"no worker {ever}{last}", "start `pydbsync run`")
    elif queue.broker is not None and not queue.broker.consumers and not queue.paused:
        _worse(
            queue, "degraded", "its worker does not read the queue",
            "it waits for the target, or has just begun: its log and the metrics port (`metrics_port`) say which",
        )  # fmt: skip


def _judge_pauses(queue: Queue) -> None:
    """A pause stands in the state schema, whether or not a worker is there to obey it."""
    worker = queue.worker
    if queue.paused and not (worker is not None and worker.is_fresh and worker.state == "paused"):
        _worse(queue, "degraded", f"paused: {queue.paused}", f"`pydbsync resume {queue.queue}` lets it go on")
    for each in queue.paused_ddl:
        _worse(
            queue, "degraded", f"paused: {each}",
            "`pydbsync resume --ddl TABLE` applies its schema changes, and what waits behind them",
        )  # fmt: skip


def _judge_worker(queue: Queue, status: Status) -> None:
    worker = queue.worker
    if not queue.has_figures:
        _judge_without_figures(queue)
        return
    if worker is None and not queue.is_owned:
        if queue.place is None:
            _worse(queue, "down", "no worker has ever followed it", "start `pydbsync run`")
        elif queue.stand_by:
            _worse(queue, "degraded", "no worker owns it, and one stands by: it is about to take over")
        else:
            _worse(
                queue, "down", f"no worker follows it; the last commit was {age(queue.place.changed_s or 0)}",
                "start `pydbsync run`",
            )  # fmt: skip
        return
    if worker is None or (not worker.is_fresh and queue.is_owned):
        where = f"pid {worker.pid} on {worker.host}" if worker else (queue.place.owner if queue.place else "somebody")
        if worker is None and queue.place is not None and (queue.place.changed_s or 0) < LATE_S:
            return  # it writes no state (state_interval_s = 0), and commits
        since = f"was heard of last {age(worker.written_s)}" if worker else "has never been heard of"
        commits = queue.place is not None and (queue.place.changed_s or 0) < LATE_S
        _worse(
            queue, "degraded" if commits else "down", f"{where} holds the queue and {since}",
            f"look at {where}: it is stopped (SIGSTOP, a debugger), has no time on its machine, or cannot write its"
            f" state; its log says more{_or_killed(queue)}",
        )  # fmt: skip
        return
    if worker.state == "stopped" or not worker.is_fresh:
        _judge_ended(queue, worker)
        return
    if worker.state == "following":
        busy = worker.figures.get("busy_s")
        if busy is not None and busy > _BUSY_S:
            _worse(
                queue, "degraded", f"the target has worked on one statement for {seconds(busy)}",
                "see what it is with SHOW PROCESSLIST at the target: a large ALTER is waited for; a lock that somebody"
                " holds is to be released",
            )  # fmt: skip
        return
    if worker.state == "paused":
        said = worker.last_error or ""
        why = f": {said.removeprefix('paused: ')}" if said.startswith("paused: ") else ""
        _worse(queue, "degraded", f"paused for {seconds(worker.state_s)}{why}", "`pydbsync resume` lets it go on")
        return
    if worker.state_s < _WAITING_S:
        queue.problems.append(f"{worker.state} for {seconds(worker.state_s)}")
        return
    _judge_waiting(queue, worker, status)


def _or_killed(queue: Queue) -> str:
    if not queue.lock_lasts_s:
        return ""
    return f"; of one that was killed the lock ends by itself within {seconds(queue.lock_lasts_s)}"


def _judge_ended(queue: Queue, worker: Process) -> None:
    where = f"pid {worker.pid} on {worker.host}"
    if queue.stand_by:
        _worse(queue, "degraded", f"{where} has gone, and {counted(len(queue.stand_by), 'worker')} stands by")
        return
    if worker.state != "stopped":
        _worse(
            queue, "down", f"the worker has gone without a word {age(worker.written_s)} ({where}): it was killed, or"
            " its machine or network is down",
            f"start `pydbsync run` on {worker.host} again: nothing is lost, it goes on behind its last commit",
        )  # fmt: skip
    elif worker.last_error and worker.remedy:
        _worse(queue, "down", f"stopped {age(worker.state_s)} ({where}): {worker.last_error}", worker.remedy)
    else:
        _worse(
            queue, "down", f"was stopped {age(worker.state_s)} ({where})",
            "start `pydbsync run`: it goes on behind its last commit",
        )  # fmt: skip


def _judge_waiting(queue: Queue, worker: Process, status: Status) -> None:
    since = seconds(worker.state_s)
    reason = f": {worker.last_error}" if worker.last_error else ""
    if worker.state == "waiting for the queue":
        others = queue.broker.consumers if queue.broker else 0
        if others:
            _worse(
                queue, "down", f"waits for its turn for {since}: {counted(others, 'consumer')} on the queue",
                "end what else reads the queue (RabbitMQ's management shows its connection): it takes messages away",
            )  # fmt: skip
        else:
            where = f" ({status.rabbitmq_note})" if status.rabbitmq_note else ""
            _worse(
                queue, "down", f"waits for RabbitMQ for {since}{reason}",
                f"see whether RabbitMQ runs and the worker's machine reaches it{where}; the worker goes on by itself",
            )  # fmt: skip
    elif worker.state == "the target is read-only":
        _worse(
            queue, "down", f"the target is read-only for {since}",
            "end read_only there, or point db_info at the server that takes writes; the worker goes on by itself",
        )  # fmt: skip
    else:
        _worse(queue, "down", f"{worker.state} for {since}{reason}", "see the worker's log; it tries again by itself")


def _judge_stream(queue: Queue) -> None:
    worker = queue.worker
    if worker is None or not worker.is_fresh or worker.state != "following":
        return
    figures = worker.figures
    lag, waiting = figures.get("lag_s"), _waiting(queue)
    if lag is not None and lag > LATE_S:
        if waiting and not figures.get("messages_per_s"):
            _worse(
                queue, "degraded", f"stands still: {counted(waiting, 'message')} wait, and none is done",
                "see the worker's log and SHOW PROCESSLIST at the target: a lock, a full disk, an endless statement",
            )  # fmt: skip
        elif not waiting:
            _worse(
                queue, "degraded", f"nothing comes: the newest that is known of the source is {seconds(lag)} old",
                "see whether Maxwell or `pydbsync capture`, and `pydbsync heartbeat`, are at work",
            )  # fmt: skip
        elif figures.get("level_s") is None and worker.state_s > LATE_S:
            _worse(
                queue, "degraded", f"{seconds(lag)} behind, and not catching up",
                "more arrives than the target takes: docs/scaling.md (more queues), docs/performance.md (the target)",
            )  # fmt: skip
        else:
            _worse(queue, "degraded", f"{seconds(lag)} behind")
    if queue.broker is not None and queue.broker.consumers > 1:
        _worse(
            queue, "degraded", f"{queue.broker.consumers} consumers are on the queue",
            "end all but pydbsync: they take messages out of the order",
        )  # fmt: skip


def _waiting(queue: Queue) -> int | None:
    figures = queue.worker.figures if queue.worker is not None else {}
    depth = queue.broker.depth if queue.broker is not None else figures.get("depth")
    return None if depth is None else int(depth) + int(figures.get("held") or 0)


def _judge_parked(queue: Queue) -> None:
    if not queue.parked:
        return
    total = sum(group.count for group in queue.parked)
    _worse(
        queue, "degraded", f"{counted(total, 'change')} parked",
        f"`pydbsync parked list --stream {queue.stream}`, mend the cause, then `pydbsync parked retry`"
        " (or `parked edit`, `parked skip`)",
    )  # fmt: skip


def open_gaps(incidents: list[Gap], tasks: list[TaskRun]) -> list[Gap]:
    """A gap is over when a comparison that began behind it has found everything equal."""
    proven_s = min(
        (task.started_s for task in tasks if task.kind == "verify" and task.is_over and task.exit_code == 0),
        default=None,
    )
    return [each for each in incidents if each.kind == "gap" and (proven_s is None or each.age_s < proven_s)]


def _judge_gaps(queue: Queue, tasks: list[TaskRun]) -> None:
    gaps = open_gaps(queue.incidents, tasks)
    if gaps:
        more = f", and {len(gaps) - 1} more" if len(gaps) > 1 else ""
        _worse(
            queue, "degraded", f"something may be missing: {gaps[0].text} ({age(gaps[0].age_s)}){more}",
            gaps[0].remedy,
        )  # fmt: skip


def _behind(queue: Queue) -> str:
    worker = queue.worker
    if worker is None or not worker.is_fresh or worker.state == "stopped":
        newest = queue.place.newest_s if queue.place is not None else None
        waiting = f"; {counted(queue.broker.depth, 'message')} wait in the queue" if queue.broker is not None else ""
        return (f"the newest change that was applied is {seconds(newest)} old" if newest else "not known") + waiting
    figures = worker.figures
    lag, left = figures.get("lag_s"), _waiting(queue)
    if lag is None:
        return "not known yet: nothing has come"
    if left == 0 and lag < LATE_S:
        return "level" if lag < 2 else f"level (up to {seconds(lag)})"
    level = figures.get("level_s")
    when = f"level in about {seconds(level)}" if level else "not getting less" if left else ""
    return f"{seconds(lag)}; {when}" if when else seconds(lag)


def task_trouble(task: TaskRun) -> tuple[Health, str]:
    """How a run of a tool is, and what to do about it."""
    name = f"{task.kind} {task.name}".strip()
    if not task.is_over and not task.is_fresh:
        again = (
            "run it again: it goes on where it was" if task.kind in ("copy", "capture", "repair") else "run it again"
        )
        if task.kind == "capture" and task.written_s > _LONG_AGO_S:
            again += "; where something else publishes by now, DELETE FROM the state schema's `task` WHERE id ="
            again += f" {task.id}"
        return (
            "down" if task.kind == "capture" else "degraded",
            f"{name} has gone without a word {age(task.written_s)} (pid {task.pid} on {task.host}): {again}",
        )
    if task.kind == "ddl-watch" and not task.is_over and task.done:
        return (
            "degraded",
            f"the source has what the stream did not tell ({task.detail}): docs/schema-changes.md, What never arrives",
        )
    if task.is_over and task.exit_code and task.state != "stopped":
        if task.kind == "verify" and task.exit_code == 1:
            found = f" ({task.result})" if task.result else ""
            return "degraded", f"verify found differences{found}: `pydbsync repair --report …` makes the rows equal"
        what = task.last_error or task.result or ""
        do = f": {task.remedy}" if task.remedy else ""
        return "degraded", f"{name} ended with exit code {task.exit_code} ({what}){do}"
    return "healthy", ""
