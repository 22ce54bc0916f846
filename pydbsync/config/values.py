"""Reads single configuration values: what the operator wrote becomes a checked, frozen value or one clear sentence."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar, cast

from pydbsync.errors import ConfigError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)

Scalar: TypeAlias = str | int | float | bool
MASK: Final = "***"


class Secret:
    """A password. Text, repr and f-strings of it are masked; `reveal()` is for the client library alone."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))


class FrozenMapping(Mapping[K, V_co]):
    """A mapping that is hashable and can be handed to another process (MappingProxyType is neither)."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V_co] | Iterable[tuple[K, V_co]] = ()) -> None:
        self._items: dict[K, V_co] = dict(items)

    def __getitem__(self, key: K) -> V_co:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenMapping({self._items!r})"


ColumnSets: TypeAlias = FrozenMapping[str, FrozenMapping[str, frozenset[str]]]


@dataclass(frozen=True)
class OptionKind(Generic[T_co]):
    """What an option may hold: its `name` for people, `read(value, key)` for what was written."""

    name: str
    read: Callable[[object, str], T_co]
    show: Callable[[Any], str] = str
    """Writes a value as the operator would."""
    section: type[Any] | None = None
    """The dataclass that holds the options of a mapping, if it has any."""


def option(default: T, kind: OptionKind[T], doc: str, *, unit: str = "", key: str = "") -> T:
    """Declare a dataclass field as an option: type, default, unit and meaning in one place.

    `key` is its name in the configuration, where it differs from the field's. docs/config.md is checked against these.
    """
    return field(default=default, metadata={"kind": kind, "doc": doc, "unit": unit, "key": key})


def required(kind: OptionKind[T], doc: str) -> T:
    """Declare a dataclass field as an option that has no default."""
    return cast(T, field(metadata={"kind": kind, "doc": doc, "unit": "", "key": ""}))


def option_key(option_field: Field[Any]) -> str:
    return str(option_field.metadata["key"] or option_field.name)


def options_of(section: type[Any]) -> dict[str, Field[Any]]:
    """The options of a section, by their names in the configuration."""
    return {option_key(each): each for each in fields(section)}


def join_key(section: str, name: object) -> str:
    return f"{section}.{name}" if section else str(name)


def got(value: object) -> str:
    """Names a wrong value. What may hold a password inside (lists and mappings) is not repeated."""
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return got_type(value)


def got_type(value: object) -> str:
    """Names a wrong value by its type alone."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return {str: "text", int: "a number", float: "a number"}.get(type(value), type(value).__name__)


def refuse(expected: str, value: object, key: str) -> NoReturn:
    raise ConfigError(f"expected {expected}, got {got(value)}", key=key)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the known name most like this one, else the known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.0)
    if close and difflib.SequenceMatcher(None, name.lower(), close[0]).ratio() >= 0.6:
        return f"did you mean {close[0]!r}?"
    if len(names) > 12:
        return f"the nearest known one is {close[0]!r}" if close else "no key is known here"
    return f"known are: {', '.join(names)}"


def read_mapping(value: object, key: str, *, of: str = "a mapping") -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected {of}, got {got_type(value)}", key=key)
    for name in value:
        if not isinstance(name, str):
            raise ConfigError(f"expected names (text, in quotes), got {got(name)}", key=key)
    return value


def read_list(value: object, key: str, *, of: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        hint = f"; write [{value!r}]" if isinstance(value, str) and len(value) <= 60 else ""
        raise ConfigError(f"expected a list of {of}, got {got(value)}{hint}", key=key)
    return value


def read_section(section: type[T], value: object, key: str) -> T:
    """Fill a dataclass whose fields are options from a mapping; `key` is the section's own path, '' at the top."""
    mapping = read_mapping(value, key)
    options = options_of(section)
    for name in mapping:
        if name not in options:
            raise ConfigError(f"unknown key; {nearest(name, options)}", key=join_key(key, name))
    values: dict[str, object] = {}
    for name, option_field in options.items():
        optional = option_field.default is None
        if name in mapping and not (optional and mapping[name] is None):
            values[option_field.name] = option_field.metadata["kind"].read(mapping[name], join_key(key, name))
        elif option_field.default is MISSING:
            raise ConfigError(f"is missing: {option_field.metadata['doc']}", key=join_key(key, name))
    return section(**values)


def section_kind(section: type[T]) -> OptionKind[T]:
    return OptionKind("mapping", lambda value, key: read_section(section, value, key), section=section)


def text(expected: str = "text") -> OptionKind[str]:
    """Text that is not empty."""

    def read(value: object, key: str) -> str:
        if not isinstance(value, str):
            # YAML reads a bare 0123 or a date as something other than text.
            refuse(expected if expected != "text" or value is None else "text, in quotes", value, key)
        if not value:
            refuse(expected, value, key)
        return value

    return OptionKind("text", read)


_WITH_PORT = re.compile(r"[^:\[\]]+:\d+")


def host() -> OptionKind[str]:
    """A name or an address, which is no URL and has no port."""

    def read(value: object, key: str) -> str:
        found = text().read(value, key)
        if "/" in found or _WITH_PORT.fullmatch(found):
            refuse("a name or an address alone (its port is a key of its own)", found, key)
        return found

    return OptionKind("text", read)


def _read_secret(value: object, key: str) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        # The value is not repeated: a number in place of a password is the password.
        raise ConfigError(f"expected text, in quotes, got {got_type(value)}", key=key)
    return Secret(value)


def _read_flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        refuse("true or false", value, key)
    return value


SECRET: Final = OptionKind("text", _read_secret)
FLAG: Final = OptionKind("true or false", _read_flag, lambda value: str(value).lower())


def whole(low: int, high: int, *, expected: str = "a whole number") -> OptionKind[int]:
    def read(value: object, key: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            refuse(f"{expected} from {low} to {high}", value, key)
        return value

    return OptionKind("whole number", read)


PORT: Final = whole(1, 65535, expected="a port number")


def seconds(low: float, high: float = 86_400) -> OptionKind[float]:
    def read(value: object, key: str) -> float:
        bad = isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value)
        if bad or not low <= cast(float, value) <= high:
            refuse(f"seconds, a number from {low:g} to {high:g}", value, key)
        return float(cast(float, value))

    return OptionKind("number", read, lambda value: f"{value:g}")


_SIZE_UNITS: Final = {
    "": 1, "b": 1,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
    "kb": 10**3, "mb": 10**6, "gb": 10**9,
}  # fmt: skip


def show_size(size_bytes: int) -> str:
    for name, unit in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit}{name}"
    return str(size_bytes)


def size(low: int, high: int = 2**40) -> OptionKind[int]:
    """Bytes, as a number or as text with a unit: 8388608 or '8MiB'."""

    def read(value: object, key: str) -> int:
        found: int | None = None
        if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip().lower())):
            unit = _SIZE_UNITS.get(match[2])
            found = round(float(match[1]) * unit) if unit else None
        elif isinstance(value, int) and not isinstance(value, bool):
            found = value
        if found is None or not low <= found <= high:
            refuse(f"a size from {show_size(low)} to {show_size(high)} such as '8MiB'", value, key)
        return found

    return OptionKind("size", read, show_size)


def one_of(*choices: str) -> OptionKind[str]:
    """One of some words, in any case. YAML reads a bare on and off as true and false: they are taken for the words."""

    def read(value: object, key: str) -> str:
        word = {True: "on", False: "off"}[value] if isinstance(value, bool) else value
        if not isinstance(word, str) or word.lower() not in choices:
            raise ConfigError(f"expected {', '.join(choices[:-1])} or {choices[-1]}, got {got(value)}", key=key)
        return word.lower()

    return OptionKind(" or ".join(f"`{choice}`" for choice in choices), read)


def _read_file(value: object, key: str) -> str:
    name = text("the name of a file").read(value, key)
    try:
        with Path(name).open("rb"):
            return name
    except OSError as exc:
        raise ConfigError(f"the file {name!r} cannot be read: {exc.strerror}", key=key) from exc


FILE: Final = OptionKind("name of a readable file", _read_file)


def _read_offset(value: object, key: str) -> int:
    match = re.fullmatch(r"([+-])(\d\d):([0-5]\d)", value) if isinstance(value, str) else None
    offset_s = (int(match[2]) * 3600 + int(match[3]) * 60) * (-1 if match[1] == "-" else 1) if match else None
    if offset_s is None or not -14 * 3600 < offset_s <= 14 * 3600:
        # YAML reads a bare +10:00 as a number of base 60.
        refuse("an offset such as '+08:00', in quotes", value, key)
    return offset_s


def show_offset(offset_s: int) -> str:
    minutes = abs(offset_s) // 60
    return f"{'-' if offset_s < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


UTC_OFFSET: Final = OptionKind("text `+HH:MM`", _read_offset, show_offset)
