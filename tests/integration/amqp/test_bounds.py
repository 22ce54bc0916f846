"""Memory has a limit, and the connection lives on while nothing is taken."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest

from pydbsync.source.connection import TRICKLE_PAUSE_S
from tests.integration.amqp.steps import (
    LIMIT_S,
    QUEUE,
    SEND_TIMEOUT_S,
    MakeSource,
    bodies,
    check_heartbeats_every,
    opened,
    patterned,
    publish_raw,
    take,
    until,
)
from tests.matrices import LONG
from tests.servers import Vhost


@pytest.mark.parametrize("over_tls", [False, pytest.param(True, marks=LONG)], ids=["tcp", "tls"])
def test_reading_stops_at_the_limit_and_the_connection_lives_on(
    make_source: MakeSource,
    tls_vhost: Vhost,
    tls_keywords: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    over_tls: bool,
) -> None:
    """Much more than may be held is on its way while pika checks for heartbeats and the broker for blocked sends."""
    monkeypatch.setattr("pydbsync.source.link.TRICKLE_PAUSE_S", TRICKLE_PAUSE_S * SEND_TIMEOUT_S / 30)
    checks = check_heartbeats_every(SEND_TIMEOUT_S / 2, monkeypatch)
    tls_vhost.declare(QUEUE)
    messages = [patterned(50_000 + number) for number in range(2000)]
    publish_raw(tls_vhost, messages)
    keywords = tls_keywords if over_tls else {}
    source = opened(make_source(tls_vhost, heartbeat_s=1, read_ahead_bytes=2**20, **keywords))
    taken = list(source.take(timeout_s=LIMIT_S))
    until(lambda: len(checks) >= 4)
    assert source.held_bytes < sum(map(len, messages)) / 2
    while len(taken) < len(messages):
        source.acknowledge(taken[-1].tag)
        taken += source.take(timeout_s=LIMIT_S)
    assert bodies(taken) == messages
    assert not any(delivery.redelivered for delivery in taken)


def test_a_waiting_take_is_read_for_even_above_the_limit(make_source: MakeSource, vhost: Vhost) -> None:
    """What belongs together may be larger than the limit: nothing is acknowledged until all of it is there."""
    vhost.declare(QUEUE)
    messages = [patterned(50_000 + number) for number in range(100)]
    publish_raw(vhost, messages)
    source = opened(make_source(read_ahead_bytes=2**16))
    assert bodies(take(source, 100)) == messages
    source.acknowledge(100)
    until(source.is_drained)


def test_messages_of_64_mib_pass_in_little_memory(vhost: Vhost) -> None:
    """Three of them, one after the other, in a process of their own, which may have 300 MB."""
    vhost.declare(QUEUE)
    messages = [patterned(2**26 - number) for number in range(3)]
    publish_raw(vhost, messages)
    drain = [sys.executable, "-m", "tests.integration.amqp.drain", json.dumps(vhost.conn_info), str(len(messages))]
    done = subprocess.run(drain, capture_output=True, text=True, timeout=5 * LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["digests"] == [hashlib.sha256(body).hexdigest() for body in messages]
    assert report["peak_bytes"] < 300e6
