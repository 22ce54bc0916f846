"""Requests to one OpenSearch or Elasticsearch; what fails as an error of ours."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from pydbsync.config.search import SearchSettings
from pydbsync.errors import ConfigError, PydbsyncError, TransientError

_OLDEST = {"opensearch": (2, 8), "elasticsearch": (7, 12)}
"""The first that have all that is used: unsigned_long and require_alias."""
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode
_PAGE = 1000
_LATER = (
    "cluster_block_exception", "unavailable_shards_exception", "no_shard_available_action_exception",
    "index_closed_exception",
)  # fmt: skip
"""Refusals that end by themselves, or by what an operator does."""


class SearchError(PydbsyncError):
    """What was asked for is refused, however often it is tried."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(f"{kind}: {reason}" if kind else reason)
        self.status = status
        self.kind = kind
        """The server's name of the error, such as `resource_already_exists_exception`."""


class BusyError(TransientError):
    """The cluster has no room for it now (429)."""


class OversizeError(SearchError):
    """The request is larger than the server, or what is before it, takes (413)."""


def path_of(*parts: str) -> str:
    """The parts as a path, each escaped."""
    return "/" + "/".join(quote(part, safe=",*") for part in parts)


class SearchClient:
    """Used by one thread. Nothing is tried again here: whoever calls knows what must be true first."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if settings.api_key is not None:
            self._headers["Authorization"] = f"ApiKey {settings.api_key.reveal()}"
        elif settings.user is not None and settings.password is not None:
            text = f"{settings.user}:{settings.password.reveal()}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(text).decode('ascii')}"

    @property
    def product(self) -> str:
        """OpenSearch or Elasticsearch, for people."""
        return self._settings.product

    def open(self) -> None:
        """Connect anew, to the first node that answers. Raises TransientError, ConfigError."""
        away: TransientError | None = None
        for node in self._settings.nodes:
            self.close()
            self._pool = self._connection(node)
            try:
                self._check_version(self.call("GET", "/"))
                return
            except TransientError as exc:
                away = exc
        self.close()
        raise away or TransientError("no node is configured")

    def _connection(self, node: str) -> urllib3.HTTPConnectionPool:
        host, _, port = node.rpartition(":")
        timeout = urllib3.Timeout(connect=self._settings.timeout_s, read=self._settings.timeout_s)
        tls = self._settings.tls
        if tls is None:
            return urllib3.HTTPConnectionPool(host.strip("[]"), int(port), timeout=timeout, maxsize=1, retries=False)
        if not tls.verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return urllib3.HTTPSConnectionPool(
            host.strip("[]"), int(port), timeout=timeout, maxsize=1, retries=False,
            ca_certs=tls.ca, cert_file=tls.cert, key_file=tls.key,
            cert_reqs="CERT_REQUIRED" if tls.verify else "CERT_NONE",
            assert_hostname=None if tls.verify else False,
        )  # fmt: skip

    def _check_version(self, answer: Any) -> None:
        """What is behind a proxy may hide its version: it is taken as new enough."""
        version = answer.get("version", {}) if isinstance(answer, dict) else {}
        found = re.match(r"(\d+)\.(\d+)", str(version.get("number", "")))
        kind = version.get("distribution", "elasticsearch")
        if found is None or kind not in _OLDEST:
            return
        if (int(found[1]), int(found[2])) < _OLDEST[kind]:
            oldest = ".".join(map(str, _OLDEST[kind]))
            raise ConfigError(f"{kind} {version['number']} is too old: it must be {oldest} or newer", key="sink.nodes")

    def call(
        self, method: str, path: str, body: object = None, *, allow: Sequence[int] = (), **parameters: object
    ) -> Any:
        """The answer, also with one of the status codes in `allow`. Raises SearchError, TransientError, ConfigError."""
        return self.send(method, path, None if body is None else _encode(body), allow=allow, **parameters)

    def send(
        self, method: str, path: str, body: bytes | None, *, allow: Sequence[int] = (), **parameters: object
    ) -> Any:
        """As `call`, with the body as it is sent."""
        if self._pool is None:
            raise TransientError(f"{self.product} is not connected")
        if parameters:
            path = f"{path}?{urlencode(parameters)}"
        with self._translated():
            answer = self._pool.request(method, path, body=body, headers=self._headers)
            status, data = answer.status, answer.data
        try:
            found = _decode(data) if data else None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found = None  # a proxy's page
        if status >= 400 and status not in allow:
            raise self.error(status, found)
        if found is None and data:
            raise TransientError(f"{self.product} answers with what is no JSON")
        return found

    def documents(self, index: str, query: object, *, limit: int = 0, fields: bool = True) -> Iterator[list[Any]]:
        """The documents that a query finds now, some at a time; as hits, with what tells one from its next version.
        What is changed meanwhile is not seen; with `fields` false there are only ids. Raises SearchError,
        TransientError."""
        # Scrolling is the same at both products, other than points in time; and nothing pages by hand here.
        body = {"query": query, "size": _PAGE, "sort": ["_doc"], "seq_no_primary_term": True, "_source": fields}
        answer = self.call("POST", path_of(index, "_search"), body, scroll="5m")
        try:
            found = 0
            while hits := answer["hits"]["hits"]:
                _refuse_part(answer, index)
                found += len(hits)
                yield hits
                if limit and found >= limit:
                    return
                answer = self.call("POST", "/_search/scroll", {"scroll": "5m", "scroll_id": answer["_scroll_id"]})
            _refuse_part(answer, index)
        finally:
            with suppress(PydbsyncError):
                self.call("DELETE", "/_search/scroll", {"scroll_id": [answer["_scroll_id"]]})

    def error(self, status: int, answer: Any) -> PydbsyncError:
        """What an answer, or one of its items, says."""
        said = answer.get("error") if isinstance(answer, Mapping) else None
        kind, reason = "", f"status {status}"
        if isinstance(said, Mapping):
            kind, reason = str(said.get("type", "")), _reason(said)
        elif said:
            reason = str(said)
        sentence = f"{self.product}: {kind}{': ' if kind else ''}{reason}"
        if status == 401 or (status == 403 and kind not in _LATER):
            return ConfigError(f"{self.product} refuses the user: {reason}", key="sink")
        if status == 413:
            return OversizeError(status, kind, "the request is larger than is taken (413)")
        if status == 429:
            return BusyError(sentence)
        if status >= 500 or kind in _LATER or status == 408:
            return TransientError(sentence)
        return SearchError(status, kind, reason)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except urllib3.exceptions.SSLError as exc:
            raise TransientError(f"{self.product}: the connection cannot be encrypted: {exc}") from exc
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise TransientError(f"{self.product}: {exc}") from exc

    def close(self) -> None:
        """Never raises."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(Exception):
                pool.close()


def _refuse_part(answer: Any, index: str) -> None:
    """A search can answer by the shards that it reaches, and say so."""
    if answer.get("timed_out") or answer["_shards"]["failed"]:
        raise TransientError(f"not all shards of {index} answered")


def _reason(error: Mapping[str, Any]) -> str:
    """The reasons of an error down to what caused it."""
    found: list[str] = []
    at: Any = error
    while isinstance(at, Mapping) and len(found) < 4:
        reason = str(at.get("reason") or at.get("type") or "").split("\n", 1)[0]  # what follows is of the parser
        if reason and reason not in found:
            found.append(reason)
        at = at.get("caused_by")
    return "; ".join(found) or "no reason given"
