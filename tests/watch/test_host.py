from __future__ import annotations

import re
from pathlib import Path

import pytest
from gossipcontrol.watch.host import boot_id, host_id, runtime_directory


def test_the_host_id_reveals_no_machine_id_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "machine-id"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    name = host_id({}, (path,))
    assert re.fullmatch("[0-9a-f]{32}", name)
    assert name == host_id({}, (path,))
    assert name != path.read_text().strip()


def test_the_environment_names_the_host() -> None:
    assert host_id({"GOSSIPCONTROL_HOST_ID": "laptop"}, ()) == "laptop"


@pytest.mark.parametrize("content", [b"", b"\n", b"uninitialized\n", b"\xff\xfe"])
def test_a_machine_id_that_is_none_yields_to_the_next(content: bytes, tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.write_bytes(content)
    full.write_text("feed\n")
    assert host_id({}, (empty, full)) == host_id({}, (full,))
    assert host_id({}, (tmp_path / "missing", full)) == host_id({}, (full,))
    assert host_id({}, (tmp_path, full)) == host_id({}, (full,))


def test_the_boot_id_is_one_for_the_boot() -> None:
    assert boot_id() == boot_id()
    assert 0 < len(boot_id()) <= 64


@pytest.mark.not_on_windows("directories of root and XDG; LOCALAPPDATA is tested apart")
def test_watchers_share_their_state_in_the_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime_directory({"RUNTIME_DIRECTORY": "/x"}) == Path("/x")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert runtime_directory({}) == Path("/run/gossipcontrol")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert runtime_directory({"XDG_RUNTIME_DIR": "/run/user/1000"}) == Path("/run/user/1000/gossipcontrol")
