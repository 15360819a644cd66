"""The scheduled task of the Windows watcher: what Task Scheduler wants, and a command that exists."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from gossipcontrol.cli.main import main

TASK = Path(__file__).parents[2] / "deploy/windows/gossipcontrol-watch.xml"
SPACE = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}


def text(path: str) -> str:
    found = ElementTree.parse(TASK).getroot().findtext(path, namespaces=SPACE)
    assert found is not None, f"{path} is missing"
    return found


def test_it_runs_for_ever_on_batteries_too_and_is_restarted() -> None:
    settings = "t:Settings"
    assert text(f"{settings}/t:ExecutionTimeLimit") == "PT0S", "the default is three days"
    assert text(f"{settings}/t:DisallowStartIfOnBatteries") == text(f"{settings}/t:StopIfGoingOnBatteries") == "false"
    assert text(f"{settings}/t:RestartOnFailure/t:Interval") == "PT1M"
    assert text("t:Triggers/t:LogonTrigger/t:Enabled") == "true"
    assert text("t:Principals/t:Principal/t:RunLevel") == "LeastPrivilege"


def test_its_command_is_understood() -> None:
    assert text("t:Actions/t:Exec/t:Command") == "gossipcontrol.exe"
    words = shlex.split(text("t:Actions/t:Exec/t:Arguments"))
    assert words[0] == "watch"
    refused = CliRunner().invoke(main, [*words, "--quiet-time", "-1"])
    assert "Invalid value for --quiet-time" in refused.output, "nothing before it was wrong"


@pytest.mark.only_on_windows
@pytest.mark.parametrize(("wrong", "taken"), [("", True), ("Exec", False)])
def test_the_task_scheduler_takes_it(wrong: str, taken: bool, tmp_path: Path) -> None:
    task = tmp_path / "task.xml"
    task.write_text(TASK.read_text(encoding="utf-8").replace(f"<{wrong}>", "<Wrong>"), encoding="utf-8")
    name = f"GossipControl\\{'Watch' if taken else 'Wrong'}"
    assert (schtasks("/create", "/f", "/tn", name, "/xml", str(task)) == 0) is taken
    if taken:
        assert schtasks("/delete", "/f", "/tn", name) == 0


def schtasks(*words: str) -> int:
    """Its exit code. Not through a pipe: it starts a service that would hold the pipe open."""
    nowhere = subprocess.DEVNULL
    return subprocess.run(
        ("schtasks", *words), stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=60, check=False
    ).returncode
