"""Takes messages from a queue, one after the other, and tells their digests and the process's peak of memory."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from pydbsync.config.settings import AmqpSettings, Secret
from pydbsync.source.amqp import AmqpSource
from tests.integration.amqp.steps import LOG, opened, queue_settings


def peak_bytes() -> int:
    """The most resident memory that this process ever had."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("the system does not tell the peak of resident memory")


def main() -> None:
    """`drain.py CONN_INFO COUNT`: `rabbitmq_conn_info` as JSON."""
    conn_info, count = json.loads(sys.argv[1]), int(sys.argv[2])
    amqp = AmqpSettings(**{**conn_info, "password": Secret(conn_info["password"])})
    source = opened(AmqpSource(amqp, queue_settings(), prefetch=1000, read_ahead_bytes=2**20, log=LOG))
    digests: list[str] = []
    while len(digests) < count:
        for delivery in source.take(timeout_s=60):
            digests.append(hashlib.sha256(delivery.body).hexdigest())
            source.acknowledge(delivery.tag)
    source.close()
    print(json.dumps({"digests": digests, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
