"""Reads the source's binlog and publishes Maxwell's JSON, without Maxwell."""

from __future__ import annotations

from pydbsync.ops.capture.capture import CaptureReport, run_capture
from pydbsync.ops.capture.settings import CaptureSettings, StateTable

__all__ = ["CaptureReport", "CaptureSettings", "StateTable", "run_capture"]
