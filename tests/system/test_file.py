"""Files that processes share: locked for one at a time, and kept from other users."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from gossipcontrol.system import windows
from gossipcontrol.system.file import keep_private, lock, open_shared

HOLD = """
import sys
from pathlib import Path
from gossipcontrol.system.file import lock, open_shared
descriptor = open_shared(Path(sys.argv[1]))
lock(descriptor, wait=True)
print("locked", flush=True)
sys.stdin.read()
"""


def held(path: Path) -> subprocess.Popen[bytes]:
    """Another process that has locked the file."""
    other = subprocess.Popen((sys.executable, "-c", HOLD, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline().strip() == b"locked"
    return other


def test_a_lock_keeps_another_process_out_and_its_end_lets_it_in(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    descriptor = open_shared(path)
    other = held(path)
    with pytest.raises(BlockingIOError):
        lock(descriptor, wait=False)
    os.write(descriptor, b"1\r\n2\n\x1a3")
    assert path.read_bytes() == b"1\r\n2\n\x1a3", "a lock keeps nobody from reading, and no byte is translated"
    other.communicate(b"")
    lock(descriptor, wait=True)
    os.close(descriptor)


def test_a_lock_ends_with_its_descriptor(tmp_path: Path) -> None:
    first, second = open_shared(tmp_path / "shared"), open_shared(tmp_path / "shared")
    lock(first, wait=False)
    os.close(first)
    lock(second, wait=False)
    os.close(second)


@pytest.mark.not_on_windows("modes mean nothing there; who may read is tested below")
def test_a_private_file_has_the_mode_of_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(0o644)
    keep_private(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.only_on_windows
def test_a_private_file_is_the_users_and_the_systems_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("secret")
    keep_private(path)
    assert path.read_text() == "secret"
    listed = subprocess.run(("icacls", str(path)), capture_output=True, text=True, check=True).stdout
    assert windows.user_sid().startswith("S-1-5-21-")
    for stranger in ("Everyone", "Users:", "Authenticated"):
        assert stranger not in listed
