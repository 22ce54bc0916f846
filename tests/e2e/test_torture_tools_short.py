"""A short torture of capture, copy, verify and repair: one fault for each. See `make torture ARGS=--tools`."""

from __future__ import annotations

from pathlib import Path

from tests.matrices import LONG
from tests.servers import Endpoint
from tests.torture.tools import tools


@LONG  # a kill of each tool is in test_capture.py, test_copy_resume.py, test_verify_live.py and test_repair.py
def test_tools_under_faults_say_the_truth_and_end_when_run_again(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    with tools(fresh_source, fresh_target, tmp_path, seed=7) as found:
        found.round(faults=1)
    assert {name.partition(":")[0] for name in found.faults} == {"capture", "copy", "verify", "repair"}
