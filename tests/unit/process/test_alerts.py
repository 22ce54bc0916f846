"""When pydbsync's own alerts begin and end, that they are the shipped rules, and what is sent of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pydbsync.config.alerts import AlertSettings, WebhookSettings
from pydbsync.config.settings import settings_from_mapping
from pydbsync.config.values import Secret
from pydbsync.errors import ConfigError
from pydbsync.process.alert_rules import RULES, TASK_RULES, AlertRules, alert, texts
from pydbsync.process.alerts import AlertLedger, Receiver
from pydbsync.process.notify import AlertNotice, NotTold, request
from pydbsync.process.status import StatusObserver, WorkerStatus
from pydbsync.process.tasks import Facts, Task

SETTINGS = AlertSettings()
PARKED = alert("PydbsyncParked", {"queue": "q"}, 3)


def test_the_rules_are_those_that_are_shipped_but_for_the_one_that_nobody_could_tell() -> None:
    assert {*RULES, *TASK_RULES, "PydbsyncBinlogRetention", "PydbsyncAbsent"} == set(texts())


@pytest.mark.parametrize("rule", [*RULES, *TASK_RULES, "PydbsyncBinlogRetention"])
def test_the_words_are_whole(rule: str) -> None:
    labels = {"kind": "copy", "name": "nightly"} if rule in TASK_RULES else {"queue": "nightly"}
    found = alert(rule, labels, 12.0)
    assert "{{" not in "".join(found)
    assert "nightly" in found.summary
    assert found.about in ("nightly", "copy nightly")
    assert found.remedy


class Minutes:
    """One queue over time, which is looked at every five seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 10_000.0
        monkeypatch.setattr("pydbsync.process.status.time.time", lambda: self.now)
        self.rules = AlertRules(SETTINGS)
        self.observer = StatusObserver("q", lambda status: None)
        self.observer.now("following")

    def go_on(self, seconds: float, each: Callable[[], object] = lambda: None) -> set[str]:
        """The rules that fire at the end."""
        found: set[str] = set()
        for _ in range(round(seconds / self.rules.look_every_s)):
            self.now += self.rules.look_every_s
            each()
            found = {one.rule for one in self.rules.look([self.observer.status.copy()], self.now)}
        return found

    def level(self) -> None:
        self.observer.idle(0)

    def commit(self, lag_s: float = 0) -> None:
        self.observer.committed(rows=1, parked=0, ts=int(self.now - lag_s), seconds=0.1)


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> Minutes:
    return Minutes(monkeypatch)


def test_nothing_is_wrong_with_a_stream_that_is_quiet_and_one_that_flows(minutes: Minutes) -> None:
    assert minutes.go_on(600, minutes.level) == set()
    assert minutes.go_on(600, minutes.commit) == set()


def test_a_lag_counts_after_three_minutes_of_it_and_ends_with_it(minutes: Minutes) -> None:
    minutes.go_on(300, minutes.commit)
    assert minutes.go_on(150, lambda: minutes.commit(9)) == set()
    assert minutes.go_on(60, lambda: minutes.commit(9)) == {"PydbsyncLagHigh"}
    assert minutes.go_on(60, minutes.commit) == set()


def test_a_target_that_stands_still_is_lag_and_a_stall(minutes: Minutes) -> None:
    minutes.go_on(300, minutes.commit)
    minutes.observer.began(redelivered=0)
    assert minutes.go_on(300) == {"PydbsyncLagHigh", "PydbsyncStreamStalled"}
    minutes.commit()
    assert "PydbsyncStreamStalled" not in minutes.go_on(60, minutes.commit)


def test_one_late_commit_in_fifty_is_told_and_one_in_a_thousand_is_not(minutes: Minutes) -> None:
    for _ in range(999):
        minutes.commit(1)
    minutes.go_on(60, minutes.level)
    minutes.commit(40)
    for _ in range(999):
        minutes.commit(1)
    assert minutes.go_on(5) == set()
    for _ in range(30):
        minutes.commit(40)
    assert minutes.go_on(5) == {"PydbsyncLagTail"}
    assert minutes.go_on(360, minutes.level) == set()


def test_silence_of_the_heartbeat(minutes: Minutes) -> None:
    minutes.go_on(60, minutes.commit)
    minutes.observer.now("stalled")
    assert minutes.go_on(30, minutes.level) == set()
    assert minutes.go_on(45, minutes.level) == {"PydbsyncStreamStalled"}


def test_a_worker_that_waits_for_a_moment_and_one_that_waits_for_long(minutes: Minutes) -> None:
    minutes.go_on(60, minutes.level)
    minutes.observer.now("waiting for the target")
    assert minutes.go_on(60, minutes.level) == set()
    minutes.observer.now("following")
    minutes.go_on(5, minutes.level)
    minutes.observer.now("waiting for the target")
    assert minutes.go_on(90, minutes.level) == set()
    assert minutes.go_on(60, minutes.level) == {"PydbsyncWorkerDown"}


def test_what_is_parked_a_gap_and_a_restart_are_told_at_once(minutes: Minutes) -> None:
    minutes.observer.parked_now(3)
    minutes.observer.gap("rows 2 to 3 did not come")
    minutes.observer.status.restarts = 1
    assert minutes.go_on(5, minutes.level) == {"PydbsyncParked", "PydbsyncGap", "PydbsyncWorkerRestarting"}
    minutes.observer.parked_now(0)
    assert minutes.go_on(16 * 60, minutes.level) == {"PydbsyncGap"}
    assert minutes.go_on(50 * 60, minutes.level) == set()


def test_a_queue_that_is_paused_is_neither_late_nor_down(minutes: Minutes) -> None:
    minutes.go_on(300, minutes.commit)
    minutes.observer.now("paused")
    assert minutes.go_on(600) == set()


DIED = Task("copy", "", "running", 0, None, None, 5, 9, "rows", is_running=False)
TASKS = {
    "died": (DIED, "PydbsyncCopyFailed"),
    "works": (DIED._replace(is_running=True), None),
    "done": (DIED._replace(state="done", ended_at=9, exit_code=0), None),
    "failed": (DIED._replace(state="failed", ended_at=9, exit_code=2), "PydbsyncCopyFailed"),
    "equal": (DIED._replace(kind="verify", state="done", ended_at=9, exit_code=0), None),
    "different": (DIED._replace(kind="verify", state="done", ended_at=9, exit_code=1), "PydbsyncVerifyDifferent"),
    "capture": (DIED._replace(kind="capture", name="capture"), "PydbsyncCaptureDown"),
    "told to stop": (DIED._replace(kind="capture", state="stopped", ended_at=9, exit_code=0), None),
}


@pytest.mark.parametrize("name", TASKS)
def test_what_the_tools_tell(name: str) -> None:
    task, expected = TASKS[name]
    found = [each.rule for each in AlertRules(SETTINGS).look([], 0, Facts((task,)))]
    assert found == ([expected] if expected else [])


def test_a_binlog_that_may_be_gone_before_the_stream_is_level(minutes: Minutes) -> None:
    minutes.commit(2000)
    statuses = [minutes.observer.status]
    found = minutes.rules.look(statuses, 0, Facts(retention_s=3600))
    assert [each.rule for each in found] == ["PydbsyncBinlogRetention"]
    assert minutes.rules.look(statuses, 5, Facts(retention_s=7200)) == minutes.rules.look(statuses, 9) == []


def test_an_alert_is_told_once_again_after_a_while_and_at_its_end() -> None:
    ledger = AlertLedger(100, clear_s=10)

    def told(found: list[object], now: float) -> list[bool]:
        return [notice.is_firing for notice in ledger.compare(found, now)]  # type: ignore[arg-type]

    assert told([PARKED], 0) == [True]
    assert told([PARKED], 50) == []
    assert told([], 55) == [], "it may come again"
    assert told([PARKED], 58) == []
    assert told([PARKED], 101) == [True]
    assert told([PARKED, alert("PydbsyncParked", {"queue": "other"}, 1)], 102) == [True]
    assert told([], 130) == [False, False]
    assert told([], 200) == []


def test_messages_are_taken_in_order_whatever_has_to_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []
    tries = 0
    monkeypatch.setattr("pydbsync.process.alerts._FIRST_WAIT_S", 0.01)

    def send(notice: AlertNotice) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise NotTold("not now")
        taken.append(notice.is_firing)

    receiver = Receiver("test", send, logging.getLogger("test"))
    receiver.tell(AlertNotice(PARKED, True, 0))
    receiver.tell(AlertNotice(PARKED, False, 0, 9))
    assert receiver.flush(30)
    assert taken == [True, False]


def test_who_tells_never_waits_for_a_receiver_that_hangs() -> None:
    release = threading.Event()

    def hang(notice: AlertNotice) -> None:
        release.wait(60)

    receiver = Receiver("test", hang, logging.getLogger("test"))
    for _ in range(1000):
        receiver.tell(AlertNotice(PARKED, True, 0))
    assert not receiver.flush(0)
    release.set()


def webhook(form: str, url: str = "https://robot/send?token=t0ken", secret: str | None = None) -> WebhookSettings:
    return WebhookSettings(url=Secret(url), form=form, secret=Secret(secret) if secret else None)


def test_what_each_robot_is_posted() -> None:
    notice = AlertNotice(PARKED, True, time.time())
    texts_of: dict[str, Callable[[Any], str]] = {
        "json": lambda body: body["summary"],
        "slack": lambda body: body["text"],
        "dingtalk": lambda body: body["markdown"]["text"],
        "wecom": lambda body: body["markdown"]["content"],
        "feishu": lambda body: body["content"]["text"],
    }
    for form, text_of in texts_of.items():
        url, body = request(webhook(form), notice, now=1_700_000_000.5)
        assert url == "https://robot/send?token=t0ken"
        assert "Changes of queue q are parked" in text_of(body)
        assert "pydbsync parked list" in str(body)
    _, body = request(webhook("json"), AlertNotice(PARKED, False, 10, 20.5), now=0)
    assert (body["status"], body["alert"], body["about"], body["began_at"], body["ended_at"]) == (
        "resolved", "PydbsyncParked", "q", 10, 20.5
    )  # fmt: skip


def test_signatures_are_made_as_the_robots_want_them() -> None:
    notice = AlertNotice(PARKED, True, 0)

    def signed(key: str, message: str) -> str:
        return base64.b64encode(hmac.new(key.encode(), message.encode(), hashlib.sha256).digest()).decode()

    url, _ = request(webhook("dingtalk", secret="SEC1"), notice, now=1_700_000_000.25)
    asked = parse_qs(urlsplit(url).query)
    assert asked == {
        "token": ["t0ken"], "timestamp": ["1700000000250"], "sign": [signed("SEC1", "1700000000250\nSEC1")]
    }  # fmt: skip
    _, body = request(webhook("feishu", secret="SEC1"), notice, now=1_700_000_000.25)
    assert (body["timestamp"], body["sign"]) == ("1700000000", signed("1700000000\nSEC1", ""))


def test_a_long_text_fits_where_bytes_are_counted() -> None:
    long = PARKED._replace(description="超" * 5000)
    _, body = request(webhook("wecom"), AlertNotice(long, True, 0), now=0)
    assert len(body["markdown"]["content"].encode()) <= 4096


WRONG = {
    "no address": ({"webhooks": [{"form": "json"}]}, r"alerts\.webhooks\[0\]\.url: is missing"),
    "not an address": (
        {"webhooks": [{"url": "robot/t0ken"}]}, r"alerts\.webhooks\[0\]\.url: expected an address that begins with"
    ),
    "a form that nobody knows": ({"webhooks": [{"url": "https://r", "form": "teams"}]}, "form: expected json, ding"),
    "a secret that signs nothing": (
        {"webhooks": [{"url": "https://r", "form": "slack", "secret": "s"}]}, "a slack webhook is not signed"
    ),
    "a password without a user": (
        {"mail": {"host": "m", "sender": "a@b", "recipients": ["c@d"], "password": "p"}}, "mail.user: is missing"
    ),
    "a password in clear": (
        {"mail": {"host": "m", "sender": "a@b", "recipients": ["c@d"], "user": "u", "password": "p", "tls": "off"}},
        "mail.tls: a password is not sent",
    ),
    "nobody to write to": ({"mail": {"host": "m", "sender": "a@b", "recipients": []}}, "mail.recipients: expected"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named_and_never_shown(name: str) -> None:
    given, expected = WRONG[name]
    with pytest.raises(ConfigError, match=expected) as refused:
        settings_from_mapping({"alerts": given}, require=())
    assert "t0ken" not in str(refused.value)


def test_addresses_and_secrets_are_masked_like_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOT", "https://robot/send?token=t0ken")
    login = {"tls": "tls", "user": "u", "password": "pa55"}
    given: dict[str, Any] = {
        "webhooks": [{"url_env": "ROBOT", "form": "feishu", "secret": "sEcret"}],
        "mail": {"host": "m", "sender": "a@b", "recipients": ["c@d"], **login},
    }
    settings, _ = settings_from_mapping({"alerts": given}, require=())
    assert {each.reveal() for each in settings.secrets()} == {"https://robot/send?token=t0ken", "sEcret", "pa55"}
    assert settings.alerts.mail is not None
    assert settings.alerts.mail.port == 465
    assert settings.alerts.webhooks[0].name == "feishu webhook at robot"
    assert "t0ken" not in repr(settings)


def test_a_status_that_is_not_known_yet_fires_nothing() -> None:
    assert AlertRules(SETTINGS).look([WorkerStatus(stream="q")], 0) == []
