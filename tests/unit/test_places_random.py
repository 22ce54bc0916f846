"""Places against sources that do whatever sources do: of each change that was made, exactly one copy is new."""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

import msgspec
import pytest

from pydbsync.model import RowChange
from pydbsync.places import Checkpoint, Standing, StreamProgress
from tests.matrices import ANOTHER_SEED, LONG

GIB = 2**30
_NEARBY = 2**24
_WRAP = 2**32
_RUNS = 50


class Made(NamedTuple):
    """A row as the source's binlog has it, and which change it is."""

    change: RowChange
    number: int


class Server:
    """A source, or a replica of it: its binlog, of which the publisher may send any end again."""

    def __init__(self, chance: random.Random, *, gtids: str, base: str, server_id: int) -> None:
        self.chance = chance
        self.gtids = gtids
        self.base, self.server_id = base, server_id
        self.uuid = f"714f9c60-e4b2-11f1-9c62-02fc{server_id:08d}"
        self.file, self.offset = chance.randrange(1, 30), 4
        self.xid = chance.randrange(1, 1000)
        self.gno = 0
        self.log: list[list[Made]] = []
        """Transactions that may be sent again."""

    def write(self, numbers: list[int], ts: int, *, gtid: str | None = None, step: int = 400) -> None:
        """A transaction; `gtid` is given where it was made by another server."""
        self.xid += self.chance.choice((1, 1, 1, 7))
        if gtid is None and self.gtids:
            self.gno += 1
            gtid = f"{self.uuid}:{self.gno}" if self.gtids == "mysql" else f"0-{self.server_id}-{self.gno}"
        found, offset = [], self.offset
        for place, number in enumerate(numbers):
            is_last = place == len(numbers) - 1
            if place == 0 or self.chance.random() < 0.5:
                offset += self.chance.randrange(step // 2, step)
            wire = offset % _WRAP
            if wire >= _WRAP // 2 and self.chance.random() < 0.2:
                wire -= _WRAP  # a reader that takes it for signed
            change = RowChange(
                kind="insert", database="d", table="t", ts=ts, data=msgspec.Raw(b"{}"), xid=self.xid, gtid=gtid,
                server_id=self.server_id, position=f"{self.base}.{self.file:06d}:{wire}",
                xoffset=None if is_last else place, commit=is_last,
            )  # fmt: skip
            found.append(Made(change, number))
        self.offset = offset + self.chance.randrange(60, 200)
        self.log.append(found)

    def rotate(self) -> None:
        self.file, self.offset = self.file + 1, 4

    def restart(self) -> None:
        """The xids begin again."""
        self.rotate()
        self.xid = self.chance.randrange(1, 50)

    def reset(self) -> None:
        self.file, self.offset, self.gno = 1, 4, 0
        self.log = []


class World:
    """A source with its publisher, the queue, and a worker that dies now and then."""

    def __init__(self, chance: random.Random, kinds: tuple[str, ...], gtids: str) -> None:
        self.chance = chance
        self.kinds = kinds
        self.server = Server(chance, gtids=gtids, base="binlog", server_id=11)
        self.clock = 1_700_000_000
        self.made = 0
        self.in_this_second = 0
        self.servers = 11
        self.numbered_at = self.clock
        """When the GTIDs began."""
        self.since = self.clock
        """Nothing that is written from now on began before: of a reset, or of a clock that was put back."""
        self.progress = StreamProgress(Checkpoint())
        self.kept = self.progress.checkpoint()
        self.queue: list[Made] = []
        self.taken: list[Made] = []
        """Not acknowledged."""
        self.committed = 0
        """How many of them are committed."""
        self.again = 0
        """So many of the queue were handed out before."""
        self.applied: Counter[int] = Counter()
        self.open: list[int] = []
        """Applied and not committed."""
        self.parked: set[int] = set()

    def run(self, steps: int) -> None:
        for _ in range(steps):
            for _ in range(self.chance.randrange(1, 6)):
                self.write()
            self.take(self.chance.randrange(len(self.queue) + 1))
            getattr(self, self.chance.choice(self.kinds))()
        self.take(len(self.queue))
        self.commit()

    # -- what the source does

    def write(self, *, step: int = 400) -> None:
        if self.chance.random() < 0.4 or self.in_this_second >= 30:
            self.clock += self.chance.choice((1, 1, 2, 50))
            self.in_this_second = 0
        self.in_this_second += 1
        began_at = max(self.since, self.clock - self.chance.choice((0, 0, 0, 0, 1, 30)))
        count = self.chance.choice((1, 1, 2, 5))
        numbers = list(range(self.made, self.made + count))
        self.made += count
        self.server.write(numbers, began_at, step=step)
        if self.server.gno == 1:
            self.numbered_at = self.clock
        self.queue += self.server.log[-1]

    def nothing(self) -> None:
        pass

    def rotate(self) -> None:
        self.server.rotate()

    def restart(self) -> None:
        self.server.restart()

    def large(self) -> None:
        """A transaction of more than 4 GiB, with which its file ends, but for what was committed in its group."""
        self.server.rotate()
        self.write()
        self.write(step=3 * GIB)
        while len(self.server.log[-1]) < 5:
            self.server.rotate()
            self.write(step=3 * GIB)
        for _ in range(self.chance.randrange(3)):
            self.write()
        self.server.rotate()

    def reset(self) -> None:
        """Nothing of the former binlog is sent after it."""
        passed_s = self.chance.choice((0, 1, 60))
        if self.server.gno and self.clock == self.numbered_at:
            passed_s += 1  # of two servers' numbers that begin within one second nothing tells which is which
        self.clock += passed_s
        if passed_s:
            self.in_this_second = 0
        self.since = self.clock
        self.server.reset()
        self.kinds = tuple(each for each in self.kinds if each != "reset")  # one of a second is told

    def clock_back(self) -> None:
        self.clock -= self.chance.choice((1, 60, 3600))
        self.since = min(self.since, self.clock)

    def fail_over(self) -> None:
        """To a replica with places of its own, which has all that the publisher had sent."""
        former = self.server
        self.servers += 1
        base = self.chance.choice(("binlog", "binlog", "replica"))
        self.server = Server(self.chance, gtids=former.gtids, base=base, server_id=self.servers)
        if former.gtids == "mariadb":
            self.server.gno = former.gno  # the numbers of a domain go on
        for transaction in former.log[-self.chance.randrange(1, 12) :]:
            first = transaction[0].change
            self.server.server_id = first.server_id or 0
            numbers = [each.number for each in transaction]
            self.server.write(numbers, first.ts, gtid=first.gtid)
        self.server.server_id = self.servers
        self.send_again()

    # -- what the publisher, the broker and the worker do

    def send_again(self) -> None:
        """A publisher that died begins at a place that it had kept."""
        for transaction in self.server.log[-self.chance.randrange(1, 12) :]:
            self.queue += transaction

    def half(self) -> None:
        """A publisher dies in the midst of a transaction, and sends it again."""
        self.write()
        sent = len(self.server.log[-1])
        if sent > 1:
            del self.queue[-self.chance.randrange(1, sent) :]
            self.send_again()

    def take(self, count: int) -> None:
        for made in self.queue[:count]:
            self._judge(made, again=self.again > 0)
            self.again = max(0, self.again - 1)
            self.taken.append(made)
            if self.chance.random() < 0.1:
                self.commit()
        del self.queue[:count]

    def _judge(self, made: Made, *, again: bool) -> None:
        try:
            standing = self.progress.judge(made.change, again=again)
        except ValueError:
            self.parked.add(made.number)  # before or behind a transaction of more than 4 GiB
            return
        if standing is not Standing.DUPLICATE:
            self.open.append(made.number)

    def commit(self) -> None:
        acknowledged = self.committed if self.chance.random() < 0.5 else len(self.taken)
        self.kept = msgspec.json.decode(msgspec.json.encode(self.progress.checkpoint()), type=Checkpoint)
        self.applied.update(self.open)
        self.open.clear()
        del self.taken[:acknowledged]
        self.committed = len(self.taken)

    def die(self) -> None:
        """The worker: what was not acknowledged comes again, before all else."""
        self.open.clear()
        self.progress = StreamProgress(self.kept)
        self.queue[:0] = self.taken
        self.again += len(self.taken)
        self.taken.clear()
        self.committed = 0

    def faults(self) -> tuple[list[int], list[int]]:
        """What was lost, and what was applied more than once."""
        lost = [number for number in range(self.made) if not self.applied[number] and number not in self.parked]
        return lost, [number for number, count in self.applied.items() if count > 1]


_USUAL = ("nothing", "rotate", "restart", "send_again", "half", "die", "die")
WORLDS = {
    "no GTIDs": ("", _USUAL),
    "no GTIDs, reset": ("", (*_USUAL, "reset")),
    "no GTIDs, a clock put back": ("", (*_USUAL, "clock_back")),
    "no GTIDs, large": ("", (*_USUAL, "large")),
    "MySQL": ("mysql", (*_USUAL, "large", "clock_back")),
    "MySQL, reset": ("mysql", (*_USUAL, "reset")),
    "MySQL, fail-over": ("mysql", (*_USUAL, "fail_over", "clock_back")),
    "MySQL, all but a reset": ("mysql", (*_USUAL, "fail_over", "large", "clock_back")),
    "MariaDB, fail-over": ("mariadb", (*_USUAL, "fail_over", "clock_back", "large")),
    "MariaDB, reset": ("mariadb", (*_USUAL, "reset")),
}


def check(name: str, seed: int) -> None:
    gtids, kinds = WORLDS[name]
    world = World(random.Random(seed), kinds, gtids)
    world.run(12)
    assert world.faults() == ([], []), f"{name}, seed {seed}"


@pytest.mark.parametrize("name", WORLDS)
def test_of_each_change_exactly_one_copy_is_new(name: str) -> None:
    for seed in range(_RUNS):
        check(name, seed)


@LONG  # with fixed seeds: the one above
@pytest.mark.parametrize("name", WORLDS)
def test_of_each_change_exactly_one_copy_is_new_with_any_seed(name: str) -> None:
    for seed in range(ANOTHER_SEED, ANOTHER_SEED + 4 * _RUNS):
        check(name, seed)
