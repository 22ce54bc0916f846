"""PyMySQL's connection, which encrypts without the machine's authorities and asks for autocommit in any case."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache
from typing import Any

import pymysql.connections


class RawConnection(pymysql.connections.Connection):
    """Without options for TLS, PyMySQL encrypts if the server offers it and checks no certificate, but reads all
    authorities of the machine first: 20 to 40 ms of processor time for each connection (1.2)."""

    ctx: ssl.SSLContext
    _send_autocommit_mode: Callable[[], None]

    def autocommit(self, value: bool) -> None:
        """Say it to the server. PyMySQL does not where the greeting tells of autocommit already, and MySQL's greeting
        always does (9.7), also where `autocommit` is 0 for all sessions."""
        self.autocommit_mode = value
        self._send_autocommit_mode()

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        if sslp:
            context: ssl.SSLContext = super()._create_ssl_ctx(sslp)  # type: ignore[misc]
            return context
        return _unchecked_context()


@cache
def _unchecked_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
