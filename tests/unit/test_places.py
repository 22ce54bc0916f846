"""Places: a change that was applied is left out, one that was not never is, whatever comes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.gtids import GtidSet
from pydbsync.model import COMMIT_ROW, Place, RowChange, SchemaChange
from pydbsync.places import Checkpoint, Standing, StreamProgress, parse_position

NEW, DUPLICATE, NEW_STREAM, SAME_PLACE = Standing.NEW, Standing.DUPLICATE, Standing.NEW_STREAM, Standing.SAME_PLACE

UUID = "714f9c60-e4b2-11f1-9c62-02fc00000001"
OTHER_UUID = "714f9c60-e4b2-11f1-9c62-02fc00000002"


def row(position: str | None = "binlog.000002:500", ts: int = 100, **fields: Any) -> RowChange:
    if not fields.get("commit"):
        fields.setdefault("xoffset", 0)
    fields.setdefault("server_id", 11)
    return RowChange(
        kind="insert", database="d", table="t", ts=ts, data=msgspec.Raw(b'{"a":1}'), position=position, **fields
    )


def ddl(position: str | None = "binlog.000002:500", ts: int = 100, **fields: Any) -> SchemaChange:
    fields.setdefault("sql", "ALTER TABLE t ADD c INT")
    fields.setdefault("kind", "table-alter")
    return SchemaChange(database="d", table="t", ts=ts, position=position, **fields)


def at(place: Place, ts: int = 100, **fields: Any) -> StreamProgress:
    """The progress of a worker that starts at a checkpoint."""
    fields.setdefault("server_id", 11)
    return StreamProgress(Checkpoint(base="binlog", place=place, newest_ts=ts, **fields))


def judged(progress: StreamProgress, *changes: RowChange | SchemaChange) -> list[Standing]:
    return [progress.judge(change) for change in changes]


# -- positions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("binlog.000002:1924195", ("binlog", 2, 1924195)),
        ("mysql-bin.index.000010:4", ("mysql-bin.index", 10, 4)),
        ("日志:x.999999:0", ("日志:x", 999999, 0)),
        ("b.1234567:9999999999999999999", ("b", 1234567, 9999999999999999999)),
        ("binlog.000002:-422", ("binlog", 2, 4294966874)),
        ("binlog.000002:-2147483648", ("binlog", 2, 2147483648)),
    ],
)
def test_a_position_is_base_file_and_offset(text: str, parsed: tuple[str, int, int]) -> None:
    assert parse_position(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "binlog", "binlog:5", ".000002:5", "binlog.:5", "binlog.000002", "binlog.000002:", "binlog.two:5",
        "binlog.000002:-2147483649", "binlog.000002:--5", "binlog.-2:5", "binlog.000002: 5", "binlog.000002:5_0",
        "binlog.000002:٥", "binlog.000002:18446744073709551616", "binlog.18446744073709551616:4",
        "b" * 256 + ".000002:4",
    ],
)  # fmt: skip
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a binlog position"):
        parse_position(text)


@pytest.mark.parametrize("text", ["binlog.000002:60x", "binlog.000002:6_0", "binlog.000002:9 9", "binlog.000002:²²²"])
def test_what_is_no_position_is_refused_in_the_middle_of_a_stream_too(text: str) -> None:
    progress = StreamProgress(Checkpoint())
    progress.judge(row("binlog.000002:500", commit=True))
    before = progress.checkpoint()
    with pytest.raises(ValueError, match="is not a binlog position"):
        progress.judge(row(text, commit=True))
    assert progress.checkpoint() == before


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(2, 500, 0), "binlog.000002:500"),
        (Place(2, 500, 7), "binlog.000002:500/7"),
        (Place(2, 500, COMMIT_ROW), "binlog.000002:500"),
    ],
)
def test_a_checkpoint_prints_its_position_as_mysql_does(place: Place, text: str) -> None:
    assert Checkpoint(base="binlog", place=place).position() == text


def test_a_checkpoint_before_the_first_change_has_no_position() -> None:
    assert Checkpoint().position() == ""


# -- rows ------------------------------------------------------------------------------------------------------------


def test_the_first_change_of_all_is_new() -> None:
    assert judged(StreamProgress(Checkpoint()), row("binlog.000001:4", xoffset=0)) == [NEW]


def test_a_first_change_in_the_middle_of_a_transaction_is_new() -> None:
    assert judged(StreamProgress(Checkpoint()), row("binlog.000001:4", xoffset=5)) == [NEW]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (row("binlog.000002:500", xoffset=3), DUPLICATE),
        (row("binlog.000002:500", xoffset=2), DUPLICATE),
        (row("binlog.000002:500", xoffset=4), NEW),
        (row("binlog.000002:500", commit=True), NEW),
        (row("binlog.000002:499", commit=True), DUPLICATE),
        (row("binlog.000002:501", xoffset=0), NEW),
        (row("binlog.000001:9999", xoffset=9), DUPLICATE),
        (row("binlog.000003:4", xoffset=0), NEW),
        (row("binlog.1000000:4", xoffset=0), NEW),
    ],
)
def test_a_row_is_a_duplicate_at_or_before_the_checkpoint(change: RowChange, verdict: Standing) -> None:
    assert at(Place(2, 500, 3)).judge(change) is verdict


def test_nothing_of_a_transaction_is_new_after_its_commit_row() -> None:
    progress = at(Place(2, 500, COMMIT_ROW))
    assert judged(progress, row(xoffset=0), row(xoffset=10**9), row(commit=True)) == [DUPLICATE] * 3


def test_a_half_published_transaction_that_comes_again_has_each_row_once() -> None:
    progress = StreamProgress(Checkpoint())
    seen = judged(progress, *(row(xoffset=n) for n in (0, 1)), *(row(xoffset=n) for n in (0, 1)), row(commit=True))
    assert seen == [NEW, NEW, DUPLICATE, DUPLICATE, NEW]


def test_rows_are_numbered_through_all_events_of_their_transaction() -> None:
    progress = StreamProgress(Checkpoint())
    changes = [row("binlog.000002:500", xoffset=0), row("binlog.000002:500", xoffset=1)]
    changes += [row("binlog.000002:900", xoffset=2), row("binlog.000002:900", commit=True)]
    assert judged(progress, *changes) == [NEW] * 4
    assert judged(progress, *changes) == [DUPLICATE] * 4


def test_a_change_that_is_newer_than_all_before_but_lies_behind_begins_a_new_stream() -> None:
    progress = at(Place(9, 500, COMMIT_ROW), ts=100)
    assert judged(progress, row("binlog.000001:4", ts=101), row("binlog.000001:4", ts=101)) == [NEW_STREAM, DUPLICATE]
    assert progress.place() == Place(1, 4, 0)


def test_the_newest_time_counts_not_the_last_for_a_long_transaction_carries_old_times() -> None:
    progress = at(Place(2, 500, COMMIT_ROW), ts=100)
    long_transaction = row("binlog.000002:600", ts=40, commit=True)
    assert progress.judge(long_transaction) is NEW
    assert progress.checkpoint().newest_ts == 100
    assert judged(progress, long_transaction, row("binlog.000002:500", ts=99, commit=True)) == [DUPLICATE, DUPLICATE]


@pytest.mark.parametrize("ts", [1, 100, 101])
def test_another_base_name_is_another_stream_whatever_the_time(ts: int) -> None:
    assert at(Place(2, 500, 0), ts=100).judge(row("other-bin.000002:400", ts=ts)) is NEW_STREAM


@pytest.mark.parametrize("ts", [1, 100, 101])
def test_another_server_is_another_stream_whatever_the_time(ts: int) -> None:
    progress = at(Place(2, 500, 0), ts=100)
    assert progress.judge(row("binlog.000002:400", ts=ts, server_id=12)) is NEW_STREAM
    assert progress.checkpoint().server_id == 12


def test_rows_of_several_servers_in_one_binlog_are_one_stream() -> None:
    progress = at(Place(2, 500, COMMIT_ROW))
    changes = [row(f"binlog.000002:{600 + n}", server_id=11 + n % 2, commit=True) for n in range(6)]
    assert judged(progress, *changes) == [NEW] * 6


@pytest.mark.parametrize(("known", "sent"), [(None, 11), (11, None), (None, None)])
def test_an_unknown_server_is_taken_for_the_same(known: int | None, sent: int | None) -> None:
    progress = at(Place(2, 500, 0), server_id=known)
    assert progress.judge(row("binlog.000002:400", server_id=sent)) is DUPLICATE


def test_messages_without_a_position_are_applied_at_least_once() -> None:
    progress = at(Place(2, 500, 3), ts=100)
    assert judged(progress, row(None, ts=150), row(None, ts=150)) == [NEW, NEW]
    assert progress.checkpoint().place == Place(2, 500, 3)
    assert progress.checkpoint().newest_ts == 150


def test_rows_without_numbers_are_applied_again_within_their_event_and_left_out_before_it() -> None:
    progress = at(Place(2, 500, -1))
    assert judged(progress, row("binlog.000002:400", xoffset=None), row(xoffset=None)) == [DUPLICATE, NEW]


def test_rows_without_numbers_are_duplicates_once_their_transaction_is_over() -> None:
    progress = at(Place(2, 500, COMMIT_ROW))
    assert judged(progress, row(xoffset=None), row(commit=True)) == [DUPLICATE, DUPLICATE]


# -- schema changes --------------------------------------------------------------------------------------------------


def test_a_schema_change_at_the_checkpoint_is_for_the_journal_to_decide() -> None:
    progress = at(Place(2, 500, 0))
    assert judged(progress, ddl(), ddl(ts=500)) == [SAME_PLACE, SAME_PLACE]


def test_several_messages_of_one_statement_share_their_place() -> None:
    progress = at(Place(2, 400, COMMIT_ROW))
    assert judged(progress, ddl(), ddl(), row("binlog.000002:700", commit=True)) == [NEW, SAME_PLACE, NEW]
    assert judged(progress, ddl(), ddl()) == [DUPLICATE, DUPLICATE]


@pytest.mark.parametrize("partitions", ["", "\n/*!50100 PARTITION BY HASH (`a`)\nPARTITIONS 3 */"])
def test_rows_of_create_table_as_select_come_behind_their_schema_change_under_its_gtid(partitions: str) -> None:
    gtid = f"{UUID}:7"
    progress = at(Place(2, 400, COMMIT_ROW), gtids=f"{UUID}:1-6")
    create = ddl(gtid=gtid, kind="table-create", sql=f"CREATE TABLE `t` (`a` int) START TRANSACTION{partitions}")
    rows = [row("binlog.000002:900", gtid=gtid, xoffset=0)]
    rows.append(row("binlog.000002:900", gtid=gtid, commit=True))
    assert progress.judge(create) is NEW
    assert progress.checkpoint().gtids == f"{UUID}:1-6"

    # a crash between the statement and its rows
    again = StreamProgress(progress.checkpoint())
    assert judged(again, create, *rows) == [SAME_PLACE, NEW, NEW]
    assert again.checkpoint().gtids == f"{UUID}:1-7"
    assert judged(StreamProgress(again.checkpoint()), create, *rows) == [DUPLICATE] * 3


def test_the_gtid_of_a_schema_change_is_applied_with_it() -> None:
    progress = at(Place(2, 400, COMMIT_ROW), gtids=f"{UUID}:1-6")
    two_messages = [ddl(gtid=f"{UUID}:7"), ddl(gtid=f"{UUID}:7")]
    assert judged(progress, *two_messages) == [NEW, SAME_PLACE]
    assert progress.checkpoint().gtids == f"{UUID}:1-7"
    assert judged(StreamProgress(progress.checkpoint()), *two_messages) == [SAME_PLACE, SAME_PLACE]
    on_replica = [msgspec.structs.replace(each, position="replica-bin.000044:700") for each in two_messages]
    assert judged(StreamProgress(progress.checkpoint()), *on_replica) == [DUPLICATE, DUPLICATE]


# -- GTIDs -----------------------------------------------------------------------------------------------------------


def test_a_gtid_counts_as_applied_when_its_commit_row_is() -> None:
    progress = StreamProgress(Checkpoint())
    progress.judge(row("binlog.000002:500", gtid=f"{UUID}:1", xoffset=0))
    assert progress.checkpoint().gtids == ""
    progress.judge(row("binlog.000002:500", gtid=f"{UUID}:1", commit=True))
    assert progress.checkpoint().gtids == f"{UUID}:1"


def test_a_gtid_whose_commit_row_went_to_another_queue_counts_when_the_next_one_comes() -> None:
    progress = StreamProgress(Checkpoint())
    progress.judge(row("binlog.000002:500", gtid=f"{UUID}:1", xoffset=0))
    progress.judge(row("binlog.000002:900", gtid=f"{UUID}:3", xoffset=0))
    assert progress.checkpoint().gtids == f"{UUID}:1"


def test_after_a_failover_what_was_applied_is_known_by_its_gtid() -> None:
    progress = at(Place(2, 500, COMMIT_ROW), ts=100, gtids=f"{UUID}:1-5")
    on_replica = [
        row("replica-bin.000044:700", ts=100, server_id=12, gtid=f"{UUID}:5", commit=True),
        row("replica-bin.000044:900", ts=100, server_id=12, gtid=f"{UUID}:6", commit=True),
    ]
    assert judged(progress, *on_replica) == [DUPLICATE, NEW_STREAM]
    assert progress.checkpoint().gtids == f"{UUID}:1-6"


def test_a_gtid_that_is_known_but_newer_than_all_before_was_given_twice_by_a_reset_source() -> None:
    progress = at(Place(2, 500, COMMIT_ROW), ts=100, gtids=f"{UUID}:1-5")
    assert progress.judge(row("binlog.000001:4", ts=101, gtid=f"{UUID}:2", commit=True)) is NEW_STREAM


def test_all_rows_of_the_open_transaction_are_new_though_they_share_their_gtid() -> None:
    progress = at(Place(2, 500, COMMIT_ROW), gtids=f"{UUID}:1-5")
    rows = [row("binlog.000002:900", gtid=f"{UUID}:6", xoffset=n) for n in range(3)]
    assert judged(progress, *rows, row("binlog.000002:900", gtid=f"{UUID}:6", commit=True)) == [NEW] * 4


def test_a_source_without_gtids_keeps_none() -> None:
    progress = StreamProgress(Checkpoint())
    judged(progress, row(xoffset=0), row(commit=True))
    assert progress.checkpoint().gtids == ""


def test_a_gtid_of_mariadb_is_counted_by_domain_and_server() -> None:
    progress = StreamProgress(Checkpoint())
    judged(progress, *(row(f"b.000002:{n}00", gtid=f"0-1-{n}", commit=True) for n in (7, 8, 9)))
    judged(progress, row("b.000002:1100", gtid="0-2-10", commit=True))
    assert progress.checkpoint().gtids == "0-1:7-9,0-2:10"
    assert str(GtidSet("0-1-9,0-2-10")) == "0-1:1-9,0-2:1-10"


def test_a_wrong_gtid_is_refused_and_moves_nothing() -> None:
    progress = at(Place(2, 500, COMMIT_ROW), gtids=f"{UUID}:1-5")
    before = progress.checkpoint()
    for gtid in (f"{UUID}:x", f"{UUID}:-1", f"{UUID}:1_0", "héllo:1", f"{UUID}:18446744073709551616"):
        with pytest.raises(ValueError, match="GTID"):
            progress.judge(row("binlog.000002:900", gtid=gtid, commit=True))
        assert progress.checkpoint() == before


@pytest.mark.parametrize(
    ("gtids", "text"),
    [
        ([], ""),
        ([1], f"{UUID}:1"),
        ([1, 2, 3], f"{UUID}:1-3"),
        ([3, 1, 2], f"{UUID}:1-3"),
        ([1, 3], f"{UUID}:1:3"),
        ([5, 1, 3, 2, 3], f"{UUID}:1-3:5"),
        ([2, 3, 1], f"{UUID}:1-3"),
        ([9, 7, 8, 1], f"{UUID}:1:7-9"),
    ],
)
def test_gtids_are_kept_as_intervals(gtids: list[int], text: str) -> None:
    found = GtidSet()
    found.update(f"{UUID}:{n}" for n in gtids)
    assert str(found) == text


def test_a_gtid_set_is_extended_by_the_very_next_number_alone() -> None:
    found = GtidSet(f"{UUID}:1-3:7")
    assert not found.extend(f"{UUID}:8"), "nothing was added yet"
    found.update([f"{UUID}:8", f"{UUID}:9"])
    assert [found.extend(f"{UUID}:{n}") for n in (9, 11, 10, "x", "१", 11)] == [False, False, True, False, False, True]
    assert not found.extend(f"{OTHER_UUID}:12")
    found.add(f"{UUID}:4")
    assert not found.extend(f"{UUID}:5"), "behind 4 another number may follow"
    assert str(found) == f"{UUID}:1-4:7-11"
    found.update([f"{UUID}:12", f"{UUID}:13"])
    found.forget_source(f"{UUID}:1")
    assert not found.extend(f"{UUID}:14")
    assert str(found) == ""


def test_tagged_gtids_are_counted_by_their_tag() -> None:
    found = GtidSet(f"{UUID}:1-3:orders:1-2:9")
    found.update([f"{UUID}:4", f"{UUID}:orders:3"])
    assert str(found) == f"{UUID}:1-4,{UUID}:orders:1-3:9"
    assert str(GtidSet(str(found))) == str(found)


def test_of_many_gaps_in_a_gtid_set_the_lowest_are_closed() -> None:
    found = GtidSet(f"{UUID}:1:3:5:7-8:10,{OTHER_UUID}:2:4")
    found.close_gaps(3)
    assert str(found) == f"{UUID}:1-5:7-8:10,{OTHER_UUID}:2:4"
    assert [found.lacks(f"{UUID}:{n}") for n in (1, 2, 6, 8, 9, 10, 11)] == [
        False, False, True, False, True, False, True,
    ]  # fmt: skip
    assert not found.lacks(f"{OTHER_UUID}:1"), "it may have come before GTIDs were known"


def test_a_queue_that_gets_every_other_transaction_keeps_its_gtids_in_bounds() -> None:
    progress = StreamProgress(Checkpoint())
    changes = [tx(f"b.000002:{n}", n) for n in range(1, 4001, 2)]
    assert judged(progress, *changes) == [NEW] * 2000
    kept = progress.checkpoint().gtids
    assert kept.startswith(f"{UUID}:1-")
    assert len(kept) < 4000
    assert judged(StreamProgress(progress.checkpoint()), *changes) == [DUPLICATE] * 2000


def test_a_gtid_set_is_read_as_mysql_prints_it() -> None:
    found = GtidSet(f"{OTHER_UUID}:5,\n{UUID}:7-9:1-3")
    assert str(found) == f"{UUID}:1-3:7-9,{OTHER_UUID}:5"
    assert f"{UUID}:8" in found
    assert f"{UUID}:4" not in found
    assert f"{OTHER_UUID}:8" not in found


@given(st.lists(st.integers(1, 30), max_size=60))
def test_a_gtid_set_holds_what_was_added_and_nothing_else(numbers: list[int]) -> None:
    found = GtidSet()
    found.update(f"{UUID}:{n}" for n in numbers)
    again = GtidSet(str(found))
    for n in range(32):
        assert (f"{UUID}:{n}" in found) == (n in numbers) == (f"{UUID}:{n}" in again)
    spans = [span.split("-") for span in str(found).split(":")[1:]]
    edges = [int(number) for span in spans for number in (span[0], span[-1])]
    assert edges == sorted(edges)
    assert all(after - before > 1 for before, after in zip(edges[1::2], edges[2::2], strict=False)), "not joined"


# -- which change is which: the cases of docs/delivery.md ------------------------------------------------------------

GIB = 2**30
FUTURE = 2**31 - 1


class Case(NamedTuple):
    """What comes, after what was applied, and what it is."""

    before: Sequence[RowChange | SchemaChange]
    comes: Sequence[RowChange | SchemaChange]
    verdicts: Sequence[Standing]


def tx(position: str, number: int, ts: int = 100, **fields: Any) -> RowChange:
    """The only row of a transaction, with its GTID."""
    return row(position, ts, gtid=f"{UUID}:{number}", commit=True, **{"xid": 1000 + number, **fields})


def wrapping(*offsets: int, gtid: str | None = None) -> list[RowChange | SchemaChange]:
    """The rows of one transaction at these offsets of a file."""
    last = len(offsets) - 1
    return [
        row(f"b.000009:{offset}", gtid=gtid, xid=77, commit=n == last, xoffset=None if n == last else n)
        for n, offset in enumerate(offsets)
    ]


def single(position: str, xid: int, ts: int = 100, **fields: Any) -> RowChange:
    """The only row of a transaction of a source without GTIDs."""
    return row(position, ts, xid=xid, commit=True, **fields)


def large(number: int) -> str:
    return f"{UUID}:{number}"


BEFORE_WRAP = single("b.000009:800000000", 76)
WRAP = wrapping(4294960000, 698, -422, 9000)
"""A transaction that makes its file larger than 8 GiB; the third offset is one of a reader that takes it for signed."""
BEHIND_WRAP = single("b.000009:9100", 78)

CASES: dict[str, Case] = {
    "a transaction comes again": Case([tx("b.000002:500", 5)], [tx("b.000002:500", 5)], [DUPLICATE]),
    "what lies behind the last place is new": Case([tx("b.000002:500", 5)], [tx("b.000002:900", 6)], [NEW]),
    "a replica of another base name goes on": Case(
        [tx("b.000002:500", n) for n in (4, 5)], [tx("r.000044:90", 5), tx("r.000044:200", 6)], [DUPLICATE, NEW_STREAM]
    ),
    "a replica of the same base name goes on, its places behind": Case(
        [tx("b.000020:500", 4), tx("b.000020:900", 5)],
        [tx("b.000003:90", 5), tx("b.000003:200", 6), tx("b.000003:300", 7)],
        [DUPLICATE, NEW_STREAM, NEW],
    ),
    "a replica of the same base name goes on, its places before": Case(
        [tx("b.000002:500", 4), tx("b.000002:900", 5)],
        [tx("b.000044:90", 5), tx("b.000044:200", 6)],
        [DUPLICATE, NEW],
    ),
    "a replica goes on in the midst of a transaction": Case(
        [row("b.000002:500", gtid=large(5), xoffset=n) for n in (0, 1)],
        [row("r.000044:90", gtid=large(5), xoffset=n) for n in (0, 1, 2)] + [tx("r.000044:90", 5)],
        [DUPLICATE, DUPLICATE, NEW_STREAM, NEW],
    ),
    "places and GTIDs begin again": Case(
        [tx(f"b.000002:{n}00", n) for n in range(1, 6)],
        [tx("b.000001:100", 1, 101), *(tx(f"b.000001:{n}00", n, 101) for n in range(2, 9))],
        [NEW_STREAM] + [NEW] * 7,
    ),
    "GTIDs begin again, of which this queue sees one that it had not": Case(
        [tx(f"b.000002:{n}00", n) for n in (1, 2, 3, 10, 11)],
        [tx("b.000001:100", 6, 101), tx("b.000001:200", 10, 101), tx("b.000001:300", 11, 101)],
        [NEW_STREAM, NEW_STREAM, NEW],
    ),
    "what came after GTIDs began again comes again": Case(
        [tx("b.000002:500", 5), tx("b.000001:100", 1, 101), tx("b.000001:200", 2, 101)],
        [tx("b.000001:100", 1, 101), tx("b.000001:200", 2, 101), tx("b.000001:300", 3, 101)],
        [DUPLICATE, DUPLICATE, NEW],
    ),
    "GTIDs begin again and the places are behind already": Case(
        [tx(f"b.000001:{n}00", n) for n in range(1, 6)],
        [tx("b.000001:900", 2, 101), tx("b.000001:950", 3, 101)],
        [NEW_STREAM, NEW],
    ),
    "GTIDs that begin again are those of one server": Case(
        [row("b.000002:100", gtid=f"{OTHER_UUID}:1", commit=True), tx("b.000002:200", 1), tx("b.000001:4", 1, 101)],
        [row("b.000001:90", gtid=f"{OTHER_UUID}:1", commit=True)],
        [DUPLICATE],
    ),
    "the largest GTID, with a tag": Case(
        [row("b.000002:500", gtid=f"{UUID}:other:9223372036854775805", commit=True)],
        [
            row("b.000002:500", gtid=f"{UUID}:other:9223372036854775805", commit=True),
            row("b.000002:600", gtid=f"{UUID}:other:9223372036854775806", commit=True),
            row("b.000002:700", gtid=f"{UUID}:9223372036854775806", commit=True),
        ],
        [DUPLICATE, NEW, NEW],
    ),
    "GTIDs are sent from now on": Case(
        [single("b.000002:400", 1004), single("b.000002:500", 1005)],
        [tx("b.000002:400", 4), tx("b.000002:500", 5), tx("b.000002:600", 6)],
        [DUPLICATE, DUPLICATE, NEW],
    ),
    "a row of the future, then the source is rebuilt": Case(
        [single("b.000009:100", 1), single("b.000009:200", 2, FUTURE), single("b.000009:300", 3, 101)],
        [single("b.000001:100", 1, 102), single("b.000001:200", 2, 102)],
        [NEW_STREAM, NEW],
    ),
    "a row of the future comes again": Case(
        [single("b.000009:100", 1), single("b.000009:200", 2, FUTURE), single("b.000009:300", 3, 101)],
        [single("b.000009:200", 2, FUTURE), single("b.000009:300", 3, 101), single("b.000009:400", 4, 101)],
        [DUPLICATE, DUPLICATE, NEW],
    ),
    "a file of more than 4 GiB": Case([BEFORE_WRAP], [*WRAP, BEHIND_WRAP], [NEW] * 5),
    "a file of more than 4 GiB goes on after a restart": Case([BEFORE_WRAP, WRAP[0]], [*WRAP[1:]], [NEW] * 3),
    "a file of more than 4 GiB, whose rows come again": Case(
        [BEFORE_WRAP, *WRAP[:2]], [WRAP[0], WRAP[1], *WRAP[2:]], [DUPLICATE] * 2 + [NEW] * 2
    ),
    "a transaction of more than 4 GiB is over and comes again": Case(
        [BEFORE_WRAP, *WRAP], [*WRAP, BEHIND_WRAP], [DUPLICATE] * 4 + [NEW]
    ),
    "behind a transaction of more than 4 GiB transactions come again": Case(
        [BEFORE_WRAP, *WRAP, BEHIND_WRAP, single("b.000009:9900", 79)],
        [BEHIND_WRAP, single("b.000009:9900", 79), single("b.000010:4", 80)],
        [DUPLICATE, DUPLICATE, NEW],
    ),
    "a file of more than 4 GiB with GTIDs": Case(
        [tx("b.000009:800000000", 76), *wrapping(4294960000, 698, gtid=large(77))],
        [
            tx("b.000009:800000000", 76),
            *wrapping(4294960000, 698, gtid=large(77)),
            tx("b.000009:3000000000", 78),
            tx("b.000009:3000000000", 78),
            tx("b.000010:4", 79),
        ],
        [DUPLICATE, DUPLICATE, DUPLICATE, NEW, DUPLICATE, NEW],
    ),
    "offsets of 64 bits": Case(
        [single("b.000009:4294960000", 1), single("b.000009:4295960000", 2)],
        [single("b.000009:4295960000", 2), single("b.000009:4295970000", 3), single("b.000009:9000000000", 4)],
        [DUPLICATE, NEW, NEW],
    ),
    "offsets that are negative from 2 GiB on": Case(
        [single("b.000009:2147483000", 1), single("b.000009:-2147483000", 2)],
        [single("b.000009:2147483000", 1), single("b.000009:-2147483000", 2), single("b.000009:-2147482000", 3)],
        [DUPLICATE, DUPLICATE, NEW],
    ),
    "the rows of several servers in one binlog come again": Case(
        [single(f"b.000002:{n}00", n, server_id=11 + n % 2) for n in range(1, 6)],
        [single(f"b.000002:{n}00", n, server_id=11 + n % 2) for n in range(2, 8)],
        [DUPLICATE] * 4 + [NEW] * 2,
    ),
    "the source is reset and written in one second": Case(
        [single("b.000009:100", 1), single("b.000009:200", 2)],
        [single("b.000001:100", 3), single("b.000001:200", 4), single("b.000001:100", 3)],
        [NEW_STREAM, NEW, DUPLICATE],
    ),
    "the source is reset in one second, a transaction goes on over it": Case(
        [single("b.000009:100", 1), single("b.000009:200", 3)],
        [single("b.000001:100", 2), single("b.000001:200", 4)],
        [NEW_STREAM, NEW],
    ),
    "the source is reset in one second, its places as before": Case(
        [single("b.000001:100", 1), single("b.000001:200", 2)],
        [single("b.000001:100", 3), single("b.000001:200", 4)],
        [NEW_STREAM, NEW],
    ),
    "the last second comes again": Case(
        [single("b.000008:900", 1), single("b.000009:100", 2), single("b.000009:200", 3)],
        [single("b.000008:900", 1), single("b.000009:100", 2), single("b.000009:200", 3), single("b.000009:300", 4)],
        [DUPLICATE] * 3 + [NEW],
    ),
    "a schema change behind a reset in one second": Case(
        [single("b.000009:100", 1), ddl("b.000009:200")],
        [ddl("b.000009:200"), ddl("b.000001:100", sql="ALTER TABLE t ADD d INT"), ddl("b.000001:50")],
        [SAME_PLACE, NEW_STREAM, NEW_STREAM],
    ),
    "a schema change of the last second comes again": Case(
        [ddl("b.000009:100"), single("b.000009:200", 1)], [ddl("b.000009:100"), single("b.000009:200", 1)],
        [DUPLICATE, DUPLICATE],
    ),
    "GTIDs begin again within one second": Case(
        [tx("b.000002:100", 1, 99), tx("b.000002:200", 2, 99), tx("b.000002:300", 3, 100)],
        [tx("b.000001:100", 1, 100, xid=9), tx("b.000001:200", 2, 100, xid=10)],
        [NEW_STREAM, NEW],
    ),
    "a replica goes on, which commits out of order": Case(
        [tx("b.000020:500", 4), tx("b.000020:600", 5), tx("b.000020:700", 7)],
        [tx("b.000003:90", 5, xid=3), tx("b.000003:200", 6, 99, xid=4), tx("b.000003:300", 7, xid=5),
         tx("b.000003:400", 8)],
        [DUPLICATE, NEW_STREAM, DUPLICATE, NEW],
    ),
    "GTIDs are not sent for a while": Case(
        [tx("b.000002:100", 1), single("b.000002:200", 1002), single("b.000002:300", 1003), tx("b.000002:400", 4)],
        [tx("r.000001:100", 2), tx("r.000001:200", 3), tx("r.000001:300", 4), tx("r.000001:400", 5)],
        [DUPLICATE] * 3 + [NEW_STREAM],
    ),
    "the source's clock is years ahead, and it is reset": Case(
        [single("b.000009:100", 1, FUTURE - 9), single("b.000009:200", 2, FUTURE - 8)],
        [single("b.000009:200", 2, FUTURE - 8), single("b.000001:100", 3, FUTURE - 7),
         single("b.000001:200", 4, FUTURE)],
        [DUPLICATE, NEW_STREAM, NEW],
    ),
    "a file of more than 4 GiB, of whose large transaction nothing comes": Case(
        [BEFORE_WRAP], [single("b.000009:698", 78), single("b.000009:900", 79, 99)], [NEW_STREAM, NEW]
    ),
    "the same, of a statement that began before": Case(
        [BEFORE_WRAP], [single("b.000009:698", 78, 90), BEFORE_WRAP], [NEW_STREAM, NEW]
    ),
    "a MariaDB replica goes on, its places before": Case(
        [single("b.000002:500", 5, gtid="0-1-4"), single("b.000002:900", 6, gtid="0-1-5")],
        [single("b.000044:90", 2, gtid="0-1-5"), single("b.000044:200", 3, gtid="0-2-6", server_id=12),
         single("b.000044:300", 4, gtid="0-2-7", server_id=12)],
        [DUPLICATE, NEW, NEW],
    ),
    "MariaDB's GTIDs begin again, for all servers of the domain": Case(
        [single("b.000009:100", 1, gtid="0-1-1"), *(single(f"b.000009:{n}00", n, gtid=f"0-2-{n}") for n in (2, 3, 4))],
        [single("b.000001:100", 5, 101, gtid="0-2-1"), single("b.000001:200", 6, 100, gtid="0-2-2"),
         single("b.000001:300", 7, 101, gtid="0-1-3")],
        [NEW_STREAM, NEW, NEW],
    ),
    "another server, where no GTID tells": Case(
        [single("b.000002:500", 5)], [single("b.000002:400", 5, server_id=12), single("b.000002:410", 6)],
        [NEW_STREAM, NEW],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("restarts", [False, True], ids=["goes on", "restarted"])
def test_which_change_is_which(name: str, restarts: bool) -> None:
    case = CASES[name]
    progress = StreamProgress(Checkpoint())
    verdicts = judged(progress, *case.before)
    assert DUPLICATE not in verdicts
    if restarts:
        progress = StreamProgress(progress.checkpoint())
    assert judged(progress, *case.comes) == case.verdicts


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ([single("b.000009:100", 1, 90), single("b.000009:200", 2)], [single("b.000001:100", 3, 101)]),
        ([single("b.000009:100", 1, 90), single("b.000009:200", 2)], [single("b.000001:100", 3)]),
        ([single("b.000009:100", 1, 90)], [single("r.000044:100", 3, 101), single("r.000044:200", 4, 101)]),
        ([tx("b.000002:100", 1, 90), tx("b.000002:500", 2)], [tx("b.000001:100", 1, 101)]),
        (
            [single("b.000002:100", 1, 90), single("b.000002:500", 2)],
            [single("b.000001:100", 3, 101), single("b.000002:300", 4, 101)],
        ),
    ],
)
def test_what_was_committed_with_a_new_stream_and_not_acknowledged_comes_again(
    former: list[RowChange], present: list[RowChange]
) -> None:
    progress = StreamProgress(Checkpoint())
    assert DUPLICATE not in judged(progress, *former, *present)
    progress = StreamProgress(progress.checkpoint())
    assert [progress.judge(each, again=True) for each in (*former, *present)] == [DUPLICATE] * len(former + present)
    assert progress.judge(single("b.000002:900", 9, 102)) in (NEW, NEW_STREAM)


@pytest.mark.parametrize(
    ("before", "comes"),
    [
        ([single("b.000009:100", 1), single("b.000001:100", 2)], single("b.000001:200", 3)),
        ([single("b.000009:100", 1), row("b.000001:100", xid=2, xoffset=0)], single("b.000001:100", 2)),
        ([tx("b.000009:100", 1), tx("b.000009:200", 2), tx("b.000001:100", 3, 90)], tx("b.000001:200", 4, 91)),
    ],
    ids=["of the same second", "of the same transaction", "of a fail-over whose clock is behind"],
)
def test_what_comes_again_behind_the_beginning_of_a_new_stream_is_new(
    before: list[RowChange], comes: RowChange
) -> None:
    progress = StreamProgress(Checkpoint())
    assert judged(progress, *before)[-1] is NEW_STREAM
    assert StreamProgress(progress.checkpoint()).judge(comes, again=True) is NEW


def test_what_a_copy_holds_is_not_taken_for_new_when_it_comes_again() -> None:
    progress = at(Place(2, 400, COMMIT_ROW), gtids=f"{UUID}:1-4")
    half = [row("binlog.000002:500", 101, gtid=f"{UUID}:5", xoffset=n) for n in (0, 1)]
    progress.pass_over(half[0])
    assert progress.judge(half[1]) is NEW, "of another table, in the same transaction"
    copied, last = (row(f"binlog.000002:{n}00", 101, gtid=f"{UUID}:{n}", xid=n, commit=True) for n in (6, 7))
    progress.pass_over(copied)
    assert progress.judge(last) is NEW
    again = StreamProgress(progress.checkpoint())
    assert judged(again, *half, copied, last) == [DUPLICATE] * 4
    assert progress.checkpoint().gtids == f"{UUID}:1-7"


def test_what_a_copy_holds_is_not_taken_for_new_without_gtids() -> None:
    progress = at(Place(2, 400, COMMIT_ROW))
    copied, last = single("binlog.000002:500", 9, 101), single("binlog.000002:600", 8, 101)
    progress.pass_over(copied)
    assert progress.judge(last) is NEW
    assert judged(StreamProgress(progress.checkpoint()), copied, last) == [DUPLICATE] * 2


def test_more_transactions_in_a_second_than_are_kept_come_again() -> None:
    progress = StreamProgress(Checkpoint())
    changes = [single(f"b.000009:{n}", n, 100) for n in range(1000, 1100)]
    judged(progress, single("b.000009:900", 900, 99), *changes)
    again = StreamProgress(progress.checkpoint())
    assert judged(again, *changes) == [DUPLICATE] * 100
    assert judged(again, single("b.000009:900", 901)) == [NEW_STREAM], "before the first one of that second"
    again = StreamProgress(progress.checkpoint())
    assert judged(again, single("b.000009:1000", 2000)) == [NEW_STREAM], "a larger xid than any of the file"


def test_a_place_that_may_lie_before_or_behind_a_large_transaction_is_not_guessed() -> None:
    progress = StreamProgress(Checkpoint())
    judged(progress, *WRAP, BEHIND_WRAP)
    before = progress.checkpoint()
    assert before.position() == f"b.000009:{8 * GIB + 9100}"
    with pytest.raises(ValueError, match="before or behind the transaction that made this binlog file larger"):
        progress.judge(BEFORE_WRAP)
    assert progress.checkpoint() == before


def test_a_time_of_the_future_that_was_stored_is_forgotten_within_a_day() -> None:
    clock = [1_000_000.0]
    progress = StreamProgress(
        Checkpoint(base="b", place=Place(9, 500, COMMIT_ROW), newest_ts=FUTURE), now=lambda: clock[0]
    )
    assert progress.judge(single("b.000001:100", 1, 1_000_010)) is DUPLICATE
    clock[0] += 90_000
    assert progress.judge(single("b.000001:100", 1, 1_090_010)) is NEW_STREAM


@pytest.mark.parametrize("behind_s", [0, 3600, 2 * 86_400, 1_600_000_000], ids=["right", "1 h", "2 days", "1970"])
def test_a_worker_whose_clock_is_put_back_and_forward_applies_each_change_once(behind_s: int) -> None:
    real = 1_700_000_000
    clock = [float(real)]
    progress = StreamProgress(Checkpoint(), now=lambda: clock[0])
    first, second, third = (single(f"b.000009:{n}00", n, real + n) for n in (1, 2, 3))
    reset = single("b.000001:100", 4, real + 4)
    assert judged(progress, first, second) == [NEW, NEW]
    clock[0] -= behind_s
    assert judged(progress, first, second) == [DUPLICATE, DUPLICATE]
    progress = StreamProgress(progress.checkpoint(), now=lambda: clock[0])
    assert judged(progress, first, second, third, second) == [DUPLICATE, DUPLICATE, NEW, DUPLICATE]
    clock[0] = float(real)
    progress = StreamProgress(progress.checkpoint(), now=lambda: clock[0])
    assert judged(progress, first, second, third, reset, reset) == [DUPLICATE] * 3 + [NEW_STREAM, DUPLICATE]


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_source_whose_clock_jumps_loses_and_doubles_nothing(jump_s: int) -> None:
    progress = StreamProgress(Checkpoint())
    changes = [single(f"b.000009:{n}00", n, 1_700_000_000 + n + (jump_s if 3 < n < 6 else 0)) for n in range(1, 9)]
    assert judged(progress, *changes) == [NEW] * 8
    assert judged(progress, *changes[2:]) == [DUPLICATE] * 6
    assert judged(StreamProgress(progress.checkpoint()), *changes) == [DUPLICATE] * 8


def test_a_stream_that_was_idle_takes_the_times_of_today() -> None:
    clock = [1_000_000.0]
    progress = StreamProgress(Checkpoint(), now=lambda: clock[0])
    progress.judge(single("b.000009:100", 1, 1_000_000))
    clock[0] += 10 * 86_400
    progress.judge(single("b.000009:200", 2, 1_864_000))
    assert progress.checkpoint().newest_ts == 1_864_000


# -- any stream, cut anywhere ----------------------------------------------------------------------------------------


@st.composite
def streams(draw: st.DrawFn) -> list[RowChange | SchemaChange]:
    """A binlog as Maxwell publishes it: transactions of one or several events, schema changes, files in between."""
    with_gtids = draw(st.booleans())
    changes: list[RowChange | SchemaChange] = []
    file, offset, ts = 1, 4, 1000
    for number in range(1, draw(st.integers(1, 8)) + 1):
        ts += draw(st.integers(0, 2))
        gtid = f"{UUID}:{number}" if with_gtids else None
        if draw(st.booleans()) and draw(st.booleans()):
            file, offset = file + 1, 4
        if draw(st.integers(0, 4)) == 0:
            offset += 100
            changes.append(ddl(f"binlog.{file:06d}:{offset}", ts, gtid=gtid))
            continue
        events = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        # a transaction is written at its end, with the times of its statements
        times = [ts - draw(st.integers(0, 50)) for _ in events]
        rows = []
        for rows_of_event, row_ts in zip(events, times, strict=True):
            offset += 100
            rows += [(f"binlog.{file:06d}:{offset}", row_ts)] * rows_of_event
        for xoffset, (position, row_ts) in enumerate(rows):
            last = xoffset == len(rows) - 1
            changes.append(row(position, row_ts, gtid=gtid, commit=last, xoffset=None if last else xoffset, xid=number))
    return changes


@given(st.data())
def test_every_change_is_new_once_wherever_the_stream_is_cut_and_however_much_comes_again(data: st.DataObject) -> None:
    stream = data.draw(streams())
    progress = StreamProgress(Checkpoint())
    applied: list[int] = []
    position = 0
    for _ in range(data.draw(st.integers(1, 4))):
        upto = data.draw(st.integers(position, len(stream)))
        for index in range(position, upto):
            verdict = progress.judge(stream[index])
            assert verdict is not NEW_STREAM
            if verdict is NEW:
                applied.append(index)
        # a crash: the checkpoint is what was committed, and the broker or Maxwell sends some of it again
        progress = StreamProgress(progress.checkpoint())
        position = data.draw(st.integers(0, upto))
    for index in range(position, len(stream)):
        if progress.judge(stream[index]) is NEW:
            applied.append(index)
    assert applied == list(range(len(stream)))


@given(st.data())
def test_a_reset_source_loses_nothing_when_time_went_on(data: st.DataObject) -> None:
    before, after = data.draw(streams()), data.draw(streams())
    progress = StreamProgress(Checkpoint())
    for change in before:
        progress.judge(change)
    newest = progress.checkpoint().newest_ts
    shift = newest + 1 - min(change.ts for change in after)
    again = [msgspec.structs.replace(change, ts=change.ts + shift, gtid=None) for change in after]
    verdicts = judged(progress, *again)
    assert DUPLICATE not in verdicts
