"""Messages about alerts: the forms that receivers understand, posted or mailed. Nothing secret is in any error."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import http.client
import json
import smtplib
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus

from pydbsync.config.alerts import AlertSettings, MailSettings, WebhookSettings
from pydbsync.process.alert_rules import Alert

LIMIT_S: Final = 10.0
"""What one attempt may take at each step."""
_LONGEST: Final = 3500
"""Characters of a text; WeCom takes 4096 bytes."""


class NotTold(Exception):
    """A receiver has not taken a message."""


class AlertNotice(NamedTuple):
    """An alert that has begun, goes on, or is over."""

    alert: Alert
    is_firing: bool
    began_at: float
    """In seconds since 1970."""
    ended_at: float | None = None
    host: str = socket.gethostname()

    @property
    def title(self) -> str:
        word = self.alert.severity.upper() if self.is_firing else "RESOLVED"
        return f"[pydbsync] {word}: {self.alert.summary}"

    @property
    def lines(self) -> list[str]:
        """The message without its title."""
        began = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(self.began_at))
        if not self.is_firing:
            lasted = (self.ended_at or self.began_at) - self.began_at
            return [f"It is over after {lasted:.0f} s; it began at {began}.", f"{self.alert.rule} on {self.host}"]
        where = f"{self.alert.rule} on {self.host}, since {began}"
        return [self.alert.description, f"What to do: {self.alert.remedy}", where]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "version": 1,
            "status": "firing" if self.is_firing else "resolved",
            "alert": self.alert.rule,
            "severity": self.alert.severity,
            "about": self.alert.about,
            "host": self.host,
            "summary": self.alert.summary,
            "description": self.alert.description,
            "remedy": self.alert.remedy,
            "began_at": round(self.began_at, 3),
            "ended_at": None if self.ended_at is None else round(self.ended_at, 3),
        }


def senders(settings: AlertSettings) -> list[tuple[str, Callable[[AlertNotice], None]]]:
    """Each receiver by its name, and how it is sent a notice; raises NotTold."""
    found: list[tuple[str, Callable[[AlertNotice], None]]] = [
        (webhook.name, functools.partial(post, webhook)) for webhook in settings.webhooks
    ]
    return [*found, *([(settings.mail.name, functools.partial(mail, settings.mail))] if settings.mail else [])]


def post(webhook: WebhookSettings, notice: AlertNotice) -> None:
    """Post it. Raises NotTold."""
    url, body = request(webhook, notice, now=time.time())
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "pydbsync"}
    try:
        # An address of http or https: the configuration takes no other.
        found = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310
        with urllib.request.urlopen(found, timeout=LIMIT_S) as answer:  # noqa: S310
            said = answer.read(10_000)
    except urllib.error.HTTPError as exc:
        raise NotTold(f"the {webhook.name} answers {exc.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise NotTold(f"the {webhook.name} is not reached: {_reason(exc)}") from None
    if refusal := _refusal(webhook.form, said):
        raise NotTold(f"the {webhook.name} refuses: {refusal}")


def request(webhook: WebhookSettings, notice: AlertNotice, *, now: float) -> tuple[str, dict[str, Any]]:
    """The address and the body, signed where the robot asks for it."""
    url, secret = webhook.url.reveal(), webhook.secret.reveal() if webhook.secret else ""
    text = "\n".join((notice.title, *notice.lines))[:_LONGEST]
    if webhook.form == "dingtalk":
        if secret:
            stamp = str(round(now * 1000))
            signed = _sign(secret.encode(), f"{stamp}\n{secret}".encode())
            url += f"{'&' if '?' in url else '?'}timestamp={stamp}&sign={quote_plus(signed)}"
        markdown = {"title": notice.title, "text": _markdown(notice)}
        return url, {"msgtype": "markdown", "markdown": markdown}
    if webhook.form == "wecom":
        return url, {"msgtype": "markdown", "markdown": {"content": _markdown(notice)}}
    if webhook.form == "feishu":
        message = {"msg_type": "text", "content": {"text": text}}
        if not secret:
            return url, message
        stamp = str(round(now))
        return url, {"timestamp": stamp, "sign": _sign(f"{stamp}\n{secret}".encode(), b""), **message}
    if webhook.form == "slack":
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return url, {"text": escaped}
    return url, notice.as_json()


def _sign(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def _markdown(notice: AlertNotice) -> str:
    return "\n\n".join((f"**{notice.title}**", *notice.lines)).encode()[:_LONGEST].decode(errors="ignore")


def _refusal(form: str, said: bytes) -> str:
    """What a robot says against a message: it does so in an answer of 200."""
    if form not in ("dingtalk", "wecom", "feishu"):
        return ""
    try:
        answer = json.loads(said)
        code = next((answer[name] for name in ("errcode", "code", "StatusCode") if name in answer), None)
        words = answer.get("errmsg") or answer.get("msg") or answer.get("StatusMessage") or ""
    except (ValueError, AttributeError, TypeError):
        return "it answers with something else than such a robot does"
    return "" if code == 0 else f"{code} {words}"[:200]


def mail(settings: MailSettings, notice: AlertNotice) -> None:
    """Send it. Raises NotTold."""
    message = EmailMessage()
    message["Subject"] = " ".join(notice.title.split())
    message["From"], message["To"] = settings.sender, ", ".join(settings.recipients)
    message["Date"], message["Message-ID"] = formatdate(localtime=True), make_msgid(domain="pydbsync.invalid")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(notice.lines))
    context = ssl.create_default_context()
    if not settings.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with _connect(settings, context) as server:
            if settings.tls == "starttls":
                server.starttls(context=context)
            if settings.user is not None and settings.password is not None:
                server.login(settings.user, settings.password.reveal())
            server.send_message(message)
    except smtplib.SMTPAuthenticationError as exc:
        raise NotTold(f"the {settings.name} refuses the user {settings.user!r} ({exc.smtp_code})") from None
    except (OSError, smtplib.SMTPException, ValueError) as exc:
        raise NotTold(f"the {settings.name} has not taken a mail: {_reason(exc)}") from None


def _connect(settings: MailSettings, context: ssl.SSLContext) -> smtplib.SMTP:
    if settings.tls == "tls":
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=LIMIT_S, context=context)
    return smtplib.SMTP(settings.host, settings.port, timeout=LIMIT_S)


def _reason(exc: Exception) -> str:
    if isinstance(exc, urllib.error.URLError) and isinstance(exc.reason, Exception):
        exc = exc.reason
    return str(exc) if isinstance(exc, OSError | smtplib.SMTPException) else type(exc).__name__
