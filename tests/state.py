"""Print the state of databases in a canonical form, or compare it with a recorded one.

    python -m tests.state --port 3306 --user u --password p db1 db2 > state.json
    python -m tests.state --port 3307 --user u --password p --compare state.json [--map db1=other] [--data-only]

The form does not depend on the server (MariaDB or MySQL):
  {database: {table: {"columns": [[name, type, nullable]], "indexes": [[name, unique, [column]]], "rows": [[value]]}}}
A database that must not exist is null.  Rows are a sorted multiset; a value is null or a string:
  text and binary  upper-case hex of the bytes (text as utf8mb4)
  numbers          as the server prints them; FLOAT and DOUBLE as Python's repr of the exact value
  temporal         as the server prints them with time_zone '+00:00'
  BIT              the integer
  JSON             keys sorted, numbers normalised (1.0 and 1 stay different)
  geometry         SRID=n;WKT in the stored order of axes
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import struct
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict

import pymysql

GEOMETRY = {
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
}
BINARY = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"}
TEXT = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"}

Row = list[str | None]


class Table(TypedDict):
    """One table's structure and rows; see the module's docstring."""

    columns: list[list[Any]]
    indexes: list[list[Any]]
    rows: list[Row]


State = dict[str, dict[str, Table] | None]


def quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def canonical_type(column_type: str, *, is_json: bool) -> str:
    """Undo the spellings in which MariaDB and MySQL differ."""
    if is_json:
        return "json"
    column_type = column_type.replace("geomcollection", "geometrycollection")
    if "zerofill" in column_type:
        return column_type
    return re.sub(r"^((?:tiny|small|medium|big)?int|year)\(\d+\)", r"\1", column_type)


def canonical_json(value: object) -> str:
    if isinstance(value, dict):
        pairs = sorted(value.items())
        return "{" + ",".join(json.dumps(k, ensure_ascii=False) + ":" + canonical_json(v) for k, v in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical_json, value)) + "]"
    if isinstance(value, Decimal):
        text = str(value.normalize())
        return text if re.search(r"[.E]", text) else text + ".0"
    return json.dumps(value, ensure_ascii=False)


def canonical_wkt(text: str) -> str:
    # MySQL writes MULTIPOINT((0 0),(1 1)), MariaDB MULTIPOINT(0 0,1 1)
    return re.sub(r"MULTIPOINT\(\((.*?)\)\)", lambda m: "MULTIPOINT(" + m[1].replace("),(", ",") + ")", text)


def canonical_value(value: Any, kind: str) -> str | None:
    if value is None:
        return None
    if kind == "float":  # the brands print it with more or less digits than it has
        return repr(struct.unpack("f", struct.pack("f", float(value)))[0])
    if kind == "double":
        return repr(float(value))
    if kind == "json":
        return canonical_json(json.loads(value, parse_float=Decimal))
    if kind in GEOMETRY:
        return canonical_wkt(value)
    return str(value)


class Reader:
    """Reads states over one connection."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self.cursor = connection.cursor()
        self.cursor.execute("SET time_zone = '+00:00', group_concat_max_len = 1000000")
        self.mariadb = "mariadb" in str(self.query("SELECT VERSION()")[0][0]).lower()

    def query(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        self.cursor.execute(sql, args or None)
        return list(self.cursor.fetchall())

    def database(self, name: str) -> dict[str, Table] | None:
        if not self.query("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", name):
            return None
        tables = self.query(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = %s AND table_type <> 'VIEW' ORDER BY BINARY table_name",
            name,
        )
        return {table: self.table(name, table) for (table,) in tables}

    def table(self, database: str, table: str) -> Table:
        as_json = self.json_columns(database, table)
        columns, kinds = [], []
        for name, kind, full, nullable in self.query(
            "SELECT column_name, data_type, column_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            database,
            table,
        ):
            columns.append([name, canonical_type(full, is_json=name in as_json), nullable == "YES"])
            kinds.append("json" if name in as_json else kind.lower())
        return {
            "columns": columns,
            "indexes": self.indexes(database, table),
            "rows": self.rows(database, table, [column[0] for column in columns], kinds),
        }

    def json_columns(self, database: str, table: str) -> set[str]:
        """MariaDB stores JSON as LONGTEXT with a CHECK constraint."""
        if not self.mariadb:
            return set()
        checks = self.query(
            "SELECT check_clause FROM information_schema.check_constraints"
            " WHERE constraint_schema = %s AND table_name = %s AND level = 'Column'",
            database,
            table,
        )
        found = (re.fullmatch(r"json_valid\(`(.*)`\)", clause) for (clause,) in checks)
        return {match[1].replace("``", "`") for match in found if match}

    def indexes(self, database: str, table: str) -> list[list[Any]]:
        found: dict[str, list[Any]] = {}
        for name, non_unique, column, part, kind in self.query(
            "SELECT index_name, non_unique, column_name, sub_part, index_type FROM information_schema.statistics"
            " WHERE table_schema = %s AND table_name = %s ORDER BY index_name, seq_in_index",
            database,
            table,
        ):
            length = f"({part})" if part and kind != "SPATIAL" else ""
            found.setdefault(name, [name, not non_unique, []])[2].append((column or "<expression>") + length)
        return [found[name] for name in sorted(found)]

    def rows(self, database: str, table: str, names: Sequence[str], kinds: Sequence[str]) -> list[Row]:
        fields = ", ".join(self.expression(name, kind) for name, kind in zip(names, kinds, strict=True))
        # no arguments: the names may contain %
        self.cursor.execute(f"SELECT {fields} FROM {quote(database)}.{quote(table)}")
        rows = [
            [canonical_value(value, kind) for value, kind in zip(row, kinds, strict=True)]
            for row in self.cursor.fetchall()
        ]
        return sorted(rows, key=lambda row: [(value is not None, value or "") for value in row])

    def expression(self, name: str, kind: str) -> str:
        column = quote(name)
        if kind in BINARY:
            return f"HEX({column})"
        if kind in TEXT:
            return f"HEX(CONVERT({column} USING utf8mb4))"
        if kind == "bit":
            return f"CAST({column} + 0 AS CHAR)"
        if kind == "float":
            return f"CAST(CAST({column} AS DOUBLE) AS CHAR)"
        if kind in GEOMETRY:
            wkt = f"ST_AsText({column})" if self.mariadb else f"ST_AsText({column}, 'axis-order=long-lat')"
            return f"CONCAT('SRID=', ST_SRID({column}), ';', {wkt})"
        return f"CAST({column} AS CHAR)"


def read_state(connection: pymysql.Connection[Any], databases: Iterable[str]) -> State:
    """The state of these databases now; None for one that does not exist."""
    reader = Reader(connection)
    return {name: reader.database(name) for name in databases}


def load_state(path: Path) -> State:
    """A recorded state from `state.json` or `state.json.gz`."""
    raw = path.read_bytes()
    state: State = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return state


def compare(
    connection: pymysql.Connection[Any],
    expected: State,
    *,
    renamed: Mapping[str, str] | None = None,
    data_only: bool = False,
) -> list[str]:
    """What differs on the server from the expected state, one sentence each; an empty list means equal.

    `renamed` says which database of the state has which name on the server.
    """
    reader = Reader(connection)
    actual = {name: reader.database((renamed or {}).get(name, name)) for name in expected}
    return list(differences(expected, actual, data_only=data_only))


def differences(expected: State, actual: State, *, data_only: bool) -> Iterator[str]:
    for database, tables in expected.items():
        found = actual[database]
        if tables is None or found is None:
            if tables is not found:
                yield f"{database}: " + ("should not exist" if tables is None else "does not exist")
            continue
        for name in sorted(tables.keys() ^ found.keys()):
            yield f"{database}.{name}: " + ("missing" if name in tables else "should not exist")
        for name in sorted(tables.keys() & found.keys()):
            if not data_only:
                yield from structure_differences(f"{database}.{name}", tables[name], found[name])
            yield from row_differences(f"{database}.{name}", tables[name], found[name])


def structure_differences(where: str, want: Table, got: Table) -> Iterator[str]:
    for part, wanted, present in (
        ("columns", want["columns"], got["columns"]),
        ("indexes", want["indexes"], got["indexes"]),
    ):
        for item in wanted:
            if item not in present:
                yield f"{where}: {part}: missing {item}"
        for item in present:
            if item not in wanted:
                yield f"{where}: {part}: unexpected {item}"
    order = [[column[0] for column in table["columns"]] for table in (want, got)]
    if order[0] != order[1]:
        yield f"{where}: columns stand in the order {order[1]}, not {order[0]}"


def row_differences(where: str, want: Table, got: Table) -> Iterator[str]:
    names = [column[0] for column in want["columns"]]
    absent = set(names) - {column[0] for column in got["columns"]}
    if absent:
        yield f"{where}: rows not compared, columns {sorted(absent)} are missing"
        return
    left, right = projected(want, names), projected(got, names)
    for row, count in (left - right).items():
        yield f"{where}: missing {count} x {list(row)}"
    for row, count in (right - left).items():
        yield f"{where}: unexpected {count} x {list(row)}"


def projected(table: Table, names: Sequence[str]) -> Counter[tuple[str | None, ...]]:
    """The rows with only these columns, in this order."""
    have = [column[0] for column in table["columns"]]
    picks = [have.index(name) for name in names]
    return Counter(tuple(row[i] for i in picks) for row in table["rows"])


def dump(state: State) -> str:
    """JSON with one row per line."""

    def line(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    def block(items: Sequence[object]) -> str:
        return "[\n" + ",\n".join("   " + line(item) for item in items) + "\n  ]" if items else "[]"

    databases = []
    for database, tables in state.items():
        if tables is None:
            databases.append(f"{line(database)}: null")
            continue
        body = ",\n".join(
            f' {line(name)}: {{\n  "columns": {block(table["columns"])},\n'
            f'  "indexes": {block(table["indexes"])},\n  "rows": {block(table["rows"])}\n }}'
            for name, table in tables.items()
        )
        databases.append(f"{line(database)}: {{\n{body}\n}}" if body else f"{line(database)}: {{}}")
    return "{\n" + ",\n".join(databases) + "\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3306)
    parser.add_argument("--user", default="root")
    parser.add_argument("--password", default="")
    parser.add_argument("--compare", metavar="STATE", type=Path, help="print what differs from it; exit 1 if any")
    parser.add_argument("--map", metavar="FROM=TO", action="append", default=[], help="database FROM is called TO here")
    parser.add_argument("--data-only", action="store_true", help="compare rows by column name, not the structure")
    parser.add_argument("databases", nargs="*", help="default with --compare: all in the file")
    args = parser.parse_args()
    if not args.compare and not args.databases:
        parser.error("name at least one database")

    connection = pymysql.connect(
        host=args.host, port=args.port, user=args.user, password=args.password, charset="utf8mb4", autocommit=True
    )
    renamed = dict(pair.split("=", 1) for pair in args.map)
    if not args.compare:
        reader = Reader(connection)
        sys.stdout.write(dump({name: reader.database(renamed.get(name, name)) for name in args.databases}))
        return 0
    expected = load_state(args.compare)
    chosen = {name: expected[name] for name in args.databases or expected}
    found = compare(connection, chosen, renamed=renamed, data_only=args.data_only)
    print("\n".join(found) if found else "identical")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
