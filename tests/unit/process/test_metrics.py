"""What is served to Prometheus and to probes, and that docs/monitoring.md names all of it."""

from __future__ import annotations

import logging
import re
import urllib.error
import urllib.request
from itertools import product
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.process import free_port
from pydbsync.errors import ConfigError
from pydbsync.process.metrics import Metrics, TaskMetrics, WorkerMetrics
from pydbsync.process.status import StatusObserver, WorkerStatus
from pydbsync.process.tasks import Facts, Task

PAGE = Path(__file__).parents[3] / "docs" / "monitoring.md"
FOLDER = PAGE.parents[1] / "pydbsync" / "monitoring"
LOG = logging.getLogger("test")


def on_the_page() -> dict[str, str]:
    """The metrics of docs/monitoring.md with their types."""
    return dict(re.findall(r"^\| `(pydbsync_\w+)` \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def status_of_everything() -> WorkerStatus:
    observer = StatusObserver("q", lambda status: None)
    observer.now("following")
    observer.heartbeat(7, 1000)
    observer.parked_now(2)
    observer.committed(rows=5, parked=0, ts=1000, seconds=0.3)
    observer.idle(0)
    return observer.status


def served(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


@pytest.fixture
def metrics() -> Metrics:
    found = Metrics("127.0.0.1", free_port())
    found.start(LOG)
    return found


def test_every_metric_is_described_on_the_page_with_its_type_and_no_other() -> None:
    collector = WorkerMetrics()
    collector.statuses = [status_of_everything()]
    families = [*collector.collect(), *TaskMetrics(Facts).collect()]
    made = {family.name + "_total" * (family.type == "counter"): family.type for family in families}
    made["pydbsync_build_info"] = made.pop("pydbsync_build")
    assert on_the_page() == made


def test_a_figure_that_is_not_known_is_left_out() -> None:
    collector = WorkerMetrics()
    collector.statuses = [WorkerStatus(stream="q")]
    samples = {sample.name for family in collector.collect() for sample in family.samples}
    assert "pydbsync_up" in samples
    assert not samples & {"pydbsync_lag_seconds", "pydbsync_queue_messages", "pydbsync_parked_changes"}


def test_the_port_serves_what_prometheus_can_read(metrics: Metrics) -> None:
    metrics.update([status_of_everything()])
    code, text = served(metrics.port, "/metrics")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert code == 200
    assert found["pydbsync_up", "q"] == found["pydbsync_worker_state", "q", "following"] == 1
    assert found["pydbsync_worker_state", "q", "stalled"] == 0
    assert found["pydbsync_applied_changes_total", "q"] == 5
    assert found["pydbsync_batch_duration_seconds_bucket", "0.5", "q"] == 1
    assert found["pydbsync_batch_duration_seconds_bucket", "0.25", "q"] == 0
    assert found["pydbsync_reconnects_total", "q", "target"] == 0
    assert ("process_start_time_seconds",) in found


def test_ready_means_that_every_worker_follows_and_else_a_sentence_says_why(metrics: Metrics) -> None:
    assert served(metrics.port, "/readyz") == (503, "no worker is started yet\n")
    metrics.update([WorkerStatus(stream="a", state="following"), WorkerStatus(stream="b", state="stalled")])
    assert served(metrics.port, "/readyz") == (503, "queue b: stalled\n")
    assert served(metrics.port, "/healthz")[0] == 200
    metrics.update([WorkerStatus(stream="a", state="following")])
    assert served(metrics.port, "/readyz") == (200, "the worker follows its queue\n")
    assert served(metrics.port, "/else")[0] == 404


def test_a_supervisor_that_does_nothing_is_neither_healthy_nor_ready(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics.update([WorkerStatus(stream="a", state="following")])
    monkeypatch.setattr("pydbsync.process.metrics._HUNG_S", -1)
    assert served(metrics.port, "/healthz")[0] == served(metrics.port, "/readyz")[0] == 503


def test_a_port_that_is_taken_is_a_wrong_setting(metrics: Metrics) -> None:
    with pytest.raises(ConfigError, match=r"metrics_port: .*cannot be listened on"):
        Metrics("127.0.0.1", metrics.port).start(LOG)


@pytest.mark.parametrize("file", ["pydbsync.rules.yml", "grafana.json"])
def test_rules_and_dashboard_name_only_metrics_that_there_are(file: str) -> None:
    known = {f"{name}{end}" for name, end in product(on_the_page(), ("", "_bucket", "_sum", "_count"))}
    used = set(re.findall(r"\bpydbsync_\w+", (FOLDER / file).read_text(encoding="utf-8")))
    assert len(used) > 5
    assert used <= known


def test_a_tool_that_works_has_no_exit_code_yet() -> None:
    tasks = (
        Task("copy", "copy", "running", 10, None, None, 5, 9, "rows", is_running=True),
        Task("verify", "", "done", 10, 20, 1, 9, None, "rows", is_running=False),
    )
    families = TaskMetrics(lambda: Facts(tasks, 3600)).collect()
    found = {
        (sample.name.removeprefix("pydbsync_"), sample.labels.get("kind")): sample.value
        for family in families
        for sample in family.samples
    }
    assert found == {
        ("task_up", "copy"): 1, ("task_up", "verify"): 0, ("task_failed", "copy"): 0, ("task_failed", "verify"): 0,
        ("task_exit_code", "verify"): 1, ("task_done", "copy"): 5, ("task_done", "verify"): 9,
        ("task_expected", "copy"): 9, ("task_start_timestamp_seconds", "copy"): 10,
        ("task_start_timestamp_seconds", "verify"): 10, ("task_end_timestamp_seconds", "verify"): 20,
        ("source_binlog_retention_seconds", None): 3600,
    }  # fmt: skip
