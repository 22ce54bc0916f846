"""Who is told when something is wrong, where no Prometheus does it: webhooks and e-mail."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pydbsync.config.servers import PASSWORD_SOURCES, with_password
from pydbsync.config.shapes import TEXTS
from pydbsync.config.values import (
    FLAG,
    PORT,
    SECRET,
    OptionKind,
    Secret,
    join_key,
    one_of,
    option,
    read_list,
    read_mapping,
    read_section,
    required,
    seconds,
    text,
)
from pydbsync.errors import ConfigError

FORMS: Final = ("json", "dingtalk", "wecom", "feishu", "slack")


def _read_url(value: object, key: str) -> Secret:
    url = SECRET.read(value, key)
    try:
        parts = urlsplit(url.reveal())
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_good = False
    if not is_good:  # the value is not repeated: whoever has it may post there
        raise ConfigError("expected an address that begins with https:// or http://", key=key)
    return url


URL: Final = OptionKind("text", _read_url)


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """An address that is posted to."""

    url: Secret = required(URL, "where alerts are posted to; it is masked like a password")
    form: str = option("json", one_of(*FORMS), "what the receiver understands")
    secret: Secret | None = option(
        None, SECRET, "signs what is posted, where a robot of dingtalk or feishu asks for it"
    )

    @property
    def name(self) -> str:
        """For people, without what is secret in the address."""
        return f"{self.form} webhook at {urlsplit(self.url.reveal()).hostname}"


@dataclass(frozen=True, kw_only=True)
class MailSettings:
    """A mail server, and whom to write to."""

    host: str = required(text(), "name or address of the mail server")
    port: int = option(587, PORT, "its port; with `tls: tls` the default is 465")
    tls: str = option("starttls", one_of("starttls", "tls", "off"), "how the connection is encrypted")
    verify: bool = option(True, FLAG, "whether the server's certificate and name are checked")
    user: str | None = option(None, text(), "user, where the server asks for one")
    password: Secret | None = option(None, SECRET, PASSWORD_SOURCES["password"])
    sender: str = required(text(), "address that mails come from")
    recipients: tuple[str, ...] = required(TEXTS, "addresses that mails go to")

    @property
    def name(self) -> str:
        """For people."""
        return f"mail server {self.host}:{self.port}"


def _read_webhooks(value: object, key: str) -> tuple[WebhookSettings, ...]:
    found = []
    for number, each in enumerate(read_list(value, key, of="mappings {'url': …, 'form': …}")):
        here = f"{key}[{number}]"
        given = dict(read_mapping(each, here))
        if "url_env" in given:
            if "url" in given:
                raise ConfigError("the address is given twice, by url and url_env; keep one", key=here)
            given["url"] = _from_environment(given.pop("url_env"), join_key(here, "url_env"))
        webhook = read_section(WebhookSettings, given, here)
        if webhook.secret is not None and webhook.form not in ("dingtalk", "feishu"):
            raise ConfigError(f"a {webhook.form} webhook is not signed", key=join_key(here, "secret"))
        found.append(webhook)
    return tuple(found)


def _from_environment(value: object, key: str) -> Secret:
    variable = text("the name of an environment variable").read(value, key)
    if variable not in os.environ:
        raise ConfigError(f"the environment variable {variable!r} is not set", key=key)
    return Secret(os.environ[variable])


def _read_mail(value: object, key: str) -> MailSettings:
    given: Mapping[str, object] = with_password(read_mapping(value, key), key)
    mail = read_section(MailSettings, {**({"port": 465} if given.get("tls") == "tls" else {}), **given}, key)
    if not mail.recipients:
        raise ConfigError("expected at least one address, got none", key=join_key(key, "recipients"))
    if (mail.user is None) != (mail.password is None):
        missing = "user" if mail.user is None else "password"
        raise ConfigError("is missing: user and password go together", key=join_key(key, missing))
    if mail.password is not None and mail.tls == "off" and mail.host not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigError("a password is not sent over a connection that is not encrypted", key=join_key(key, "tls"))
    return mail


@dataclass(frozen=True, kw_only=True)
class AlertSettings:
    """Alerts of pydbsync's own, by the rules that are shipped for Prometheus."""

    webhooks: tuple[WebhookSettings, ...] = option(
        (),
        OptionKind(
            "list of `{url, form, secret}`", _read_webhooks,
            lambda value: ", ".join(each.name for each in value) or "empty",
        ),
        "addresses that are posted to",
    )  # fmt: skip
    mail: MailSettings | None = option(
        None, OptionKind("mapping", _read_mail, section=MailSettings), "mails that are sent"
    )
    lag_mean_s: float = option(5.0, seconds(0.1), "alert at this mean lag in each of three periods", unit="seconds")
    lag_tail_s: float = option(15.0, seconds(0.1), "alert at this lag of 99 % of the commits", unit="seconds")
    period_s: float = option(60.0, seconds(0.1, 3600), "length of a period", unit="seconds")
    repeat_s: float = option(
        14_400.0, seconds(1, 30 * 86_400), "tell again of what has not ended by then", unit="seconds"
    )

    @property
    def are_sent(self) -> bool:
        """Whether anybody is told."""
        return bool(self.webhooks) or self.mail is not None

    def secrets(self) -> tuple[Secret, ...]:
        """What must not be shown."""
        found = [each for webhook in self.webhooks for each in (webhook.url, webhook.secret) if each is not None]
        return (*found, *([self.mail.password] if self.mail is not None and self.mail.password is not None else []))
