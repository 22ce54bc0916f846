"""Logs: the original's files, one line a record, and no password in any of them."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import multiprocessing
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.config.values import Secret
from pydbsync.errors import ConfigError
from pydbsync.process.logs import LOG_FILES, MaskingFormatter, log_file_name, start_logging

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[(\w+) *\] (\S+) >> (.*)")


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    yield
    logger = logging.getLogger("pydbsync")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    logging.getLogger("pika").setLevel(logging.NOTSET)


def settings_for(folder: Path, **more: Any) -> Settings:
    given = {
        "db_info": {"host": "h", "user": "app", "password": "db/pass"},
        "rabbitmq_conn_info": {"host": "h", "password": "mq-pass"},
        "log_file_prefix": str(folder / "maxwell_%s.log"),
        **more,
    }
    return settings_from_mapping(given, require=())[0]


def lines_of(path: Path) -> list[tuple[str, ...]]:
    found = [LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(found), path.read_text(encoding="utf-8")
    return [match.groups() for match in found if match]


def test_each_process_writes_its_own_file_in_the_original_form(tmp_path: Path) -> None:
    for name in ("t1", "t2_t3"):
        start_logging(settings_for(tmp_path), name, terminal=False)
        logging.getLogger("pydbsync.apply").info("applied %d rows to %s", 3, name)
    assert lines_of(tmp_path / "maxwell_t1.log") == [("INFO", "t1", "applied 3 rows to t1")]
    assert lines_of(tmp_path / "maxwell_t2_t3.log") == [("INFO", "t2_t3", "applied 3 rows to t2_t3")]


def log_in_a_child(settings: Settings, name: str) -> None:
    start_logging(settings, name, terminal=False)
    logging.getLogger("pydbsync").info("child %s", name)


def test_a_child_process_leaves_the_file_of_its_parent_alone(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    start_logging(settings, "supervisor", terminal=False)
    for context in (multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")):
        method = context.get_start_method()
        child = context.Process(target=log_in_a_child, args=(settings, method))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert lines_of(tmp_path / f"maxwell_{method}.log") == [("INFO", method, f"child {method}")]
    logging.getLogger("pydbsync").info("parent")
    assert lines_of(tmp_path / "maxwell_supervisor.log") == [("INFO", "supervisor", "parent")]


def test_files_rotate_at_the_size_and_number_of_the_original(tmp_path: Path) -> None:
    logger = start_logging(settings_for(tmp_path), "t1", terminal=False)
    (handler,) = logger.handlers
    assert isinstance(handler, logging.handlers.RotatingFileHandler)
    assert (handler.maxBytes, handler.backupCount) == (1024**3, LOG_FILES) == (1024**3, 50)


def test_a_file_that_cannot_be_moved_away_grows_and_loses_no_line(tmp_path: Path) -> None:
    said: list[str] = []
    settings = settings_for(tmp_path, log_file_bytes=1024)
    logger = start_logging(settings, "t1", terminal=False, complain=said.append)
    (handler,) = logger.handlers
    assert isinstance(handler, logging.handlers.RotatingFileHandler)

    def refuse(source: str, target: str) -> None:
        raise PermissionError(13, "Permission denied", source)

    handler.rotator = refuse
    for number in range(100):
        logger.info("line %d", number)
    assert [text for _, _, text in lines_of(tmp_path / "maxwell_t1.log")] == [f"line {n}" for n in range(100)]
    assert len(said) == 1
    assert "cannot be moved away" in said[0]


def test_a_folder_that_is_removed_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    folder, said = tmp_path / "logs", list[str]()
    folder.mkdir()
    logger = start_logging(settings_for(folder), "t1", terminal=False, complain=said.append)
    logger.info("before")
    shutil.rmtree(folder)
    logger.info("lost")
    logger.info("lost too")
    assert len(said) == 1
    assert "cannot be written" in said[0]
    folder.mkdir()
    logger.info("again")
    assert [text for _, _, text in lines_of(folder / "maxwell_t1.log")] == ["again"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("t1", "maxwell_t1.log"),
        ("a/b", "maxwell_a%2Fb.log"),
        ("a%2Fb", "maxwell_a%252Fb.log"),
        ("../x", "maxwell_..%2Fx.log"),
    ],
)
def test_a_queue_with_any_name_has_a_file_of_its_own_in_the_folder(name: str, file: str) -> None:
    assert log_file_name("logs/maxwell_%s.log", name) == Path("logs") / file


def test_a_queue_with_a_percent_sign_or_a_line_end_in_its_name_can_log(tmp_path: Path) -> None:
    start_logging(settings_for(tmp_path), "50%s\nx", terminal=False)
    logging.getLogger("pydbsync").info("here")
    (file,) = tmp_path.iterdir()
    assert lines_of(file) == [("INFO", "50%s\\nx", "here")]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^log_file_prefix: the log file .*none/maxwell_t1\.log' cannot be opened: No such"
    ):
        start_logging(settings_for(tmp_path / "none"), "t1")


def test_no_prefix_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert start_logging(settings_for(tmp_path, log_file_prefix=""), "t1", terminal=False).handlers == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_written(tmp_path: Path, level: str, count: int) -> None:
    logger = start_logging(settings_for(tmp_path, log_level=level), "t1", terminal=False)
    for write in (logger.debug, logger.info, logger.warning, logger.error):
        write("x")
    assert len(lines_of(tmp_path / "maxwell_t1.log")) == count


def test_passwords_are_masked_wherever_they_come_from(tmp_path: Path) -> None:
    logger = start_logging(settings_for(tmp_path), "t1", terminal=False)
    logger.info("connect with %s", {"user": "app", "password": "db/pass"})
    logger.info("amqp://app:mq-pass@h/ and db%2Fpass")
    try:
        raise ValueError("mq-pass is wrong")
    except ValueError:
        logger.exception("refused")
    text = (tmp_path / "maxwell_t1.log").read_text(encoding="utf-8")
    assert "db/pass" not in text
    assert "db%2Fpass" not in text
    assert "mq-pass" not in text
    assert "amqp://app:***@h/ and ***" in text
    assert "ValueError: *** is wrong" in text


def formatted(message: str, *passwords: str) -> str:
    record = logging.LogRecord("pydbsync", logging.INFO, __file__, 1, message, None, None)
    return MaskingFormatter("%(message)s", [Secret(password) for password in passwords]).format(record)


@pytest.mark.parametrize(
    ("message", "passwords", "line"),
    [
        ("app pass app-pass", ["app", "app-pass"], "app pass ***"),
        ("X7-kk3 and X7-kk33", ["X7-kk3"], "*** and X7-kk33"),
        ("a quite long one: correcthorsebatterystaple.", ["correcthorsebatterystaple"], "a quite long one: ***."),
        ("T0k3nOfSixteenCh in words", ["T0k3nOfSixteenCh"], "*** in words"),
        ("a $x$ b", ["$x$"], "a *** b"),
        ("empty passwords mask nothing", [""], "empty passwords mask nothing"),
        ("nothing to mask", [], "nothing to mask"),
    ],
)
def test_a_password_is_masked_as_a_whole_word(message: str, passwords: list[str], line: str) -> None:
    assert formatted(message, *passwords) == line


@pytest.mark.parametrize("password", ["app", "shop1", "Orders", "T", "my_db", "2024"])
def test_a_password_like_a_name_is_masked_only_where_a_password_stands(password: str) -> None:
    for text in (
        "parked insert of {0}.{0} at binlog.000001:4: no column {0}", "queue {0}: free after 2.0 s", "applied to {0}@h",
        "user '{0}' at 127.0.0.1", "INSERT INTO `{0}` VALUES (1)", "amqp://{0}@h/{0}",
    ):  # fmt: skip
        assert formatted(text.format(password), password) == text.format(password)
    for text in (
        "{{'user': 'u', 'password': '{0}'}}", "password={0}", "passwd: {0}", "db_password => '{0}'", "PWD={0};",
        "Secret('{0}')", "IDENTIFIED BY '{0}'", "IDENTIFIED BY PASSWORD '{0}'", "amqp://u:{0}@h/",
        "the password is {0}", 'PASSWORD("{0}")', "MASTER_PASSWORD = '{0}'",
    ):  # fmt: skip
        assert formatted(text.format(password), password) == text.format("***")


def test_no_value_forges_a_line_or_moves_the_cursor() -> None:
    hostile = "t\n2030-01-01 [INFO ] t1 >> all is well\r\x1b[2J\x9b1m\u2028é"
    assert formatted(hostile) == r"t\n2030-01-01 [INFO ] t1 >> all is well\r\x1b[2J\x9b1m\u2028é"


def test_without_a_terminal_lines_are_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(settings_for(tmp_path), "t1").warning("plain [bold]text[/bold]")
    (match,) = [LINE.fullmatch(line) for line in capsys.readouterr().err.splitlines()]
    assert match is not None
    assert match.groups() == ("WARNING", "t1", "plain [bold]text[/bold]")


def test_on_a_terminal_lines_are_coloured_and_masked(tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system="standard", width=120)
    start_logging(settings_for(tmp_path), "t1", console=console).error("a [bold]b[/bold] mq-pass")
    assert "\x1b[" in screen.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert re.search(r"\d\d:\d\d:\d\d\] ERROR +t1: a \[bold\]b\[/bold\] \*\*\*", plain) or re.search(
        r"\d\d:\d\d:\d\d ERROR +t1: a \[bold\]b\[/bold\] \*\*\*", plain
    )


def test_starting_again_does_not_double_the_lines(tmp_path: Path) -> None:
    for _ in range(3):
        logger = start_logging(settings_for(tmp_path), "t1", terminal=False)
    logger.info("once")
    assert len(lines_of(tmp_path / "maxwell_t1.log")) == 1


def test_a_full_disk_is_said_once_and_does_not_stop_the_caller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.fail("this test needs /dev/full")
    (tmp_path / "maxwell_t1.log").symlink_to(full)
    logger = start_logging(settings_for(tmp_path), "t1", terminal=False)
    for _ in range(3):
        logger.info("lost")
    assert capsys.readouterr().err.count("cannot be written: [Errno 28] No space left on device") == 1


def test_json_is_an_object_a_line_with_nothing_secret_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = start_logging(settings_for(tmp_path, log_format="json"), "a/b")
    logging.getLogger("pydbsync.apply").warning("two\nlines: %s", "db/pass")
    try:
        raise ValueError("password=mq-pass")
    except ValueError:
        logger.exception("a fault")
    lines = (tmp_path / "maxwell_a%2Fb.log").read_text(encoding="utf-8").splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["level"], first["process"], first["message"]) == ("warning", "a/b", "two\nlines: ***")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["time"])
    assert first["logger"] == "pydbsync.apply"
    assert second["exception"].endswith("ValueError: password=***")
    assert capsys.readouterr().err.splitlines() == lines


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path) -> None:
    logger = start_logging(settings_for(tmp_path), "t1", terminal=False)
    path = tmp_path / "maxwell_t1.log"
    logger.info("one")
    path.rename(tmp_path / "maxwell_t1.log.1")
    logger.info("two")
    path.unlink()
    logger.info("three")
    assert [line[2] for line in lines_of(tmp_path / "maxwell_t1.log.1")] == ["one"]
    assert [line[2] for line in lines_of(path)] == ["three"]
