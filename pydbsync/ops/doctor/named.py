"""What the configuration names is there: a name that nothing has does nothing, and nobody is told."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from pydbsync.ops.doctor.catalogue import every_source_table, pairs, source_tables
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, warning
from pydbsync.route.filters import Filters


def check_names(exam: Examination) -> Iterator[Finding]:
    """What the configuration names is there at the source."""
    names = source_tables(exam)
    present = {str(row[0]) for row in exam.source().rows("SHOW DATABASES")}
    settings = exam.settings
    for database in settings.dbname_rewrite:
        if database not in present:
            close = next((name for name in present if name.lower() == database.lower()), None)
            yield warning(
                "rewrite",
                f"dbname_rewrite names {database}, which the source does not have or does not show to our user",
                f"write {close!r} as the source does" if close else "correct dbname_rewrite, or GRANT SELECT on it",
            )
    for glob in settings.include:
        if not any(Filters(include=[glob]).takes(name) for name in names):
            yield warning(
                "include", f"include names {glob!r}, and no table of the source that takes part is called so",
                "correct include; names compare with their case",
            )  # fmt: skip
    every = every_source_table(exam)
    for glob in settings.exclude:
        if not set(glob) & set("*?[") and not any(Filters(include=[glob]).takes(name) for name in every):
            yield warning("exclude", f"exclude names {glob!r}, and no table of the source is called so",
                          "correct exclude; names compare with their case")  # fmt: skip
    yield from _columns(exam)


def _columns(exam: Examination) -> Iterator[Finding]:
    """Columns by their names: those of the source, and, in trusted_columns, of the target."""
    settings = exam.settings
    tables = {(name.database.lower(), name.table.lower()): facts for name, facts in source_tables(exam).items()}
    for key, named in (
        ("timestamp_columns", settings.timestamp_columns), ("binary_columns", settings.binary_columns),
    ):  # fmt: skip
        for database, of_tables in named.items():
            for table, columns in of_tables.items():
                facts = tables.get((database, table))
                lost = sorted(columns - set(facts.columns if facts is not None else ()))
                if lost:
                    what = f"column {lost[0]} of {database}.{table}" if facts is not None else f"{database}.{table}"
                    yield warning(
                        key.replace("_", "-"),
                        f"{key} names {what}, which the source does not have, or which takes no part",
                        f"correct {key}",
                    )
    if settings.trusted_columns:
        present = [
            f"{pair.target_name}.{column.name}"
            for pair in pairs(exam) if pair.target is not None for column in pair.target.columns.values()
        ]  # fmt: skip
        for glob in settings.trusted_columns:
            if not any(fnmatchcase(name.lower(), glob.lower()) for name in present):
                yield warning(
                    "trusted-columns", f"trusted_columns names {glob!r}, and no column of the target is called so",
                    "correct trusted_columns: database.table.column, with the names of the target",
                )  # fmt: skip
