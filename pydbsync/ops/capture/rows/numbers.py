"""FLOAT, DOUBLE and DECIMAL as Java prints them, which is how Maxwell does: 1.6777216E7, 4.9E-324, 0E-30."""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Context, Decimal

_FLOAT = struct.Struct("<f")


def java_double(value: float) -> str:
    """`Double.toString`: the shortest digits that read back as the same value, at least two of them.

    Source: https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/lang/Double.html#toString(double)

    >>> java_double(1e7), java_double(5e-324), java_double(-0.0), java_double(0.001)
    ('1.0E7', '4.9E-324', '-0.0', '0.001')
    """
    text = repr(value)
    magnitude = abs(value)
    if 1e-3 <= magnitude < 1e7 or not magnitude:
        return text
    digits, exponent = _digits_of(text)
    if len(digits) == 1:
        two = f"{magnitude:.1e}"
        if float(two) == magnitude:
            digits = two[0] + two[2]
            exponent = int(two[4:])
    return _scientific(value, digits, exponent)


def java_float(raw: bytes) -> str:
    """`Float.toString` of four bytes, little-endian.

    >>> java_float(struct.pack("<f", 16777217)), java_float(struct.pack("<f", 0.1))
    ('1.6777216E7', '0.1')
    """
    value: float = _FLOAT.unpack(raw)[0]
    magnitude = abs(value)
    if not magnitude:
        return repr(value)
    text = _shortest_float(magnitude, raw)
    if 1e-3 <= magnitude < 1e7:
        return repr(float(text) if value > 0 else -float(text))
    digits, exponent = _digits_of(text)
    if len(digits) == 1:
        two = f"{magnitude:.1e}"
        if _is_same_float(two, magnitude):
            digits = two[0] + two[2]
            exponent = int(two[4:])
    return _scientific(value, digits, exponent)


def _is_same_float(text: str, magnitude: float) -> bool:
    try:
        return bool(_FLOAT.unpack(_FLOAT.pack(float(text)))[0] == magnitude)
    except OverflowError:
        return False


def _shortest_float(magnitude: float, raw: bytes) -> str:
    is_power_of_two = raw[:2] == b"\0\0" and not raw[2] & 0x7F
    for precision in range(5, 9):
        text = f"{magnitude:.{precision}e}"
        if _is_same_float(text, magnitude):
            return _fewer_digits(text, magnitude) if precision == 5 else text
        # At a power of two the neighbours below are nearer than those above, so that the nearest decimal of this
        # length may read back as another value while the next one up does not.
        if is_power_of_two:
            up = str(Decimal(text).next_plus(Context(prec=precision + 1)))
            if _is_same_float(up, magnitude):
                return up
    return f"{magnitude:.8e}"


def _fewer_digits(text: str, magnitude: float) -> str:
    # Denormal values have fewer than six significant digits.
    if magnitude >= 1.1754944e-38:
        return text
    for precision in range(1, 5):
        shorter = f"{magnitude:.{precision}e}"
        if _is_same_float(shorter, magnitude):
            return shorter
    return text


def _digits_of(text: str) -> tuple[str, int]:
    """The significant digits without trailing zeros and the exponent of the first one."""
    _, digits, exponent = Decimal(text.lstrip("-")).normalize().as_tuple()
    return "".join(map(str, digits)), int(exponent) + len(digits) - 1


def _scientific(value: float, digits: str, exponent: int) -> str:
    return f"{'-' if value < 0 else ''}{digits[0]}.{digits[1:] or '0'}E{exponent}"


_DIGITS_TO_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def decimal_size(precision: int, scale: int) -> int:
    """Bytes that a DECIMAL(precision, scale) takes in a row.

    Source: https://dev.mysql.com/doc/dev/mysql-server/latest/decimal_8cc.html (decimal2bin)
    """
    whole = precision - scale
    return whole // 9 * 4 + _DIGITS_TO_BYTES[whole % 9] + scale // 9 * 4 + _DIGITS_TO_BYTES[scale % 9]


def decimal_reader(precision: int, scale: int) -> Callable[[bytes], str]:
    """A function that spells the bytes of a DECIMAL(precision, scale) as Java's BigDecimal.toString does.

    >>> decimal_reader(5, 2)(bytes.fromhex("80010a")), decimal_reader(30, 30)(b"\\x80" + bytes(13))
    ('1.10', '0E-30')
    """
    size = decimal_size(precision, scale)
    bits = size * 8
    top = 1 << (bits - 1)
    mask = (1 << bits) - 1
    # Groups from the right: nine digits in four bytes, the odd ones at the outer ends in fewer.
    groups: list[tuple[int, int]] = []
    if scale % 9:
        groups.append((_DIGITS_TO_BYTES[scale % 9] * 8, scale % 9))
    whole = precision - scale
    groups += [(32, 9)] * (scale // 9 + whole // 9)
    if whole % 9:
        groups.append((_DIGITS_TO_BYTES[whole % 9] * 8, whole % 9))
    steps = tuple((width, (1 << width) - 1, 10**digits) for width, digits in groups)
    unit = 10**scale

    def read(raw: bytes) -> str:
        packed = int.from_bytes(raw, "big") ^ top
        sign = ""
        if packed & top:
            packed ^= mask
            sign = "-"
        number, weight = 0, 1
        for width, group_mask, group_weight in steps:
            number += (packed & group_mask) * weight
            weight *= group_weight
            packed >>= width
        if not scale:
            return f"{sign}{number}"
        if scale > 6 and number * 1000000 < unit:  # BigDecimal turns to E notation below 1e-6
            digits = str(number)
            exponent = len(digits) - 1 - scale
            point = f".{digits[1:]}" if len(digits) > 1 else ""
            return f"{sign}{digits[0]}{point}E{exponent}"
        before, after = divmod(number, unit)
        return f"{sign}{before}.{after:0{scale}d}"

    return read
