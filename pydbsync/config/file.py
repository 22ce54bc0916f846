"""Loads the operator's configuration: Python as the original had it, or YAML with the same keys."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import yaml

from pydbsync.config.settings import REQUIRED, Settings, settings_from_mapping
from pydbsync.errors import ConfigError


def load_settings(path: Path, *, require: Collection[str] = REQUIRED) -> tuple[Settings, tuple[str, ...]]:
    """Settings from a `.py`, `.yaml` or `.yml` file, and warnings as sentences. Raises ConfigError."""
    return settings_from_mapping(read_config(path), require=require)


def read_config(path: Path) -> Mapping[str, object]:
    """The configuration as it is written, unchecked."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ConfigError(f"expected a file that ends in {', '.join(_READERS)}", key=str(path))
    if not path.is_file():
        raise ConfigError("there is no such file; write one, or name another with --config", key=str(path))
    try:
        return read(path)
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", key=str(path)) from exc


def _read_python(path: Path) -> Mapping[str, object]:
    """Run the file, as the original did by importing it; modules, callables and names with a leading _ are left out."""
    try:
        with _siblings_importable(path.resolve().parent):
            names = runpy.run_path(str(path), run_name="pydbsync_operator_config")
    except SyntaxError as exc:
        raise ConfigError(f"line {exc.lineno}: {exc.msg}", key=str(path)) from exc
    except (Exception, SystemExit) as exc:
        lines = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == str(path)]
        where = f"line {lines[-1]}: " if lines else ""
        raise ConfigError(f"{where}{type(exc).__name__}: {exc}", key=str(path)) from exc
    return {name: value for name, value in names.items() if _is_setting(name, value)}


def _is_setting(name: str, value: object) -> bool:
    # `from __future__ import annotations` leaves the name `annotations` behind.
    future = type(value).__module__ == "__future__"
    return not (name.startswith("_") or isinstance(value, ModuleType) or callable(value) or future)


@contextmanager
def _siblings_importable(folder: Path) -> Iterator[None]:
    """Let the file import modules beside it, and forget those again: two configs may each have a `secrets_local`."""
    path_before, modules_before = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path_before
        for name in set(sys.modules) - modules_before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).resolve().parent == folder:
                del sys.modules[name]


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key that is written twice is an error; PyYAML takes the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Mapping[str, object]:
    try:
        with path.open(encoding="utf-8") as file:
            given = yaml.load(file, _UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as exc:
        # str(exc) would show the lines around the place, and with them a password.
        mark = exc.problem_mark or exc.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{where}{exc.problem or exc.context}", key=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigError("is not text in UTF-8", key=str(path)) from exc
    if not isinstance(given, Mapping):
        raise ConfigError("expected keys and values, such as db_corpmod: 0", key=str(path))
    return {name: value for name, value in given.items() if not (isinstance(name, str) and name.startswith("_"))}


_READERS: Final[Mapping[str, Callable[[Path], Mapping[str, object]]]] = {
    ".py": _read_python,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}
