"""The picture of docs/performance.md: all contestants on the mixed workload, and the other workloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.names import (
    DRAIN,
    DRAIN_QUORUM,
    ENGINE,
    ENGINE_BUNDLES,
    ENGINE_QUORUM,
    FOUR_QUEUES,
    LIMIT,
    MAIN,
    NATIVE,
    ORIGINAL,
)
from benchmarks.results import NO_TARGET, WITH_BINLOG, WITHOUT_BINLOG, ResultSet, Spread
from benchmarks.workload import WORKLOADS

# Okabe and Ito's palette: told apart with any kind of colour vision, and in grey by brightness.
OURS, OURS_LIGHT, OTHERS, OTHERS_LIGHT, DARK = "#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#333333"


def draw(found: ResultSet, path: Path, *, caption: str) -> None:
    """Write a PNG. Raises ModuleNotFoundError without matplotlib (`pip install '.[bench]'`)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    shapes = [n for n in WORKLOADS if n != MAIN and found.of(n, ENGINE, WITH_BINLOG)]
    names = main_names(found)
    heights = [max(len(names), 1), max(len(shapes), 1)]
    figure = Figure(figsize=(9, 1.8 + 0.42 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, height_ratios=heights)
    draw_main(top, found, names)
    draw_shapes(bottom, found, shapes)
    figure.supxlabel(caption, fontsize=8, color=DARK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main_names(found: ResultSet) -> list[str]:
    """Contestants from the top of the picture down, of the native modes the single thread and the best ones."""
    best = [found.best(MAIN, NATIVE, setting) for setting in (WITH_BINLOG, WITHOUT_BINLOG)]
    native = dict.fromkeys(["native: one thread", *[pair[0] for pair in best if pair]])
    present = found.contestants(MAIN)
    return [
        n
        for n in (ORIGINAL, *native, ENGINE, ENGINE_QUORUM, ENGINE_BUNDLES, FOUR_QUEUES, DRAIN, DRAIN_QUORUM, LIMIT)
        if n in present
    ]


def draw_main(axes: Any, found: ResultSet, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        colours = (OURS, OURS_LIGHT) if name.startswith(ENGINE) else (OTHERS, OTHERS_LIGHT)
        plain = found.of(MAIN, name, NO_TARGET)
        bars = [(plain, DARK, 0.0)] if plain else []
        if not plain:
            settings = (WITH_BINLOG, WITHOUT_BINLOG)
            pairs = [(found.of(MAIN, name, s), c) for s, c in zip(settings, colours, strict=True)]
            shown = [(rates, colour) for rates, colour in pairs if rates]
            shift = 0.2 if len(shown) == 2 else 0.0
            bars = [(rates, colour, shift * (2 * i - 1)) for i, (rates, colour) in enumerate(shown)]
        for rates, colour, shift in bars:
            bar(axes, place + shift, rates, colour, 0.36 if shift else 0.5)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    finish(axes, "Mixed workload, durable target: dark with a binlog of the target's own, light without")


def draw_shapes(axes: Any, found: ResultSet, shapes: Sequence[str]) -> None:
    for place, name in enumerate(shapes):
        ours = found.of(name, ENGINE, WITH_BINLOG)
        best = found.best(name, NATIVE, WITH_BINLOG)
        if ours:
            bar(axes, place - 0.2, ours, OURS, 0.36)
        if best:
            bar(axes, place + 0.2, best[1], OTHERS, 0.36)
    axes.set_yticks(range(len(shapes)), [WORKLOADS[n].title for n in shapes])
    axes.invert_yaxis()
    finish(axes, "Other workloads, target with a binlog: pydbsync blue, best native mode orange")


def bar(axes: Any, place: float, rates: Spread, colour: str, height: float) -> None:
    error = [[rates.median - rates.low], [rates.high - rates.median]]
    axes.barh(place, rates.median, height, color=colour, xerr=error, error_kw={"ecolor": DARK, "lw": 1, "capsize": 2})
    label = f" {rates.median:,.0f}" if rates.outcome not in ("WRONG", "failed") else f" {rates.outcome}"
    axes.text(max(rates.high, rates.median), place, label, va="center", fontsize=8, color=DARK)


def finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("rows a second")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.12)
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
