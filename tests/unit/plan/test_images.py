"""A server's values as the tokens that Maxwell writes."""

from __future__ import annotations

import pytest

from pydbsync.errors import OperationError
from pydbsync.model import Column
from pydbsync.plan.images import image_expression, image_token
from pydbsync.plan.literals import literal_for
from pydbsync.plan.target import Dialect


@pytest.mark.parametrize(
    ("column", "value", "token"),
    [
        (Column("a", "int"), b"-5", b"-5"),
        (Column("a", "decimal"), b"1.50", b"1.50"),
        (Column("a", "double"), b"1e-5", b"1e-5"),
        (Column("a", "double", column_type="double unsigned zerofill"), b"0000000000000000001e10", b"1e10"),
        (Column("a", "double", column_type="double unsigned zerofill"), b"00000000000000000000.5", b"0.5"),
        (Column("a", "double", column_type="double unsigned zerofill"), b"0000000000000000000000", b"0"),
        (Column("a", "bit"), b"9", b"9"),
        (Column("a", "year"), b"2030", b"2030"),
        (Column("a", "year"), b"0000", b"1900"),
        (Column("a", "datetime"), b"2030-01-01 00:00:00.5", b'"2030-01-01 00:00:00.5"'),
        (Column("a", "varchar", charset="utf8mb4"), 'a"\n😀'.encode(), '"a\\"\\n😀"'.encode()),
        (Column("a", "enum", charset="utf8mb4", labels=("x",)), b"x", b'"x"'),
        (Column("a", "enum", charset="utf8mb4", labels=("x",), nullable=False), b"", b"null"),
        (Column("a", "enum", charset="utf8mb4", labels=("", "x")), b"", b'""'),
        (Column("a", "set", charset="utf8mb4", labels=("x", "y")), b"x,y", b'["x","y"]'),
        (Column("a", "set", charset="utf8mb4", labels=("x", "y")), b"", b"[]"),
        (Column("a", "varbinary"), b"\x00\xff", b'"AP8="'),
        (Column("a", "json"), b'{"a" : 1.50,\n"b":null}', b'{"a" : 1.50, "b":null}'),
        (Column("a", "json", nullable=False), b"null", b"null"),
        (Column("a", "point"), b"SRID=4326;POINT(1 2)", b'"SRID=4326;POINT(1 2)"'),
        (Column("a", "json"), None, b"null"),
    ],
)
def test_a_value_has_the_token_of_its_type(column: Column, value: bytes | None, token: bytes) -> None:
    assert image_token(column, value) == token


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (Column("a", "json"), b"null", "JSON's null"),
        (Column("a", "json"), b"{", "no JSON"),
        (Column("a", "enum", charset="utf8mb4", labels=("x",)), b"", "error value"),
    ],
)
def test_what_a_message_cannot_carry_is_refused(column: Column, value: bytes, reason: str) -> None:
    with pytest.raises(OperationError, match=reason):
        image_token(column, value)


@pytest.mark.parametrize(
    ("dialect", "order"),
    [
        (Dialect(is_mariadb=True, version=(11, 8, 9)), ""),
        (Dialect(is_mariadb=False, version=(5, 7, 44)), ""),
        (Dialect(is_mariadb=False, version=(8, 0, 40)), ", 'axis-order=long-lat'"),
    ],
)
def test_only_mysql_from_8_0_on_is_told_the_order_of_axes(dialect: Dialect, order: str) -> None:
    column = Column("g", "point", srid=4326)
    assert image_expression(column, dialect) == f"CONCAT('SRID=', ST_SRID(`g`), ';', ST_AsText(`g`{order}))"
    literal, _ = literal_for(column, dialect=dialect)
    assert f'ST_GeomFromText("POINT (1 2)", 4326{order})' in literal(b'"POINT (1 2)"').decode()
