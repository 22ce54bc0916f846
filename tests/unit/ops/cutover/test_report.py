"""The report of a rehearsal says how long writing would stop, from what to what, or why it would not come to it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from pydbsync.ops.cutover.rehearse import Measured, Rehearsal, RehearsalSample
from pydbsync.ops.cutover.report import markdown, page, plot, verdict, write_report


def rehearsal(**more: object) -> Rehearsal:
    found = Rehearsal("shop", "a@old", "a@new", "2030-01-01 00:00:00")
    found.parts = [Measured("drain", "drains", (0.1, 0.5, 0.2)), Measured("verify", "comparing", (4.0, 6.0))]
    found.samples = [RehearsalSample(0, 1, 10, 0), RehearsalSample(1, 3, 20, 0)]
    for name, value in more.items():
        setattr(found, name, value)
    return found


def test_the_prediction_is_of_medians_with_the_best_and_the_worst_around_it() -> None:
    found = rehearsal()
    assert (found.predicted_s, found.range_s) == (5.2, (4.1, 6.5))
    assert verdict(found) == "Applications could not write for about 5.2 s (4.1 to 6.5 s)."
    assert "| drain | 0.20 s | 0.10 s | 0.50 s | 3 | drains; measured |" in markdown(found, "x")


def test_what_would_stop_it_comes_first() -> None:
    found = rehearsal(stops=["a <b> is parked"])
    assert verdict(found) == "A cut-over would not take place: 1 thing in its way."
    assert "## What would stop it\n\n- a <b> is parked" in markdown(found, "x")
    assert "<li>a &lt;b&gt; is parked</li>" in page(found, {})


def test_a_plot_is_whole_with_and_without_values() -> None:
    for times, values in (([], []), ([0.0], [0.0]), ([0.0, 2.0], [1.0, 3.0])):
        ElementTree.fromstring(plot(times, values, "lag <s>"))
    assert "points='64.0,90.0 712.0,24.0'" in plot([0, 2], [1.5, 3], "x")


def test_the_files_stand_beside_each_other(tmp_path: Path) -> None:
    files = write_report(rehearsal(), tmp_path / "new", "shop")
    assert [file.name for file in files] == ["shop.lag.svg", "shop.rows.svg", "shop.md", "shop.html"]
    assert "![lag](shop.lag.svg)" in files[2].read_text()
    assert files[3].read_text().count("<svg") == 2
