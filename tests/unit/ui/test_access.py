"""Who is let in, and from where: the token, the sessions, the names of the page."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.config.values import Secret
from pydbsync.errors import ConfigError, OperationError
from pydbsync.ui.access import SESSION_S, Access, AccessRefused, SiteNames, is_form_of
from pydbsync.ui.server import check

TOKEN = "correct horse battery"


class Clock:
    """Stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock: Clock) -> Access:
    return Access(Secret(TOKEN), needs_token_to_read=False, clock=clock)


def test_the_token_opens_a_session_that_ends(access: Access, clock: Clock) -> None:
    cookie = access.enter(TOKEN, "  Ada\n Lovelace ", where="::1")
    session = access.session(cookie)
    assert session is not None
    assert (session.name, cookie != session.csrf, TOKEN in cookie) == ("Ada Lovelace", True, False)
    assert access.session(cookie + "x") is None
    assert access.session(None) is None
    clock.now += SESSION_S
    assert access.session(cookie) is None


def test_two_people_have_forms_of_their_own_and_leave_alone(access: Access) -> None:
    first, second = access.enter(TOKEN, "a", where="::1"), access.enter(TOKEN, "b", where="::1")
    ours, theirs = access.session(first), access.session(second)
    assert ours is not None
    assert theirs is not None
    assert is_form_of(ours, ours.csrf)
    assert not is_form_of(ours, theirs.csrf)
    assert not is_form_of(ours, "")
    access.leave(first)
    assert access.session(first) is None
    assert access.session(second) is theirs


@pytest.mark.parametrize("token", ["", TOKEN[:-1], TOKEN + " ", TOKEN.upper(), "é\udcff"])
def test_a_wrong_token_is_refused(access: Access, token: str) -> None:
    with pytest.raises(AccessRefused, match="not the token"):
        access.enter(token, "Ada", where="::1")


def test_many_wrong_tokens_make_all_wait(access: Access, clock: Clock) -> None:
    for _ in range(10):
        with pytest.raises(AccessRefused, match="not the token"):
            access.enter("wrong", "Ada", where="::1")
    with pytest.raises(AccessRefused, match="too many"):
        access.enter(TOKEN, "Ada", where="::1")
    assert access.enter(TOKEN, "Grace", where="10.0.0.1"), "who is elsewhere does not wait"
    clock.now += 61
    assert access.enter(TOKEN, "Ada", where="::1")


def test_nobody_enters_without_a_name_or_where_there_is_no_token(access: Access) -> None:
    with pytest.raises(AccessRefused, match="who you are"):
        access.enter(TOKEN, " \n ", where="::1")
    with pytest.raises(AccessRefused, match="without a token"):
        Access(None, needs_token_to_read=False).enter("", "Ada", where="::1")


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:8470", True), ("localhost", True), ("LOCALHOST:1", True), ("[::1]:8470", True),
        ("sync.example.org", True), ("Sync.Example.org:443", True), ("evil.example", False),
        ("other.example.org", True),
        ("127.0.0.1.evil.example", False), ("evil.example:8470", False), ("", False), (None, False), ("[", False),
        ("evil.example@127.0.0.1.evil", False),
    ],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_is_not_ours(host: str | None, is_ours: bool) -> None:
    assert SiteNames(["sync.example.org"], outside=["Other.example.org:443"]).has_host(host) is is_ours


@pytest.mark.parametrize(
    ("origin", "site", "is_ours"),
    [
        ("http://127.0.0.1:8470", None, True), ("https://127.0.0.1:8470", "same-origin", True),
        ("http://127.0.0.1:9999", None, False), ("http://evil.example", None, False), ("null", None, False),
        ("", None, False), ("http://[", None, False), (None, "same-origin", True), (None, "none", True),
        (None, None, True), (None, "cross-site", False), (None, "same-site", False),
        ("https://sync.example.org", None, True), ("https://localhost:1", None, False),
    ],
)  # fmt: skip
def test_what_another_site_sends_is_told_by_its_origin(origin: str | None, site: str | None, is_ours: bool) -> None:
    assert (
        SiteNames([], outside=["sync.example.org"]).is_same_site(host="127.0.0.1:8470", origin=origin, site=site)
        is is_ours
    )


def settings(**ui: Any) -> Settings:
    return settings_from_mapping({"db_info": {"host": "h", "user": "u"}, "ui": ui}, require=("db_info",))[0]


def test_other_machines_are_served_only_with_a_token_and_warned_of_without_tls() -> None:
    assert check(settings()) == []
    with pytest.raises(OperationError, match=r"needs a token; set ui\.token_file"):
        check(settings(host="0.0.0.0"))
    clear, rows = check(settings(host="0.0.0.0", token=TOKEN))
    assert "in the clear" in clear
    assert "reads status and parked rows" in rows
    whole = settings(host="::", token=TOKEN, token_for_reading=True)
    assert check(dataclasses.replace(whole, ui=dataclasses.replace(whole.ui, certificate="c"))) == []


def test_a_sink_has_its_page_too() -> None:
    given = {"sink": {"type": "ndjson", "path": "changes"}, "source_db_info": {"host": "h", "user": "u"}}
    assert check(settings_from_mapping(given, require=())[0]) == []


@pytest.mark.parametrize(
    ("ui", "says"),
    [
        ({"token": "short"}, r"ui\.token: expected at least 16"),
        ({"token_for_reading": True}, r"ui\.token: is missing"),
        ({"token": TOKEN, "token_env": "X"}, "given more than once"),
        ({"token_env": "PYDBSYNC_NO_SUCH"}, "is not set"),
    ],
)
def test_a_setting_that_protects_nothing_is_refused(ui: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        settings(**ui)
    assert TOKEN not in str(refused.value)


def test_the_token_is_a_secret_of_the_settings() -> None:
    found = settings(token=TOKEN)
    assert found.ui.token in found.secrets()
    assert TOKEN not in repr(found)
