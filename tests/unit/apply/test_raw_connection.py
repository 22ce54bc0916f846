"""A connection without options for TLS reads no certificate authorities: that takes longer than all else of it."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from pydbsync.apply.raw_connection import RawConnection


def test_authorities_are_read_only_where_certificates_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    whole = ssl.create_default_context

    def create(**keywords: Any) -> ssl.SSLContext:
        read.append(keywords)
        return whole(**keywords)

    monkeypatch.setattr(ssl, "create_default_context", create)
    for _ in range(2):
        assert RawConnection(defer_connect=True).ctx.verify_mode == ssl.CERT_NONE
    assert read == []
    assert RawConnection(defer_connect=True, ssl_verify_identity=True).ctx.verify_mode == ssl.CERT_REQUIRED
    assert len(read) == 1
