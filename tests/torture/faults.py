"""The faults. Each one breaks something, waits a random moment, and mends it."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql

from pydbsync.killpoints import KILL_POINTS
from tests.proxy import Proxy
from tests.torture.operators import OPERATORS
from tests.torture.rig import USER, Rig, pick, send

Fault = Callable[["Rig", random.Random], None]
SMALL_PACKET, USUAL_PACKET = 2**22, 2**30


def kill_worker(rig: Rig, chance: random.Random) -> None:
    send(pick(chance, rig.workers()), signal.SIGKILL)


def kill_all_workers(rig: Rig, chance: random.Random) -> None:
    for pid in rig.workers():
        send(pid, signal.SIGKILL)


def kill_supervisor(rig: Rig, chance: random.Random) -> None:
    """Its workers end by themselves, while the new ones wait already."""
    index = chance.randrange(len(rig.supervisors))
    rig.supervisors[index].send(signal.SIGKILL)
    rig.supervisors[index].process.wait()
    rig.start_supervisor(index)


def kill_supervisor_and_workers(rig: Rig, chance: random.Random) -> None:
    index = chance.randrange(len(rig.supervisors))
    rig.supervisors[index].kill()
    rig.start_supervisor(index)


def stop_in_order(rig: Rig, chance: random.Random) -> None:
    index = chance.randrange(len(rig.supervisors))
    rig.supervisors[index].stop(timeout_s=60)
    rig.start_supervisor(index)


def die_at_a_step(rig: Rig, chance: random.Random) -> None:
    """Workers that end themselves between two steps, once each and when they are started again."""
    index = chance.randrange(len(rig.supervisors))
    rig.supervisors[index].stop(timeout_s=60)
    step = f"{chance.choice(KILL_POINTS)}:{chance.choice((1, 2, 7, 40))}"
    rig.start_supervisor(index, PYDBSYNC_KILL_POINT=step)
    # Only those that own a queue come to a step.
    other = rig.supervisors[1 - index]
    other.stop(timeout_s=60)
    time.sleep(chance.choice((2, 4, 8)))
    rig.start_supervisor(1 - index)
    rig.supervisors[index].kill()
    rig.start_supervisor(index)


def hang_worker(rig: Rig, chance: random.Random) -> None:
    """Longer than its lock and its connections live: another worker takes over, and then it comes back."""
    hang([pick(chance, rig.workers())], chance.choice((0.5, 2, 6, 9)))


def hang_all_workers(rig: Rig, chance: random.Random) -> None:
    hang(list(rig.workers()), chance.choice((0.5, 6)))


def hang(pids: list[int | None], seconds: float) -> None:
    try:
        for pid in pids:
            send(pid, signal.SIGSTOP)
        time.sleep(seconds)
    finally:
        for pid in pids:
            send(pid, signal.SIGCONT)


def kill_target(rig: Rig, chance: random.Random) -> None:
    assert rig.target.server is not None
    rig.target.server.kill()
    time.sleep(chance.random() * 2)
    rig.target.server.start()


def shut_target_down(rig: Rig, chance: random.Random) -> None:
    assert rig.target.server is not None
    rig.target.server.stop()
    rig.target.server.start()


def hang_target(rig: Rig, chance: random.Random) -> None:
    assert rig.target.server is not None
    rig.target.server.freeze()
    time.sleep(chance.choice((0.5, 5)))
    rig.target.server.thaw()


def kill_source(rig: Rig, chance: random.Random) -> None:
    assert rig.source.server is not None
    rig.source.server.kill()
    rig.source.server.start()


def kill_broker(rig: Rig, chance: random.Random) -> None:
    rig.note_redeliveries(is_restart=True)
    rig.broker.kill()
    time.sleep(chance.random())
    rig.broker.start()


def close_broker_connections(rig: Rig, chance: random.Random) -> None:
    rig.broker.close_connections(rig.vhost.name)


def send_again(rig: Rig, chance: random.Random) -> None:
    """Capture dies and sends the last second once more, as Maxwell does."""
    for _ in range(chance.randint(1, 3)):
        rig.kill_publisher()
        rig.start_publisher()
        time.sleep(0.3 + chance.random())


def line(choose: Callable[[Rig], Proxy], break_it: Callable[[Proxy, random.Random], object], *, loses: bool) -> Fault:
    """A fault of the line to one of the servers."""

    def fault(rig: Rig, chance: random.Random) -> None:
        proxy = choose(rig)
        break_it(proxy, chance)
        time.sleep(chance.choice((0.1, 1, 5)))
        proxy.resume()
        if loses or chance.random() < 0.3:
            proxy.cut()  # no network goes on with a hole in its stream

    return fault


LINE_FAULTS: dict[str, Callable[[Proxy, random.Random], object]] = {
    "cut": lambda proxy, chance: proxy.cut(),
    "refuse": lambda proxy, chance: proxy.refuse(),
    "hold": lambda proxy, chance: proxy.hold(),
    "swallow": lambda proxy, chance: proxy.swallow(),
    "swallow answers": lambda proxy, chance: proxy.swallow("to_client"),
    "swallow requests": lambda proxy, chance: proxy.swallow("to_server"),
    "delay": lambda proxy, chance: proxy.delay(chance.random() / 3),
}


def kill_connections(rig: Rig, chance: random.Random) -> None:
    for number in connection_ids(rig):
        with contextlib.suppress(pymysql.Error):
            rig.target.query(f"KILL {chance.choice(('CONNECTION', 'QUERY'))} {number}")


def connection_ids(rig: Rig) -> list[int]:
    return [
        number for (number,) in rig.target.query("SELECT id FROM information_schema.processlist WHERE user = %s", USER)
    ]


def hold_rows(rig: Rig, chance: random.Random) -> None:
    """Another session holds rows for longer than the lock wait time-out, and takes further ones in another order."""
    with disturbing(rig) as cursor:
        for table in chance.sample(
            ("shop.orders", "shop.stock", "shop.pairs", "logs.twins", "pydbsync.checkpoint"), k=2
        ):
            with contextlib.suppress(pymysql.Error):
                cursor.execute(f"SELECT 1 FROM {table} ORDER BY 1 DESC LIMIT 50 FOR UPDATE")
                time.sleep(chance.random() * 2)


def hold_tables(rig: Rig, chance: random.Random) -> None:
    """A metadata lock, on which DDL waits."""
    with disturbing(rig) as cursor:
        with contextlib.suppress(pymysql.Error):
            cursor.execute("LOCK TABLES parts.changing READ, parts.loose READ, logs.twins WRITE")
        time.sleep(chance.choice((0.5, 2, 5)))


@contextlib.contextmanager
def disturbing(rig: Rig) -> Iterator[Any]:
    with rig.target.connect(autocommit=False) as connection, connection.cursor() as cursor:
        yield cursor
        connection.rollback()


def read_only(rig: Rig, chance: random.Random) -> None:
    rig.target.query("SET GLOBAL read_only = 1")
    time.sleep(chance.choice((0.2, 1, 3)))
    rig.target.query("SET GLOBAL read_only = 0")


def small_packets(rig: Rig, chance: random.Random) -> None:
    rig.target.query(f"SET GLOBAL max_allowed_packet = {SMALL_PACKET}")
    kill_connections(rig, chance)
    time.sleep(1 + chance.random() * 2)
    rig.target.query(f"SET GLOBAL max_allowed_packet = {USUAL_PACKET}")
    kill_connections(rig, chance)


FAULTS: dict[str, tuple[Fault, int]] = {
    "kill worker": (kill_worker, 8),
    "kill all workers": (kill_all_workers, 3),
    "kill supervisor": (kill_supervisor, 3),
    "kill supervisor and workers": (kill_supervisor_and_workers, 3),
    "stop in order": (stop_in_order, 2),
    "die at a step": (die_at_a_step, 4),
    "hang worker": (hang_worker, 8),
    "hang all workers": (hang_all_workers, 2),
    "kill target": (kill_target, 4),
    "shut target down": (shut_target_down, 2),
    "hang target": (hang_target, 2),
    "kill source": (kill_source, 1),
    "kill broker": (kill_broker, 2),
    "close broker connections": (close_broker_connections, 3),
    "send again": (send_again, 4),
    "kill connections": (kill_connections, 6),
    "hold rows": (hold_rows, 4),
    "hold tables": (hold_tables, 4),
    "read only": (read_only, 4),
    "small packets": (small_packets, 2),
    **{
        f"target line: {name}": (line(lambda rig: rig.to_target, how, loses="swallow" in name), 3)
        for name, how in LINE_FAULTS.items()
    },
    **{
        f"broker line: {name}": (line(lambda rig: rig.to_broker, how, loses="swallow" in name), 2)
        for name, how in LINE_FAULTS.items()
    },
}
"""With how often each is chosen."""
ALL_FAULTS = {**FAULTS, **OPERATORS}
"""Those of operators are chosen by `--only operator`: they make changes wait."""
