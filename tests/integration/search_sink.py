"""The sink `opensearch` in this process: a real OpenSearch, a real source for the types, deliveries from a list."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit

from pydbsync.config.search import SearchSettings
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.sinks.search.make import SearchParts, search_parts
from tests.certificates import KeyPair
from tests.integration.sink_runs import LOG, sink_settings
from tests.servers import Endpoint

URL = os.environ.get("PYDBSYNC_OPENSEARCH", "")
NEEDED = "needs an OpenSearch: PYDBSYNC_OPENSEARCH=http://host:port, whose indices are removed"
STATE = "pydbsync"


class Cluster:
    """The OpenSearch of the tests, or a way to it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 9200

    def ask(self, method: str, path: str, body: Any = None, *, status: int | None = None) -> Any:
        connection = HTTPConnection(self.host, self.port, timeout=60)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read() or b"null")
        connection.close()
        assert answer.status < 300 if status is None else answer.status == status, found
        return found

    def clear(self) -> None:
        """Without any index of a test; that of the state stays, empty."""
        names = [each["index"] for each in self.ask("GET", "/_cat/indices?format=json&expand_wildcards=all")]
        chosen = [name for name in names if not name.startswith(".") and name != STATE]
        if chosen:
            self.ask("DELETE", "/" + ",".join(chosen))
        if STATE in names:
            self.ask("POST", f"/{STATE}/_refresh")
            for hit in self.ask("POST", f"/{STATE}/_search", {"size": 1000})["hits"]["hits"]:
                self.ask("DELETE", f"/{STATE}/_doc/{quote(hit['_id'], safe='')}")

    def search(self, name: str) -> dict[str, Any]:
        """What an application finds, by its id, without the places."""
        self.ask("POST", f"/{name}/_refresh")
        hits = self.ask("POST", f"/{name}/_search", {"size": 10_000})["hits"]["hits"]
        found = {hit["_id"]: hit["_source"] for hit in hits}
        for document in found.values():
            document.pop("pydbsync")
        return found

    def find(self, name: str, query: Mapping[str, Any]) -> set[str]:
        """The ids that a query finds."""
        self.ask("POST", f"/{name}/_refresh")
        hits = self.ask("POST", f"/{name}/_search", {"size": 10_000, "query": query})["hits"]["hits"]
        return {hit["_id"] for hit in hits}

    def indices(self, name: str) -> list[str]:
        """Those of a table by their numbers."""
        return sorted(found.split("-")[1] for found in self.ask("GET", f"/{name}-*/_alias"))

    def index(self, name: str) -> str:
        """The one that serves."""
        (found,) = self.ask("GET", f"/_alias/{name}")
        return str(found)

    def get(self, path: str) -> Any:
        return self.ask("GET", path)


def settings_for(cluster: Cluster | Between, source: Endpoint, tables: Mapping[str, Any], **options: Any) -> Settings:
    """As `sink_settings`."""
    sink = {"type": "opensearch", "nodes": [f"{cluster.host}:{cluster.port}"], "tables": tables}
    return sink_settings(sink, source, options)


def parts_of(settings: Settings, *, stream: str = "memory") -> SearchParts:
    """The sink by itself, connected."""
    assert isinstance(settings.sink, SearchSettings)
    parts = search_parts(settings, settings.sink, router_from(settings), stream, log=LOG, is_worker=False)
    parts.writer.open()
    parts.keep.open()
    return parts


Answer = tuple[int, bytes]


class Between:
    """An HTTP proxy that asks `decide(method, path, body, forward)` for each answer; None cuts the connection."""

    host = "127.0.0.1"

    def __init__(self, cluster: Cluster, *, certificate: KeyPair | None = None) -> None:
        self.headers: list[str | None] = []
        """`Authorization` of each request."""
        self.decide: Callable[[str, str, bytes, Callable[[bytes], Answer]], Answer | None] = (
            lambda method, path, body, forward: forward(body)
        )
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                between.headers.append(self.headers.get("Authorization"))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))

                def forward(sent: bytes) -> Answer:
                    connection = HTTPConnection(cluster.host, cluster.port, timeout=60)
                    headers = {"Content-Type": "application/json"}
                    connection.request(self.command, self.path, sent or None, headers)
                    found = connection.getresponse()
                    data = found.read()
                    connection.close()
                    return found.status, data

                decided = between.decide(self.command, self.path, body, forward)
                if decided is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                status, data = decided
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle()

        self._server = ThreadingHTTPServer((self.host, 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
