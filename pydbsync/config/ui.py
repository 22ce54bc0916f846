"""Where the web page of `pydbsync ui` listens, and who may change something there."""

from __future__ import annotations

from dataclasses import dataclass

from pydbsync.config.servers import with_password
from pydbsync.config.shapes import TEXTS
from pydbsync.config.values import FILE, FLAG, SECRET, Secret, join_key, option, read_mapping, read_section, text, whole
from pydbsync.errors import ConfigError

LEAST_TOKEN = 16
"""Characters of a token: a shorter one can be guessed."""


@dataclass(frozen=True, kw_only=True)
class UiSettings:
    """The web page of `pydbsync ui`."""

    host: str = option("127.0.0.1", text(), "address that the page listens at")
    port: int = option(8470, whole(0, 65_535), "its port; 0 is any free one")
    hosts: tuple[str, ...] = option((), TEXTS, "more names that browsers know the page by, such as a proxy's")
    token: Secret | None = option(None, SECRET, "what a person must know to change anything, at least 16 characters")
    token_for_reading: bool = option(False, FLAG, "whether the token is needed to read too")
    certificate: str | None = option(None, FILE, "certificate (PEM) with its chain, for https")
    certificate_key: str | None = option(None, FILE, "private key of `certificate` (PEM)")


def read_ui(value: object, key: str) -> UiSettings:
    """Raises ConfigError for a token that is too short, or is needed and not there."""
    found = read_section(UiSettings, with_password(read_mapping(value, key), key, name="token"), key)
    if found.token is not None and len(found.token.reveal()) < LEAST_TOKEN:
        raise ConfigError(f"expected at least {LEAST_TOKEN} characters", key=join_key(key, "token"))
    if found.token_for_reading and found.token is None:
        raise ConfigError("is missing: it is needed to read", key=join_key(key, "token"))
    if found.certificate_key and not found.certificate:
        raise ConfigError("is missing: a private key needs its certificate", key=join_key(key, "certificate"))
    return found
