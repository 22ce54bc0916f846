"""The pictures of the last hours: holes stay holes, and names are text."""

from __future__ import annotations

from xml.etree import ElementTree

from pydbsync.ui.charts import lag_chart, rows_chart
from pydbsync.ui.history import History, HistoryStep


def history(*steps: tuple[int | None, float | None], name: str = "orders") -> History:
    return History(name, 60, [HistoryStep(60.0 * n, applied, lag) for n, (applied, lag) in enumerate(steps)])


def parts(picture: str, kind: str) -> list[ElementTree.Element]:
    return [each for each in ElementTree.fromstring(picture).iter() if each.tag == kind]


def test_a_line_ends_where_nothing_was_written() -> None:
    picture = lag_chart(history((1, 1.0), (1, 2.0), (None, None), (1, 3.0)), late_s=15)
    assert len(parts(picture, "polyline")) == 2
    assert len(parts(picture, "title")) == 3
    assert "highest 3.0 s" in picture


def test_the_height_tells_the_value_and_the_rule_stands_at_what_is_late() -> None:
    picture = lag_chart(history((1, 0.0), (1, 30.0)), late_s=15)
    line = parts(picture, "polyline")[0].attrib["points"]
    low, high = (float(point.split(",")[1]) for point in line.split())
    assert low > high
    (rule,) = [each for each in parts(picture, "line") if each.attrib["class"] == "rule"]
    assert float(rule.attrib["y1"]) == (low + high) / 2


def test_rows_are_those_of_a_minute_whatever_the_step() -> None:
    found = History("q", 480, [HistoryStep(0.0, 4800, 1.0)])
    assert "600 rows a minute" in rows_chart(found)


def test_nothing_at_all_and_hostile_names_can_be_drawn() -> None:
    name = "<script>alert(1)</script>\"'&"
    for found in (history((None, None), name=name), history((0, 0.0), (5, 10**9), name=name)):
        for picture in (lag_chart(found, late_s=15), rows_chart(found)):
            assert "<script" not in picture
            assert name in ElementTree.fromstring(picture).attrib["aria-label"]
