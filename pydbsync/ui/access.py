"""Who may read and who may change something: one token, sessions of people who knew it, and names of this page."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pydbsync.config.values import Secret

SESSION_S: Final = 8 * 3600.0
_MOST_SESSIONS: Final = 200
_FAILURES, _FAILURES_S = 10, 60.0
"""So many wrong tokens in so many seconds from one address: then nobody there is asked for a while."""
_MOST_ADDRESSES: Final = 1000
_NAME: Final = 64


class PageSession(msgspec.Struct):
    """A person who knew the token."""

    name: str
    csrf: str
    """Stands in each form: another site can send a form, and not read this."""
    ends_at: float
    said: list[str] = []
    """What the next page tells, once."""


class AccessRefused(Exception):
    """In words for the person."""


class Access:
    """Sessions live in memory: they end with the process."""

    def __init__(self, token: Secret | None, *, needs_token_to_read: bool, clock: Callable[[], float] = time.monotonic):
        self._token = token
        self.needs_token_to_read = needs_token_to_read
        self._clock = clock
        self._sessions: dict[bytes, PageSession] = {}
        self._failures: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    @property
    def can_change(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def enter(self, token: str, name: str, *, where: str) -> str:
        """The value of a new session's cookie, for somebody at the address `where`. Raises Refused."""
        if self._token is None:
            raise AccessRefused("this page was started without a token: it shows, and changes nothing")
        now = self._clock()
        failures = self._failures.get(where) or deque[float]()
        if len(failures) == _FAILURES and now - failures[0] < _FAILURES_S:
            raise AccessRefused("too many wrong tokens; try again in a minute")
        # Of digests, so that the length tells nothing either.
        if not hmac.compare_digest(_digest(token), _digest(self._token.reveal())):
            self._failed(where, now)
            raise AccessRefused("this is not the token")
        name = " ".join(name.split())[:_NAME]
        if not name:
            raise AccessRefused("say who you are: it is written beside what you do")
        cookie = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions = {key: each for key, each in self._sessions.items() if each.ends_at > now}
            while len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_digest(cookie)] = PageSession(name, secrets.token_urlsafe(32), now + SESSION_S)
        return cookie

    def _failed(self, where: str, now: float) -> None:
        with self._lock:
            if where not in self._failures and len(self._failures) >= _MOST_ADDRESSES:
                del self._failures[next(iter(self._failures))]
            self._failures.setdefault(where, deque(maxlen=_FAILURES)).append(now)

    def session(self, cookie: str | None) -> PageSession | None:
        """The session of this cookie, unless it is over."""
        found = self._sessions.get(_digest(cookie)) if cookie else None
        return found if found is not None and found.ends_at > self._clock() else None

    def leave(self, cookie: str | None) -> None:
        """End the session."""
        if cookie:
            self._sessions.pop(_digest(cookie), None)


def is_form_of(session: PageSession, csrf: str) -> bool:
    """Whether a form with this field was made for the session."""
    return hmac.compare_digest(_digest(csrf), _digest(session.csrf))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class SiteNames:
    """Under which this page is known. A site whose name was made to point here (DNS rebinding) has another one."""

    def __init__(self, names: Iterable[str], *, outside: Iterable[str] = ()) -> None:
        """`outside` are the names that browsers know and a proxy may exchange for another."""
        self._outside = {_bare(name) for name in outside}
        self._names = {*map(_bare, names), *self._outside, "localhost", "127.0.0.1", "::1"}

    def has_host(self, header: str | None) -> bool:
        """Whether a Host header is one of them, with any port."""
        return header is not None and _host_of(f"//{header}") in self._names

    def is_same_site(self, *, host: str, origin: str | None, site: str | None) -> bool:
        """Whether what is sent comes from this page, as far as the browser tells: by `Origin`, else by
        `Sec-Fetch-Site`."""
        if origin is not None:
            try:
                parts = urlsplit(origin)
                is_web = parts.scheme in ("http", "https")
                return is_web and (parts.netloc.lower() == host.lower() or parts.hostname in self._outside)
            except ValueError:
                return False
        return site in (None, "same-origin", "none")


def _bare(name: str) -> str:
    """`Sync.example.org:443`, `::1` and `[::1]:443` without their port."""
    name = name.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0] if name.count(":") == 1 else name


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host in ("localhost", "::1") or host.startswith("127.")
