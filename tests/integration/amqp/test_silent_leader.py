"""A quorum queue whose leader does not answer in time is declared empty by the broker: that is no answer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.server import find_program
from pydbsync.config.settings import FrozenMapping
from tests.integration.amqp.steps import KINDS, QUEUE, MakeSource, bodies, numbered, opened, take
from tests.servers import Vhost


def test_a_queue_is_not_drained_while_its_leader_is_silent(make_source: MakeSource, vhost: Vhost) -> None:
    vhost.declare(QUEUE, arguments=KINDS["quorum"])
    vhost.publish(numbered(10))
    source = opened(make_source(queue={"arguments": FrozenMapping(KINDS["quorum"])}, prefetch=2))
    taken = take(source, 2)
    assert not source.is_drained()
    with silent_leader(vhost):
        assert vhost.depth(QUEUE) == 0  # what the broker says then; eight messages wait
        assert not source.is_drained()
    source.acknowledge(taken[-1].tag)
    assert bodies(take(source, 2)) == numbered(2, first=2)


@contextmanager
def silent_leader(vhost: Vhost) -> Iterator[None]:
    evaluate(vhost, f"ok = sys:suspend('{vhost.name}_{QUEUE}').")
    try:
        yield
    finally:
        evaluate(vhost, f"ok = sys:resume('{vhost.name}_{QUEUE}').")


def evaluate(vhost: Vhost, expression: str) -> None:
    environment = vhost.broker.environment()
    path = os.pathsep.join(("/usr/lib/rabbitmq/bin", environment["PATH"]))
    subprocess.run(
        [find_program("rabbitmqctl", path=path), "eval", expression],
        env={**environment, "PATH": path},
        check=True,
        capture_output=True,
    )
