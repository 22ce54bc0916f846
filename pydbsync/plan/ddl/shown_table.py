"""The text of SHOW CREATE TABLE as parts that can be compared: what one table has that another has not."""

from __future__ import annotations

import re

import msgspec

_COLUMN = re.compile(r"^`((?:[^`]|``)+)` ")
_KEY = re.compile(r"^(?P<kind>(?:[A-Z]+ )?KEY) `(?P<name>(?:[^`]|``)+)` ")
_CONSTRAINT = re.compile(r"^CONSTRAINT `((?:[^`]|``)+)` ")
_PARTITION = re.compile(r"\b(?:SUB)?PARTITION (?:`((?:[^`]|``)+)`|([^\s`,()]+))(?= VALUES| ENGINE|,|\)|\s*\n)")
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+(?= |$)")


class ShownTable(msgspec.Struct, frozen=True):
    """One table. All names are in lower case."""

    columns: dict[str, str]
    """Definitions by name, in order."""
    primary_key: str
    """Empty without one."""
    keys: dict[str, str]
    constraints: dict[str, str]
    """Foreign keys and CHECKs."""
    others: tuple[str, ...]
    """Lines that are none of these, as PERIOD FOR."""
    options: str
    """Without the counter of AUTO_INCREMENT, which rows move."""
    partitions: str

    @property
    def partition_names(self) -> frozenset[str]:
        return frozenset(_unquoted(found[1] or found[2]) for found in _PARTITION.finditer(self.partitions))


def read_shown(text: str, *, database: str) -> ShownTable:
    """Read what SHOW CREATE TABLE of a table in this database says."""
    body = text.partition("\n")[2]
    definitions, _, tail = body.partition("\n) ")
    found = ShownTable({}, "", {}, {}, (), "", "")
    primary_key, others = "", []
    for line in definitions.split("\n"):
        line = line.strip().removesuffix(",")
        if column := _COLUMN.match(line):
            found.columns[_unquoted(column[1])] = line
        elif line.startswith("PRIMARY KEY "):
            primary_key = line
        elif key := _KEY.match(line):
            found.keys[_unquoted(key["name"])] = line
        elif constraint := _CONSTRAINT.match(line):
            own = "REFERENCES `" + database.replace("`", "``") + "`."
            found.constraints[_unquoted(constraint[1])] = line.replace(own, "REFERENCES ")
        else:
            others.append(line)
    options, _, partitions = tail.partition("\n")
    return msgspec.structs.replace(
        found, primary_key=primary_key, others=tuple(others), options=_COUNTER.sub("", options), partitions=partitions
    )


def _unquoted(name: str) -> str:
    return name.replace("``", "`").lower()


def without_name(line: str) -> str:
    """A key or a constraint without what it is called."""
    if key := _KEY.match(line):
        return f"{key['kind']} {line[key.end() :]}"
    return _CONSTRAINT.sub("", line)


def missing(wanted: ShownTable, there: ShownTable, *, names_differ: bool = False) -> list[tuple[str, str]]:
    """What `wanted` has and `there` has not, or has otherwise: pairs of the two lines, the second empty where there is
    nothing of that name. `there` may have more columns, keys and constraints.

    With `names_differ` keys and constraints count as there under any name.
    """
    found = [
        (line, there.columns.get(name, "")) for name, line in wanted.columns.items() if there.columns.get(name) != line
    ]
    if not found and [name for name in there.columns if name in wanted.columns] != list(wanted.columns):
        found.append((f"columns in the order {_listed(wanted)}", f"columns in the order {_listed(there)}"))
    if wanted.primary_key and wanted.primary_key != there.primary_key:
        found.append((wanted.primary_key, there.primary_key))
    for own, others in ((wanted.keys, there.keys), (wanted.constraints, there.constraints)):
        shapes = {without_name(line) for line in others.values()}
        for name, line in own.items():
            if others.get(name) != line and not (names_differ and without_name(line) in shapes):
                found.append((line, others.get(name, "")))
    found += [(line, "") for line in wanted.others if line not in there.others]
    for text, other in ((wanted.options, there.options), (wanted.partitions, there.partitions)):
        if text != other:
            found.append((text, other))
    return found


def _listed(table: ShownTable) -> str:
    return ", ".join(table.columns)
