"""Reads the source's binlog and publishes Maxwell's JSON, without Maxwell."""

from __future__ import annotations

from pydbsync.ops.capture.run import run_capture
from pydbsync.ops.capture.session import CaptureReport
from pydbsync.ops.capture.settings import CaptureSettings, StateTable

__all__ = ["CaptureReport", "CaptureSettings", "StateTable", "run_capture"]
