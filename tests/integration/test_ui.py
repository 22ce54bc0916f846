"""The web page in a real browser: what an operator sees and clicks, and what is then in the target."""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from typer.testing import CliRunner

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.cli import application
from pydbsync.config.settings import Settings
from pydbsync.source.memory import MemorySource
from pydbsync.ui.history import read_history
from tests.certificates import Certificates
from tests.integration.engine import following, parked, replay, settings_for
from tests.maxwell import Binlog, Step, insert, update
from tests.pages import TOKEN, Serving, launch, serving
from tests.processes import wait_for, write_config
from tests.servers import Endpoint

HOSTILE = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'>\"'&"
MAX_BIGINT = 18446744073709551615
EXPECT_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=EXPECT_MS)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


class Visit:
    """One person's browser, which must not meet a fault of a script, or load anything from elsewhere."""

    def __init__(self, browser: Browser, served: Serving) -> None:
        self.served = served
        self._context = browser.new_context()
        self._context.set_default_timeout(EXPECT_MS)
        self.page: Page = self._context.new_page()
        self.ran: object = None
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.served.address + path)
        return self.page

    def sign_in(self, token: str = TOKEN) -> None:
        self.page.get_by_label("Your name").fill("Ada")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def cookies(self) -> list[Any]:
        return list(self._context.cookies())

    def end(self) -> None:
        self.ran = self.page.evaluate("window.ran")
        self._context.close()

    def check(self) -> None:
        assert self.ran is None, "a value of a row has run as a script"
        assert self.faults == []
        assert [url for url in self.asked if not url.startswith(self.served.address)] == []
        assert not any(TOKEN.split()[-1] in url for url in self.asked), "the token stood in an address"


Visiting = Callable[[Settings], Any]


@pytest.fixture
def visiting(browser: Browser) -> Visiting:
    """visiting(settings): the page served, and a browser that looks at it."""

    @contextlib.contextmanager
    def visit(settings: Settings) -> Iterator[Visit]:
        with serving(settings) as served:
            visit = Visit(browser, served)
            try:
                yield visit
            finally:
                visit.end()
            visit.check()

    return visit


def page_settings(target: Endpoint, **options: Any) -> Settings:
    ui = {"port": 0, "token": TOKEN, **options.pop("ui", {})}
    queues = [{"exchange": ["maxwell", "topic"], "queues": {"memory": ["#"]}}]
    return settings_for(target, rabbitmq_queue_bind=queues, ui=ui, **options)


CREATE = (
    "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, v VARCHAR(90), n DECIMAL(30,10), b VARBINARY(20), j JSON, w INT)"
)


def park(target: Endpoint, binlog: Binlog, *more: Step) -> None:
    """One change that is refused for its number, one of the same row behind it, and more."""
    row = {"id": MAX_BIGINT, "v": HOSTILE, "n": 12345678901234567890, "b": "AP8=", "j": '{"n": 9007199254740993}'}
    messages = [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(CREATE, "d.t")]
    messages += binlog.transaction(insert("d.t", {**row, "w": 99999999999}))
    messages += binlog.transaction(update("d.t", {**row, "w": 6}, {"w": 99999999999}))
    replay(target, [*messages, *binlog.each(more)], batch_rows=1)  # else both are one statement


def test_a_parked_change_is_looked_at_edited_and_retried_and_the_row_is_in_the_target(
    fresh_target: Endpoint, binlog: Binlog, visiting: Visiting
) -> None:
    park(fresh_target, binlog)
    first, second = parked(fresh_target)
    with visiting(page_settings(fresh_target)) as visit:
        page = visit.open()
        page.get_by_role("link", name="Parked", exact=True).click()
        page.get_by_role("link", name=str(first.id), exact=True).first.click()
        expect(page.get_by_text("Out of range value")).to_be_visible()
        expect(page.get_by_role("cell", name=HOSTILE)).to_be_visible()
        expect(page.get_by_role("cell", name="base64 of 2 bytes")).to_be_visible()
        page.get_by_role("link", name="Sign in to retry").click()
        visit.sign_in("the wrong token of somebody")
        expect(page.get_by_role("alert").filter(has_text="this is not the token")).to_be_visible()
        visit.sign_in()
        page.get_by_role("link", name="Edit").click()
        page.get_by_label("Value of data w").fill("five")
        page.get_by_role("button", name="Save and retry").click()
        expect(page.get_by_text("w: 'five' is no number")).to_be_visible()
        page.get_by_label("Value of data w").fill("5")
        page.get_by_role("button", name="Save and retry").click()
        expect(page.get_by_role("status")).to_contain_text(f"{first.id}: applied")
        expect(page.locator(".pill.applied")).to_be_visible()
        expect(page.get_by_text("edit by Ada (page of")).to_be_visible()
        page.get_by_role("link", name="Parked", exact=True).first.click()
        page.get_by_role("button", name="Retry all 1").click()
        expect(page.get_by_role("status")).to_contain_text(f"{second.id}: applied")
        expect(page.get_by_text("Nothing is parked")).to_be_visible()
        (cookie,) = visit.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    [(key, text, number, blob, document, wide)] = fresh_target.query("SELECT * FROM d.t")
    assert (key, text, str(number), blob, wide) == (
        MAX_BIGINT,
        HOSTILE,
        "12345678901234567890.0000000000",
        b"\0\xff",
        6,
    )
    assert "9007199254740993" in str(document)
    audits = fresh_target.query("SELECT action, actor FROM pydbsync.parked_audit ORDER BY id")
    assert [action for action, _ in audits] == ["edit", "retry", "retry"]
    assert all(actor.startswith("Ada (page of ") and actor.endswith("from 127.0.0.1)") for _, actor in audits)


@pytest.mark.mariadb
def test_marked_changes_are_skipped_with_a_reason_and_the_filters_find_the_rest(
    fresh_target: Endpoint, binlog: Binlog, visiting: Visiting
) -> None:
    others = [insert("d.unknown", {"id": number}) for number in range(4)]
    park(fresh_target, binlog, *others, insert("d.t", {"id": 1, "v": "x" * 3_000_000}))
    before = parked(fresh_target)
    ids = [each.id for each in before if each.table == "d.unknown"]
    (large_id,) = [each.id for each in before if "too long" in each.reason]
    with visiting(page_settings(fresh_target)) as visit:
        page = visit.open(f"/parked/{large_id}")
        expect(page.get_by_text("(3,000,000 characters in all)")).to_be_visible()
        assert len(page.content()) < 300_000
        page.get_by_role("link", name="Sign in", exact=True).click()
        visit.sign_in()
        page.get_by_role("link", name="Edit").click()
        expect(page.get_by_text("stays as it is: 3,000,000 characters")).to_be_visible()
        visit.open("/parked")
        expect(page.locator(".groups tbody tr").first).to_contain_text(re.compile(r"4\s*d\.unknown"))
        page.get_by_label("Table").fill("d.unk*")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("tbody tr .reason")).to_have_count(4)
        page.get_by_label(f"Mark {ids[0]}").check()
        page.get_by_label(f"Mark {ids[2]}").check()
        page.get_by_role("button", name="Skip the marked").click()
        expect(page.get_by_role("heading", name="Give up 2 changes for good?")).to_be_visible()
        page.get_by_role("button", name="Skip 2").click()  # the browser asks for the reason first
        page.get_by_label("Reason").fill("not ours <b>")
        page.get_by_role("button", name="Skip 2").click()
        expect(page.get_by_role("status")).to_contain_text("2 skipped")
        expect(page.locator("tbody tr .reason")).to_have_count(5)
        visit.open("/")
        expect(page.locator(".history-list")).to_contain_text(f"skip 2 parked changes, {ids[2]} the last: not ours <b>")
    assert [each.id for each in parked(fresh_target)] == [each.id for each in before if each.id not in (ids[0], ids[2])]
    skipped = "SELECT parked_id, detail FROM pydbsync.parked_audit WHERE action = 'skip' ORDER BY parked_id"
    assert fresh_target.query(skipped) == [(ids[0], "not ours <b>"), (ids[2], "not ours <b>")]


@pytest.mark.mariadb
def test_a_queue_is_paused_and_resumed_by_clicks(fresh_target: Endpoint, binlog: Binlog, visiting: Visiting) -> None:
    settings = page_settings(fresh_target, state_interval_s=0.2)
    source = MemorySource([*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(CREATE, "d.t")], stream="memory")
    with following(settings, source), visiting(settings) as visit:
        page = visit.open("/")
        expect(page.get_by_text("following")).to_be_visible()
        page.get_by_role("link", name="Pause", exact=True).click()
        page.get_by_role("link", name="Sign in").last.click()
        visit.sign_in()
        page.get_by_label("Reason").fill("index is built " + HOSTILE)
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("memory: paused", exact=True)).to_be_visible()
        expect(page.get_by_text("index is built " + HOSTILE).first).to_be_visible()
        # What stands there follows the worker by itself, without a click.
        expect(page.locator(".queue .state")).to_contain_text("paused for")
        page.get_by_role("button", name="Resume").click()
        expect(page.locator(".queue .state")).to_contain_text("following for")
        expect(page.get_by_role("link", name="Pause", exact=True)).to_be_visible()
    done = fresh_target.query("SELECT action, about, actor FROM pydbsync.operator_audit ORDER BY id")
    assert [(action, about) for action, about, _ in done] == [("pause", "memory"), ("resume", "memory")]
    assert all(actor.startswith("Ada (page of ") for *_, actor in done)
    assert fresh_target.query("SELECT * FROM pydbsync.pause") == []


@pytest.mark.mariadb
def test_schema_changes_of_a_table_are_paused_and_what_waits_is_applied(
    fresh_target: Endpoint, binlog: Binlog, visiting: Visiting
) -> None:
    replay(
        fresh_target, [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl("CREATE TABLE u (id INT PRIMARY KEY)", "d.u")]
    )
    with visiting(page_settings(fresh_target)) as visit:
        page = visit.open("/login?next=/pause")
        visit.sign_in()
        page.get_by_label("Source table").fill("d.*")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("heading", name="Schema changes of d.*")).to_be_visible()
        replay(fresh_target, binlog.ddl("ALTER TABLE u ADD v INT", "d.u"))
        assert [each.kind for each in parked(fresh_target)] == ["table-alter"]
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("status")).to_contain_text("1 that waited were applied, 0 stay parked")
    assert [name for name, *_ in fresh_target.query("SHOW COLUMNS FROM d.u")] == ["id", "v"]


@pytest.mark.mariadb
def test_a_statement_that_is_parked_is_edited_as_sql(
    fresh_target: Endpoint, binlog: Binlog, visiting: Visiting
) -> None:
    messages = [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl("CREATE TABLE u (id INT PRIMARY KEY)", "d.u")]
    replay(fresh_target, [*messages, *binlog.ddl("ALTER TABLE u ADD KEY k (missing)", "d.u")])
    (change,) = parked(fresh_target)
    with visiting(page_settings(fresh_target)) as visit:
        page = visit.open(f"/login?next=/parked/{change.id}/edit")
        visit.sign_in()
        expect(page.get_by_role("textbox")).to_have_value("ALTER TABLE u ADD KEY k (missing)")
        page.get_by_role("textbox").fill("ALTER TABLE u ADD v INT,\n ADD KEY k (v)")
        page.get_by_role("button", name="Save and retry").click()
        expect(page.locator(".pill.applied")).to_be_visible()
    assert parked(fresh_target) == []
    assert [name for name, *_ in fresh_target.query("SHOW COLUMNS FROM d.u")] == ["id", "v"]


@pytest.mark.mariadb
def test_what_verify_has_found_stands_side_by_side(
    fresh_source: Endpoint, fresh_target: Endpoint, visiting: Visiting, tmp_path: Path
) -> None:
    for server, name in ((fresh_source, HOSTILE), (fresh_target, "Ada")):
        server.query("CREATE DATABASE d")
        server.query("CREATE TABLE d.t (id BIGINT PRIMARY KEY, name VARCHAR(200), b VARBINARY(9))")
        server.query("CREATE TABLE d.same (id INT PRIMARY KEY)")
        server.query("INSERT INTO d.t VALUES (9007199254740993, %s, x'00FF'), (2, 'b', NULL)", name)
    fresh_target.query("DELETE FROM d.t WHERE id = 2")
    connection = Connection(fresh_target.db_info)
    ensure_state_schema(connection, "pydbsync")
    connection.close()
    config = {"db_info": fresh_target.db_info, "source_db_info": fresh_source.db_info, "log_file_prefix": ""}
    file = write_config(config, tmp_path / "config.py")
    done = CliRunner().invoke(application("verify"), ["verify", "--config", str(file), "--wait-s", "0"])
    assert done.exit_code == 1, done.output
    with visiting(page_settings(fresh_target)) as visit:
        page = visit.open("/differences")
        expect(page.get_by_text("1 of 2 tables differ")).to_be_visible()
        row = page.get_by_role("row").filter(has_text="name").filter(has_text="Ada")
        expect(row.get_by_role("cell")).to_have_text([HOSTILE, "Ada"])
        expect(page.get_by_role("row").filter(has_text="9007199254740993")).to_have_count(1)
        expect(page.get_by_text("missing at the target")).to_be_visible()
        expect(page.get_by_text("1 table equal")).to_be_visible()
        visit.open("/")
        expect(page.get_by_text("Source and target differ: verify")).to_be_visible()


@pytest.mark.mariadb
def test_a_page_that_nobody_answers_any_more_says_so(fresh_target: Endpoint, binlog: Binlog, browser: Browser) -> None:
    park(fresh_target, binlog)
    served = Serving(page_settings(fresh_target))
    visit = Visit(browser, served)
    try:
        page = visit.open("/")
        expect(page.get_by_text("2 changes parked").first).to_be_visible()
    finally:
        served.stop()
    expect(page.locator("#contact")).to_contain_text(re.compile(r"No answer from pydbsync ui since \d\d:\d\d:\d\d"))
    expect(page.locator("main")).to_have_class("old")
    expect(page).to_have_title("no answer · pydbsync")
    visit.end()
    visit.check()


@pytest.mark.mariadb
def test_a_target_that_is_away_is_told_and_no_figure_stays(
    fresh_target: Endpoint, binlog: Binlog, visiting: Visiting, make_proxy: Callable[[int], Any]
) -> None:
    park(fresh_target, binlog)
    proxy = make_proxy(fresh_target.port)
    settings = page_settings(fresh_target, db_info={**fresh_target.db_info, "host": "127.0.0.1", "port": proxy.port})
    with visiting(settings) as visit:
        page = visit.open("/")
        expect(page.locator(".tiles")).to_contain_text(re.compile(r"Parked\s*2"))
        proxy.refuse()
        proxy.cut()
        expect(page.locator(".answer")).to_contain_text("the target does not answer")
        expect(page.locator(".tiles")).not_to_contain_text(re.compile(r"Parked\s*2"))
        visit.open("/parked")
        expect(page.get_by_text("The target does not answer:")).to_be_visible()


def ask(
    served: Serving,
    method: str,
    path: str,
    *,
    body: dict[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    **headers: str,
) -> http.client.HTTPResponse:
    parts = urlsplit(served.address)
    host = parts.hostname or ""
    if context is not None:
        connection = http.client.HTTPSConnection(host, parts.port, timeout=60, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=60)  # type: ignore[assignment]
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        given.setdefault("Content-Type", "application/x-www-form-urlencoded")
    connection.request(method, path, urlencode(body) if body is not None else None, given)
    return connection.getresponse()


@pytest.mark.mariadb
def test_nothing_is_changed_without_a_session_and_a_form_of_it(
    fresh_target: Endpoint, binlog: Binlog, caplog: pytest.LogCaptureFixture
) -> None:
    park(fresh_target, binlog)
    first = parked(fresh_target)[0].id
    caplog.set_level(logging.DEBUG)
    with serving(page_settings(fresh_target)) as served:
        entered = ask(served, "POST", "/login", body={"token": TOKEN, "name": "Ada", "next": "//evil.example/"})
        assert (entered.status, entered.headers["Location"]) == (303, "/")
        cookie = entered.headers["Set-Cookie"].partition(";")[0]
        csrf = re.findall(r'name="csrf" value="([^"]+)"', ask(served, "GET", "/parked", Cookie=cookie).read().decode())[
            0
        ]
        form = {"id": str(first), "reason": "x", "total": "1", "stream": "memory", "csrf": csrf}
        wrong = {**form, "csrf": "x"}
        for path in ("/parked/skip", "/parked/retry", f"/parked/{first}/edit", "/pause", "/resume"):
            assert ask(served, "POST", path, body=form).headers["Location"].startswith("/login?next="), path
            assert ask(served, "POST", path, body=wrong, Cookie=cookie).status == 403, path
            assert ask(served, "POST", path, body=form, Cookie=cookie, Origin="http://evil.example").status == 403, path
            assert ask(served, "POST", path, body=form, Cookie=cookie, Host="evil.example").status == 421, path
            shown = ask(served, "GET", f"{path}?{urlencode(form)}", Cookie=cookie)
            assert shown.status in (200, 405, 409), path
        assert ask(served, "GET", "/", Host="evil.example").status == 421
        for path, status in (("/", 200), ("/static/ui.js", 200), ("/nothing", 404), ("/parked/999999", 409)):
            answer = ask(served, "GET", path)
            assert answer.status == status, path
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert ask(served, "GET", "/static/../server.py").status == 404
        assert ask(served, "POST", "/logout", body={"csrf": csrf}, Cookie=cookie).status == 303
        assert ask(served, "POST", "/parked/skip", body=form, Cookie=cookie).headers["Location"].startswith("/login")
    assert len(parked(fresh_target)) == 2
    assert fresh_target.query("SELECT COUNT(*) FROM pydbsync.parked_audit") == [(0,)]
    for secret in (TOKEN, csrf, cookie.partition("=")[2], fresh_target.password + "@"):
        assert secret not in caplog.text


@pytest.mark.mariadb
def test_reading_needs_the_token_where_that_is_asked_for(fresh_target: Endpoint) -> None:
    with serving(page_settings(fresh_target, ui={"token_for_reading": True})) as served:
        for path in ("/", "/parked", "/differences", "/parked/1", "/part/history"):
            answer = ask(served, "GET", path)
            is_part = path.startswith("/part/")
            assert (answer.status, "Location" in answer.headers) == ((401, False) if is_part else (303, True)), path
        entered = ask(served, "POST", "/login", body={"token": TOKEN, "name": "Ada", "next": "/differences"})
        cookie = entered.headers["Set-Cookie"].partition(";")[0]
        assert ask(served, "GET", entered.headers["Location"], Cookie=cookie).status == 200


@pytest.mark.mariadb
def test_what_could_not_be_read_is_written_only_where_that_is_asked_for(fresh_target: Endpoint, binlog: Binlog) -> None:
    park(fresh_target, binlog)
    first, second = (each.id for each in parked(fresh_target))
    fresh_target.query("UPDATE pydbsync.parked SET kind = 'unreadable' WHERE id = %s", first)
    fresh_target.query("ALTER TABLE d.t MODIFY w BIGINT")
    with serving(page_settings(fresh_target)) as served:
        entered = ask(served, "POST", "/login", body={"token": TOKEN, "name": "Ada", "next": "/"})
        cookie = entered.headers["Set-Cookie"].partition(";")[0]
        shown = ask(served, "GET", f"/parked/{first}", Cookie=cookie).read().decode()
        assert "Retry, whatever came since" in shown
        form = {"csrf": re.findall(r'name="csrf" value="([^"]+)"', shown)[0], "id": str(first), "one": "1"}
        for more, says in (({}, "it can be read now, but later"), ({"unread": "1"}, f"{first}: applied")):
            answer = ask(served, "POST", "/parked/retry", body={**form, **more}, Cookie=cookie)
            assert answer.headers["Location"] == f"/parked/{first}"
            assert says in ask(served, "GET", f"/parked/{first}", Cookie=cookie).read().decode()
    assert [each.id for each in parked(fresh_target)] == [second]
    assert fresh_target.query("SELECT w FROM d.t") == [(99999999999,)]


@pytest.mark.mariadb
def test_with_a_certificate_it_speaks_tls_and_its_cookie_crosses_nothing_else(
    fresh_target: Endpoint, certificates: Certificates
) -> None:
    pair = certificates.server
    tls = {"certificate": str(pair.certificate), "certificate_key": str(pair.key)}
    with serving(page_settings(fresh_target, ui=tls)) as served:
        assert served.address.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(certificates.ca))
        form = {"token": TOKEN, "name": "Ada", "next": "/"}
        entered = ask(served, "POST", "/login", body=form, context=context)
        assert entered.status == 303
        assert "Secure" in entered.headers["Set-Cookie"].split("; ")


@pytest.mark.mariadb
def test_the_command_serves_and_ends_in_order(fresh_target: Endpoint, tmp_path: Path, start_sync: Any) -> None:
    config = {"db_info": fresh_target.db_info, "ui": {"port": 0, "token": TOKEN}}
    file = write_config({"log_file_prefix": "", **config}, tmp_path / "c.py")
    process = start_sync(None, "ui", "--config", str(file), script="pydbsync/__main__.py")
    address = wait_for(lambda: re.search(r"pydbsync ui: (\S+)", process.stdout), what="its address", timeout_s=60)[1]
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("GET", "/")
    assert b"nothing was replayed yet" in connection.getresponse().read()
    began_at = time.monotonic()
    assert process.stop().exit_code == 0
    assert time.monotonic() - began_at < 30
    assert TOKEN not in process.stdout + process.stderr


def test_the_last_hours_are_read_with_their_holes(fresh_target: Endpoint) -> None:
    connection = Connection(fresh_target.db_info)
    ensure_state_schema(connection, "pydbsync")
    for minutes, applied, lag in ((1, 10, 2.5), (2, 20, None), (5, 40, 1.0), (59, 1, 7.0), (300, 2, 9.0)):
        connection.run(
            "INSERT INTO pydbsync.worker_minute (stream, minute, applied, lag_s)"
            " VALUES ('q', FROM_UNIXTIME(60 * (UNIX_TIMESTAMP() DIV 60 - %s)), %s, %s)",
            (minutes, applied, lag),
        )
    (hour,) = read_history(connection, "pydbsync", hours=1).values()
    (day,) = read_history(connection, "pydbsync", hours=24).values()
    connection.close()
    assert (len(hour.steps), hour.step_s, len(day.steps), day.step_s) == (60, 60, 180, 480)
    written = [(step.applied, step.lag_s) for step in hour.steps if step.applied is not None]
    assert written in ([(1, 7.0), (40, 1.0), (20, None), (10, 2.5)], [(40, 1.0), (20, None), (10, 2.5)])
    assert sum(step.applied or 0 for step in day.steps) == 73
    assert max(step.lag_s or 0 for step in day.steps) == 9.0


@pytest.mark.mariadb
def test_a_user_who_may_only_select_can_look_at_everything(fresh_target: Endpoint, binlog: Binlog) -> None:
    park(fresh_target, binlog)
    first = parked(fresh_target)[0].id
    fresh_target.query("CREATE OR REPLACE USER looker@'%' IDENTIFIED BY 'looker'")
    fresh_target.query("GRANT SELECT ON pydbsync.* TO looker@'%'")
    user = {**fresh_target.db_info, "user": "looker", "password": "looker"}
    with serving(page_settings(fresh_target, db_info=user)) as served:
        for path in ("/", "/part/history", "/parked", f"/parked/{first}", f"/parked/{first}/edit", "/differences"):
            answer = ask(served, "GET", path)
            assert answer.status == 200, (path, answer.read())
    fresh_target.query("DROP USER looker@'%'")
