from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydbsync.commands.shared import Format, is_json, open_settings
from pydbsync.errors import ConfigError

SERVER = "{host: 127.0.0.1, port: 1, user: u, password: p}"


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    yield
    logger = logging.getLogger("pydbsync")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True


def test_every_command_logs_under_its_name_and_begins_with_the_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    lines = (f"db_info: {SERVER}", f"source_db_info: {SERVER}", "db_info2: {}", f"log_file_prefix: {tmp_path}/%s.log")
    config.write_text("\n".join(lines))
    settings, log = open_settings(config, "parked")
    log.info("it begins")
    assert settings.source is not None
    for text in (capsys.readouterr().err, (tmp_path / "parked.log").read_text()):
        warning, begin = text.splitlines()
        assert "db_info2" in warning
        assert begin.endswith("parked >> it begins")


def test_what_a_command_needs_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"db_info: {SERVER}\n")
    with pytest.raises(ConfigError, match="source_db_info"):
        open_settings(tmp_path / "c.yaml", "verify")


def test_json_is_asked_for_in_either_way() -> None:
    assert [is_json(Format.TEXT, False), is_json(Format.JSON, False), is_json(Format.TEXT, True)] == [False, True, True]
