"""Starts one worker process per queue, shows what they do, and starts again the ones that die."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from pydbsync.backoff import Backoff
from pydbsync.config.reload import reload_settings
from pydbsync.config.settings import QueueSettings, Settings
from pydbsync.process.alerts import Alerts
from pydbsync.process.entry import begin_worker
from pydbsync.process.logs import set_level
from pydbsync.process.metrics import Metrics, TaskMetrics
from pydbsync.process.status import WorkerStatus
from pydbsync.process.stop_signals import TOLD_TO_STOP
from pydbsync.process.task_facts import TaskFacts
from pydbsync.process.terminal import Terminal

STOP_GRACE_S = 4.0
"""Past this a worker is killed: what it had not committed comes again. A long DDL statement is the usual reason."""
_CONFIG_ERROR, _STOP_ERROR, _BROKEN_ORDER = 2, 3, 5
_FOR_GOOD = (_STOP_ERROR, _BROKEN_ORDER)
"""Exit codes after which a person has to look first, as after a wrong setting (2) at the start. One that was replaced
(4) is started again and stands by; so is one that has worked and is refused now by whatever somebody is changing."""
_STABLE_S = 60.0
_SILENT_S = 30.0
"""A worker that gave no sign of life for so long is stopped (SIGSTOP), or gets no memory or processor."""
_SILENT = "silent"
_LAST_ALERTS_S = 3.0


class _WorkerProcess:
    """One queue's process, present or past."""

    def __init__(self, settings: Settings, queue: QueueSettings) -> None:
        self.queue = queue
        self.status = WorkerStatus(stream=queue.queue)
        self.before = WorkerStatus(stream=queue.queue)
        """The sums of the processes that ran before the present one."""
        self.process: Any = None
        self.pipe: multiprocessing.connection.Connection | None = None
        self.backoff = Backoff(settings.retry.first_s, settings.retry.max_s)
        self.started_at = 0.0
        self.restart_at: float | None = 0.0
        self.exit_code: int | None = None
        self.has_followed = False
        self.heard_at = 0.0
        self.is_silent = False

    def totals(self) -> WorkerStatus:
        """The status with the counters of earlier processes added."""
        found = self.status.after(self.before)
        if self.is_silent:
            found.state = _SILENT
        return found


class Watch(Protocol):
    """Somebody who looks at something beside the run, in a thread of its own."""

    stopped: Mapping[str, str]
    """The streams that must not go on, each with the reason as a sentence."""

    def start(self) -> None:
        """Begin to look."""

    def close(self) -> None:
        """Look no more."""


class Supervisor:
    """Runs all queues of the settings until told to stop, or until they are drained."""

    def __init__(
        self,
        settings: Settings,
        *,
        log: logging.Logger,
        terminal: Terminal,
        cluster: str,
        until_drained: bool,
        watch: Watch | None = None,
    ) -> None:
        """`cluster` is what RabbitMQ calls itself."""
        self._settings = settings
        self._watch = watch
        self._cluster = cluster
        self._log = log
        self._terminal = terminal
        self._until_drained = until_drained
        # Forked from a process that has everything imported and no threads: four workers cost one start, not four.
        self._context = multiprocessing.get_context("forkserver")
        # This process itself does without what only workers need, half of all there is to import.
        self._context.set_forkserver_preload(["__main__", "pydbsync.process.worker", "pydbsync.plan.ddl.tokenizer"])
        self._workers = [_WorkerProcess(settings, queue) for queue in settings.queues]
        self._facts = TaskFacts(settings, log)
        tasks = TaskMetrics(lambda: self._facts.found)
        self._metrics = Metrics(settings.metrics_host, settings.metrics_port, [tasks])
        self._alerts = Alerts(settings.alerts, log)

    def run(self, stop: threading.Event, look: Callable[[], object] = lambda: None) -> int:
        """The exit code: 0, or the gravest of the workers that ended for good. `look` is called a few times a second,
        and may call `reload`."""
        self._metrics.start(self._log)
        self._alerts.start()
        if self._settings.metrics_port or self._settings.alerts.are_sent:
            self._facts.start()
        if self._watch is not None:
            self._watch.start()
        with self._terminal:
            while not stop.is_set():
                look()
                for worker in self._workers:
                    if worker.restart_at is not None and worker.restart_at <= time.monotonic():
                        self._start(worker)
                self._listen(0.2)
                self._notice_silence()
                for worker in self._workers:
                    if worker.process is not None and not worker.process.is_alive() and not stop.is_set():
                        self._ended(worker)
                if self._watch is not None:
                    self._stop_for_good(self._watch.stopped)
                self._show()
                if all(worker.process is None and worker.restart_at is None for worker in self._workers):
                    break
                if any(worker.exit_code == _CONFIG_ERROR for worker in self._workers):
                    break
            self._stop_workers(self._workers)
            self._show(final=True)
        for worker in self._workers:
            if worker.exit_code:
                self._alerts.ended(worker.queue.queue, worker.exit_code)
        self._facts.close()
        self._alerts.close(_LAST_ALERTS_S)
        codes = [worker.exit_code or 0 for worker in self._workers]
        if self._watch is not None:
            self._watch.close()
        return max(codes, default=0)

    def statuses(self) -> list[WorkerStatus]:
        """One per queue."""
        return [worker.totals() for worker in self._workers]

    def reload(self, found: Settings) -> None:
        """Have the workers go on with what of these settings a running one can take over."""
        reload = reload_settings(self._settings, found)
        self._settings = reload.settings
        set_level(reload.settings)
        for worker in self._workers:
            if worker.process is not None and worker.pipe is not None and reload.changed:
                with contextlib.suppress(OSError):  # one that is ending is started again with them
                    worker.pipe.send(reload.settings)
        if reload.changed:
            self._log.info("reload: taken over: %s", ", ".join(reload.changed))
        if reload.needs_restart:
            self._log.warning("reload: changed too, but needs a restart: %s", ", ".join(reload.needs_restart))
        if not reload.changed and not reload.needs_restart:
            self._log.info("reload: the configuration is as it was")

    def kill(self) -> None:
        """End all workers at once: what they had not committed comes again. Also called from a signal handler."""
        for worker in self._workers:
            process = worker.process
            if process is not None:
                with contextlib.suppress(OSError):
                    process.kill()

    def _start(self, worker: _WorkerProcess) -> None:
        ours, theirs = self._context.Pipe()
        worker.process = self._context.Process(
            target=begin_worker,
            args=(self._settings, worker.queue, self._cluster, self._until_drained, theirs),
            name=worker.queue.queue,
        )
        _start_fork_server()
        worker.process.start()
        theirs.close()
        worker.pipe = ours
        worker.started_at = worker.heard_at = time.monotonic()
        worker.is_silent = False
        worker.restart_at = None

    def _listen(self, timeout_s: float) -> None:
        pipes = {worker.pipe: worker for worker in self._workers if worker.pipe is not None}
        if not pipes:
            time.sleep(min(timeout_s, 0.05))
            return
        for pipe in multiprocessing.connection.wait(list(pipes), timeout=timeout_s):
            self._read(pipes[pipe])  # type: ignore[index]

    def _read(self, worker: _WorkerProcess) -> None:
        while worker.pipe is not None:
            try:
                if not worker.pipe.poll():
                    return
                message = worker.pipe.recv()
            except (EOFError, OSError):
                worker.pipe.close()
                worker.pipe = None
                return
            worker.heard_at = time.monotonic()
            if message is None:
                continue
            if isinstance(message, WorkerStatus):
                worker.status = message
                worker.has_followed |= message.state == "following"
            else:
                level, text = message
                self._terminal.say(level, f"{worker.queue.queue}: {text}")

    def _notice_silence(self) -> None:
        """A worker that is stopped or starved applies nothing, and cannot say so itself."""
        for worker in self._workers:
            silent_s = time.monotonic() - worker.heard_at
            is_silent = worker.process is not None and silent_s > _SILENT_S
            if is_silent and not worker.is_silent:
                self._log.warning(
                    "worker of %s (pid %d) gives no sign of life for %.0f s: it is stopped (SIGSTOP), or gets no memory"
                    " or processor time; `kill -CONT` lets it go on, and a kill has it started again",
                    worker.queue.queue, worker.process.pid, silent_s,
                )  # fmt: skip
            elif worker.is_silent and not is_silent:
                self._log.info("worker of %s gives signs of life again", worker.queue.queue)
            worker.is_silent = is_silent

    def _ended(self, worker: _WorkerProcess) -> None:
        self._read(worker)
        if worker.pipe is not None:
            # It was the fork server that died: the worker itself leaves when it sees that nobody listens, and until
            # then its figures are counted already.
            worker.pipe.close()
            worker.pipe = None
        worker.process.join()
        code = worker.process.exitcode
        worker.process = None
        worker.before, worker.status = worker.totals(), WorkerStatus(stream=worker.queue.queue, state="stopped")
        is_drained = code == 0 and self._until_drained
        if is_drained or code in _FOR_GOOD or (code == _CONFIG_ERROR and not worker.has_followed):
            worker.exit_code = code
            return
        if time.monotonic() - worker.started_at > _STABLE_S:
            worker.backoff.reset()
        wait_s = worker.backoff.next_s()
        worker.restart_at = time.monotonic() + wait_s
        worker.status.state = "restarting"
        worker.before.restarts += 1
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == TOLD_TO_STOP:
            how = "was told to stop by somebody else (a signal)"
        self._log.warning("worker of %s %s; it is started again in %.1f s", worker.queue.queue, how, wait_s)

    def _stop_for_good(self, streams: Mapping[str, str]) -> None:
        """End the workers of these streams, as one that a policy of its own has stopped."""
        chosen = [worker for worker in self._workers if worker.queue.stream in streams and worker.exit_code is None]
        for worker in chosen:
            self._log.error("worker of %s is stopped: %s", worker.queue.queue, streams[worker.queue.stream])
        self._stop_workers(chosen)
        for worker in chosen:
            worker.exit_code, worker.restart_at = worker.exit_code or _STOP_ERROR, None
            worker.before, worker.status = worker.totals(), WorkerStatus(stream=worker.queue.queue, state="stopped")

    def _stop_workers(self, workers: Collection[_WorkerProcess]) -> None:
        running = [worker for worker in workers if worker.process is not None]
        for worker in running:
            worker.process.terminate()
        deadline = time.monotonic() + STOP_GRACE_S
        while (left := [worker for worker in running if worker.process is not None]) and time.monotonic() < deadline:
            self._listen(0.05)
            for worker in left:
                if not worker.process.is_alive():
                    self._finish(worker)
        for worker in running:
            if worker.process is not None:
                self._log.warning(
                    "worker of %s did not end within %g s (a long statement?) and is killed; what it had not committed"
                    " comes again", worker.queue.queue, STOP_GRACE_S,
                )  # fmt: skip
                worker.process.kill()
                self._finish(worker)

    def _finish(self, worker: _WorkerProcess) -> None:
        self._read(worker)
        worker.process.join()
        code = worker.process.exitcode
        worker.process = None
        if worker.exit_code is None and code in (_CONFIG_ERROR, *_FOR_GOOD):
            worker.exit_code = code

    def _show(self, *, final: bool = False) -> None:
        statuses = self.statuses()
        self._terminal.show(statuses, final=final)
        self._metrics.update(statuses)
        self._alerts.update(statuses, self._facts.found)


def summary(statuses: Iterable[WorkerStatus]) -> dict[str, object]:
    """The figures of a run, for people and for `--summary-json`; `seconds` from the first change to the last commit."""
    found = list(statuses)
    first = min((status.first_at for status in found if status.first_at), default=0.0)
    last = max((status.last_at for status in found), default=0.0)
    seconds = max(last - first, 0.0) if first else 0.0
    applied = sum(status.applied for status in found)
    return {
        "applied": applied,
        "schema_changes": sum(status.schema_changes for status in found),
        "duplicates": sum(status.duplicates for status in found),
        "parked": sum(status.parked for status in found),
        "transactions": sum(status.transactions for status in found),
        "seconds": round(seconds, 3),
        "rows_per_s": round(applied / seconds) if seconds else 0,
        "resident_bytes": max((status.resident_bytes for status in found), default=0),
    }


def _start_fork_server() -> None:
    """It looks for modules in the folder where it is started, then among those that are installed: another pydbsync may
    be in either."""
    here, current = Path(__file__).resolve().parents[2], Path.cwd()
    os.chdir(sys.prefix if here.name.endswith("-packages") else here)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.chdir(current)
