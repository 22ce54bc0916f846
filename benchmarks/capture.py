"""pydbsync's own reading of the binlog: from the source to a file of messages, which must be those of the workload."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks import child
from benchmarks.drain import FrameReader
from benchmarks.engine import ROOT, connect_keywords
from benchmarks.publish import EXCHANGE
from benchmarks.rig import Prepared
from lab.mariadb import MariaDB
from lab.rabbitmq import RabbitMQ
from pydbsync.model import Delivery
from pydbsync.source.sequence import spread

BUNDLE = ("--bundle", "--routing-key", "%db%")
OWN_FIELDS = ("ts", "xid", "position", "gtid", "server_id", "thread_id")
"""What the generator makes up, so that it differs."""


def run_capture(
    source: MariaDB, prepared: Prepared, folder: Path, *, to: RabbitMQ | None = None, bundle: bool = False
) -> child.Outcome:
    """A process from the workload's first place to the end of the binlog; to a file, or `to` the bench's exchange."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    server = connect_keywords(source)
    config = folder / "capture.yaml"
    settings: dict[str, object] = {
        "source_db_info": server,
        "db_info": server,
        "log_file_prefix": str(folder / "log_%s.log"),
    }
    if to is not None:
        settings["rabbitmq_conn_info"] = {**connect_keywords(to), "vhost": "/"}
    config.write_text(json.dumps(settings))
    begin = f"{prepared.begin.file}:{prepared.begin.offset}"
    receiver = ["--to", str(messages_of(folder))] if to is None else ["--to", "rabbitmq", "--exchange", EXCHANGE]
    options = ["--config", str(config), *receiver, "--start", begin, "--until-end", *(BUNDLE if bundle else [])]
    command = [sys.executable, "-m", "pydbsync", "capture", *options]
    return child.run([*command, "--state", str(folder / "state")], result_option="--summary-json", folder=ROOT)


def fetch(broker: RabbitMQ, queue: str, count: int, folder: Path) -> None:
    """Put the messages of a queue where a capture to a file has put them."""
    reader = FrameReader(broker.url)
    with messages_of(folder).open("wb") as file:

        def write(body: bytes) -> None:
            file.writelines(each.body + b"\n" for each in spread([Delivery(body, 1)]))

        reader.drain(queue, count, take=write)
    reader.close()


def messages_of(folder: Path) -> Path:
    return folder / "captured.ndjson"


def is_same(captured: Path, generated: Path) -> bool:
    """Whether both files tell the same changes in the same order, transaction by transaction."""
    pairs = itertools.zip_longest(comparable(captured), comparable(generated))
    return all(ours == theirs for ours, theirs in pairs)


def comparable(path: Path) -> Iterator[list[tuple[str, bytes]]]:
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    with path.open("rb") as file:
        for line in file:
            yield [(name, bytes(value)) for name, value in decode(line).items() if name not in OWN_FIELDS]
