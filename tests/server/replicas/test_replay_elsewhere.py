"""A log is replayed to the same state in another process with another hash seed; other Pythons: dev/pythons.sh."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.kit import recorded_log


def test_another_process_replays_the_log_to_the_same_state_after_every_thousand_facts(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    recorded_log.record(path, 3000)
    done = subprocess.run(
        [sys.executable, "-m", recorded_log.__name__, "replay", str(path)],
        env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "3 of 3 states equal" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
