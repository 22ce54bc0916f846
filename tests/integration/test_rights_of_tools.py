"""docs/rights.md: each tool does its work with a user that has just these rights, and names the one that is missing.

The commands run in this process. What `run`, `heartbeat` and `capture` need is tried in test_rights.py.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pydbsync.cli import main
from tests.comparing import QUICK, run_sql
from tests.integration.captured import Capture
from tests.integration.engine import replay
from tests.integration.test_rights import granted
from tests.maxwell import Binlog, delete, insert, update
from tests.processes import REPOSITORY
from tests.servers import Endpoint

PAGE = (REPOSITORY / "docs" / "rights.md").read_text(encoding="utf-8")
STREAM = "sync"
SHOP, STATE, ALL, BEATS = "shop.*", "pydbsync.*", "*.*", "pydbsync_heartbeat.*"
READ = ("SELECT",)
WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")
BINLOG = ("REPLICATION CLIENT", "REPLICATION SLAVE")
Rights = Mapping[str, tuple[str, ...]]
NAMES = {
    "REPLICATION CLIENT": "REPLICATION CLIENT|BINLOG MONITOR",  # MariaDB 10.5 and newer
    # Not the words of other sentences.
    "TRIGGER": "(without|needs|needs GRANT) TRIGGER", "EVENT": "(without|needs|needs GRANT) EVENT",
}  # fmt: skip
OLD = "'2001-01-01'"


@dataclass(frozen=True)
class Tool:
    """A command, the rights that it needs at each end, and how its success is seen."""

    words: str
    target: Rights = field(default_factory=dict)
    source: Rights = field(default_factory=dict)
    code: int = 0
    says: str = ""
    """What a run with all rights says, as a pattern."""
    only: tuple[str, ...] = ()
    """The rights that are taken away, where another tool shows the others; all, if empty."""


PLAN = "repair --wait-s 0 --report {folder}/report.json --plan {folder}/new.sql"
APPLY = "repair --wait-s 0 --plan {folder}/plan.sql --yes"

COPY = {SHOP: ("SELECT", "INSERT", "CREATE", "REFERENCES"), STATE: WRITE}
FROM = {SHOP: ("SELECT", "LOCK TABLES"), ALL: ("REPLICATION CLIENT",), BEATS: ("CREATE", "INSERT")}
COPIED = r"\A(?!.*no marker).*\n3 rows"
PROGRAMS = [
    "CREATE VIEW v AS SELECT id FROM items", "CREATE TRIGGER g BEFORE UPDATE ON items FOR EACH ROW SET @x = 1",
    "CREATE PROCEDURE p() SELECT 1", "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
]  # fmt: skip
"""In the source's shop, for a copy that is to make them."""

TOOLS = {
    "parked list": Tool("parked list", {STATE: READ}, says=r"shop\.kept"),
    "parked counts": Tool("parked counts", {STATE: READ}, says="3 parked"),
    "parked retry": Tool("parked retry", {STATE: WRITE[:3], SHOP: WRITE}, says="3 applied, 0 stay parked"),
    "parked skip": Tool("parked skip --everything --reason old --yes", {STATE: WRITE[:3]}, says="3 skipped"),
    "conflicts list": Tool("conflicts list", {STATE: READ}, says="there is no conflict"),
    "pause": Tool(f"pause {STREAM}", {STATE: WRITE[:2]}, says="paused"),
    "resume": Tool(f"resume {STREAM}", {STATE: ("SELECT", "INSERT", "DELETE")}, says="goes on"),
    "checkpoint show": Tool("checkpoint show", {STATE: READ}, says=STREAM),
    "checkpoint set": Tool("checkpoint set other --to binlog.000009:4 --yes", {STATE: WRITE[:3]}, says="stands at"),
    "prune": Tool("prune --days 1", {STATE: ("SELECT", "DELETE")}, says="1 parked changes that were mended"),
    "status": Tool("status", {STATE: READ}, code=2, says="state schema pydbsync version"),
    "counters": Tool("counters", {SHOP: READ}, {SHOP: READ}, code=1, says="AUTO_INCREMENT = 10"),
    "counters --apply": Tool(
        "counters --apply", {SHOP: ("SELECT", "ALTER"), STATE: ("SELECT", "INSERT", "UPDATE")}, {SHOP: READ},
        says=r"raised: shop\.items",
    ),
    "verify": Tool(
        "verify --wait-s 0", {SHOP: ("SELECT", "REFERENCES"), STATE: READ},
        {SHOP: ("SELECT", "REFERENCES"), ALL: BINLOG}, code=1, says=r"\A(?!.*(unproven|REFERENCES)).* 4 differ\n",
    ),
    "repair --report": Tool(PLAN, {SHOP: READ, STATE: READ}, {SHOP: READ, ALL: BINLOG}, code=1, says="4 changes of"),
    "repair --plan": Tool(
        APPLY, {SHOP: WRITE, STATE: WRITE}, {SHOP: READ}, says="4 changes applied, 0 refused"
    ),
    "copy": Tool("copy --stream c --lock tables", COPY, FROM, says=COPIED),
    "copy --existing drop": Tool(
        "copy --existing drop --stream c --lock tables", {**COPY, SHOP: (*COPY[SHOP], "DROP")}, FROM, says=COPIED
    ),
    "copy --lock global": Tool(
        "copy --stream c --lock global", COPY, {**FROM, SHOP: READ, ALL: ("REPLICATION CLIENT", "RELOAD")},
        says=COPIED, only=("RELOAD",),
    ),
    "copy --triggers --routines --events": Tool(
        "copy --stream c --lock tables --triggers --routines --events",
        {**COPY, SHOP: (*COPY[SHOP], "CREATE VIEW", "TRIGGER", "CREATE ROUTINE", "EVENT")},
        {SHOP: ("LOCK TABLES", "SHOW VIEW", "TRIGGER", "EVENT"), ALL: ("SELECT", *FROM[ALL]), BEATS: FROM[BEATS]},
        says=r"\A(?!.*left out: ).*\n3 rows",
        only=("SHOW VIEW", "TRIGGER", "EVENT", "CREATE VIEW", "CREATE ROUTINE"),
    ),
}  # fmt: skip


DOCTOR = Tool(
    "doctor --skip broker",
    {SHOP: (*WRITE, "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES", "TRIGGER", "EVENT"),
     STATE: (*WRITE, "CREATE", "ALTER", "INDEX"), ALL: ("PROCESS",)},
    {SHOP: READ, ALL: (*BINLOG, "PROCESS"), BEATS: ("SELECT", "INSERT", "UPDATE", "CREATE"), "maxwell.*": READ},
)  # fmt: skip


class World:
    """Two servers whose shop differs in a row and a counter, with three parked changes and an old one; their users."""

    def __init__(self, source: Endpoint, target: Endpoint, folder: Path) -> None:
        self.source, self.target, self.folder = source, target, folder
        self._users: dict[str, Endpoint] = {}
        self._all_users: list[tuple[Endpoint, str]] = []
        self.config = folder / "config.py"

    def make(self) -> None:
        self.source.query("CREATE DATABASE shop")
        run_sql(
            self.source,
            ["CREATE TABLE parents (id INT PRIMARY KEY)", "INSERT INTO parents VALUES (1)",
             "CREATE TABLE items (id INT AUTO_INCREMENT PRIMARY KEY, v INT, FOREIGN KEY (v) REFERENCES parents (id))",
             "CREATE TABLE kept (id INT PRIMARY KEY, v INT)", "CREATE DATABASE other", "CREATE TABLE other.o (id INT)"],
            database="shop",
        )  # fmt: skip
        capture = Capture(self.source, self.folder)
        capture.read()
        run_sql(self.source, ["INSERT INTO shop.items VALUES (1, 1), (2, 1)", "INSERT INTO shop.items VALUES (9, 1)",
                              "DELETE FROM shop.items WHERE id = 9"])  # fmt: skip
        self.target.query("CREATE DATABASE shop")
        for table in ("parents", "kept", "items"):
            (_, sql), *_ = self.source.query(f"SHOW CREATE TABLE shop.{table}")
            run_sql(self.target, [str(sql)], database="shop")
        run_sql(self.target, ["INSERT INTO shop.parents VALUES (1)"])
        replay(self.target, capture.read(), stream=STREAM)
        run_sql(self.source, ["INSERT INTO other.o VALUES (1)"])  # what verify must look through
        run_sql(self.target, ["DELETE FROM shop.items", "ALTER TABLE shop.items AUTO_INCREMENT = 2"])
        binlog = Binlog()
        run_sql(self.target, ["RENAME TABLE shop.kept TO shop.hidden"])
        replay(
            self.target,
            binlog.each([insert("shop.kept", {"id": 7, "v": 1}), update("shop.kept", {"id": 1, "v": 2}, {"v": 1}),
                         delete("shop.kept", {"id": 2, "v": 1}), delete("shop.kept", {"id": 3, "v": 1})]),
            stream="other", apply_mode="plain",
        )  # fmt: skip
        run_sql(self.target, ["RENAME TABLE shop.hidden TO shop.kept"])

    def reset(self, tool: Tool) -> None:
        """Undo what a run may have done all the same."""
        (self.folder / "new.sql").unlink(missing_ok=True)
        if tool.words.startswith("copy"):
            run_sql(self.source, ["DROP DATABASE IF EXISTS pydbsync_heartbeat"])
            kinds = [sql.split()[1:3] for sql in PROGRAMS]
            run_sql(
                self.source, [f"DROP {kind} IF EXISTS {name.rstrip('()')}" for kind, name in kinds], database="shop"
            )
            if "--triggers" in tool.words:
                run_sql(self.source, PROGRAMS, database="shop")
                run_sql(self.target, ["SET GLOBAL log_bin_trust_function_creators = 1"])
            run_sql(
                self.target,
                ["DROP DATABASE shop", "CREATE DATABASE shop", "DELETE FROM pydbsync.checkpoint WHERE stream = 'c'",
                 *(f"DELETE FROM pydbsync.copy_{name}" for name in ("start", "run", "table", "chunk", "made")),
                 *(["CREATE TABLE shop.items (id INT)"] if "drop" in tool.words else [])],
            )  # fmt: skip
            return
        parked, paused = "pydbsync.parked", f"('{STREAM}', '', '', '')" if tool.words.startswith("resume") else ""
        run_sql(
            self.target,
            ["DELETE FROM shop.kept", "INSERT INTO shop.kept VALUES (1, 1), (2, 1)",
             "DELETE FROM shop.items", "INSERT INTO shop.items VALUES (1, NULL)",
             "ALTER TABLE shop.items AUTO_INCREMENT = 2", "DELETE FROM pydbsync.repair",
             f"UPDATE {parked} SET status = 'parked' WHERE id < 4",
             f"UPDATE {parked} SET status = 'skipped', parked_at = {OLD} WHERE id = 4",
             "DELETE FROM pydbsync.pause",
             paused and f"INSERT INTO pydbsync.pause (stream, schema_changes_of, actor, reason) VALUES {paused}"],
        )  # fmt: skip

    def grant(self, tool: Tool) -> None:
        for end, server, rights in self._sides(tool):
            lines = (f"{', '.join(each)} ON {scope}" for scope, each in rights.items())
            self._users[end] = granted(server, *lines)
            self.track(self._users[end])
        keys = {
            "db_info": self._users["target"].db_info, "source_db_info": self._users["source"].db_info,
            "include": ["shop.*"], "log_file_prefix": "", "state_interval_s": 0, "apply_mode": "plain",
            "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {STREAM: []}}],
            "retry": {"first_s": 0.01, "max_s": 0.01},
        }  # fmt: skip
        self.config.write_text("".join(f"{key} = {value!r}\n" for key, value in keys.items()))

    def track(self, user: Endpoint) -> None:
        """Have a user removed at the end."""
        self._all_users.append((self.source if user.port == self.source.port else self.target, user.user))

    def remove_users(self) -> None:
        for server, user in self._all_users:
            run_sql(server, [f"DROP USER {user}@'%'"])

    def without(self, tool: Tool) -> Iterator[tuple[str, str]]:
        """Each right of the tool with its place, taken away meanwhile."""
        for end, server, rights in self._sides(tool):
            for scope, names in rights.items():
                for right in names:
                    if tool.only and right not in tool.only:
                        continue
                    user = f"{self._users[end].user}@'%'"
                    run_sql(server, [f"REVOKE {right} ON {scope} FROM {user}"])
                    yield right, f"{right} on {scope} at the {end}"
                    run_sql(server, [f"GRANT {right} ON {scope} TO {user}"])

    def _sides(self, tool: Tool) -> list[tuple[str, Endpoint, Rights]]:
        return [("source", self.source, tool.source), ("target", self.target, tool.target)]

    def run(self, tool: Tool, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        """The exit code, and all that was said."""
        self.reset(tool)
        return self.command(tool.words, capsys)

    def command(self, words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([*words.format(folder=self.folder).split(), "--config", str(self.config)])
        logging.getLogger("pydbsync").handlers.clear()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err


@pytest.fixture(scope="module")
def world(source: Endpoint, target: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all: tools that copy are last, and each run begins with the same rows."""
    for end in (source, target):
        if end.server:
            end.server.start()
        end.drop_databases()
    made = World(source, target, tmp_path_factory.mktemp("world"))
    made.make()
    yield made
    made.remove_users()


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_needs_just_its_rights_and_names_the_one_that_is_missing(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for command in ("verify", "repair"):  # servers at rest: nothing is waited for
        monkeypatch.setattr(f"pydbsync.commands.{command}.SettleOptions", lambda **_: QUICK)
    tool = TOOLS[name]
    world.grant(tool)
    if tool.words.startswith("repair"):
        world.reset(tool)
        world.command("verify --wait-s 0 --report {folder}/report.json", capsys)
    if tool.words == APPLY:
        world.command(PLAN.replace("new", "plan") + " --unproven", capsys)
    wrong = []
    for right, place in world.without(tool):
        code, said = world.run(tool, capsys)
        if right == "RELOAD" and world.source.brand == "mariadb":
            continue  # nothing is locked there while nothing is written
        if is_well(tool, code, said) or not re.search(NAMES.get(right, right), said, re.IGNORECASE):
            if right == "REFERENCES" and (world.target.brand == "mariadb") is tool.words.startswith("copy"):
                continue  # MariaDB makes foreign keys without it, MySQL shows them without it
            wrong.append(f"without {place}: exit code {code}: {said}")
    assert not wrong, "\n".join(wrong)
    code, said = world.run(tool, capsys)
    assert is_well(tool, code, said), said


def test_doctor_names_each_right_that_is_missing_and_takes_nothing_hidden_for_lost(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.grant(DOCTOR)
    _, said = world.command(DOCTOR.words, capsys)
    known = set(said.splitlines())
    wrong = []
    for right, place in world.without(DOCTOR):
        _, said = world.command(DOCTOR.words, capsys)
        new = [line for line in said.splitlines() if line not in known and not re.match(r"\d+ errors?", line)]
        is_named = any(re.search(NAMES.get(right, right), line) for line in new)
        false = [line for line in new if re.match(r" *error (?!.*( lacks | may not read ))", line)]
        if not is_named or false:
            wrong.append("\n".join([f"without {place}:", *new]))
    assert not wrong, "\n".join(wrong)


def test_init_writes_its_file_for_a_user_without_rights_and_names_those_that_are_missing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = granted(world.target)
    world.track(nobody)
    file = world.folder / "new.py"
    url = f"mysql://{nobody.user}:{nobody.password}@{nobody.host}:{nobody.port}"
    with pytest.raises(SystemExit):
        main(["init", "--file", str(file), "--target", url, "--source", url, "--rabbitmq", "amqp://a:b@127.0.0.1:1"])
    assert "db_info" in file.read_text(encoding="utf-8")
    assert re.search(
        "lacks SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP on the state", capsys.readouterr().out
    )


def test_the_page_has_these_rights() -> None:
    for name, tool in TOOLS.items():
        cells = [", ".join(tool.target.get(scope, ())) for scope in (SHOP, STATE)]
        assert f"| `{name}` | " + " | ".join(f"`{cell}`" if cell else "" for cell in cells) + " |" in PAGE
        if tool.source:
            wanted = [*tool.source.get(SHOP, ()), *tool.source.get(ALL, ())]
            assert f"| `{name}` | `{', '.join(wanted)}` |" in PAGE


def is_well(tool: Tool, code: int, said: str) -> bool:
    return code == tool.code and bool(re.search(tool.says, said, re.DOTALL))
