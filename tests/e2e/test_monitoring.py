"""A real Prometheus scrapes a real run and evaluates the shipped rules; its Alertmanager tells a receiver of ours."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import lab
from lab.process import free_port
from lab.server import find_program
from tests.conftest import StartSync
from tests.e2e.streams import QUICK, Ledger
from tests.processes import REPOSITORY, sync_config, wait_for
from tests.receivers import MailServer, Receiver
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]
LAG = "PydbsyncLagHigh"
RULES = REPOSITORY / "pydbsync" / "monitoring" / "pydbsync.rules.yml"
RULE_TESTS = REPOSITORY / "tests" / "data" / "monitoring" / "pydbsync.rules.test.yml"


def promtool(*arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [find_program("promtool"), *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_are_valid_and_fire_when_they_should_and_only_then() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULE_TESTS))


def test_every_rule_is_tested_and_says_what_to_do() -> None:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    tests, page = (path.read_text(encoding="utf-8") for path in (RULE_TESTS, REPOSITORY / "docs" / "monitoring.md"))
    for rule in rules:
        assert rule["alert"] in tests
        assert f"| `{rule['alert']}` |" in page
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description", "remedy"}


def told_by_prometheus(receiver: Receiver) -> list[tuple[str, str]]:
    """(name, status) of each alert that an Alertmanager told of, in order."""
    return [
        (each["labels"]["alertname"], each["status"])
        for body in receiver.bodies("/alertmanager") for each in body["alerts"]
    ]  # fmt: skip


def told_by_pydbsync(receiver: Receiver) -> list[tuple[str, str]]:
    """The same of pydbsync's own alerts about lag."""
    found = [(body["alert"], body["status"]) for body in receiver.bodies("/own")]
    return [each for each in found if each[0] == LAG]


def hurried(rules: Path, name: str) -> dict[str, Any]:
    """One of the rules with minutes made half seconds."""
    (rule,) = (each for each in yaml.safe_load(rules.read_text())["groups"][0]["rules"] if each["alert"] == name)
    assert "[1m]" in rule["expr"]
    return {**rule, "expr": rule["expr"].replace("[1m]", "[1s]"), "for": "1s"}


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def monitors(receiver: Receiver, tmp_path: Path) -> Iterator[tuple[lab.Prometheus, int]]:
    """A Prometheus that scrapes the port, and sends alerts to the receiver by way of an Alertmanager."""
    port = free_port()
    rules: Mapping[str, Any] = {"groups": [{"name": "hurried", "rules": [hurried(RULES, LAG)]}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    alertmanager = lab.Alertmanager(
        "alertmanager",
        config={
            "route": {"receiver": "test", "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
            "receivers": [{"name": "test", "webhook_configs": [{"url": f"{receiver.url}/alertmanager"}]}],
        },
    )
    prometheus = lab.Prometheus(
        "prometheus",
        config={
            "global": {"scrape_interval": "250ms", "evaluation_interval": "250ms"},
            "rule_files": [str(tmp_path / "rules.yml")],
            "scrape_configs": [{"job_name": "pydbsync", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}],
            },
        },
    )
    try:
        alertmanager.start()
        yield prometheus.start(), port
    finally:
        prometheus.remove()
        alertmanager.remove()


def test_the_lag_rule_fires_on_a_target_that_stands_still_and_is_resolved_by_prometheus_and_by_pydbsync(
    vhost: Vhost,
    fresh_target: Endpoint,
    start_sync: StartSync,
    monitors: tuple[lab.Prometheus, int],
    receiver: Receiver,
) -> None:
    prometheus, port = monitors
    ledger, mails = Ledger("l"), MailServer("off")
    vhost.declare("sync")
    alerts = {
        "period_s": 0.5,
        "lag_mean_s": 4,
        "webhooks": [{"url": f"{receiver.url}/own"}],
        "mail": {"host": "127.0.0.1", "port": mails.port, "tls": "off", "sender": "a@b.example", "recipients": ["c@d"]},
    }

    def value(expression: str) -> float | None:
        found = prometheus.query(expression)
        return found[0][1] if found else None

    def written_now() -> list[bytes]:
        ledger.binlog.ts = int(time.time())
        return ledger.write(10)

    def lag_mails() -> list[str]:
        return [str(each["Subject"]) for _, each in mails.mails if "is behind" in str(each["Subject"])]

    with mails.running():
        process = start_sync(sync_config(fresh_target, vhost, metrics_port=port, alerts=alerts, **QUICK))
        wait_for(lambda: value('pydbsync_up{queue="sync"}') == 1, what="the worker in Prometheus")
        ledger.binlog.ts = int(time.time())
        vhost.publish(ledger.begin())
        vhost.publish(written_now())
        wait_for(lambda: value("pydbsync_applied_changes_total"), what="the changes in Prometheus")
        wait_for(lambda: (value("pydbsync_lag_seconds") or 9) < 4, what="a level stream")
        assert told_by_prometheus(receiver) == told_by_pydbsync(receiver) == []
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            promtool("check", "metrics", given=answer.read().decode())

        with fresh_target.connect() as connection, connection.cursor() as blocker:
            blocker.execute("FLUSH TABLES WITH READ LOCK")
            vhost.publish(written_now())
            wait_for(lambda: told_by_prometheus(receiver), what="the alert of Prometheus")
            wait_for(lambda: told_by_pydbsync(receiver) and lag_mails(), what="the alert of pydbsync")
            blocker.execute("UNLOCK TABLES")
        wait_for(lambda: ledger.applied(fresh_target) == 20, what="the changes")
        for told in (told_by_prometheus, told_by_pydbsync):
            wait_for(lambda told=told: len(told(receiver)) > 1, what="the end of the alert")  # type: ignore[misc]
            assert told(receiver) == [(LAG, "firing"), (LAG, "resolved")]
        wait_for(lambda: len(lag_mails()) > 1, what="the mail of its end")
        assert process.stop().exit_code == 0
    words = "The target is behind the source on queue sync"
    assert lag_mails() == [f"[pydbsync] WARNING: {words}", f"[pydbsync] RESOLVED: {words}"]
    first = receiver.bodies("/alertmanager")[0]["alerts"][0]
    assert first["labels"]["queue"] == "sync"
    assert "pydbsync status" in first["annotations"]["remedy"]


def test_the_dashboard_is_valid_and_each_of_its_queries_too(tmp_path: Path) -> None:
    dashboard = json.loads((RULES.parent / "grafana.json").read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels for x in range(panel["gridPos"]["w"]) for y in range(panel["gridPos"]["h"])
    ]  # fmt: skip
    assert len(set(cells)) == len(cells), "panels lie over each other"
    queries = [target["expr"].replace("$__rate_interval", "1m") for panel in panels for target in panel["targets"]]
    rules = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "queries.yml"))
