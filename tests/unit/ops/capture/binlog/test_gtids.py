"""Global transaction ids in events, as MySQL 9.7 and MariaDB 10.11 wrote them."""

from __future__ import annotations

import pytest

from pydbsync.ops.capture.binlog.gtids import (
    MariadbGtidEvent,
    MariadbGtids,
    read_gtid,
    read_mariadb_gtid,
    read_previous_gtids,
    read_tagged_gtid,
)

UUID = "a7934d73-e4c7-11f1-a136-02fc00000001"


def test_a_gtid_of_mysql() -> None:
    raw = "01a7934d73e4c711f1a13602fc0000000103000000000000000202000000000000000300000000000000"
    assert read_gtid(bytes.fromhex(raw)) == f"{UUID}:3"


def test_a_gtid_with_a_tag() -> None:
    raw = (
        "0280000000029d024d029ae691031d0322c50385026c04f103000000020404060e6d797461675f3108b3ca050ad3ca050c7fc76f7eb6b2"
        "600610a5041283120b"
    )
    assert read_tagged_gtid(bytes.fromhex(raw)) == f"{UUID}:mytag_1:1"


def test_the_gtids_of_the_files_before() -> None:
    source = bytes.fromhex(UUID.replace("-", ""))
    spans = b"".join(number.to_bytes(8, "little") for number in (2, 1, 6, 9, 10))
    assert read_previous_gtids((1).to_bytes(8, "little") + source + spans) == f"{UUID}:1-5:9-9"
    assert read_previous_gtids(bytes(8)) == ""


def test_the_gtids_of_the_files_before_in_the_format_with_tags() -> None:
    source, one = UUID.replace("-", ""), "01000000000000000100000000000000"
    raw = f"0102000000000001{source}00{one}7e01000000000000{source}0e{b'mytag_1'.hex()}{one}0300000000000000"
    assert read_previous_gtids(bytes.fromhex(raw)) == f"{UUID}:1-381,{UUID}:mytag_1:1-2"


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("dc540000000000000000000029000000000000", MariadbGtidEvent(0, 21724, True, False)),
        ("df54000000000000000000000c000000000000", MariadbGtidEvent(0, 21727, False, False)),
        ("dd54000000000000000000004c0100000001006101ff", MariadbGtidEvent(0, 21725, False, False)),
        ("dd540000000000000100000029020000000000", MariadbGtidEvent(1, 21725, True, True)),
    ],
)
def test_a_gtid_of_mariadb(raw: str, found: MariadbGtidEvent) -> None:
    assert read_mariadb_gtid(bytes.fromhex(raw)) == found


def test_the_last_gtid_of_each_domain_counts() -> None:
    gtids = MariadbGtids("1-5-7, 0-1-5")
    gtids.add("0-2-6")
    gtids.add("10-1-1")
    assert str(gtids) == "0-2-6,1-5-7,10-1-1"
    assert str(MariadbGtids("")) == ""


@pytest.mark.parametrize(
    ("there", "reaches"),
    [
        ("0-1-5,1-5-7", True), ("0-1-9,1-5-7,2-1-1", True), ("0-2-1,1-5-8", True),  # another server's numbers
        ("", False), ("0-1-5", False), ("0-1-4,1-5-7", False),
    ],
)  # fmt: skip
def test_gtids_reach_others_where_no_domain_is_behind(there: str, reaches: bool) -> None:
    assert MariadbGtids(there).reaches(MariadbGtids("0-1-5,1-5-7")) == reaches
