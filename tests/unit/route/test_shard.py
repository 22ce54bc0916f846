"""The shard router of binlog_consumer.py: column % modulo picks the suffix of the target database."""

from __future__ import annotations

import pytest

from pydbsync.errors import PlanError
from pydbsync.route.shard import ShardRouter
from tests.unit.plan.tables import change, delete, insert, raw, update


def router(*owned: int) -> ShardRouter:
    return ShardRouter(databases=frozenset({"d"}), column="corp", modulo=4, owned=owned)


@pytest.mark.parametrize(
    ("data", "targets"),
    [
        ('{"corp":5}', ("d1",)),
        ('{"corp":4}', ("d0",)),
        ('{"corp":2}', ()),
        ('{"corp":18446744073709551613}', ("d1",)),
        ('{"corp":-1}', ()),
        ('{"corp":-3}', ("d1",)),
        ('{"corp":0}', ("d0", "d1")),
        ('{"corp":null}', ("d0", "d1")),
        ('{"id":7}', ("d0", "d1")),
    ],
)
def test_a_row_goes_to_the_shard_of_its_value_and_without_one_to_all_that_are_owned(
    data: str, targets: tuple[str, ...]
) -> None:
    assert router(0, 1).targets(insert(data)) == targets
    assert router(0, 1).targets(delete(data)) == targets


@pytest.mark.parametrize("token", ['"5"', "1.5", "true", "[]", "{}"])
def test_a_value_that_is_no_whole_number_is_refused(token: str) -> None:
    with pytest.raises(PlanError, match=r"corp picks the shard but .* is no whole number"):
        router(0).targets(insert(f'{{"corp":{token}}}'))


def test_an_image_that_is_no_object_is_refused() -> None:
    with pytest.raises(PlanError):
        router(0).targets(insert("[1]"))
    with pytest.raises(PlanError):
        router(0).held(change("update", {"corp": 1}, old=raw("5")))


@pytest.mark.parametrize(
    ("new", "old", "held"),
    [
        ({"id": 1, "corp": 5}, {"corp": 4}, ("d0",)),
        ({"id": 1, "corp": 5}, {"corp": 2}, ()),
        ({"id": 1, "corp": 5}, {"corp": 0}, ("d0", "d1")),
        ({"id": 1, "corp": 5}, {"corp": None}, ("d0", "d1")),
        ({"id": 1, "corp": 5}, {"id": 2}, ("d1",)),
        ({"id": 1, "corp": 5}, None, ("d1",)),
        ({"id": 1}, {"id": 2}, ("d0", "d1")),
    ],
)
def test_an_updated_row_was_where_its_former_value_put_it(
    new: dict[str, object], old: dict[str, object] | None, held: tuple[str, ...]
) -> None:
    assert router(0, 1).held(update(new, old)) == held


def test_schema_changes_go_to_every_shard_that_is_owned() -> None:
    assert router(1, 3).every_shard("d") == ("d1", "d3")
