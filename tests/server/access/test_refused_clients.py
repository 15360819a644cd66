"""What an agent, a watcher and a command say and do where a hub refuses them, or where their files are wrong."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from gossipcontrol.agent import Agent
from gossipcontrol.client import Client, CredentialsError
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.credentials import Credentials, channel_credentials
from gossipcontrol.client.refusal import why_unserved
from gossipcontrol.client.servers import Server
from gossipcontrol.server.access.authority import AUTHORITY, Authority
from gossipcontrol.server.access.hub import found_hub
from gossipcontrol.watch.change import Change, ChangeKind

from tests.agent.fake import FakeNode
from tests.kit.hub import Hub, hub
from tests.kit.network import Network, needs_namespaces
from tests.kit.process import CLIENT, Process, service
from tests.kit.until import DEADLINE, until
from tests.watch.desk import Desk


async def test_why_a_hub_refuses_is_logged_once_and_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[str] = []

    def look(server: Server, shown: Credentials | None) -> str:
        looks.append(server.address)
        return why_unserved(server, shown)

    monkeypatch.setattr("gossipcontrol.agent.agent.why_unserved", look)
    async with hub(tmp_path) as running:
        running.authority.issue("laptop-9", -0.01)
        shown = running.credentials("laptop-9")
        with caplog.at_level(logging.WARNING, "gossipcontrol.agent"):
            async with Agent(FakeNode("laptop-9", "notes"), running.address, credentials=shown) as agent:
                await until(lambda: agent.stats.failed_attempts >= 4, "it is tried again", within=3 * DEADLINE)
        [said] = [one.message for one in caplog.records if "cannot attach" in one.message]
        assert f"it refuses the certificate in {shown.certificate}, which has expired" in said
        assert looks == [running.address]
        for kind in ("crt", "key"):
            running.authority.path("laptop-9", kind).unlink()
        async with Agent(
            FakeNode("laptop-9", "notes"), running.address, credentials=running.credentials("laptop-9")
        ) as agent:
            await until(agent.attached.is_set, "a new certificate is let in", within=3 * DEADLINE)
        assert len(looks) == 1, "who is let in has no reason to look"


async def test_what_the_service_says_itself_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def look(server: Server, shown: Credentials | None) -> str:
        raise AssertionError("it said why")

    monkeypatch.setattr("gossipcontrol.agent.agent.why_unserved", look)
    async with hub(tmp_path) as running:
        with caplog.at_level(logging.WARNING, "gossipcontrol.agent"):
            async with Agent(
                FakeNode("laptop-1", "notes"), running.token_address, credentials=running.bearer_credentials("wrong")
            ) as agent:
                await until(lambda: agent.stats.failed_attempts >= 2, "it is tried again", within=3 * DEADLINE)
                assert agent.stats.unexpected_errors == 0
    assert any("the token is unknown" in one.message for one in caplog.records)


async def test_a_report_waits_for_credentials_that_are_being_replaced(tmp_path: Path) -> None:
    async with hub(tmp_path) as running:
        shown = running.credentials("laptop-1")
        whole = Path(shown.key).read_bytes()
        Path(shown.key).write_bytes(whole[: len(whole) // 2])
        async with Client(running.address, timeout=DEADLINE, credentials=shown) as client:
            desk = Desk(client, "laptop-1")
            reporting = asyncio.create_task(desk.reporter.run())
            desk.reporter.report(Change(ChangeKind.CHANGED, 1, "test", boottime()))
            await desk.until(lambda: bool(desk.failed))
            assert isinstance(desk.failed[0], CredentialsError)
            Path(shown.key).write_bytes(whole)
            await desk.until(lambda: bool(desk.delivered))
            assert desk.refused == []
            reporting.cancel()


@needs_namespaces
async def test_that_a_hub_refuses_the_host_is_said_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "hub")
    found_hub(authority, ["localhost"], 1, 1)
    authority.issue("laptop", -0.01)
    believed = str(authority.path(AUTHORITY, "crt"))
    crt, key = (str(authority.path("laptop", kind)) for kind in ("crt", "key"))
    hub_crt, hub_key = (str(authority.path("hub", kind)) for kind in ("crt", "key"))
    environment = {
        "RUNTIME_DIRECTORY": str(tmp_path), "GOSSIPCONTROL_TLS_AUTHORITY": believed,
        "GOSSIPCONTROL_TLS_CERTIFICATE": crt, "GOSSIPCONTROL_TLS_KEY": key,
    }  # fmt: skip
    command = (*CLIENT, "watch", "--json", "--host-id", "laptop", "--address", "tls:localhost:7443")
    async with (
        Network(hosts=1) as network,
        service(
            network.hosts[0], tmp_path, listen_tls="127.0.0.1:7443", access_certificate=hub_crt, access_key=hub_key,
            access_authority=believed, access_identities=str(tmp_path / "hub" / "identities.toml"),
        ) as serving,
        Process("watcher", *command, host=network.hosts[0], environment=environment) as watching,
    ):  # fmt: skip
        await serving.wait_for("serving", 3 * DEADLINE)
        await watching.wait_for("watching", 3 * DEADLINE)
        await network.hosts[0].unplug()
        await network.hosts[0].plug()
        told = await watching.wait_for("undelivered", 3 * DEADLINE)
        assert told["error"] == f"it refuses the certificate in {crt}, which has expired; issue a new one"
    assert len(watching.all("undelivered")) == 1
    assert not watching.all("line"), "only JSON"


async def run(running: Hub, shown: Credentials, *words: str) -> tuple[str, str]:
    """(output, errors) of a command, as a process of its own: the core of gRPC writes where Python does not see it."""
    named = {f"GOSSIPCONTROL_TLS_{name.upper()}": path for name, path in asdict(shown).items()}
    process = await asyncio.create_subprocess_exec(
        *CLIENT, *words, "--address", running.address, "--timeout", "2", env=os.environ | named,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    return output.decode(), errors.decode()


async def test_a_command_says_why_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said that no answer came in time, after lines of gRPC's core."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    async with hub(tmp_path) as running:
        running.authority.issue("laptop-9", -0.01)
        found_hub(other := Authority(tmp_path / "other"), ["localhost"], 1, 1)
        expired = running.credentials("laptop-9")
        foreign = replace(running.credentials("laptop-1"), authority=str(other.path(AUTHORITY, "crt")))
        refused = f"it refuses the certificate in {expired.certificate}, which has expired"
        unbelieved = f"the authority in {foreign.authority} did not sign its certificate"
        for shown, why, cure in (
            (expired, refused, "issue a new one"),
            (foreign, unbelieved, "take the one that did"),
        ):
            said = f"no service at {running.address}: {why}"
            assert await run(running, shown, "stores") == ("", f"gossipcontrol: {said}; {cure}\n")
            output, errors = await run(running, shown, "doctor")
            assert errors == ""
            assert f" {said}\n" in output
            assert f"-> {cure}\n" in output


def test_what_is_no_certificate_or_no_pair_is_named(tmp_path: Path) -> None:
    """It was taken by gRPC, and each handshake failed without a reason."""
    authority = Authority(tmp_path)
    authority.found()
    for name in ("one", "two"):
        authority.issue(name, 1)
    path = authority.path
    (table := tmp_path / "identities.toml").write_text("[[identity]]\n", encoding="utf-8")
    for given, words in (
        (Credentials(authority=str(table)), rf"{table.name}: has no certificate in PEM"),
        (
            Credentials(certificate=str(path("one", "crt")), key=str(path("two", "key"))),
            r"one\.crt and .*two\.key: are no",
        ),
        (Credentials(certificate=str(table), key=str(path("one", "key"))), rf"{table.name} and .*one\.key: are no"),
    ):
        with pytest.raises(CredentialsError, match=words):
            channel_credentials(given)
    channel_credentials(Credentials(certificate=str(path("one", "crt")), key=str(path("one", "key"))))
