"""Memory has a limit."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

from tests.integration.amqp.steps import LIMIT_S, QUEUE, MakeSource, bodies, opened, patterned, publish_raw, take, until
from tests.servers import Vhost


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
