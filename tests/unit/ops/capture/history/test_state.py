"""The place and the schema history in files."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from pydbsync.errors import OperationError
from pydbsync.model import Column, TableName
from pydbsync.ops.capture.binlog.reader import BinlogPlace
from pydbsync.ops.capture.history.follow import Delta, FollowedSchema, Snapshot
from pydbsync.ops.capture.history.schema import TableDef
from pydbsync.ops.capture.history.state import Beginning, FileState, HistoryEntry

NAME = TableName("d", "t")


def place(offset: int, file: int = 1) -> BinlogPlace:
    return BinlogPlace(f"bin.{file:06d}", offset, f"0-1-{offset}")


def table(*columns: str) -> TableDef:
    return TableDef(NAME, "utf8mb4", tuple(Column(name, "enum", labels=("é", "")) for name in columns), ("a",))


BEGINNING = Beginning(
    "server", place(100), Snapshot((table("a"),), (("d", "latin1"),), (TableName("d", "s"),), (NAME,))
)


def begun(folder: Path) -> FileState:
    state = FileState(folder)
    assert state.load() is None
    state.begin(BEGINNING)
    return state


def columns_at(folder: Path, at: BinlogPlace) -> list[str]:
    state = FileState(folder)
    saved = state.load()
    state.close()
    assert saved is not None
    schema = saved.schema_at(at, FollowedSchema(saved.beginning.snapshot))
    return [column.name for column in schema.tables[NAME].columns]


def test_a_state_is_what_was_stored(tmp_path: Path) -> None:
    state = begun(tmp_path / "state")
    state.add(HistoryEntry(place(200), Delta(tables=((NAME, table("a", "b")),), databases=(("x", None),))))
    state.save_place(place(300))
    state.close()
    again = FileState(tmp_path / "state")
    saved = again.load()
    assert saved is not None
    assert saved.beginning == BEGINNING
    assert saved.place == place(300)
    assert saved.entries == (
        HistoryEntry(place(200), Delta(tables=((NAME, table("a", "b")),), databases=(("x", None),))),
    )


def test_the_schema_is_that_of_its_place(tmp_path: Path) -> None:
    state = begun(tmp_path)
    state.add(HistoryEntry(place(200), Delta(tables=((NAME, table("a", "b")),))))
    state.add(HistoryEntry(place(90, file=2), Delta(tables=((NAME, table("c")),))))
    state.save_place(place(95, file=2))
    state.close()
    assert columns_at(tmp_path, place(199)) == ["a"]
    assert columns_at(tmp_path, place(200)) == ["a", "b"]
    assert columns_at(tmp_path, place(5, file=2)) == ["a", "b"]
    assert columns_at(tmp_path, place(90, file=2)) == ["c"]
    with pytest.raises(OperationError, match=r"from bin\.000001:100 on"):
        columns_at(tmp_path, place(99))


def test_changes_behind_the_stored_place_are_read_again_and_not_kept_twice(tmp_path: Path) -> None:
    state = begun(tmp_path)
    state.save_place(place(150))
    state.add(HistoryEntry(place(200), Delta(tables=((NAME, table("a", "b")),))))
    state.close()
    again = FileState(tmp_path)
    assert again.load() is not None
    again.add(HistoryEntry(place(200), Delta(tables=((NAME, table("a", "b")),))))
    again.save_place(place(250))
    again.close()
    last = FileState(tmp_path)
    saved = last.load()
    assert saved is not None
    assert len(saved.entries) == 1


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    state = begun(tmp_path)
    state.close()
    with (tmp_path / "schema.jsonl").open("ab") as file:
        file.write(b'{"place":["bin.0000')
    again = FileState(tmp_path)
    saved = again.load()
    assert saved is not None
    assert saved.entries == ()
    again.add(HistoryEntry(place(110), Delta()))
    again.save_place(place(120))
    again.close()
    assert columns_at(tmp_path, place(120)) == ["a"]


def test_two_captures_do_not_share_a_state(tmp_path: Path) -> None:
    state = FileState(tmp_path)
    with pytest.raises(OperationError, match="another capture"):
        FileState(tmp_path)
    state.close()
    FileState(tmp_path).close()


def test_a_state_that_was_damaged_is_named(tmp_path: Path) -> None:
    begun(tmp_path).close()
    (tmp_path / "place.json").write_text("{}")
    with pytest.raises(OperationError, match="cannot be read"):
        FileState(tmp_path).load()


def test_a_disk_without_room_is_said_and_what_is_kept_stays(tmp_path: Path) -> None:
    """A limit on the size of files ends a write in its midst, as a full disk does."""
    state = begun(tmp_path)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, former[1]))
    try:
        with pytest.raises(OperationError, match="cannot be written: File too large; make room"):
            state.save_place(place(300))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    state.close()
    again = FileState(tmp_path)
    saved = again.load()
    again.close()
    assert saved is not None
    assert saved.place == BEGINNING.place
