"""Each command is found, and loads its own module alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import pydbsync.commands
from pydbsync.cli import HOMES, application, main, overview
from pydbsync.commands.examples import EXAMPLES, SENTENCES


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


def test_closed_input_and_output_are_nowhere(tmp_path: Path) -> None:
    """As a service may be started: no connection may get the number that lines are written to."""
    told = tmp_path / "told"
    code = f"""
import os, sys
from pydbsync.cli import main
try:
    main(["--version"])
except SystemExit as ended:
    places = [os.path.realpath(f"/dev/fd/{{number}}") for number in range(3)]
    found = [ended.code, sys.stdout.fileno(), sys.stderr.fileno(), *places]
    open({str(told)!r}, "w").write(str(found))
"""
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code], check=True)
    assert told.read_text() == str([0, 1, 2, *["/dev/null"] * 3])


def test_a_command_loads_no_other_one() -> None:
    code = "import sys; from pydbsync.cli import application; application('heartbeat'); print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {name for name in loaded if name.startswith("pydbsync.commands.")} == {
        "pydbsync.commands.examples",
        "pydbsync.commands.heartbeat",
        "pydbsync.commands.shared",
    }
    assert {"pika", "pymysqlreplication"}.isdisjoint(loaded)


def test_the_list_of_all_commands_is_theirs_and_loads_none() -> None:
    assert names(overview()) == names(application()) == set(SENTENCES)
    commands = getattr(typer.main.get_command(application()), "commands", {})
    for name, sentence in SENTENCES.items():
        beginning = " ".join((commands[name].help or "").split())
        assert beginning.startswith(sentence.rstrip(".")), name
    code = "import sys; sys.argv = ['pydbsync', '--help']; from pydbsync.cli import main\n"
    code += "try: main()\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"pymysql", "pika", "prometheus_client", "sqlglot", "msgspec", "yaml", "rich.table", "pymysqlreplication"}
    assert heavy.isdisjoint(loaded)
    assert not any(name.startswith(("pydbsync.process", "pydbsync.ops", "pydbsync.apply")) for name in loaded)


def all_commands(command: Any, *path: str) -> dict[str, Any]:
    """Those that can be run, by their words."""
    if not getattr(command, "commands", None):
        return {" ".join(path): command}
    return {
        words: each
        for name, part in command.commands.items()
        for words, each in all_commands(part, *path, name).items()
    }


COMMANDS = all_commands(typer.main.get_command(application()))


@pytest.mark.parametrize("words", COMMANDS)
def test_the_examples_of_each_command_are_such_as_it_takes(words: str) -> None:
    for _, line in EXAMPLES[words]:
        (given,) = (part for part in line.split(" | ") if part.startswith("pydbsync "))
        arguments = shlex.split(given.removeprefix(f"pydbsync {words}"))
        COMMANDS[words].make_context(words, arguments)


@pytest.mark.parametrize(("typed", "expected"), [("pydbsync ver", "verify"), ("pydbsync verify --tab", "--tables")])
def test_a_shell_is_told_commands_and_options(typed: str, expected: str) -> None:
    environment = {**os.environ, "_PYDBSYNC_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    environment["COMP_CWORD"] = str(len(typed.split()) - 1)
    script = str(Path(sys.executable).parent / "pydbsync")
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [expected], done.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [("/dev/full", "a file cannot be written or read: No space left"), ("{here}/no/such", "such cannot be written or")],
)
def test_a_file_that_cannot_be_written_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, path: str, says: str
) -> None:
    """Whichever command it was that wrote it."""
    app = typer.Typer()

    @app.command()
    def writes() -> None:
        Path(path.replace("{here}", str(tmp_path))).write_text("x", encoding="utf-8")

    monkeypatch.setattr("pydbsync.cli.application", lambda word: app)
    monkeypatch.setattr("pydbsync.cli._command", lambda words: "status")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
