"""Masks that must not change from one version to the next: they stand in tables, and in joins with them."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from pydbsync.config.routes import MaskSettings
from pydbsync.config.values import Secret
from pydbsync.errors import PlanError
from pydbsync.model import Column
from pydbsync.plan.routed.masks import make_mask, without_keys

KEY = Secret("k" * 32)
TEXT = Column("c", "varchar", "varchar(80)", charset="utf8mb4", size=320)
INT = Column("c", "int", "int(11)")


def masked(column: Column, value: Any, *, is_unique: bool = False, **settings: Any) -> Any:
    mask = make_mask(MaskSettings(**settings), column, column, key=KEY, is_unique=is_unique)
    return json.loads(mask.token(json.dumps(value).encode()))


def test_a_text_is_its_hmac() -> None:
    expected = hmac.new(b"k" * 32, "Bob é".encode(), hashlib.sha256).hexdigest()
    assert masked(TEXT, "Bob é", kind="hash") == expected
    short = Column("c", "char", "char(10)", charset="latin1", size=10)
    assert masked(short, "Bob é", kind="hash") == expected[:10]
    assert masked(TEXT, None, kind="hash") is None


def test_numbers_keep_their_sign_and_type_and_no_two_become_one() -> None:
    assert [masked(INT, number, kind="hash") for number in (0, 1, -1, 2**31 - 1)] == [
        111054100,
        142464161,
        -111054101,
        683228312,
    ]
    tiny = Column("c", "tinyint", "tinyint(4)")
    found = [masked(tiny, number, kind="hash") for number in range(-128, 128)]
    assert sorted(found) == list(range(-128, 128))
    assert all((a < 0) == (b < 0) for a, b in zip(range(-128, 128), found, strict=True))
    unsigned = Column("c", "tinyint", "tinyint(3) unsigned", unsigned=True)
    assert sorted(masked(unsigned, number, kind="hash") for number in range(256)) == list(range(256))


def test_fakes_are_the_same_for_the_same_value() -> None:
    expected = {
        "email": "u5011cc61ff53aa5af4fdf0d44b117900@example.com",
        "first_name": "Petra",
        "last_name": "Klein",
        "name": "Petra Klein",
        "phone": "+15553343713",
        "city": "Brookfield",
        "street": "Lake Avenue 68",
        "company": "Smith Systems",
    }
    assert {fake: masked(TEXT, "x", kind="fake", fake=fake) for fake in expected} == expected


@pytest.mark.parametrize(
    ("column", "settings", "why"),
    [
        (Column("c", "varchar", "varchar(23)", charset="ascii", size=23), {"kind": "hash"}, "it takes 24"),
        (Column("c", "binary", "binary(8)", size=8), {"kind": "hash"}, "it takes 12"),
        (TEXT, {"kind": "constant", "constant": "x"}, "by a constant"),
        (TEXT, {"kind": "fake", "fake": "name"}, "the same name"),
        (Column("c", "char", "char(30)", charset="ascii", size=30), {"kind": "fake", "fake": "email"}, "takes 37"),
    ],
)  # fmt: skip
def test_a_column_of_a_unique_key_takes_no_mask_that_two_values_could_share(
    column: Column, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(PlanError) as caught:
        masked(column, "a", is_unique=True, **settings)
    assert why in str(caught.value)


def test_a_statement_is_shown_without_its_keys() -> None:
    sql = make_mask(MaskSettings(kind="hash"), TEXT, TEXT, key=KEY, is_unique=False).sql
    shown = without_keys(sql)
    assert "X'***'" in shown
    assert bytes(each ^ 0x36 for each in b"k" * 8).hex() in sql
    assert bytes(each ^ 0x36 for each in b"k" * 8).hex() not in shown
