"""A row of every type through capture and replay: what arrives changed is named by its type."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pydbsync.ops.doctor.canary import SAMPLES
from tests.examining import Fault, examined, must_say, named, settings_of, shown
from tests.integration.carried import Carrier
from tests.integration.engine import replay
from tests.servers import Endpoint


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    return Carrier(fresh_source, fresh_target, tmp_path)


@contextlib.contextmanager
def carried(carrier: Carrier, change: Callable[[bytes], bytes] = lambda body: body) -> Iterator[None]:
    """Capture and replay, again and again; `change` does to a message what a lossy publisher would."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while not ended.is_set():
                bodies = [change(body) for body in carrier.run()]
                server = carrier.source_server
                replay(carrier.target, bodies, stream="canary", source_server=server, lossy_values="off")
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(daemon=True, target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not failed, failed


def test_every_type_arrives_equal_by_capture(carrier: Carrier) -> None:
    with carried(carrier):
        report = examined(settings_of(carrier.source, carrier.target), "canary", canary_s=60)
    must_say(report, Fault("", "canary", "ok", f"one row of {len(SAMPLES)} types arrived equal", ""))
    assert "pydbsync_canary" not in carrier.source.databases()


def test_a_type_that_is_changed_on_the_way_is_named(carrier: Carrier) -> None:
    """As Maxwell does to a TIME past a day, and to BIT past 31 bits."""

    def change(body: bytes) -> bytes:
        return body.replace(b'"838:59:59"', b'"22:59:59"').replace(b'"bit_40":1099511627775', b'"bit_40":254')

    with carried(carrier, change):
        report = examined(settings_of(carrier.source, carrier.target), "canary", canary_s=60)
    must_say(report, Fault("", "canary-type", "error", "TIME arrives changed", "pydbsync capture"))
    must_say(report, Fault("", "canary-type", "error", "BIT(40) arrives changed", "docs/types.md"))
    assert len(named(report, "canary-type")) == 2, shown(report)


def test_a_canary_that_does_not_arrive_says_where_to_look(carrier: Carrier) -> None:
    report = examined(settings_of(carrier.source, carrier.target), "canary", canary_s=0.3)
    must_say(report, Fault("", "canary", "error", "did not arrive", "pydbsync status"))
    assert examined(settings_of(carrier.source, carrier.target), "canary").findings == ()
