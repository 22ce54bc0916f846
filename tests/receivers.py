"""Who is told of alerts: a mail server and a receiver of posts, both real ones on 127.0.0.1."""

from __future__ import annotations

import email
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from lab.process import free_port


class Receiver:
    """Keeps what is posted to it, by path, and answers with what stands first in `answers`, the last one for ever."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, Any]] = []
        self.answers: list[tuple[int, bytes]] = [(200, b"ok")]
        posted, answers = self.posted, self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posted.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                code, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def bodies(self, path: str) -> list[Any]:
        """What was posted there, in order."""
        return [body for place, body in self.posted if place == path]


class MailServer:
    """Keeps what it is sent; lets in the user `u` with the password `pa55`."""

    def __init__(self, tls: str, context: ssl.SSLContext | None = None) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        options: dict[str, Any] = {"authenticator": self._let_in, "auth_required": tls != "off"}
        if tls == "starttls":
            options |= {"tls_context": context, "require_starttls": True}
        elif tls == "tls":
            options |= {"ssl_context": context, "auth_require_tls": False}
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port(), **options)
        self.port = self._controller.port

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        found = email.message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append((list(envelope.rcpt_tos), found))
        return "250 OK"

    @staticmethod
    def _let_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
        return AuthResult(success=given == LoginPassword(b"u", b"pa55"), handled=False)

    @contextmanager
    def running(self) -> Iterator[MailServer]:
        self._controller.start()
        try:
            yield self
        finally:
            self._controller.stop()
