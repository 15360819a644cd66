"""``gossipcontrol agent iroh`` with flags that are wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")

LIMIT = 60.0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--address", "nonsense"), "nonsense"),
        (("--address", "unix:relative", "--no-control"), "unix:relative"),
        (("--peer", "garbage"), "--peer"),
        (("--peer", f"{'ab' * 32}@nowhere"), "--peer"),
        (("--key-file", "empty"), "--key-file"),
        (("--key-file", "."), "--key-file"),
        (("--name", "n" * 65), "--name: name must have 1 to 64 bytes in UTF-8, has 65"),
        (("--store", "s" * 129), "--store: the id must have 1 to 128 bytes in UTF-8, has 129"),
    ],
)
def test_a_wrong_flag_is_named_and_ends_with_2(flags: tuple[str, ...], named: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    run = subprocess.run(
        (sys.executable, "-m", "gossipcontrol.cli", "agent", "iroh", "--store", "s", *flags),
        capture_output=True, text=True, timeout=LIMIT, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 2
    assert named in run.stderr
    assert "Traceback" not in run.stderr
