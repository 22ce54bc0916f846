"""What the contestants are called in the CSV, the table and the picture."""

from __future__ import annotations

MAIN = "mixed"
"""The workload on which everybody runs."""

ENGINE = "pydbsync"
ENGINE_QUORUM = "pydbsync, quorum queue"
ENGINE_BUNDLES = "pydbsync, bundles"
FOUR_QUEUES = "pydbsync, 4 queues"
NATIVE = "native: "
"""The mode follows."""
ORIGINAL = "original"
DRAIN = "bare pika drain"
DRAIN_QUORUM = "bare pika drain, quorum queue"
LIMIT = "target's limit"
PUBLISH = "bare confirmed publish"
STATE_WRITTEN, STATE_NOT_WRITTEN = "worker state written", "worker state not written"
"""Only when asked for: `--only state`."""
CAPTURE = "pydbsync capture"
CAPTURE_RABBITMQ = "pydbsync capture, to RabbitMQ"
CAPTURE_BUNDLES = "pydbsync capture, bundles to RabbitMQ"
