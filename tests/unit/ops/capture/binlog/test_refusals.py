"""The source's reasons for not serving its binlog, as MySQL 9.7 and MariaDB 10.11 word them."""

from __future__ import annotations

import pytest

from pydbsync.errors import OperationError, SourceError
from pydbsync.ops.capture.binlog.refusals import refusal


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Could not find first log file name in binary log index file", "copy the data anew"),
        ("Cannot replicate because the source purged required binary logs. Replicate the missing transactions from "
         "elsewhere, or provision a new replica from backup.", "copy the data anew"),
        ("Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and "
         "required binlog files have been purged.", "no longer has its binlog"),
        ("Client requested source to start replication from position > file size", "was reset, or lost its end"),
        ("Client requested master to start replication from impossible position; the first event 'b.1' at 4, the last "
         "event read from 'b.1' at 4", "was reset, or lost its end"),
        ("Error: connecting slave requested to start from GTID 0-1-500, which is not in the master's binlog",
         "was reset, or lost its end"),
        ("Replica has more GTIDs than the source has, using the source's SERVER_UUID. This may indicate that the end "
         "of the binary log was truncated or that the last binary log file was lost", "was reset, or lost its end"),
        ("log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source", "raise max_allowed"),
        ("The replication sender thread cannot start in AUTO_POSITION mode: this server has GTID_MODE = OFF instead of "
         "ON.", "without by_gtid"),
        ("Cannot replicate anonymous transaction when AUTO_POSITION = 1, at file ./b.1", "without by_gtid"),
        ("Cannot replicate anonymous transaction when @@GLOBAL.GTID_MODE = ON, at file ./b.1", "ON_PERMISSIVE"),
        ("Cannot replicate GTID-transaction when @@GLOBAL.GTID_MODE = OFF, at file ./b.1", "ON_PERMISSIVE"),
        ("bogus data in log event; the first event 'b.1' at 4", "cannot read its own binlog"),
        ("Misconfigured source - source server_id is 0", "does not serve its binlog"),
        ("something that nobody has seen", "something that nobody has seen"),
    ],
)  # fmt: skip
def test_each_reason_has_its_own_advice(text: str, advice: str) -> None:
    found = refusal(1236, text, "b.1:4")
    assert isinstance(found, OperationError)
    assert advice in str(found)
    if advice in ("raise max_allowed", "without by_gtid", "something that nobody has seen"):
        assert "copy the data anew" not in str(found)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1236, "A replica with the same server_uuid/server_id as this replica has connected to the source; the first "
               "event 'b.1' at 4"),
        (4052, "A slave with the same server_uuid/server_id as this slave has connected to the master"),
    ],
)  # fmt: skip
def test_another_reader_with_the_same_number_is_waited_for_by_name(code: int, text: str) -> None:
    found = refusal(code, text, "b.1:4", server_id=7)
    assert isinstance(found, SourceError)
    assert "server_id 7" in str(found)
    assert "--server-id" in str(found)


def test_other_errors_are_left_to_others() -> None:
    assert refusal(2013, "Lost connection", "b.1:4") is None
    assert isinstance(refusal(1236, "memory allocation failed reading log event", "b.1:4"), SourceError)
