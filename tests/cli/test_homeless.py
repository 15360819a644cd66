"""Every command for a user without a home directory and without an entry in the user database."""

from __future__ import annotations

import pytest

from tests.kit.nobody import AS_NOBODY, USER, needs_nobody, run_as_nobody
from tests.kit.process import CLIENT, Process

NOWHERE = "127.0.0.1:1"
COMMANDS = (
    ("status",),
    ("stores",),
    ("peers", "s"),
    ("rejoin", "n"),
    ("rejoins",),
    ("explain", "n"),
    ("knowledge", "s"),
    ("top",),
    ("report", "network-change"),
)


@needs_nobody
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_finds_no_service_and_says_so(words: tuple[str, ...]) -> None:
    """phusion/passenger#1849, 389ds/389-ds-base#5102, apple/containerization#278: a user without passwd entry."""
    run = run_as_nobody("-m", "gossipcontrol.cli", *words, "--address", NOWHERE)
    assert (run.returncode, run.stdout) == (3, "")
    assert run.stderr.startswith(f"gossipcontrol: no service at {NOWHERE}: ")
    assert run.stderr.count("\n") == 1


@needs_nobody
def test_the_default_address_needs_no_home() -> None:
    code = "from gossipcontrol.client.address import default_address\nprint(default_address())"
    run = run_as_nobody("-c", code)
    assert (run.stdout, run.stderr) == ("127.0.0.1:7420\n", "")


@needs_nobody
def test_the_watcher_counts_without_a_directory_to_share() -> None:
    code = """
from gossipcontrol.watch.host import boot_id, runtime_directory
from gossipcontrol.watch.generation import GenerationCounter
counter = GenerationCounter(runtime_directory() / "generation.json", boot_id())
print(counter.advance("a") < counter.advance("b"), runtime_directory())
"""
    run = run_as_nobody("-c", code)
    assert (run.stdout, run.stderr) == (f"True /run/user/{USER}/gossipcontrol\n", "")


@needs_nobody
@pytest.mark.parametrize(
    ("words", "event"),
    [(("watch",), "watching"), (("agent", "iroh", "--store", "s", "--no-watch"), "unattached")],
    ids=["watch", "agent iroh"],
)
async def test_what_runs_on_runs_without_a_home(words: tuple[str, ...], event: str) -> None:
    if "iroh" in words:
        pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
    command = (*AS_NOBODY, "env", "-i", "PATH=/usr/bin:/bin", *CLIENT, *words, "--json", "--address", NOWHERE)
    async with Process("command", *command) as running:
        await running.wait_for(event, 30.0)
        assert not running.all("line"), "no traceback"
