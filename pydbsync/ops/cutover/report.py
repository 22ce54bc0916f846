"""The report of a rehearsal: Markdown beside its plots, and HTML with the plots in it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from pydbsync.files import write_result
from pydbsync.ops.cutover.rehearse import Rehearsal
from pydbsync.ops.words import counted

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:"
    "collapse}td,th{text-align:left;padding:.2em .8em .2em 0;border-bottom:1px solid #ccc}svg{max-width:100%}"
)
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 180, 64, 24


def write_report(found: Rehearsal, folder: Path, name: str) -> list[Path]:
    """The files: NAME.md, NAME.html, and the two plots. Raises OperationError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    times = [sample.at_s for sample in found.samples]
    plots = {
        "lag": plot(times, [sample.lag_s for sample in found.samples], "lag, seconds"),
        "rows": plot(times, [sample.rows_per_s for sample in found.samples], "rows a second"),
    }
    files = []
    for what, svg in plots.items():
        files.append(folder / f"{name}.{what}.svg")
        write_result(files[-1], [svg.encode()], replaces=True)
    text = markdown(found, name)
    files += [folder / f"{name}.md", folder / f"{name}.html"]
    write_result(files[-2], [text.encode()], replaces=True)
    write_result(files[-1], [page(found, plots).encode()], replaces=True)
    return files


def verdict(found: Rehearsal) -> str:
    """One sentence."""
    if found.stops:
        return f"A cut-over would not take place: {counted(len(found.stops), 'thing')} in its way."
    low, high = found.range_s
    return f"Applications could not write for about {found.predicted_s:.1f} s ({low:.1f} to {high:.1f} s)."


def markdown(found: Rehearsal, name: str) -> str:
    """The report as text."""
    lines = [
        f"# Rehearsal of {found.plan}", "",
        f"{found.started_at} UTC, from {found.source} to {found.target}; it took {found.seconds:.0f} s.", "",
        f"**{verdict(found)}**", "",
    ]  # fmt: skip
    for title, texts in (("What would stop it", found.stops), ("To know before", found.notes)):
        if texts:
            lines += [f"## {title}", "", *(f"- {text}" for text in texts), ""]
    if found.parts:
        head = ["| part | about | from | to | times | |", "| --- | ---: | ---: | ---: | ---: | --- |"]
        lines += ["## The write stop", "", *head]
        lines += [
            f"| {part.name} | {part.middle:.2f} s | {min(part.seconds):.2f} s | {max(part.seconds):.2f} s |"
            f" {len(part.seconds)} | {part.says}; {part.source} |"
            for part in found.parts
        ]
        low, high = found.range_s
        lines += [f"| **all** | **{found.predicted_s:.2f} s** | {low:.2f} s | {high:.2f} s | | |", ""]
    lines += ["## Meanwhile", "", f"![lag]({name}.lag.svg)", "", f"![rows a second]({name}.rows.svg)", ""]
    lines += ["## The steps of a cut-over", "", "| step | does | undo |", "| --- | --- | --- |"]
    lines += [f"| {step} | {says} | {undo} |" for step, says, undo in found.steps]
    return "\n".join(lines) + "\n"


def page(found: Rehearsal, plots: dict[str, str]) -> str:
    """The report as one file of HTML."""

    def listed(title: str, texts: Sequence[str]) -> str:
        items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
        return f"<h2>{title}</h2><ul>{items}</ul>" if texts else ""

    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        cells = "".join(f"<th>{html.escape(each)}</th>" for each in head)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(each)}</td>" for each in row) + "</tr>" for row in rows)
        return f"<table><tr>{cells}</tr>{body}</table>"

    parts = [
        (part.name, f"{part.middle:.2f} s", f"{min(part.seconds):.2f} s", f"{max(part.seconds):.2f} s",
         str(len(part.seconds)), f"{part.says}; {part.source}")
        for part in found.parts
    ]  # fmt: skip
    if parts:
        low, high = found.range_s
        parts.append(("all", f"{found.predicted_s:.2f} s", f"{low:.2f} s", f"{high:.2f} s", "", ""))
    title = html.escape(f"Rehearsal of {found.plan}")
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{html.escape(found.started_at)} UTC, from {html.escape(found.source)} to"
        f" {html.escape(found.target)}; it took {found.seconds:.0f} s.</p><p><b>{html.escape(verdict(found))}</b></p>"
        + listed("What would stop it", found.stops)
        + listed("To know before", found.notes)
        + ("<h2>The write stop</h2>" + table(("part", "about", "from", "to", "times", ""), parts) if parts else "")
        + "<h2>Meanwhile</h2>"
        + "".join(plots.values())
        + "<h2>The steps of a cut-over</h2>"
        + table(("step", "does", "undo"), found.steps)
        + "</html>\n"
    )


def plot(times: Sequence[float], values: Sequence[float], title: str) -> str:
    """A line over the time, as SVG that stands by itself or in a page."""
    end, top = max(times, default=0) or 1.0, max(values, default=0) or 1.0
    width, height = _WIDTH - _LEFT - 8, _HEIGHT - _BOTTOM - 24

    def point(at: float, value: float) -> str:
        return f"{_LEFT + at / end * width:.1f},{24 + (1 - value / top) * height:.1f}"

    points = " ".join(point(at, value) for at, value in zip(times, values, strict=True))
    bottom = 24 + height
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' width='{_WIDTH}' height='{_HEIGHT}'"
        f" font-family='sans-serif' font-size='12' role='img' aria-label='{html.escape(title)}'>"
        f"<text x='{_LEFT}' y='14' font-weight='bold'>{html.escape(title)}</text>"
        f"<path d='M{_LEFT} 24V{bottom}H{_LEFT + width}' fill='none' stroke='#888'/>"
        f"<text x='{_LEFT - 6}' y='30' text-anchor='end'>{top:,.3g}</text>"
        f"<text x='{_LEFT - 6}' y='{bottom}' text-anchor='end'>0</text>"
        f"<text x='{_LEFT + width}' y='{bottom + 16}' text-anchor='end'>{end:.0f} s</text>"
        f"<polyline points='{points}' fill='none' stroke='#2a6db0' stroke-width='1.5'/></svg>"
    )
