"""The state can be copied while the service writes to it, by its own command and by SQLite's tools."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.client import Client
from gossipcontrol.server.config import State
from gossipcontrol.server.errors import StartError
from gossipcontrol.server.state.backup import BackupError, back_up

from tests.kit.service_lab import config, deciding, serving


def backup(path: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "gossipcontrol.server", "backup", str(target)),
        env={**os.environ, "GOSSIPCONTROL_STATE_PATH": str(path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def by_sqlite(path: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("sqlite3", str(path), f".backup {target}"), capture_output=True, text=True, check=False)


def by_vacuum(path: Path, target: Path) -> subprocess.CompletedProcess[str]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))
    return subprocess.CompletedProcess((), 0, "", "")


@pytest.mark.parametrize("make", [backup, by_sqlite, by_vacuum], ids=["command", "sqlite3", "vacuum"])
async def test_a_copy_made_while_the_service_runs_holds_all_that_was_acknowledged(
    make: Callable[[Path, Path], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """prisma/prisma-engines#4675, apache/steve#70: an exclusive lock kept every backup out."""
    if make is by_sqlite and shutil.which("sqlite3") is None:
        pytest.skip("sqlite3 is missing: install the Debian package sqlite3")
    path, target = tmp_path / "state.db", tmp_path / "copy.db"
    settings = replace(config(tmp_path, deciding=deciding()), state=State(path=str(path)))
    async with serving(settings) as service, Client(service.address) as client:
        await client.rejoin("n", ["a", "b"], park=True)
        stopped = asyncio.Event()

        async def write() -> None:
            number = 0
            while not stopped.is_set():
                number += 1
                await client.rejoin(f"n{number}", ["a"], park=True)

        writing = asyncio.create_task(write())
        done = await asyncio.to_thread(make, path, target)
        stopped.set()
        await writing
        assert (done.returncode, done.stderr) == (0, "")
    restored = replace(config(tmp_path / "restored", deciding=deciding()), state=State(path=str(target)))
    async with serving(restored) as service, Client(service.address) as client:
        found = {(one.node_id, one.store_id) async for one in client.list_rejoins()}
    assert {("n", "a"), ("n", "b")} <= found


async def test_a_second_service_is_kept_off_while_others_read(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    settings = replace(config(tmp_path, deciding=deciding()), state=State(path=str(path)))
    async with serving(settings):
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("SELECT count(*) FROM log").fetchone()
            other = config(tmp_path / "other", deciding=deciding())
            with pytest.raises(StartError, match="it is locked; is another service using it"):
                async with serving(replace(other, state=State(path=str(path)))):
                    pass
    async with serving(settings):
        pass


def test_what_is_in_the_way_of_a_copy_is_named(tmp_path: Path) -> None:
    source = tmp_path / "state.db"
    with pytest.raises(BackupError, match="there is no state file"):
        back_up(source, tmp_path / "copy")
    source.write_bytes(b"no database" * 1000)
    with pytest.raises(BackupError, match=r"state\.db: file is not a database"):
        back_up(source, tmp_path / "copy")
    with pytest.raises(BackupError, match="No such file or directory"):
        back_up(source, tmp_path / "missing" / "copy")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["state.db"]


def test_the_command_says_what_is_in_the_way(tmp_path: Path) -> None:
    done = backup(tmp_path / "none.db", tmp_path / "copy")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"gossipcontrol-server: {tmp_path}/none.db: there is no state file\n"
