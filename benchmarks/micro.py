"""What each step of the hot path costs alone, in microseconds a message: `python -m benchmarks.micro`."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from operator import attrgetter
from random import Random

import msgspec

from benchmarks.messages import MessageWriter
from benchmarks.tables import Table, orders, sysbench, wide

Bodies = list[bytes]
Step = Callable[[Bodies], object]
NOTHING = msgspec.Raw(b"")
"""`Raw | None` refuses everything but null (msgspec 0.22), so absent is empty text."""


class RowMessage(msgspec.Struct, gc=False):
    """The fields replay needs; `data` and `old` stay text."""

    database: str
    table: str
    type: str
    ts: int
    data: msgspec.Raw
    old: msgspec.Raw = NOTHING
    xid: int | None = None
    xoffset: int | None = None
    commit: bool = False
    position: str | None = None
    gtid: str | None = None
    server_id: int | None = None
    primary_key: msgspec.Raw = NOTHING
    primary_key_columns: msgspec.Raw = NOTHING


class LeanMessage(msgspec.Struct, gc=False):
    """The same without the fields that a table's own key makes needless."""

    database: str
    table: str
    type: str
    ts: int
    data: msgspec.Raw
    old: msgspec.Raw = NOTHING
    xid: int | None = None
    xoffset: int | None = None
    commit: bool = False
    position: str | None = None


def row_struct(table: Table) -> type[msgspec.Struct]:
    return msgspec.defstruct(table.name, [(c.name, msgspec.Raw) for c in table.columns], gc=False)


def message_struct(table: Table) -> type[msgspec.Struct]:
    """A whole message whose `data` is this table's row, for one decoding pass instead of two."""
    row = row_struct(table)
    fields: list[tuple[str, object] | tuple[str, object, object]] = [
        ("type", str),
        ("ts", int),
        ("data", row),
        ("old", msgspec.Raw, NOTHING),
        ("xid", int | None, None),
        ("xoffset", int | None, None),
        ("commit", bool, False),
        ("position", str | None, None),
    ]
    return msgspec.defstruct("message_" + table.name, fields, gc=False)


def sample(table: Table, count: int) -> Bodies:
    random = Random(7)
    writer = MessageWriter("bench")
    bodies: Bodies = []
    for key in range(count):
        row = table.make_row(random, key)
        if key % 3:
            bodies.append(writer.insert(table, row, last=key % 4 == 3))
        else:
            bodies.append(writer.update(table, row, table.make_row(random, key), last=key % 4 == 3))
    return bodies


def steps_for(table: Table) -> dict[str, Step]:
    """Each step includes those it builds on, as its name says."""
    names = [c.name for c in table.columns]
    full = msgspec.json.Decoder(RowMessage)
    lean = msgspec.json.Decoder(LeanMessage)
    as_dict = msgspec.json.Decoder(dict[str, msgspec.Raw])
    as_values = msgspec.json.Decoder(dict[str, object])
    row_type = row_struct(table)
    as_row = msgspec.json.Decoder(row_type)
    get = attrgetter(*names)
    astuple = msgspec.structs.astuple
    single = msgspec.json.Decoder(message_struct(table))
    expected = set(names)
    escapes: list[bytes] = []

    def join_rows(bodies: Bodies) -> bytes:
        out = []
        for body in bodies:
            row = as_row.decode(lean.decode(body).data)
            out.append(b"(" + b",".join(get(row)) + b")")
        return b",".join(out)

    def join_checked(bodies: Bodies) -> bytes:
        out = []
        for body in bodies:
            if b"\\u" in body or b"\\f" in body:
                escapes.append(body)
            row = as_row.decode(lean.decode(body).data)
            out.append(b"(" + b",".join(get(row)) + b")")
        return b",".join(out)

    def join_one_check(bodies: Bodies) -> bytes:
        out = []
        for body in bodies:
            if b"\\" in body and (b"\\u" in body or b"\\f" in body):
                escapes.append(body)
            row = as_row.decode(lean.decode(body).data)
            out.append(b"(" + b",".join(get(row)) + b")")
        return b",".join(out)

    def join_dicts(bodies: Bodies) -> bytes:
        out = []
        for body in bodies:
            row = as_dict.decode(lean.decode(body).data)
            if row.keys() == expected:
                out.append(b"(" + b",".join(row.values()) + b")")
        return b",".join(out)

    def join_single(bodies: Bodies) -> bytes:
        out = []
        for body in bodies:
            row = single.decode(body).data  # type: ignore[attr-defined]
            out.append(b"(" + b",".join(get(row)) + b")")
        return b",".join(out)

    def by_prefix(bodies: Bodies) -> bytes:
        decoders = {bodies[0][: bodies[0].index(b',"type"')]: single.decode}
        out = []
        for body in bodies:
            message = decoders[body[: body.index(b',"type"')]](body)
            out.append(b"(" + b",".join(get(message.data)) + b")")  # type: ignore[attr-defined]
        return b",".join(out)

    def raw_slice(bodies: Bodies) -> bytes:
        out = []
        for body in bodies:
            data = lean.decode(body).data
            out.append(bytes(data))
        return b",".join(out)

    def compacted(bodies: Bodies) -> bytes:
        rows: dict[bytes, bytes] = {}
        for body in bodies:
            message = single.decode(body)
            values = get(message.data)  # type: ignore[attr-defined]
            rows[bytes(values[0])] = b"(" + b",".join(values) + b")"
        return b",".join(rows.values())

    def load_values(bodies: Bodies) -> None:
        for body in bodies:
            as_values.decode(lean.decode(body).data)

    return {
        "json.loads": lambda bodies: [json.loads(b) for b in bodies],
        "msgspec, whole message into dicts": lambda bodies: [msgspec.json.decode(b) for b in bodies],
        "msgspec, struct, data Raw, all fields": lambda bodies: [full.decode(b) for b in bodies],
        "msgspec, struct, data Raw, needed fields": lambda bodies: [lean.decode(b) for b in bodies],
        "  all lines in one call": lambda bodies: lean.decode_lines(b"\n".join(bodies)),
        "  + bytes(data)": raw_slice,
        "  + dict[str, object]": load_values,
        "  + dict[str, Raw]": lambda bodies: [as_dict.decode(lean.decode(b).data) for b in bodies],
        "  + dict[str, Raw] + join": join_dicts,
        "  + row struct of Raw": lambda bodies: [as_row.decode(lean.decode(b).data) for b in bodies],
        "  + row struct of Raw + astuple": lambda bodies: [astuple(as_row.decode(lean.decode(b).data)) for b in bodies],
        "  + row struct of Raw + attrgetter": lambda bodies: [get(as_row.decode(lean.decode(b).data)) for b in bodies],
        "  + row struct of Raw + attrgetter + join": join_rows,
        "  + row struct of Raw + attrgetter + join + look for escapes": join_checked,
        "  + the same, a backslash looked for first": join_one_check,
        "one pass, table's own message struct": lambda bodies: [single.decode(b) for b in bodies],
        "  + attrgetter + join": join_single,
        "  + decoder found by the message's prefix": by_prefix,
        "  + last image of each key kept in a dict": compacted,
        "  all lines in one call, no join": lambda bodies: single.decode_lines(b"\n".join(bodies)),
    }


def measure(step: Step, bodies: Bodies, rounds: int) -> float:
    """Median microseconds a message."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        step(bodies)
        times.append((time.perf_counter() - begin) / len(bodies) * 1e6)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    tables = (sysbench(1), orders(), wide())
    samples = [sample(t, options.messages) for t in tables]
    print(f"{'us a message':64}" + "".join(f"{t.name:>10}" for t in tables))
    sizes = [sum(map(len, bodies)) // len(bodies) for bodies in samples]
    print(
        f"{'(columns; mean bytes of a message)':64}"
        + "".join(f"{f'{len(t.columns)}; {size}':>10}" for t, size in zip(tables, sizes, strict=True))
    )
    all_steps = [steps_for(t) for t in tables]
    for name in all_steps[0]:
        costs = [measure(s[name], b, options.rounds) for s, b in zip(all_steps, samples, strict=True)]
        print(f"{name:64}" + "".join(f"{cost:10.2f}" for cost in costs))


if __name__ == "__main__":
    main()
