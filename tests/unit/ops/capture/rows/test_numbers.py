"""FLOAT, DOUBLE and DECIMAL in Java's spelling."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.ops.capture.rows.numbers import decimal_reader, decimal_size, java_double, java_float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (0.1, "0.1"), (-1.5, "-1.5"), (100.0, "100.0"),
        (0.001, "0.001"), (0.00099, "9.9E-4"), (9999999.0, "9999999.0"), (1e7, "1.0E7"), (1e22, "1.0E22"),
        (1e23, "1.0E23"), (2e-323, "2.0E-323"), (5e-324, "4.9E-324"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (2.2250738585072014e-308, "2.2250738585072014E-308"), (-1e-10, "-1.0E-10"),
        (9007199254740993.0, "9.007199254740992E15"),
    ],
)  # fmt: skip
def test_a_double_is_spelled_as_java_does(value: float, text: str) -> None:
    assert java_double(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (0.1, "0.1"), (1.1, "1.1"), (16777217.0, "1.6777216E7"),
        (0.3333333333, "0.33333334"),
        (3.402823466e38, "3.4028235E38"), (1e-45, "1.4E-45"), (1e10, "1.0E10"), (1234567.0, "1234567.0"),
        (0.001, "0.001"),
        (-1.17549435e-38, "-1.1754944E-38"), (2.0**-44, "5.684342E-14"), (8388608.0, "8388608.0"), (9.8e-45, "9.8E-45"),
    ],
)  # fmt: skip
def test_a_float_is_spelled_as_java_does(value: float, text: str) -> None:
    assert java_float(struct.pack("<f", value)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_reads_back_as_itself(value: float) -> None:
    assert struct.pack("<d", float(java_double(value))) == struct.pack("<d", value)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_float_reads_back_as_itself(value: float) -> None:
    raw = struct.pack("<f", value)
    assert struct.pack("<f", float(java_float(raw))) == raw


def test_a_float_that_is_a_power_of_two_has_no_digit_too_many() -> None:
    for exponent in range(1, 255):
        check_digits((exponent << 23).to_bytes(4, "little"))


def check_digits(raw: bytes) -> None:
    (value,) = struct.unpack("<f", raw)
    text = java_float(raw)
    digits = len(Decimal(text).normalize().as_tuple().digits)
    for shorter in range(2, digits):
        unit = Decimal(10) ** (Decimal(value).adjusted() - shorter + 1)
        below = (Decimal(value) // unit) * unit
        assert all(struct.pack("<f", float(near)) != raw for near in (below, below + unit)), (text, shorter)


def packed_decimal(value: Decimal, precision: int, scale: int) -> bytes:
    """A DECIMAL as the server packs it: decimal2bin in strings/decimal.cc, written anew."""
    sizes = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
    sign, all_digits, exponent = value.as_tuple()
    digits = "".join(map(str, all_digits)).ljust(len(all_digits) + scale + int(exponent), "0").zfill(precision)
    whole, fraction = digits[: precision - scale], digits[precision - scale :]
    groups = [whole[: len(whole) % 9]] if len(whole) % 9 else []
    groups += [whole[at : at + 9] for at in range(len(whole) % 9, len(whole), 9)]
    groups += [fraction[at : at + 9] for at in range(0, len(fraction), 9)]
    packed = bytearray(b"".join(int(group).to_bytes(sizes[len(group)], "big") for group in groups))
    packed[0] ^= 0x80
    return bytes(packed if not sign else (byte ^ 0xFF for byte in packed))


@pytest.mark.parametrize(
    ("precision", "scale", "value", "text"),
    [
        (5, 2, "1.10", "1.10"), (5, 2, "-0.01", "-0.01"), (10, 0, "42", "42"), (30, 30, "0", "0E-30"),
        (30, 30, "-1E-30", "-1E-30"), (20, 10, "-1E-10", "-1E-10"), (20, 10, "1.5", "1.5000000000"),
        (10, 7, "0", "0E-7"), (10, 7, "0.0000012", "0.0000012"), (10, 7, "0.0000001", "1E-7"), (10, 6, "0", "0.000000"),
        (65, 30, "-99999999999999999999999999999999999.999999999999999999999999999999",
         "-99999999999999999999999999999999999.999999999999999999999999999999"),
    ],
)  # fmt: skip
def test_a_decimal_is_spelled_as_bigdecimal_does(precision: int, scale: int, value: str, text: str) -> None:
    assert decimal_reader(precision, scale)(packed_decimal(Decimal(value), precision, scale)) == text


@given(st.data())
def test_a_decimal_keeps_every_digit(data: st.DataObject) -> None:
    precision = data.draw(st.integers(1, 65))
    scale = data.draw(st.integers(0, min(30, precision)))
    number = data.draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    value = Decimal(f"{number}E-{scale}")
    raw = packed_decimal(value, precision, scale)
    assert len(raw) == decimal_size(precision, scale)
    text = decimal_reader(precision, scale)(raw)
    assert Decimal(text) == value
    assert Decimal(text).as_tuple().exponent == -scale
