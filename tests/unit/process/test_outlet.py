"""Who watches is never waited for."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading

import pytest

from pydbsync.process import worker
from pydbsync.process.outlet import Outlet, TerminalStream
from pydbsync.process.status import WorkerStatus
from tests.processes import wait_for

LIMIT_S = 30.0


def test_items_are_delivered_in_order_and_flush_waits_for_them() -> None:
    told: list[int] = []
    outlet = Outlet(told.append, most=1000, left_out=lambda count: -count)
    for number in range(500):
        outlet.put(number)
    assert outlet.flush(LIMIT_S)
    assert told == list(range(500))


def test_what_is_not_taken_in_time_is_left_out_and_counted() -> None:
    told: list[int] = []
    is_slow, may_go_on = threading.Event(), threading.Event()

    def deliver(item: int) -> None:
        is_slow.set()
        may_go_on.wait(LIMIT_S)
        told.append(item)

    outlet = Outlet(deliver, most=10, left_out=lambda count: -count)
    outlet.put(0)
    assert is_slow.wait(LIMIT_S)
    for number in range(1, 101):
        outlet.put(number)
    assert not outlet.flush(0)
    may_go_on.set()
    assert outlet.flush(LIMIT_S)
    assert told == [0, -90, *range(91, 101)]


def test_a_reader_that_has_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = TerminalStream(writing)
    for _ in range(3):
        print("nobody reads this", file=stream)
    assert stream.drain(LIMIT_S)
    os.close(writing)


def test_a_full_pipe_is_not_waited_for_and_gets_the_rest_when_it_is_read() -> None:
    reading, writing = os.pipe()
    stream = TerminalStream(writing)
    line = "x" * 999 + "\n"
    for _ in range(200):
        stream.write(line)
    assert not stream.drain(0)
    stream.write("the end\n")
    with open(reading, encoding="utf-8") as reader:
        for _ in range(200):
            assert reader.readline() == line
        assert reader.readline() == "the end\n"
    assert stream.drain(LIMIT_S)
    os.close(writing)


def test_a_pipe_that_was_made_non_blocking_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    stream = TerminalStream(writing)
    text = "é" * 100_000 + "\n"
    stream.write(text)
    with open(reading, encoding="utf-8") as reader:
        assert reader.readline() == text
    assert stream.drain(LIMIT_S)
    os.close(writing)


def test_a_worker_tells_of_a_supervisor_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it does again."""
    monkeypatch.setattr(worker, "_STUCK_S", 0.05)
    lines: list[str] = []
    listener = logging.Handler()
    monkeypatch.setattr(listener, "emit", lambda record: lines.append(record.getMessage()))
    log = logging.getLogger("pydbsync")
    monkeypatch.setattr(log, "handlers", [listener])
    monkeypatch.setattr(log, "level", logging.INFO)
    ours, theirs = multiprocessing.Pipe()
    handler = worker.PipeHandler(theirs)

    def sent(says: str) -> bool:
        handler.send(WorkerStatus(stream="s" * 1000))
        return any(says in line for line in lines)

    wait_for(lambda: sent("the supervisor has taken nothing"), what="the warning")
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            if ours.poll(0.05):
                ours.recv()

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: sent("the supervisor is back"), what="the all-clear")
    assert handler.outlet.flush(LIMIT_S)
    ended.set()
    reader.join()
    assert len([line for line in lines if "has taken nothing" in line]) == 1
