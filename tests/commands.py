"""Commands in this process, where no process of their own is what is tested: one that only starts costs a second."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import sys
from tempfile import TemporaryFile
from typing import IO

from pydbsync.cli import main

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def call(*words: str, standard_input: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m pydbsync WORDS`, nobody at a terminal. What it leaves in this process is put back."""
    given = sys.stdin
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    log = logging.getLogger("pydbsync")
    before, of_pika = (log.handlers[:], log.level, log.propagate), logging.getLogger("pika").level

    def put_back() -> None:
        for handler in log.handlers[:]:
            if handler not in before[0]:
                log.removeHandler(handler)
                handler.close()
        log.handlers[:], log.level, log.propagate = before
        logging.getLogger("pika").setLevel(of_pika)
        for number, former in handlers.items():
            signal.signal(number, former)

    code: object = 0
    with contextlib.ExitStack() as opened:
        out, err, sys.stdin = (opened.enter_context(TemporaryFile("w+", encoding="utf-8")) for _ in range(3))
        sys.stdin.write(standard_input)
        sys.stdin.seek(0)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main(words)
        except SystemExit as exc:
            code = exc.code or 0
        finally:
            sys.stdin = given
            put_back()
        said = [_read(stream) for stream in (out, err)]
    return subprocess.CompletedProcess(words, code if isinstance(code, int) else 1, *said)


def _read(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read()
