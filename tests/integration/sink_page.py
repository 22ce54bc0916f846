"""The web page where the target is a sink, as an operator goes through it: the same for every sink."""

from __future__ import annotations

import html
import http.client
import re
from typing import Any
from urllib.parse import urlencode, urlsplit

from pydbsync.config.settings import Settings
from pydbsync.source.memory import MemorySource
from tests.integration.engine import following
from tests.maxwell import Binlog, insert
from tests.pages import TOKEN, Serving, serving
from tests.processes import wait_for

STREAM = "memory"
OPTIONS: dict[str, Any] = {
    "state_interval_s": 0.1,
    "rabbitmq_conn_info": {"host": "127.0.0.1", "port": 1},
    "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {STREAM: ["#"]}}],
    "ui": {"port": 0, "token": TOKEN},
}
"""Of a configuration that has such a page."""


class Visitor:
    """Somebody who has signed in, and reads pages as text."""

    def __init__(self, served: Serving) -> None:
        self._parts = urlsplit(served.address)
        self._cookie = ""
        entered = self._ask("POST", "/login", {"token": TOKEN, "name": "Ada", "next": "/"})
        self._cookie = entered.headers["Set-Cookie"].partition(";")[0]

    def _ask(self, method: str, path: str, form: dict[str, str] | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=60)
        headers = {"Cookie": self._cookie} if self._cookie else {}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(form) if form is not None else None, headers)
        return connection.getresponse()

    def source(self, path: str) -> str:
        answer = self._ask("GET", path)
        found = answer.read().decode()
        assert answer.status == 200, found
        return found

    def read(self, path: str = "/") -> str:
        """The words of a page."""
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.source(path))).split())

    def hidden(self, path: str, name: str) -> str:
        """The value of a hidden field."""
        return html.unescape(re.findall(rf'name="{name}" value="([^"]*)"', self.source(path))[0])

    def send(self, path: str, form: dict[str, str], *, of: str = "/parked") -> str:
        """Send a form, and read where it leads."""
        answer = self._ask("POST", path, {"csrf": self.hidden(of, "csrf"), **form})
        assert answer.status == 303, answer.read().decode()
        return self.read(answer.headers["Location"])


def operate(settings: Settings, binlog: Binlog) -> None:
    """A worker writes two rows and parks two changes; it is paused, goes on, and ends; what it parked is mended and
    given up. `settings` have OPTIONS, and a table d.t (id, v)."""
    bodies = [*binlog.transaction(insert("d.t", {"id": 1, "v": 1})), b"junk", b"more junk"]
    source = MemorySource([*bodies, *binlog.transaction(insert("d.t", {"id": 2, "v": 2}))], stream=STREAM)
    with following(settings, source) as end, serving(settings) as served:
        visitor = Visitor(served)

        def shows(*texts: str) -> None:
            wait_for(lambda: all(text in visitor.read() for text in texts), what=f"{texts} on the page")

        shows("memory following for", "Parked 2", "2 rows in all", "rows/s")
        assert "Changes of queue memory are parked" in visitor.read(), "an alert of the rules"
        refused = visitor.send("/parked/retry", {"id": "1", "one": "1", "stream": STREAM})
        assert "retry of 1" in refused.lower()
        visitor.send("/pause", {"stream": STREAM, "reason": "the index is rebuilt"})
        shows("paused for", "the index is rebuilt")
        visitor.send("/resume", {"stream": STREAM})
        shows("memory following for")
        end()
        shows("was stopped")
        where = f"/parked/1/edit?stream={STREAM}"
        message = binlog.transaction(insert("d.t", {"id": 3, "v": 3}))[0].decode()
        form = {"digest": visitor.hidden(where, "digest"), "text": message, "then": "retry"}
        assert "1: applied" in visitor.send(where, form, of=where)
        asked = f"/parked/skip?id=2&stream={STREAM}"
        assert "Give up 1 change for good?" in visitor.read(asked)
        skipped = visitor.send("/parked/skip", {"id": "2", "stream": STREAM, "total": "1", "reason": "junk"}, of=asked)
        assert "2 is skipped" in skipped
        shows("Parked 0")
        lately = visitor.read("/part/history")
        assert "highest" in lately
        for deed in ("pause memory: the index is rebuilt", "resume memory", "skip parked change 2: junk"):
            assert deed in lately
        assert "is printed, and not kept" in visitor.read("/differences")
