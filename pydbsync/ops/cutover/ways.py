"""The two directions of a plan: which servers they join, and that they fit each other."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydbsync.config.cutover_plan import CutoverPlan, load_plan
from pydbsync.config.file import load_settings
from pydbsync.errors import ConfigError
from pydbsync.ops.cutover.journal import Command
from pydbsync.ops.cutover.work import Direction

_NEEDED = ("db_info", "source_db_info", "rabbitmq_conn_info", "rabbitmq_queue_bind")


class Ways(NamedTuple):
    """A plan with its two directions."""

    plan: CutoverPlan
    forth: Direction
    back: Direction

    def of(self, command: Command) -> tuple[Direction, Direction]:
        """The direction that ends, and the one that begins."""
        return (self.back, self.forth) if command == "rollback" else (self.forth, self.back)


def load_ways(path: Path) -> Ways:
    """The plan and its two configurations. Raises ConfigError."""
    plan = load_plan(path)
    ways = []
    for name, file in (("forth", plan.forth), ("back", plan.back)):
        settings, _ = load_settings(Path(file), require=_NEEDED)
        if settings.sink is not None:
            raise ConfigError(f"{file} has a sink: a cut-over is one between two MySQL or MariaDB", key=name)
        ways.append(Direction(name, settings, Path(file)))
    forth, back = ways
    for one, other, what in (
        (forth.settings.source, back.settings.target, "source_db_info of forth, and db_info of back"),
        (forth.settings.target, back.settings.source, "db_info of forth, and source_db_info of back"),
    ):
        ends = [(each.connect.get("host"), each.connect.get("port", 3306), each.connect.get("unix_socket"))
                for each in (one, other) if each is not None]  # fmt: skip
        if len(ends) != 2 or ends[0] != ends[1]:
            raise ConfigError(f"{what} are not the same server", key="back")
    if (forth.settings.two_way is None) != (back.settings.two_way is None):
        raise ConfigError("both configurations of a plan have it, or none", key="two_way")
    queues = {queue.queue for queue in forth.settings.queues} & {queue.queue for queue in back.settings.queues}
    if queues and forth.settings.amqp.address == back.settings.amqp.address:
        raise ConfigError(f"both directions have the queue {sorted(queues)[0]!r}: give each its own", key="back")
    return Ways(plan, forth, back)
