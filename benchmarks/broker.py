"""What the broker's side costs: `python -m benchmarks.broker` drains full queues of several kinds and settings.

The reader cuts frames by hand and does nothing else, so that what is seen is the broker's own limit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from benchmarks import child
from benchmarks.drain import FrameReader
from benchmarks.generate import generate
from benchmarks.names import MAIN
from benchmarks.publish import EXCHANGE, FramePublisher, connect, delete, holds, read_bodies, wait_for
from benchmarks.rig import Rig
from benchmarks.workload import WORKLOADS
from lab.state import lab_root

QUEUE = "bench.broker"


@dataclass(frozen=True)
class Variant:
    title: str
    arguments: dict[str, str | int] = field(default_factory=dict)
    prefetch: int = 10_000
    ack_every: int = 500


VARIANTS = (
    Variant("classic"),
    Variant("classic, prefetch 200", prefetch=200, ack_every=100),
    Variant("classic, prefetch 2,000", prefetch=2_000),
    Variant("classic, prefetch 40,000", prefetch=40_000),
    Variant("classic, one ack for 5,000", ack_every=5_000),
    Variant("classic, lazy", {"x-queue-mode": "lazy"}),
    Variant("classic, version 2", {"x-queue-version": 2}),
    Variant("quorum", {"x-queue-type": "quorum"}),
)


def main() -> None:
    rig = Rig(lab_root() / "bench")
    generated = generate(WORKLOADS[MAIN], seed=1, cache=rig.cache)
    count = generated.facts.changes
    rig.broker.start()
    try:
        broker = rig.broker.process
        assert broker is not None
        print(f"{'queue':32}{'messages/s':>12}{'broker us':>12}{'reader us':>12}{'broker us, publishing':>24}")
        for variant in VARIANTS:
            declare(rig.broker.url, variant)
            before = child.cpu_seconds(broker.pid)
            with FramePublisher(rig.broker.url, confirm=True) as publisher:
                publisher.publish(read_bodies(generated.messages))
            wait_for(lambda: holds(rig.broker.url, QUEUE, count), timeout_s=120, what=f"{count} messages")
            filled = child.cpu_seconds(broker.pid)
            own = time.process_time()
            reader = FrameReader(rig.broker.url)
            seconds = reader.drain(QUEUE, count, prefetch=variant.prefetch, ack_every=variant.ack_every)
            reader.close()
            own = time.process_time() - own
            drained = child.cpu_seconds(broker.pid)
            costs = [cost / count * 1e6 for cost in (drained - filled, own, filled - before)]
            print(f"{variant.title:32}{count / seconds:12,.0f}{costs[0]:12.1f}{costs[1]:12.1f}{costs[2]:24.1f}")
        delete(rig.broker.url, [QUEUE])
    finally:
        rig.broker.stop()


def declare(url: str, variant: Variant) -> None:
    connection = connect(url)
    channel = connection.channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    channel.queue_delete(QUEUE)
    channel.queue_declare(QUEUE, durable=True, arguments=dict(variant.arguments))
    channel.queue_bind(QUEUE, EXCHANGE, "#")
    connection.close()


if __name__ == "__main__":
    main()
