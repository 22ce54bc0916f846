"""Maxwell's part, played by capture: follows the source and publishes until SIGTERM.

`python -m tests.torture.publisher CONFIG STATE BUNDLE_BYTES`, 0 for a message a change.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from pydbsync.config.file import load_settings
from pydbsync.ops.capture import CaptureSettings, run_capture
from pydbsync.process.stop_signals import stop_on_signals


def main(config: Path, state: Path, bundle_bytes: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings, _ = load_settings(config, require=("source_db_info",))
    assert settings.source is not None
    run_capture(
        CaptureSettings(
            source=settings.source.connect_keywords(),
            amqp=settings.amqp,
            bundle_bytes=bundle_bytes,
            state=state,
            name="torture",
            start="now",
            retry=settings.retry,
        ),
        stop_on_signals(),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
