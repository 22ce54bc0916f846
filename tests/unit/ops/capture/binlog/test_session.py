"""What a Query event tells of the session."""

from __future__ import annotations

import pytest

from pydbsync.model import SessionSettings
from pydbsync.ops.capture.binlog.query import Query
from pydbsync.ops.capture.binlog.session import read_session

COLLATIONS = {45: "utf8mb4_general_ci", 46: "utf8mb4_bin", 255: "utf8mb4_0900_ai_ci", 2304: "utf8mb4_uca1400_ai_ci"}
CHARSETS = dict.fromkeys(COLLATIONS, "utf8mb4")
CHARSET = b"\x04\x2d\0\x2d\0\x2e\0"


def told(status: bytes, *, is_mariadb: bool) -> SessionSettings:
    return read_session(
        status, ts=1000, collations=COLLATIONS, charsets=CHARSETS, is_mariadb=is_mariadb, system_time_zone="CET"
    )


def test_a_session_of_mysql() -> None:
    """CREATE TABLE as MySQL 9.7 wrote it, with a time zone and a fraction behind it."""
    found = told(
        b"\0\0\0\0\0\x01 \0\xa0E\x01\0\0\0\x06\x03std\x04\xff\0\xff\0\x2e\0\x05\x06+05:00\x0c\x01c_x\0\x0d\x40\x42\x03"
        b"\x10\x01\x11\t\0\0\0\0\0\0\0\x12\xff\0\x13\0\x14\0",
        is_mariadb=False,
    )
    assert found == SessionSettings(
        sql_mode="ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
        "NO_ENGINE_SUBSTITUTION,TIME_TRUNCATE_FRACTIONAL",
        collation_connection="utf8mb4_0900_ai_ci",
        collation_server="utf8mb4_bin",
        default_collation_for_utf8mb4="utf8mb4_0900_ai_ci",
        explicit_defaults_for_timestamp=True,
        time_zone="+05:00",
        timestamp=1000.213568,
    )


def test_a_session_of_mariadb() -> None:
    found = told(
        b"\0\0\0\0\x05\x01\0\x02\x20\x54\x02\0\0\0\x06\x03std" + CHARSET + b"\x05\x06SYSTEM\x08\x2d\0\x80\x01\0\0",
        is_mariadb=True,
    )
    assert found == SessionSettings(
        sql_mode="ORACLE,STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION,"
        "SIMULTANEOUS_ASSIGNMENT",
        collation_connection="utf8mb4_general_ci",
        collation_server="utf8mb4_bin",
        collation_database="utf8mb4_general_ci",
        explicit_defaults_for_timestamp=True,
        time_zone="SYSTEM",
        system_time_zone="CET",
        timestamp=1000.000001,
    )


@pytest.mark.parametrize(
    "before",
    [
        b"\x83\x01\x2d\0\0\x09",  # MariaDB 11.5: the collations of character sets stand before the session's
        b"\x82\x04\x01\0\0\0\0\0\0\0", b"\x82\x01",  # the end of an ALTER in two phases, other flags of a GTID
        b"\x0b\x03app\x0910.0.0.99", b"\x0c\x02a\0bc\0", b"\x0c\xfe", b"\x02\x03std\0", b"\x03\1\0\1\0", b"\xff\xff",
    ],
)  # fmt: skip
def test_variables_of_any_length_stand_before_others(before: bytes) -> None:
    found = told(before + CHARSET, is_mariadb=True)
    assert found.collation_server == "utf8mb4_bin"
    assert Query(1, "", before + CHARSET, b"").collation == 45


def test_steps_of_numbers_and_the_language_are_told_where_they_are_unusual() -> None:
    found = told(b"\x03\x0a\0\x03\0" + CHARSET + b"\x07\x04\0", is_mariadb=False)
    assert (found.auto_increment_increment, found.auto_increment_offset, found.lc_time_names) == (10, 3, 4)


def test_the_collations_of_character_sets() -> None:
    assert told(b"\x83\x01\x2d\0\0\x09", is_mariadb=True) == SessionSettings(
        character_set_collations="utf8mb4=utf8mb4_uca1400_ai_ci"
    )


def test_what_is_not_told_is_not_there() -> None:
    assert told(b"", is_mariadb=True) == told(b"", is_mariadb=False) == SessionSettings()
    assert told(CHARSET + b"\x63\x01\x02", is_mariadb=False).collation_server == "utf8mb4_bin"
