"""Makes the pictures of docs/ui.md with the lab's servers: `python -m tests.screenshots`."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

import lab
from pydbsync.config.settings import settings_from_mapping
from pydbsync.ops.status.judge import judge
from pydbsync.ops.status.read import read_status
from tests.maxwell import Binlog, insert, update
from tests.pages import TOKEN, launch, serving
from tests.processes import REPOSITORY, SyncProcess, sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

DOCS = REPOSITORY / "docs"
TABLES = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.orders (id BIGINT UNSIGNED PRIMARY KEY, customer INT, state VARCHAR(8), total DECIMAL(20,4),"
    " note VARCHAR(40))",
    "CREATE TABLE shop.customers (id INT PRIMARY KEY, email VARCHAR(60) UNIQUE, name VARCHAR(60))",
)
PICTURES = (
    ("ui-light", "light", 1180, 860, "/"),
    ("ui-dark", "dark", 1180, 860, "/"),
    ("ui-phone", "light", 390, 1180, "/"),
    ("ui-parked", "light", 1180, 700, "/parked/{id}"),
    ("ui-edit-dark", "dark", 1180, 700, "/parked/{id}/edit"),
    ("ui-differences", "light", 1180, 620, "/differences"),
)


def history(target: Endpoint, stream: str, *, busy: int) -> None:
    """Six hours of minutes, with a rush in them."""
    values = []
    for minute in range(360):
        rush = math.exp(-((minute - 130) ** 2) / 300)
        wave = 1 + 0.4 * math.sin(minute / 23) + 0.15 * math.sin(minute / 3.1)
        applied = int(busy * wave * (1 + 4 * rush))
        lag = 0.35 + 0.25 * wave + (24 * math.exp(-((minute - 124) ** 2) / 220) if busy > 1000 else 0)
        values.append(
            f"('{stream}', FROM_UNIXTIME(FLOOR(UNIX_TIMESTAMP() / 60) * 60 - {60 * minute}), {applied}, {lag:.2f})"
        )
    target.query(
        "INSERT IGNORE INTO pydbsync.worker_minute (stream, minute, applied, lag_s) VALUES " + ", ".join(values)
    )


def main() -> None:
    """All of them."""
    target, source = Endpoint.of_lab(lab.up("target")), Endpoint.of_lab(lab.up("source"))
    rabbitmq = lab.up("rabbitmq")
    vhost = Vhost(rabbitmq, "screenshots")
    rabbitmq.create_vhost(vhost.name)
    for server in (target, source):
        server.drop_databases()
        for sql in TABLES:
            server.query(sql)
    queues = {"orders": ["shop.orders"], "customers": ["shop.customers"]}
    config = sync_config(
        target, vhost, queues=queues, exchange=("maxwell", "direct"), source_db_info=source.db_info, log_file_prefix="",
        ui={"port": 0, "token": TOKEN},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = write_config(config, Path(folder) / "config.py")
        sync = SyncProcess("mysql_sync.py", ["--config", str(file)], folder=Path(folder), environment={})
        try:
            shoot(target, source, vhost, config, file)
        finally:
            sync.stop()
            rabbitmq.delete_vhost(vhost.name)


def shoot(target: Endpoint, source: Endpoint, vhost: Vhost, config: dict[str, object], file: Path) -> None:
    """With the workers at work."""
    settings, _ = settings_from_mapping(config)

    def parked() -> int:
        status = read_status(settings)
        judge(status)
        following = all(queue.worker and queue.worker.state == "following" for queue in status.queues)
        return sum(group.count for queue in status.queues for group in queue.parked) if following else 0

    wait_for(lambda: vhost_is_ready(vhost), what="queues")
    binlog = Binlog(ts=int(time.time()))
    order = {
        "id": 9007199254740993,
        "customer": 2,
        "state": "in delivery",
        "total": 1299.9,
        "note": "<b>leave at the door</b>",
    }
    messages = binlog.transaction(insert("shop.customers", {"id": 1, "email": "a@example.org", "name": "Ada"}))
    messages += binlog.transaction(insert("shop.orders", {**order, "id": 1, "state": "new", "note": None}))
    messages += binlog.transaction(insert("shop.orders", order))
    messages += binlog.transaction(update("shop.orders", {**order, "customer": 3}, {"customer": 2}))
    vhost.publish(messages)
    wait_for(lambda: parked() == 2, what="two parked changes")
    for stream, busy in (("orders", 5200), ("customers", 420)):
        history(target, stream, busy=busy)
    source.query(
        "INSERT INTO shop.customers VALUES (1, 'a@example.org', 'Ada Lovelace'), (2, 'g@example.org', 'Grace')"
    )
    source.query("INSERT INTO shop.orders VALUES (1, 2, 'new', 1299.9, NULL)")
    subprocess.run([sys.executable, "-m", "pydbsync", "verify", "--config", str(file)], cwd=REPOSITORY, check=False)
    first_id = target.query("SELECT MIN(id) FROM pydbsync.parked WHERE status = 'parked'")[0][0]
    with serving(settings) as served, sync_playwright() as playwright:
        browser = launch(playwright)
        for name, scheme, width, height, address in PICTURES:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            if address != "/differences":
                page.goto(f"{served.address}/login")
                page.get_by_label("Your name").fill("Ada")
                page.get_by_label("Token").fill(TOKEN)
                page.get_by_role("button", name="Sign in").click()
                page.wait_for_url(f"{served.address}/")
            page.goto(served.address + address.format(id=first_id))
            picture = DOCS / f"{name}.png"
            page.screenshot(path=picture)
            if name == "ui-light":
                page.locator(".history").screenshot(path=DOCS / "ui-history.png")
            print(picture, picture.stat().st_size)
            context.close()
        browser.close()


def vhost_is_ready(vhost: Vhost) -> bool:
    """Whether both queues have their consumer."""
    try:
        return all(vhost.consumers(queue) for queue in ("orders", "customers"))
    except Exception:
        return False


if __name__ == "__main__":
    main()
