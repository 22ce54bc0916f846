"""The recorded cases in tests/data/corpus (its README tells the format)."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.state import State, load_state

FOLDER = Path(__file__).resolve().parent / "data" / "corpus"
Brand = Literal["mariadb", "mysql"]
VERSIONS: dict[Brand, str] = {"mariadb": "mariadb-10.11", "mysql": "mysql-9.7"}


@dataclass(frozen=True)
class Case:
    """Statements run on a source of `brand`, Maxwell's messages about them, and the source's state afterwards."""

    brand: Brand
    folder: Path

    @property
    def name(self) -> str:
        """`17-foreign-keys`, and `lossy/05-partial-dates` for those that Maxwell does not carry whole."""
        return f"lossy/{self.folder.name}" if self.is_lossy else self.folder.name

    @property
    def is_lossy(self) -> bool:
        return (self.folder / "lossy.md").exists()

    @property
    def source_sql(self) -> str:
        return (self.folder / "source.sql").read_text(encoding="utf-8")

    @property
    def statements(self) -> list[tuple[str, bool]]:
        """The statements of source.sql, each with whether it must succeed."""
        found: list[tuple[str, bool]] = []
        lines: list[str] = []
        succeeds = True
        for line in self.source_sql.splitlines(keepends=True):
            if not lines and line.strip() == "-- fails":
                succeeds = False
                continue
            lines.append(line)
            if line.endswith(";\n"):
                found.append(("".join(lines), succeeds))
                lines, succeeds = [], True
        return found

    @property
    def messages(self) -> list[bytes]:
        """In order, one element a message; split at the line feed alone, as other separators stand in the text."""
        plain = self.folder / "messages.ndjson"
        packed = self.folder / "messages.ndjson.gz"
        raw = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
        return [line for line in raw.split(b"\n") if line]

    @property
    def state(self) -> State:
        plain = self.folder / "state.json"
        return load_state(plain if plain.exists() else self.folder / "state.json.gz")

    def __str__(self) -> str:
        return f"{self.brand}-{self.name}"


STREAM = Case("mariadb", FOLDER / "stream")
"""One long stream: two databases, nine tables, 19,745 messages with six schema changes on the way."""


def cases(brand: Brand) -> list[Case]:
    """The cases that a replay must bring to the recorded state; for parametrize, with `ids=str`."""
    return [Case(brand, folder) for folder in sorted((FOLDER / VERSIONS[brand]).iterdir())]


def lossy_cases(brand: Brand) -> list[Case]:
    """The cases of which Maxwell loses a part."""
    return [Case(brand, folder) for folder in sorted((FOLDER / "lossy" / VERSIONS[brand]).iterdir())]
