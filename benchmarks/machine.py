"""The machine and the versions a result belongs to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path

from benchmarks.rig import ask
from lab.mariadb import MariaDB
from lab.rabbitmq import RabbitMQ

PACKAGES = ("pika", "PyMySQL", "msgspec")
ROOT = Path(__file__).resolve().parent.parent


def machine_facts(broker: RabbitMQ, server: MariaDB) -> dict[str, str]:
    """Facts by name; the servers are asked for their versions and must be up."""
    (mariadb,) = ask(server, "SELECT VERSION()")
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "memory": f"{int(memory.split()[1]) / 2**20:.0f} GB",
        "one durable write": f"{write_ms(broker.root):.2f} ms (median of fdatasync of 16 KB)",
        "kernel": f"{platform.system()} {platform.release()}",
        "MariaDB": str(mariadb),
        "RabbitMQ": str(broker.call("GET", "/overview")["rabbitmq_version"]),
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def commit() -> str:
    """The commit that is measured; "-dirty" if anything differs from it but the results, which a run writes itself."""
    head = git("describe", "--always", "--exclude=*")
    if not head:
        return "not in a repository"
    return head + ("-dirty" if git("status", "--porcelain", "--", ".", ":!benchmarks/results") else "")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def write_ms(folder: Path) -> float:
    """Median milliseconds until 16 KB are on the disk that holds the servers' data."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(100):
            file.write(os.urandom(16384))
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)
