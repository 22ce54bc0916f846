"""Each command is found, and loads its own module alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

import pydbsync.commands
from pydbsync.cli import HOMES, application


def names(app: typer.Typer) -> set[str]:
    return set(getattr(typer.main.get_command(app), "commands", {}))


def test_every_module_of_commands_has_its_words() -> None:
    modules = {
        path.stem
        for path in Path(pydbsync.commands.__path__[0]).glob("*.py")
        if "\ndef register(app" in path.read_text(encoding="utf-8")
    }
    assert set(HOMES.values()) == modules
    assert names(application()) == set(HOMES)


@pytest.mark.parametrize("word", HOMES)
def test_a_command_comes_with_those_of_its_module(word: str) -> None:
    assert names(application(word)) == {name for name, module in HOMES.items() if module == HOMES[word]}


def test_a_command_loads_no_other_one() -> None:
    code = "import sys; from pydbsync.cli import application; application('heartbeat'); print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {name for name in loaded if name.startswith("pydbsync.commands.")} == {
        "pydbsync.commands.heartbeat",
        "pydbsync.commands.shared",
    }
    assert {"pika", "pymysqlreplication"}.isdisjoint(loaded)
