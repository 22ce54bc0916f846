"""Where each value of a configuration comes from: a line of the file, the environment, another file, or the default."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pydbsync.config.file import read_config
from pydbsync.config.servers import TargetSettings
from pydbsync.config.settings import Settings
from pydbsync.config.values import MASK, FrozenMapping, Secret, option_key

_DEFAULT = "default"
_GIVEN_BY = {"env": "environment variable", "file": "file"}


class ShownSetting(NamedTuple):
    """One value for people: its key, as text with secrets masked, and its origin."""

    key: str
    value: str
    origin: str


def show_settings(path: Path, settings: Settings) -> list[ShownSetting]:
    """Every option of the configuration in the order of their declaration. Raises ConfigError."""
    given = read_config(path)
    lines = _lines(path)
    return list(_section(settings, given, "", path, lines))


def _section(
    section: object, given: Mapping[str, object], prefix: str, path: Path, lines: Mapping[str, int]
) -> Iterator[ShownSetting]:
    for each in fields(section):  # type: ignore[arg-type]
        key = option_key(each)
        full = f"{prefix}{key}"
        value = getattr(section, each.name)
        nested = given.get(key)
        inside = nested if isinstance(nested, Mapping) else {}
        if isinstance(value, TargetSettings):
            yield from _server(value, inside, full, path, lines)
        elif isinstance(value, Secret):
            yield ShownSetting(full, MASK, _origin_of_secret(given, prefix, key, path, lines))
        elif is_dataclass(value) and not isinstance(value, type):
            yield from _section(value, inside, f"{full}.", path, lines)
        elif each.name == "queues":
            yield from _queues(value, path, lines)
        else:
            shown = "not set" if value is None else str(each.metadata["kind"].show(value))
            yield ShownSetting(full, shown, _origin(full, given, key, path, lines))


def _server(
    server: TargetSettings, given: Mapping[str, object], key: str, path: Path, lines: Mapping[str, int]
) -> Iterator[ShownSetting]:
    if not server.connect:
        yield ShownSetting(key, "not set", _DEFAULT)
    for name, value in server.connect.items():
        if name == "password":
            yield ShownSetting(f"{key}.{name}", MASK, _origin_of_secret(given, f"{key}.", name, path, lines))
            continue
        shown = _masked(value)
        written = next((each for each in (name, {"database": "db"}.get(name, name)) if each in given), name)
        origin = _origin(f"{key}.{written}", given, written, path, lines)
        decided = name == "charset" and given.get("charset") != value
        yield ShownSetting(f"{key}.{name}", shown, "decided by pydbsync" if decided else origin)


def _masked(value: object) -> str:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, FrozenMapping):
        return "{" + ", ".join(f"{name}: {_masked(each)}" for name, each in value.items()) + "}"
    return str(value)


def _queues(queues: Any, path: Path, lines: Mapping[str, int]) -> Iterator[ShownSetting]:
    key = "rabbitmq_queue_bind"
    if not queues:
        yield ShownSetting(key, "not set", _DEFAULT)
    for queue in queues:
        keys = ", ".join(queue.routing_keys) or "no routing keys"
        text = f"exchange {queue.exchange} ({queue.exchange_type}), {keys}; stream {queue.stream}"
        line = next((number for name, number in lines.items() if name.startswith(key) and
                     name.endswith(f".queues.{queue.queue}")), lines.get(key))  # fmt: skip
        yield ShownSetting(f"{key}: {queue.queue}", text, _at(path, line))


def _origin_of_secret(given: Mapping[str, object], prefix: str, key: str, path: Path, lines: Mapping[str, int]) -> str:
    for ending, what in _GIVEN_BY.items():
        name = f"{key}_{ending}"
        if name in given:
            return f"{what} {given[name]} ({_at(path, lines.get(f'{prefix}{name}'))})"
    for name in (key, "passwd") if key == "password" else (key,):
        if name in given:
            return _at(path, lines.get(f"{prefix}{name}"))
    return _DEFAULT


def _origin(full: str, given: Mapping[str, object], key: str, path: Path, lines: Mapping[str, int]) -> str:
    if key not in given:
        return _DEFAULT
    return _at(path, lines.get(full))


def _at(path: Path, line: int | None) -> str:
    # A Python file can compute or import its values: then the key stands on no line of it.
    return f"{path}:{line}" if line else f"{path} (computed or imported there)"


def _lines(path: Path) -> dict[str, int]:
    """Key paths such as `db_info.host` or `rabbitmq_queue_bind[0].queues.t1`, with the lines they stand on."""
    text = path.read_text(encoding="utf-8")
    found: dict[str, int] = {}
    if path.suffix.lower() == ".py":
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.AnnAssign):
                targets: list[ast.expr] = [statement.target]
            elif isinstance(statement, ast.Assign):
                targets = statement.targets
            else:
                continue
            for target in targets:
                if isinstance(target, ast.Name):
                    found[target.id] = statement.lineno
                    _of_python(statement.value, target.id, found)
    else:
        _of_yaml(yaml.compose(text, yaml.SafeLoader), "", found)
    return found


def _of_python(node: ast.expr | None, prefix: str, found: dict[str, int]) -> None:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                found[f"{prefix}.{key.value}"] = key.lineno
                _of_python(value, f"{prefix}.{key.value}", found)
    elif isinstance(node, ast.List | ast.Tuple):
        for number, each in enumerate(node.elts):
            _of_python(each, f"{prefix}[{number}]", found)


def _of_yaml(node: Any, prefix: str, found: dict[str, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            full = f"{prefix}.{key.value}" if prefix else str(key.value)
            found[full] = key.start_mark.line + 1
            _of_yaml(value, full, found)
    elif isinstance(node, yaml.SequenceNode):
        for number, each in enumerate(node.value):
            _of_yaml(each, f"{prefix}[{number}]", found)
