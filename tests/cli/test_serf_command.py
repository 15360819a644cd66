"""``gossipcontrol agent serf``: with flags that are wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytest.importorskip("msgpack", reason="needs the extra: pip install 'gossipcontrol[serf]'")

from tests.kit.process import CLIENT

LIMIT = 60.0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--address", "nonsense"), "nonsense"),
        (("--rpc", "nowhere"), "--rpc"),
        (("--rpc", "unix:/run/serf.sock"), "--rpc"),
        (("--store", "s" * 129), "--store: the id must have 1 to 128 bytes in UTF-8, has 129"),
        (("--name", "n" * 65), "--name: name must have 1 to 64 bytes in UTF-8, has 65"),
        (("--auth-key-file", "missing"), "--auth-key-file"),
        (("--auth-key-file", "empty"), "--auth-key-file"),
    ],
)
def test_a_wrong_flag_is_named_and_ends_with_2(flags: tuple[str, ...], named: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    run = subprocess.run(
        (*CLIENT, "agent", "serf", *flags), capture_output=True, text=True, timeout=LIMIT, check=False, cwd=tmp_path
    )
    assert run.returncode == 2, run.stderr
    assert named in run.stderr
    assert "Traceback" not in run.stderr
