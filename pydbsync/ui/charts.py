"""Draws the last hours of a queue as SVG that stands in the page: colours come from the page's stylesheet. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup, escape

from pydbsync.ops.words import seconds
from pydbsync.ui.history import History

_WIDTH, _HEIGHT = 560, 104
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, 4, 20, 18
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_NICE: Final = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def lag_chart(history: History, *, late_s: float) -> Markup:
    """A line of the highest lag of each step, with a rule where it counts as late; a hole where nothing was written."""
    values = [step.lag_s for step in history.steps]
    known = [value for value in values if value is not None]
    most = max(known, default=0.0)
    top = _nice(max(most, 1.0))
    points = [None if value is None else (_x(i, len(values)), _y(value, top)) for i, value in enumerate(values)]
    parts = [_frame(history, seconds(top))]
    if late_s < top:
        y = _y(late_s, top)
        parts.append(Markup('<line class="rule" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            _LEFT, _WIDTH - _RIGHT, y, y))  # fmt: skip
    for run in _runs(points):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
        base = _TOP + _PLOT_HEIGHT
        area = f"{run[0][0]:.1f},{base} {line} {run[-1][0]:.1f},{base}"
        parts.append(Markup('<polygon class="area lag" points="{}"/>').format(area))
        parts.append(Markup('<polyline class="line lag" points="{}"/>').format(line))
    says = f"highest {seconds(most)}" if known else "nothing was written"
    parts += _tips(history, [None if value is None else f"{seconds(value)} behind" for value in values])
    return _svg(f"Lag of {history.stream}: {says}", parts)


def rows_chart(history: History) -> Markup:
    """A bar of the rows of each step, a minute's."""
    minutes = history.step_s / 60
    values = [None if step.applied is None else step.applied / minutes for step in history.steps]
    most = max((value for value in values if value is not None), default=0.0)
    top = _nice(max(most, 1.0))
    width = _PLOT_WIDTH / max(1, len(values))
    parts = [_frame(history, f"{top:,.0f} rows/min")]
    for number, value in enumerate(values):
        if value:
            y = _y(value, top)
            parts.append(Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                _LEFT + number * width, y, max(1.0, width - 0.6), _TOP + _PLOT_HEIGHT - y))  # fmt: skip
    parts += _tips(history, [None if value is None else f"{value:,.0f} rows a minute" for value in values])
    return _svg(f"Rows of {history.stream} a minute: at most {most:,.0f}", parts)


def _svg(label: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, label, Markup("").join(parts)
    )


def _frame(history: History, top: str) -> Markup:
    """The base line, the highest value that fits, and times below."""
    base = _TOP + _PLOT_HEIGHT
    parts = [
        Markup('<line class="base" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _WIDTH - _RIGHT, base, base),
        Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_LEFT, _WIDTH - _RIGHT, _TOP, _TOP),
        Markup('<text class="tick" x="{}" y="{}">{}</text>').format(_LEFT, _TOP - 6, top),
    ]
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        number = round(share * (len(history.steps) - 1))
        at = history.steps[number].at
        x = _LEFT + share * _PLOT_WIDTH
        parts.append(Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
            x, _HEIGHT - 4, anchor, _clock(at, history)))  # fmt: skip
    return Markup("").join(parts)


def _tips(history: History, texts: Sequence[str | None]) -> Iterator[Markup]:
    """What is told of the step under the pointer."""
    width = _PLOT_WIDTH / max(1, len(texts))
    for number, text in enumerate(texts):
        if text is not None:
            yield Markup(
                '<rect class="tip" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}</title></rect>'
            ).format(
                _LEFT + number * width, _TOP, width, _PLOT_HEIGHT,
                f"{_clock(history.steps[number].at, history)} UTC: {text}",
            )  # fmt: skip


def _clock(at: float, history: History) -> str:
    form = "%d %b %H:%M" if history.step_s * len(history.steps) > 86_400 else "%H:%M"
    return str(escape(dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime(form)))


def _runs(points: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for point in [*points, None]:
        if point is not None:
            run.append(point)
        elif run:
            # One minute alone would be a line without length.
            yield run if len(run) > 1 else [(run[0][0] - 1, run[0][1]), (run[0][0] + 1, run[0][1])]
            run = []


def _x(number: int, count: int) -> float:
    return _LEFT + _PLOT_WIDTH * (number + 0.5) / max(1, count)


def _y(value: float, top: float) -> float:
    return _TOP + _PLOT_HEIGHT * (1 - min(1.0, value / top))


def _nice(value: float) -> float:
    """The next round number."""
    size = 10.0 ** math.floor(math.log10(value))
    return next((size * step for step in _NICE if size * step >= value * 0.999), size * 10)
