"""The watch: a thread beside the supervisor that looks at both ends now and then, and says what no message told.

It has connections of its own and reads. A look costs some queries a table, and is taken where the source or the target
has run DDL since the last one, by their own counters, and now and then anyway.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Final

from pydbsync.apply.mark import MarkedConnection
from pydbsync.apply.tables.seen import DefinedThing, SeenTable
from pydbsync.apply.tables.worker import Incident, add_incident
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import ApplyError, ConfigError, OperationError, PydbsyncError, Stopped
from pydbsync.model import TableName
from pydbsync.ops.ddl_watch.ledger import Difference, WatchLedger
from pydbsync.ops.ddl_watch.look import Lookout, LookOutcome
from pydbsync.ops.ddl_watch.marks import Marks, Passing
from pydbsync.ops.ddl_watch.programs import KINDS, notices, read_programs
from pydbsync.ops.servers import Servers
from pydbsync.ops.told import Told, telling
from pydbsync.plan.quoting import quote_name
from pydbsync.process.task_facts import read_tasks

DIFFERENT: Final = "different"
_FULL_EVERY_S: Final = 900.0
_PASSED_EVERY_S: Final = 1.0
_LOCK_WAIT_S: Final = 5
_BASELINE: Final = DefinedThing("look", "")
_COUNTS: Final = "SHOW GLOBAL STATUS WHERE variable_name REGEXP '^Com_(alter|create|drop|rename|truncate|optimize)'"


class DdlWatch:
    """Looks every few seconds until it is closed; `stopped` says which streams must not go on, and why, where that is
    the policy."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self.stopped: dict[str, str] = {}
        self._settings = settings
        self._policy = settings.ddl_watch.policy
        self._every_s = settings.ddl_watch.every_s
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ddl watch", daemon=True)
        self._servers = Servers(settings, self._stop)
        self._lookout = Lookout(settings, self._servers.source, self._servers.target)
        self._passing = Passing(settings, self._servers.source, self._servers.target)
        self._seen_table = SeenTable(settings.state_schema, settings.source.address if settings.source else "")
        self._ledger: WatchLedger[Marks] = WatchLedger()
        self._counts: dict[str, object] = {}
        self._look_at = self._full_at = 0.0
        self._carried: set[str] = set()
        self._said: set[str] = set()
        self._is_away = False

    @property
    def differences(self) -> list[Difference]:
        """Those that are proven, and stand."""
        return self._ledger.proven

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self, wait_s: float = 1.0) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _run(self) -> None:
        with contextlib.suppress(Stopped), telling(self._settings, "ddl-watch", unit="differences") as told:
            self._log.info("the source's structure is watched every %g s (ddl_watch: %s)", self._every_s, self._policy)
            while not self._stop.is_set():
                try:
                    self.step(told)
                    self._back()
                except (ApplyError, ConfigError, OperationError) as exc:
                    self._away(told, exc)
                except PydbsyncError:
                    raise
                except Exception:
                    self._log.exception("the source's structure is watched no more; please report it with these lines")
                    raise
                self._stop.wait(self._pause_s())
        self._servers.close()

    def _pause_s(self) -> float:
        is_awaited = self._ledger.suspected or self._lookout.remade
        return min(self._every_s, _PASSED_EVERY_S) if is_awaited else self._every_s

    def step(self, told: Told) -> bool:
        """One look, where one is due; whether all was looked at. Raises ApplyError, Stopped."""
        if self._is_copied():
            told.says("waits for a copy to end")
            return False
        passed = {
            difference.key
            for difference, marks in self._ledger.suspected
            if self._passing.has_passed(marks, difference.sources)
        }
        remade = self._lookout.remade
        for each in remade.values():
            each.is_passed = each.is_passed or (
                each.marks is not None and self._passing.has_passed(each.marks, tuple(each.numbers))
            )
        walked = {table for table, each in remade.items() if each.is_passed}
        only = self._scope({table for table, _ in passed} | walked)
        if only is not None and not only:
            return False
        seen = self._servers.target.call(self._seen_table.read)
        outcome = self._lookout.look(seen, only)
        programs = read_programs(self._servers.source, outcome.databases) if only is None else None
        marks = self._passing.marks()
        self._lookout.mark(marks)
        result = self._ledger.take(
            outcome.differences, marks, passed=passed,
            is_looked_at=lambda table: table not in outcome.unseen and (only is None or table in only),
        )  # fmt: skip
        for difference in result.begun:
            self._begun(difference)
        for difference in result.ended:
            self._log.info("the source and what the stream told agree again: %s", difference)
        self._remember(seen, outcome, programs)
        self._carry_over()
        self._show(told, self._why_unproven(marks, outcome))
        if not outcome.has_numbers:
            self._say_once(
                "without the right PROCESS at the source a TRUNCATE of a table that was filled again is seen by"
                " `pydbsync verify` alone"
            )
        if self._policy == "stop":
            self._stop_streams()
        return only is None

    def _stop_streams(self) -> None:
        stopped = dict(self.stopped)
        for each in self._ledger.proven:
            reason = f"ddl_watch: stop: the source differs from what the stream told: {each}; to mend it: {each.remedy}"
            for stream in self._passing.streams(each.sources):
                stopped.setdefault(stream, reason)
        self.stopped = stopped  # at once, as the supervisor reads it

    def _scope(self, passed: set[TableName]) -> set[TableName] | None:
        """The tables of the target to look at now: those whose suspicion can be settled, and every so often what
        stands; None is all."""
        now = time.monotonic()
        if now < self._look_at:
            return passed
        self._look_at = now + self._every_s
        counts: dict[str, object] = {}
        for name, server in (("source", self._servers.source), ("target", self._servers.target)):
            counts |= {f"{name} {variable}": value for variable, value in server.rows(_COUNTS)}
        if counts != self._counts or now >= self._full_at:
            self._counts, self._full_at = counts, now + _FULL_EVERY_S
            return None
        return passed | {difference.table for difference in self._ledger.proven}

    def _is_copied(self) -> bool:
        tasks = self._servers.target.call(lambda connection: read_tasks(connection, self._settings.state_schema))
        return any(task.kind == "copy" and task.is_running for task in tasks)

    def _begun(self, difference: Difference) -> None:
        self._log.warning(
            "the source differs from what the stream told: %s; to mend it: %s", difference, difference.remedy
        )
        self._incident(str(difference), difference.remedy, difference.sources)

    def _incident(self, text: str, remedy: str, tables: tuple[TableName, ...]) -> None:
        streams = [*self._passing.streams(tables), *(queue.stream for queue in self._settings.queues)]
        stream = streams[0] if streams else self._settings.stream
        incident = Incident("structure", text, remedy)
        table = f"{quote_name(self._settings.state_schema)}.`incident`"
        self._servers.target.call(lambda connection: add_incident(connection, table, stream, incident))

    def _remember(
        self, seen: dict[DefinedThing, str], outcome: LookOutcome, programs: dict[DefinedThing, str] | None
    ) -> None:
        if programs is None:  # not all was looked at
            return
        new = {thing: text for thing, text in outcome.seen.items() if seen.get(thing) != text}
        gone: list[DefinedThing] = []
        former = {thing: text for thing, text in seen.items() if thing.kind in KINDS}
        watched = seen.get(_BASELINE, "").split()  # what was there when a kind was looked at first is doctor's to name
        if former != programs:
            at_target = self._programs_of_target(outcome.databases)
            begun = {thing: text for thing, text in programs.items() if thing.kind in watched}
            for notice in notices(
                {thing: former[thing] for thing in former if thing.kind in watched}, begun, at_target
            ):
                self._log.warning("%s: %s", notice.text, notice.remedy)
                self._incident(notice.text, notice.remedy, ())
        new |= {thing: text for thing, text in programs.items() if former.get(thing) != text}
        new |= {_BASELINE: " ".join(KINDS)} if set(KINDS) - set(watched) else {}
        gone = [thing for thing in former if thing not in programs]
        if new or gone:
            self._servers.target.call(lambda connection: self._seen_table.write(connection, new, gone))

    def _programs_of_target(self, databases: set[str]) -> set[tuple[str, str]]:
        router = router_from(self._settings)
        by_target = {target: source for source in databases for target in router.databases(source)}
        found = set()
        for kind, name in read_programs(self._servers.target, by_target):
            prefix, space, full = name.rpartition(" ") if kind == "routine" and " " in name else ("", "", name)
            database, _, rest = full.partition(".")
            found.add((kind, f"{prefix}{space}{by_target.get(database, database)}.{rest}"))
        return found

    def _carry_over(self) -> None:
        """Make and drop the indexes of tables that differ in nothing else, once their differences are proven."""
        if self._policy != "carry_over":
            return
        suspected = {difference.table for difference, _ in self._ledger.suspected}
        for table in {difference.table for difference in self._ledger.proven} - suspected:
            differences = [each for each in self._ledger.proven if each.table == table]
            if not all(each.sql for each in differences):
                continue
            for each in differences:
                if each.sql not in self._carried:
                    self._run_at_target(each)

    def _run_at_target(self, difference: Difference) -> None:
        target = self._settings.target
        connection = MarkedConnection(
            target.connect_keywords(), key=target.key, schema=self._settings.state_schema, tool="ddl_watch"
        )
        try:
            connection.execute(f"SET SESSION lock_wait_timeout = {_LOCK_WAIT_S}")
            connection.execute(difference.sql)
            self._carried.add(difference.sql)
            self._log.info("carried over from the source: %s", difference.sql)
        except ApplyError as exc:
            self._say_once(f"could not be carried over now, and is tried again: {difference.sql}: {exc}")
        finally:
            connection.close()

    def _why_unproven(self, marks: Marks, outcome: LookOutcome) -> str:
        unknown = self._passing.why_unknown(marks)
        if unknown and (self._ledger.suspected or self._lookout.remade):
            return f"nothing can be told from lag: {unknown}; grant REPLICATION CLIENT or run pydbsync heartbeat"
        return f"not looked for: {outcome.left_out}" if outcome.left_out else ""

    def _show(self, told: Told, note: str) -> None:
        proven, suspected = self._ledger.proven, self._ledger.suspected
        told.row.done = len(proven)
        told.now(DIFFERENT if proven else "running")
        told.row.remedy = proven[0].remedy if proven else None
        parts = [str(difference) for difference in proven[:10]]
        if len(proven) > len(parts):
            parts.append(f"{len(proven) - len(parts)} more")
        if suspected:
            parts.append(f"{len(suspected)} to be proven when the stream has passed the look")
        if note:
            parts.append(note)
            self._say_once(note)
        told.says("; ".join(parts))

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._log.warning("the watch over the source's structure: %s", text)

    def _away(self, told: Told, exc: Exception) -> None:
        told.says(f"cannot look now: {exc}")
        if not self._is_away:
            self._is_away = True
            self._log.warning("the source's structure cannot be looked at now, and is again later: %s", exc)

    def _back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._log.info("the source's structure is looked at again")
