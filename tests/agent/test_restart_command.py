"""The operator's restart command: run when a restart is advised, bounded in time and number, and its outcome told."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from gossipcontrol.agent import Agent, AgentEvent
from gossipcontrol.agent.restart_command import INTERVAL, OUTPUT, RestartCommand, kill, run, split_command, start
from gossipcontrol.cli.restart_option import restart_option
from gossipcontrol.cli.table import restarted
from gossipcontrol.client import Client, LivenessReport, PeerObservation
from gossipcontrol.v1 import attach_pb2

from tests.agent.fake import Clock, FakeNode
from tests.agent.script import scripted
from tests.kit.service_lab import config, deciding, serving
from tests.kit.until import until


def python(code: str) -> tuple[str, ...]:
    """A command that runs this Python code."""
    return (sys.executable, "-c", code)


def advice(rejoin_id: str) -> attach_pb2.AttachResponse:
    told = attach_pb2.RestartAdvice(rejoin_id=rejoin_id, store_id="a", reason="nothing helped")
    return attach_pb2.AttachResponse(restart_advice=told)


def test_how_it_ended_is_told() -> None:
    ended = run(python("print('on its way')"), 60.0)
    assert (ended.exit_code, ended.error, ended.output) == (0, "", "on its way")
    assert ended.duration > 0
    ended = run(python("import sys; sys.exit('no such unit')"), 60.0)
    assert (ended.exit_code, ended.error, ended.output) == (1, "ended with 1", "no such unit")


def test_a_program_that_is_not_there_is_no_fault_of_the_agent() -> None:
    ended = run(("/nowhere/restart",), 60.0)
    assert ended.exit_code is None
    assert "/nowhere/restart cannot be started" in ended.error


def test_what_does_not_end_is_killed() -> None:
    ended = run(python("import time; time.sleep(600)"), 0.5)
    assert (ended.exit_code, ended.error) == (None, "killed after 0.5 s")


@pytest.mark.not_on_windows("a process group is POSIX's")
async def test_what_it_started_is_killed_too(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {told}.new; mv {told}.new {told}; wait"
    with tempfile.TemporaryFile() as output:
        process = start(("/bin/sh", "-c", script), output)
        await until(told.exists, "it has started another")
        kill(process)
        process.wait()
    stat = Path(f"/proc/{told.read_text().strip()}/stat")

    def is_gone() -> bool:
        try:
            return stat.read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    await until(is_gone, "what it started is gone")


@pytest.mark.not_on_windows("signals are POSIX's")
def test_a_signal_that_ended_it_is_told() -> None:
    ended = run(("/bin/sh", "-c", "kill -TERM $$"), 60.0)
    assert (ended.exit_code, ended.error) == (None, "ended by signal 15")


def test_only_the_end_of_its_output_is_kept() -> None:
    assert len(run(python(f"print('x' * {10 * OUTPUT})"), 60.0).output) <= OUTPUT


@pytest.mark.parametrize(
    ("text", "windows", "words"),
    [
        ("systemctl --user restart lattice", False, ("systemctl", "--user", "restart", "lattice")),
        ("sh -c 'stop && start'", False, ("sh", "-c", "stop && start")),
        (r'"C:\Program Files\nssm.exe" restart lattice', True, (r"C:\Program Files\nssm.exe", "restart", "lattice")),
        (r"C:\bin\again.cmd now", True, (r"C:\bin\again.cmd", "now")),
    ],
)
def test_it_is_split_as_a_shell_would_split_it(text: str, windows: bool, words: tuple[str, ...]) -> None:
    assert split_command(text, windows=windows) == words


async def test_it_runs_at_most_once_in_ten_minutes(tmp_path: Path) -> None:
    clock, done = Clock(), tmp_path / "done"
    restart = RestartCommand(python(f"open({str(done)!r}, 'a').write('1')"), lambda: None, clock=clock)
    assert restart.obey("t-1").startswith("running the restart command")
    clock.now += INTERVAL - 1
    assert restart.obey("t-2") == "the restart command is not run again for 1 s"
    await until(lambda: "t-1" in restart.undelivered, "the command has ended")
    clock.now += 2
    assert restart.obey("t-3").startswith("running")
    await until(lambda: "t-3" in restart.undelivered, "the command has ended again")
    assert done.read_text() == "11"
    assert restart.undelivered.keys() == {"t-1", "t-3"}


async def test_an_agent_without_one_only_tells(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events: list[AgentEvent] = []
    async with scripted(tmp_path) as (script, address), Agent(FakeNode(), address, on_event=events.append) as agent:
        await agent.attached.wait()
        with caplog.at_level(logging.WARNING):
            script.send(advice("t-1"))
            await until(lambda: any(one.what == "restart" for one in events), "it is told")
        assert "advises to restart the node: nothing helped; no restart command is configured" in caplog.text
        assert script.restarted == []
        assert agent.stats.unknown_frames == 0


async def test_the_outcome_waits_for_the_next_stream(tmp_path: Path) -> None:
    go = tmp_path / "go"
    command = python(f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nraise SystemExit(3)")
    async with scripted(tmp_path) as (script, address), Agent(FakeNode(), address, restart_command=command) as agent:
        await agent.attached.wait()
        script.send(advice("t-1"))
        script.hang_up()
        await until(lambda: len(script.registered) > 1, "the agent has attached again")
        go.touch()
        await until(lambda: bool(script.restarted), "the outcome is told")
    [told] = script.restarted
    assert (told.rejoin_id, told.exit_code, told.error) == ("t-1", 3, "ended with 3")
    assert told.duration_ms > 0


async def test_from_a_rejoin_in_vain_to_the_outcome_in_the_list(tmp_path: Path) -> None:
    done = tmp_path / "done"
    command = python(f"open({str(done)!r}, 'w').write('1')")
    settings = config(tmp_path, deciding=deciding(0.2))
    async with (
        serving(settings) as service,
        Client(service.address) as client,
        Agent(FakeNode(), service.address, restart_command=command) as agent,
    ):
        await agent.attached.wait()
        await client.peer_liveness([LivenessReport(node_id="n", store_id="a", peers=(PeerObservation("x"),))])
        await client.rejoin("n")
        await until(lambda: bool(service.lines("restart command ended")), "the command has ended")
        [rejoin] = [one async for one in client.list_rejoins()]
    assert done.read_text() == "1"
    assert rejoin.restart is not None
    assert (rejoin.restart.exit_code, rejoin.restart.error) == (0, "")
    assert restarted(rejoin.restart).startswith("a restart was advised: the agent's restart command ended with 0,")
    [line] = service.lines("restart command ended")
    assert (line["node"], line["exit_code"], line["level"]) == ("n", 0, "info")


@click.command()
@restart_option
def command(restart_command: tuple[str, ...]) -> None:
    click.echo("|".join(restart_command))


@pytest.mark.parametrize(
    ("given", "told"),
    [("", "must not be empty"), ("'", "cannot be split"), ("no-such-program-here now", "there is no program")],
)
def test_a_wrong_command_is_refused_before_anything_runs(given: str, told: str) -> None:
    result = CliRunner().invoke(command, ["--restart-command", given])
    assert result.exit_code == 2
    assert told in result.output


def test_a_right_one_is_taken_and_none_is_none() -> None:
    quoted = f'"{sys.executable}" now' if os.name == "nt" else f"'{sys.executable}' now"
    assert CliRunner().invoke(command, ["--restart-command", quoted]).output.strip() == f"{sys.executable}|now"
    assert CliRunner().invoke(command, []).output.strip() == ""
