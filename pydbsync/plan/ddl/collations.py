"""Collations of one brand under the names of the other.

What is called equal here was compared on MySQL 9.7 and MariaDB 10.11 by WEIGHT_STRING of every character up to U+2FFFF
and, for the languages, of all pairs of Latin letters. utf8mb4_0900_* (Unicode 9) and utf8mb4_uca1400_nopad_* (Unicode
14) hold the same characters for equal, but for those newer than Unicode 9 and, in MySQL, 28 circled Hangul syllables.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pydbsync.errors import PlanError
from pydbsync.model import SessionSettings
from pydbsync.plan.ddl.lexer import Brand


class StatementServer(NamedTuple):
    """What the text of a statement depends on."""

    brand: Brand
    version: tuple[int, ...] = ()
    """(10, 11, 6); empty where it is not known: then a version in common use is meant."""
    charset: str | None = None
    """`@@character_set_server`, where it is known."""
    session: SessionSettings | None = None
    """Of the source: the session of the statement, as far as it is known."""
    collation: str | None = None
    """The default collation of the statement's database, where it is asked for and known."""

    def is_before(self, *version: int) -> bool:
        """Whether it is known to be older than this version."""
        return bool(self.version) and self.version < version


class Collation(NamedTuple):
    """A collation's name on the target, and what is not the same there."""

    name: str
    note: str = ""


# MySQL's language → MariaDB's, where both compare and order alike. German, Swedish, Turkish and the others are not
# among them: there MySQL's *_ai_ci tells letters apart (ä and a in Swedish) that MariaDB's takes for equal.
_LANGUAGES = {"": "", "eo_": "esperanto_", "es_": "spanish_", "es_trad_": "spanish2_", "gl_": "spanish_"}
_OF_MYSQL = re.compile(r"utf8mb4_(|\w+?_)0900_(ai_ci|as_ci|as_cs)(_ks)?")
_OF_MARIADB = re.compile(r"(utf8mb4_)?uca1400_(|\w+?_)(nopad_)?(ai_ci|ai_cs|as_ci|as_cs)")
_ONLY_MARIADB = re.compile(r"\w+_nopad_(ci|bin)|\w+_croatian_mysql561_ci|\w+_myanmar_ci|\w+_thai_520_w2|\w*uca1400_\w+")
_ONLY_MYSQL = re.compile(r"gb18030_\w+|utf8mb3_tolower_ci|\w+_0900_\w+")
_UNICODE = ("utf8mb3", "utf8", "ucs2", "utf16", "utf32")
COLLATIONS_OF_11_5 = ",".join(f"{c}={c}_uca1400_ai_ci" for c in ("utf8mb3", "ucs2", "utf8mb4", "utf16", "utf32"))
"""`character_set_collations` of MariaDB 11.5 and newer, where nobody has set it."""
_NEWER = "characters newer than Unicode 9 may compare otherwise"


def translate_collation(name: str, target: StatementServer) -> Collation | None:
    """The collation as the target calls it; None where it has the same name there.

    Raises PlanError where the target has none that holds the same strings for equal.
    """
    lower = name.lower()
    if target.brand == "mariadb":
        if lower == "utf8mb4_0900_bin":
            return Collation("utf8mb4_nopad_bin")
        of_mysql = _OF_MYSQL.fullmatch(lower)
        if of_mysql and of_mysql[1] in _LANGUAGES and not of_mysql[3] and not target.is_before(10, 10):
            return Collation(f"utf8mb4_uca1400_{_LANGUAGES[of_mysql[1]]}nopad_{of_mysql[2]}", _NEWER)
        if _ONLY_MYSQL.fullmatch(lower):
            raise _no_equal(name, "MariaDB")
        return None
    if lower == "utf8mb4_nopad_bin":
        return Collation("utf8mb4_0900_bin")
    of_mariadb = _OF_MARIADB.fullmatch(lower)
    languages = {theirs: ours for ours, theirs in _LANGUAGES.items() if ours != "gl_"}
    if of_mariadb and of_mariadb[2] in languages and of_mariadb[4] != "ai_cs" and not target.is_before(8):
        note = _NEWER if of_mariadb[3] else f"trailing spaces count, {_NEWER}"
        return Collation(f"utf8mb4_{languages[of_mariadb[2]]}0900_{of_mariadb[4]}", note)
    if _ONLY_MARIADB.fullmatch(lower):
        raise _no_equal(name, "MySQL")
    if "_0900_" in lower and target.is_before(8):
        raise _no_equal(name, "MySQL before 8.0")
    return None


def default_collation(server: StatementServer, charset: str) -> str | None:
    """What a character set without COLLATE means on this server; None where it is the same on every server."""
    charset = charset.lower()
    if found := _of_session(server.session, charset):
        return found
    if charset == "utf8mb4" and server.brand == "mysql":
        return "utf8mb4_general_ci" if server.is_before(8) else "utf8mb4_0900_ai_ci"
    if charset == "utf8mb4" or charset in _UNICODE:
        # https://jira.mariadb.org/browse/MDEV-25829; a session that tells no such list has emptied its own.
        is_newer = server.brand == "mariadb" and bool(server.version) and not server.is_before(11, 5)
        return f"{charset}_uca1400_ai_ci" if is_newer and server.session is None else f"{charset}_general_ci"
    return None


def _of_session(session: SessionSettings | None, charset: str) -> str | None:
    """What the session has made the default: MySQL for utf8mb4 alone, MariaDB by a list (`utf8mb3=…,utf8mb4=…`)."""
    if session is None:
        return None
    if charset == "utf8mb4" and session.default_collation_for_utf8mb4:
        return session.default_collation_for_utf8mb4
    pairs = dict(pair.split("=", 1) for pair in (session.character_set_collations or "").split(",") if "=" in pair)
    found = pairs.get("utf8mb3" if charset == "utf8" else charset)
    return found if found is None or not found.startswith("uca1400") else f"{charset}_{found}"


def _no_equal(name: str, brand: str) -> PlanError:
    return PlanError(
        f"{brand} has no collation that compares as {name} does; run the statement on the target by hand with the"
        " collation that you choose, then mark the change as done"
    )
