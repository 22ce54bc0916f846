"""The watch over schema changes that no message tells of."""

from __future__ import annotations

from dataclasses import dataclass

from pydbsync.config.shapes import GLOBS
from pydbsync.config.values import one_of, option, seconds


@dataclass(frozen=True, kw_only=True)
class DdlWatchSettings:
    """What is done where the source has what the stream did not tell."""

    policy: str = option(
        "off",
        one_of("off", "warn", "stop", "carry_over"),
        "what to do where source and target differ though the stream has told nothing",
    )
    every_s: float = option(60.0, seconds(0.2, 86_400), "time from one look to the next", unit="seconds")
    exclude: tuple[str, ...] = option((), GLOBS, "not these source tables")

    @property
    def is_on(self) -> bool:
        """Whether anybody looks."""
        return self.policy != "off"
