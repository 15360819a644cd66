"""The state file is verified and a backup put back by commands, with what they say."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.client import Client
from gossipcontrol.server.config import State
from gossipcontrol.server.state.backup import BackupError, back_up, restore
from gossipcontrol.server.state.check import CheckError, check

from tests.kit.markdown import TOP, blocks
from tests.kit.service_lab import config, deciding, serving
from tests.state.test_damage import checkpointed, flip, killed
from tests.state.written_before.written_state import load, unpack


def run(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "gossipcontrol.server", *words),
        env={**os.environ, "GOSSIPCONTROL_STATE_PATH": str(path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def content(directory: Path) -> dict[str, str]:
    """The files and what is in them; the ``-shm`` is SQLite's own index, made again by each that reads."""
    files = [one for one in directory.iterdir() if one.is_file() and not one.name.endswith("-shm")]
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


async def test_the_commands_of_the_document_back_up_verify_and_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await checkpointed(tmp_path)
    shell = "\n".join(block.text for block in blocks(TOP / "docs" / "operation.md") if block.language == "sh")
    words = [line.split()[1:] for line in shell.splitlines() if re.search(r"server (backup|check-state|restore)", line)]
    assert [one[0] for one in words] == ["backup", "check-state", "check-state", "restore"]
    monkeypatch.chdir(tmp_path)
    for one in words:
        done = run(path, *one)
        assert (done.returncode, done.stderr) == (0, ""), one
    assert content(tmp_path).keys() >= {"state.db", "state.backup", "state.db.before-restore"}


@pytest.mark.parametrize("make", [checkpointed, killed], ids=["closed", "killed"])
async def test_a_file_is_verified_without_a_change(make: Callable[[Path], Awaitable[Path]], tmp_path: Path) -> None:
    path = await make(tmp_path)
    before = content(path.parent)
    done = run(path, "check-state")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: intact\n")
    rows = re.search(r"^rows log +(\d+)$", done.stdout, re.MULTILINE)
    assert rows is not None
    assert int(rows[1]) >= 200
    assert (check(path).frames > 0) == (make is killed)
    assert content(path.parent) == before


async def test_damage_is_named_and_the_exit_code_is_one(tmp_path: Path) -> None:
    path = await checkpointed(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE book SET fields = fields || ' '")
    done = run(tmp_path / "other.db", "check-state", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    said = "it is damaged (table book, row 1: its checksum does not match)"
    assert done.stderr == f"gossipcontrol-server: {path}: {said}\n"
    with pytest.raises(BackupError, match="table book, row 1"):
        back_up(path, tmp_path / "copy")


def test_a_file_of_an_earlier_version_is_checked_for_its_structure(tmp_path: Path) -> None:
    path = unpack(tmp_path)
    before = content(tmp_path)
    done = run(path, "check-state")
    assert done.returncode == 0
    assert "only its structure was checked" in done.stdout
    assert content(tmp_path) == before


async def test_a_running_service_is_checked_and_not_restored_over(tmp_path: Path) -> None:
    path, copy = tmp_path / "state.db", tmp_path / "copy.db"
    settings = replace(config(tmp_path, deciding=deciding()), state=State(path=str(path)))
    async with serving(settings) as service, Client(service.address) as client:
        await client.rejoin("n", ["a"], park=True)
        assert check(path).rows["log"] >= 1
        back_up(path, copy)
        with pytest.raises(BackupError, match="the service is running; stop it first"):
            restore(copy, path)
        await client.rejoin("m", ["a"], park=True)
    done = run(path, "restore", str(copy))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("; the old file is state.db.before-restore\n")
    async with serving(settings) as service, Client(service.address) as client:
        assert {one.node_id async for one in client.list_rejoins()} == {"n"}
    assert check(tmp_path / "state.db.before-restore").rows


async def test_the_log_of_the_old_file_stays_with_it(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    backup = await checkpointed(tmp_path)
    restore(backup, path)
    assert load(path) == load(backup)
    assert check(path.with_name("state.db.before-restore")).frames > 0


async def test_what_is_in_the_way_of_a_restore_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    before = content(path.parent)
    backup = await checkpointed(tmp_path)
    with pytest.raises(BackupError, match=r"none\.db: there is no state file"):
        restore(tmp_path / "none.db", path)
    size = backup.stat().st_size
    whole = backup.read_bytes()
    for bit in range(8 * (size - 40), 8 * size, 7):
        flip(backup, bit)
        try:
            check(backup)
        except CheckError:
            with pytest.raises(BackupError, match="it is damaged"):
                restore(backup, path)
        backup.write_bytes(whole)
    assert content(path.parent) == before
    restore(backup, path)
    with pytest.raises(BackupError, match="left from an earlier restore"):
        restore(backup, path)
