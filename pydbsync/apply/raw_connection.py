"""PyMySQL's connection, which encrypts where the server can without reading the machine's certificate authorities."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

import pymysql.connections


class RawConnection(pymysql.connections.Connection):
    """Without options for TLS, PyMySQL encrypts if the server offers it and checks no certificate, but reads all
    authorities of the machine first: 20 to 40 ms of processor time for each connection (1.2)."""

    ctx: ssl.SSLContext

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
