"""The web page as tests have it: served in this process, and looked at with the system's Chromium."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright

from pydbsync.config.settings import Settings
from pydbsync.ui.server import Page as Served

TOKEN = "a token of the tests, long enough"
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
LOG = logging.getLogger("tests.pages")


def launch(playwright: Playwright) -> Browser:
    """The system's Chromium: the shell that has no windows, which takes half the time, where it is there."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program is not None, "no Chromium is installed: make monitoring"
    # No sandbox, since tests may run as root; the pages are our own.
    return playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])


class Serving:
    """The page in threads, until it is stopped."""

    def __init__(self, settings: Settings) -> None:
        self.page = Served(settings, LOG, token=settings.ui.token)
        self.address = self.page.address.rstrip("/")
        self._stop = threading.Event()
        self._thread = threading.Thread(daemon=True, target=self.page.serve, args=(self._stop,))
        self._thread.start()

    def stop(self) -> None:
        """End it, as a signal does."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def serving(settings: Settings) -> Iterator[Serving]:
    """The page of these settings."""
    found = Serving(settings)
    try:
        yield found
    finally:
        found.stop()
