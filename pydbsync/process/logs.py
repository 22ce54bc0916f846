"""Where log lines go: a file of each process, as the original wrote, and the terminal. Passwords are masked in both."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, TextIO
from urllib.parse import quote

from rich.console import Console
from rich.logging import RichHandler

from pydbsync.config.settings import Settings
from pydbsync.config.values import MASK, Secret
from pydbsync.errors import ConfigError

LOG_FILES: Final = 50
"""Old files kept beside the present one, as in the original."""

_ROLL_AGAIN_S: Final = 60.0
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def start_logging(
    settings: Settings,
    process_name: str,
    *,
    terminal: bool = True,
    console: Console | None = None,
    stream: TextIO | None = None,
    complain: Callable[[str], object] | None = None,
) -> logging.Logger:
    """Send what is logged under `pydbsync` to this process's file and to the terminal (standard error).

    Called again, as after a fork, it replaces what was there. `console` is a rich console in use already, such as one
    with a progress display; `stream` stands for standard error, and `complain` is told what is wrong with the log file
    itself. Raises ConfigError if the file cannot be opened.
    """
    logger = logging.getLogger("pydbsync")
    stream = stream or sys.stderr
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = False
    set_level(settings)

    name = _one_line(process_name).replace("%", "%%")
    lines: logging.Formatter
    if settings.log_format == "json":
        lines = JsonFormatter(process_name, settings.secrets())
    else:
        lines = MaskingFormatter(f"%(asctime)s [%(levelname)-6s] {name} >> %(message)s", settings.secrets())
    handlers: list[logging.Handler] = []
    if settings.log_file_prefix:
        path = log_file_name(settings.log_file_prefix, process_name)
        complain = complain or (lambda text: print(text, file=stream))
        handlers.append(_open_log_file(path, settings.log_file_bytes, complain))
    if terminal and (console is not None or stream.isatty()):
        rich_handler = RichHandler(
            console=console or Console(file=stream), show_path=False, keywords=[], log_time_format="%H:%M:%S"
        )
        rich_handler.setFormatter(MaskingFormatter(f"{name}: %(message)s", settings.secrets()))
        logger.addHandler(rich_handler)
    elif terminal:
        handlers.append(logging.StreamHandler(stream))
    for handler in handlers:
        handler.setFormatter(lines)
        logger.addHandler(handler)
    return logger


def set_level(settings: Settings) -> None:
    """Log from this level on."""
    logging.getLogger("pydbsync").setLevel(_LEVELS[settings.log_level])
    # pika logs several lines with a traceback for each lost connection; the adapter says the same in one.
    logging.getLogger("pika").setLevel(logging.WARNING if settings.log_level == "debug" else logging.CRITICAL)


def log_file_name(prefix: str, process_name: str) -> Path:
    """`maxwell_%s.log` for the process `t1` is maxwell_t1.log. A queue's name may hold any character: / becomes %2F."""
    return Path(prefix % process_name.replace("%", "%25").replace("/", "%2F").replace("\0", "%00"))


def _open_log_file(path: Path, most_bytes: int, complain: Callable[[str], object]) -> logging.Handler:
    try:
        file = _LogFile(path, maxBytes=most_bytes, backupCount=LOG_FILES, encoding="utf-8", errors="backslashreplace")
    except OSError as exc:
        raise ConfigError(
            f"the log file {str(path)!r} cannot be opened: {exc.strerror}", key="log_file_prefix"
        ) from exc
    file.complain = complain
    return file


class _LogFile(RotatingFileHandler):
    """A full disk costs log lines, not the replay. It is said once elsewhere, until a line goes through.

    A file that was moved away, as logrotate does, is opened anew under its name.
    """

    complain: Callable[[str], object]
    _said = _said_full = False
    _not_before = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        if self.stream is not None and self._is_moved(self.stream):
            with suppress(OSError):
                self.stream.close()
            self.stream = None  # this line opens it anew
        super().emit(record)
        self._said = self._failed

    def shouldRollover(self, record: logging.LogRecord) -> int:
        return 0 if time.monotonic() < self._not_before else super().shouldRollover(record)

    def doRollover(self) -> None:
        """Where the old files cannot be moved, all goes on in the present one."""
        try:
            super().doRollover()
        except OSError as exc:
            self._not_before = time.monotonic() + _ROLL_AGAIN_S
            if not self._said_full:
                self._said_full = True
                self.complain(f"log file {self.baseFilename} is full and cannot be moved away: {exc}; it grows")
        else:
            self._said_full = False

    def _is_moved(self, file: TextIO) -> bool:
        try:
            return not os.path.samestat(os.stat(self.baseFilename), os.fstat(file.fileno()))
        except OSError:
            return True

    def close(self) -> None:
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        self._failed = True
        if not self._said:
            self.complain(f"log file {self.baseFilename} cannot be written: {sys.exc_info()[1]}")


class MaskingFormatter(logging.Formatter):
    """Masks passwords wherever they come from; escapes control characters, so that no value forges a line."""

    def __init__(self, line: str, secrets: Iterable[Secret]) -> None:
        super().__init__(line)
        self._secrets = _pattern(secrets)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if self._secrets:
            line = self._secrets.sub(_mask, line)
        return _CONTROL.sub(_escape, line)


class JsonFormatter(logging.Formatter):
    """A JSON object a line, for programs that collect logs; passwords are masked as in text."""

    def __init__(self, process_name: str, secrets: Iterable[Secret]) -> None:
        super().__init__()
        self._process = process_name
        self._secrets = _pattern(secrets)

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": self._masked(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = self._masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)

    def _masked(self, text: str) -> str:
        return self._secrets.sub(_mask, text) if self._secrets else text


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """The text without these passwords, for what somebody else's program has said."""
    pattern = _pattern(secrets)
    return pattern.sub(_mask, text) if pattern else text


def _mask(found: re.Match[str]) -> str:
    groups = found.groupdict()
    return (groups.get("before") or groups.get("in_url") or "") + MASK


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _one_line(text: str) -> str:
    return _CONTROL.sub(_escape, text).replace("\n", "\\n").replace("\t", "\\t")


_LIKE_A_NAME: Final = re.compile(r"[A-Z]?[a-z_]+\d*|[A-Z_]+\d*|\d+")
_LONGEST_NAME: Final = 15


def _pattern(secrets: Iterable[Secret]) -> re.Pattern[str] | None:
    """Finds the passwords as whole words, URL-encoded ones too; what stays of a match is its group `before`.

    A password that looks like a name, `app` or `shop1`, is found only where a password stands: a table may be called
    so, and would be told as the password by what is left of its name.
    """
    plain = {secret.reveal() for secret in secrets if secret}
    words = sorted(plain | {quote(word, safe="") for word in plain}, key=len, reverse=True)
    if not words:
        return None
    names = [word for word in words if len(word) <= _LONGEST_NAME and _LIKE_A_NAME.fullmatch(word)]
    edged = [
        (r"(?:(?<!\w)|(?<=\s-p))" if re.match(r"\w", word) else "")
        + re.escape(word)
        + (r"(?!\w)" if re.search(r"\w\Z", word) else "")
        for word in words
        if word not in names
    ]
    if names:
        listed = "|".join(map(re.escape, names))
        edged += [
            rf"(?P<before>{_STANDS_BEFORE})(?:{listed})(?!\w)",
            rf"(?P<in_url>://[^\s/:@]*:)(?:{listed})(?=@)",
        ]
    return re.compile("|".join(edged))


_STANDS_BEFORE: Final = (
    r"(?i:\b(?:\w*passw(?:or)?d|passwd|pwd|secret|identified\s+by(?:\s+password)?|passphrase)"
    r"(?:\s+(?:is|of|for))?[\s'\"]*[:=(,]?>?\s*['\"]?|(?<=\s)-p)"
)
"""What is right before a password: a keyword, with quotes and an equals sign or the like between."""
