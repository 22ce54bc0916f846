"""A model of the original's way of working: one message, one autocommitted statement, one acknowledgement.

It takes 50 messages ahead (prefetch), reads each with json.loads, writes inserts and updates as REPLACE and deletes as
DELETE ... LIMIT 1 with every column in WHERE, all with %s parameters. Two things are kinder than in the original: its
result is checked for errors, and BINARY values get back the zero bytes that Maxwell drops, so that the target can
be compared with the source.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from pathlib import Path
from urllib.parse import urlparse

import pymysql
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties
from pymysql.cursors import Cursor

from benchmarks.publish import connect

PREFETCH = 50
BINARY_COLUMNS = {("bench", "orders"): {"token": 0, "digest": 16}}
"""Columns in base64, with the length to which BINARY is padded."""


def decode_row(message: dict[str, object]) -> dict[str, object]:
    data = message["data"]
    assert isinstance(data, dict)
    binary = BINARY_COLUMNS.get((str(message["database"]), str(message["table"])), {})
    return {
        name: base64.b64decode(value).ljust(binary[name], b"\0") if name in binary and value is not None else value
        for name, value in data.items()
    }


def build_statement(message: dict[str, object]) -> tuple[str, tuple[object, ...]]:
    row = decode_row(message)
    table = f"`{message['database']}`.`{message['table']}`"
    if message["type"] == "delete":
        condition = " AND ".join(f"`{c}`=%s" if v is not None else f"`{c}` IS NULL /* %s */" for c, v in row.items())
        return f"DELETE FROM {table} WHERE {condition} LIMIT 1", tuple(row.values())
    columns = "`,`".join(row)
    return f"REPLACE INTO {table} (`{columns}`) VALUES({','.join(['%s'] * len(row))})", tuple(row.values())


def replay(amqp_url: str, queue: str, mysql: pymysql.Connection[Cursor], count: int) -> float:
    """Seconds from the subscription to the acknowledgement of the last of `count` messages."""
    connection = connect(amqp_url)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    done = 0

    def handle(of: BlockingChannel, method: Basic.Deliver, _: BasicProperties, body: bytes) -> None:
        nonlocal done
        sql, values = build_statement(json.loads(body.decode("utf-8")))
        cursor = mysql.cursor()
        cursor.execute(sql, values)
        cursor.close()
        of.basic_ack(method.delivery_tag)
        done += 1
        if done == count:
            of.stop_consuming()

    channel.basic_consume(queue, handle)
    start = time.perf_counter()
    channel.start_consuming()
    passed = time.perf_counter() - start
    connection.close()
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amqp", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--mysql", required=True, help="mysql://user:password@host:port")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    target = urlparse(options.mysql)
    mysql = pymysql.connect(
        host=target.hostname or "127.0.0.1",
        port=target.port or 3306,
        user=target.username or "",
        password=target.password or "",
        charset="utf8mb4",
        autocommit=True,
        init_command="SET time_zone='+00:00'",
    )
    seconds = replay(options.amqp, options.queue, mysql, options.count)
    options.result.write_text(json.dumps({"changes": options.count, "seconds": seconds}))


if __name__ == "__main__":
    main()
