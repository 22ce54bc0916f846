"""Alerts reach a real mail server over TLS and a real HTTP receiver; what goes wrong there is said without secrets."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.process import free_port
from pydbsync.cli import application
from pydbsync.config.alerts import MailSettings, WebhookSettings
from pydbsync.config.values import Secret
from pydbsync.errors import OperationError
from pydbsync.process.alert_rules import alert
from pydbsync.process.notify import AlertNotice, NotTold, mail, post
from tests.certificates import Certificates
from tests.processes import REPOSITORY, write_config
from tests.receivers import MailServer, Receiver

NOTICE = AlertNotice(alert("PydbsyncParked", {"queue": "订单"}, 3), True, 1_700_000_000)


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What the mail server shows, of an authority that the system trusts here."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server.certificate, certificates.server.key)
    return context


def mail_settings(port: int, tls: str, **more: Any) -> MailSettings:
    login = {} if tls == "off" else {"user": "u", "password": Secret("pa55")}
    return MailSettings(
        host="localhost", port=port, tls=tls, sender="db@example.com", recipients=("a@example.com", "b@example.com"),
        **{**login, **more},
    )  # fmt: skip


@pytest.mark.parametrize("tls", ["off", "starttls", "tls"])
def test_a_mail_arrives(tls: str, trusted: ssl.SSLContext) -> None:
    with MailServer(tls, trusted).running() as server:
        mail(mail_settings(server.port, tls), NOTICE)
    ((recipients, found),) = server.mails
    assert recipients == ["a@example.com", "b@example.com"]
    assert found["Subject"] == "[pydbsync] WARNING: Changes of queue 订单 are parked"
    assert found["From"] == "db@example.com"
    assert "What to do: `pydbsync parked list`" in found.get_content()


def test_a_certificate_that_nobody_knows_is_refused_unless_told_not_to_look(
    trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with MailServer("starttls", trusted).running() as server:
        with pytest.raises(NotTold, match=r"has not taken a mail: .*certificate verify failed"):
            mail(mail_settings(server.port, "starttls"), NOTICE)
        assert server.mails == []
        mail(mail_settings(server.port, "starttls", verify=False), NOTICE)
    assert len(server.mails) == 1


def test_a_wrong_password_is_named_and_not_shown(trusted: ssl.SSLContext) -> None:
    with (
        MailServer("tls", trusted).running() as server,
        pytest.raises(NotTold, match="refuses the user 'u'") as refused,
    ):
        mail(mail_settings(server.port, "tls", password=Secret("wr0ng")), NOTICE)
    assert "wr0ng" not in str(refused.value)


def test_a_post_arrives_and_a_refusal_in_any_form_is_one() -> None:
    robot = Receiver()
    robot.answers[:] = [(200, b'{"errcode":0,"errmsg":"ok"}')]
    dingtalk = WebhookSettings(url=Secret(f"{robot.url}/send?key=t0ken"), form="dingtalk", secret=Secret("SEC1"))
    post(dingtalk, NOTICE)
    ((path, body),) = robot.posted
    assert path.startswith("/send?key=t0ken&timestamp=")
    assert "订单" in body["markdown"]["text"]
    robot.answers[:] = [(200, b'{"errcode":310000,"errmsg":"sign not match"}'), (200, b"<html>"), (403, b"t0ken")]
    for expected in ("refuses: 310000 sign not match", "refuses: it answers with something else", "answers 403"):
        with pytest.raises(NotTold, match=expected) as refused:
            post(dingtalk, NOTICE)
        assert "t0ken" not in str(refused.value)
        assert "SEC1" not in str(refused.value)
    closed = WebhookSettings(url=Secret(f"http://127.0.0.1:{free_port()}/t0ken"), form="slack")
    with pytest.raises(NotTold, match=r"slack webhook at 127.0.0.1 is not reached: .*refused"):
        post(closed, NOTICE)


def test_a_test_alert_tells_who_has_taken_it_and_who_has_not(tmp_path: Path) -> None:
    robot = Receiver()
    webhooks = [{"url": f"{robot.url}/a"}, {"url": f"http://127.0.0.1:{free_port()}/t0ken", "form": "slack"}]
    config = write_config({"alerts": {"webhooks": webhooks}, "log_file_prefix": ""}, tmp_path / "config.py")
    done = CliRunner().invoke(application("alerts"), ["alerts", "test", "--config", str(config)])
    assert isinstance(done.exception, OperationError)
    assert done.exception.exit_code == 2
    assert "told: the json webhook at 127.0.0.1" in done.stdout
    assert "not told: the slack webhook at 127.0.0.1 is not reached" in done.stdout
    assert "t0ken" not in done.stdout
    assert [(path, body["alert"]) for path, body in robot.posted] == [("/a", "PydbsyncTest")]


@pytest.mark.parametrize(("word", "name"), [("rules", "pydbsync.rules.yml"), ("dashboard", "grafana.json")])
def test_what_is_shipped_for_others_is_printed_as_it_is(word: str, name: str) -> None:
    done = CliRunner().invoke(application("alerts"), ["alerts", word])
    assert done.stdout == (REPOSITORY / "pydbsync" / "monitoring" / name).read_text(encoding="utf-8")
