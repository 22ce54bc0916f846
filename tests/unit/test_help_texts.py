from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pydbsync.cli import application

Command = Any
"""Of click, or of the copy of it that newer releases of typer bring."""


def commands(command: Command, *path: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    yield path, command
    for name, part in sorted(getattr(command, "commands", {}).items()):
        yield from commands(part, *path, name)


COMMANDS = [
    pytest.param(path, command, id=" ".join(path)) for path, command in commands(typer.main.get_command(application()))
]


OF_THE_COMMAND = {
    "--all",
    "--newer-than",
    "--older-than",
    "--dry-run",
    "--limit",
    "--to",
    "--jobs",
    "--rate",
    "--report",
    "--restart",
    "--stream",
    "--exchange",
    "--routing-key",
    "--undo",
}
"""What these do is said by each command for itself."""


def test_an_option_means_the_same_in_every_command() -> None:
    texts: dict[str, set[str]] = {}
    for _, command in commands(typer.main.get_command(application())):
        for option in command.params:
            for name in option.opts if option.param_type_name == "option" else ():
                texts.setdefault(name, set()).add(option.help)
    assert {name for name, found in texts.items() if len(found) > 1} == OF_THE_COMMAND
    assert {"--config", "--format", "--json", "--tables", "--exclude", "--max-lag-s", "--chunk-s"} < texts.keys()


def without_blanks(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("columns", ["100", "60"])
@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_the_help_of_each_option_arrives_whole(path: tuple[str, ...], command: Command, columns: str) -> None:
    own = application(path[0] if path else "")  # with the module of this command alone
    done = CliRunner().invoke(own, [*path, "--help"], env={"COLUMNS": columns, "FORCE_COLOR": None})
    assert done.exit_code == 0
    shown = without_blanks(done.stdout)
    options = [each for each in command.params if not getattr(each, "hidden", False)]
    for option in options:
        if isinstance(getattr(option, "help", None), str):
            assert without_blanks(option.help) in shown, option.name
        if option.param_type_name == "option":
            for name in (*option.opts, *option.secondary_opts):
                assert name in shown
            if option.default not in (None, False, True) and not callable(option.default):
                assert f"default:{without_blanks(str(getattr(option.default, 'value', option.default)))}" in shown
