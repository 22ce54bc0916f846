"""Commands in this process, where no process of their own is what is tested: one that only starts costs a second."""

from __future__ import annotations

import contextlib
import io
import logging
import signal
import subprocess
import sys

from pydbsync.cli import main

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def call(*words: str, standard_input: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m pydbsync WORDS`, nobody at a terminal. What it leaves in this process is put back."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    given = sys.stdin
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    log = logging.getLogger("pydbsync")
    before, of_pika = (log.handlers[:], log.level, log.propagate), logging.getLogger("pika").level
    sys.stdin = io.StringIO(standard_input)
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(words)
    except SystemExit as exc:
        code = exc.code or 0
    finally:
        sys.stdin = given
        for handler in log.handlers[:]:
            if handler not in before[0]:
                log.removeHandler(handler)
                handler.close()
        log.handlers[:], log.level, log.propagate = before
        logging.getLogger("pika").setLevel(of_pika)
        for number, former in handlers.items():
            signal.signal(number, former)
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(words, code if isinstance(code, int) else 1, *said)
