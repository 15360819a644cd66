"""The clients against a real hub: with a certificate, with a token, and with what must not come in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.client import Credentials
from gossipcontrol.server.access.authority import AUTHORITY, Authority
from gossipcontrol.server.access.hub import found_hub
from gossipcontrol.server.access.table import digest_of

from tests.clients.built import LANGUAGES, Built, Finished, build
from tests.kit.hub import TABLE, Hub, hub

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

TOKEN = "a-token-of-a-phone"
ROWS = f"""{TABLE}
[[identity]]
name = "phone"
tokens = [{{ sha256 = "{digest_of(TOKEN)}" }}]
roles = ["agent"]
nodes = ["phone"]
stores = ["*"]
"""
DISBELIEF = {
    "go": "unknown authority",
    "rust": "invalid peer certificate",
    "typescript": "certificate",
    "kotlin": "SSLHandshakeException",
}
"""What each client says of a service whose certificate another authority signed."""
ENDED = "connection error|broken pipe|connection reset by peer"
"""What Go says where the hub refuses a certificate. The hub ends the connection after the handshake, without a word
(TLS 1.3), and the client sees that as it reads, or as it still writes, in the system's words."""


@pytest.fixture(scope="session")
def go() -> Built:
    return build(next(one for one in LANGUAGES if one.name == "go"))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path, ROWS) as one:
        yield one


async def report(
    client: Built, monkeypatch: pytest.MonkeyPatch, address: str, node: str, shown: Credentials, seconds: float = 5
) -> Finished:
    """Report about a node with these credentials."""
    for key in ("authority", "certificate", "key", "token"):
        monkeypatch.setenv(f"GOSSIPCONTROL_TLS_{key}".upper(), getattr(shown, key))
    return await client.report(address, node, seconds=seconds)


async def test_a_certificate_speaks_for_its_own_node_only(
    client: Built, running: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = running.credentials("laptop-1")
    own = await report(client, monkeypatch, running.address, "laptop-1", shown)
    assert (own.code, own.output.split()[-1:]) == (0, ["DECISION_KIND_PARKED"]), own.errors
    other = await report(client, monkeypatch, running.address, "laptop-2", shown)
    assert other.code == 1
    assert "node_ids[0]: is not in the nodes" in other.errors


async def test_a_token_comes_in_where_tokens_are_taken(
    client: Built, running: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = await report(client, monkeypatch, running.token_address, "phone", running.bearer_credentials(TOKEN))
    assert own.code == 0, own.errors
    wrong = await report(client, monkeypatch, running.token_address, "phone", running.bearer_credentials("wrong"))
    assert wrong.code == 1
    assert "unauthenticated" in wrong.errors.lower()


async def test_a_hub_of_another_authority_is_not_believed(
    client: Built, running: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    found_hub(other, ["localhost"], 1, 1)
    shown = running.bearer_credentials(TOKEN)
    shown = Credentials(authority=str(other.path(AUTHORITY, "crt")), token=shown.token)
    done = await report(client, monkeypatch, running.token_address, "phone", shown, seconds=10)
    assert (done.code, done.output) == (1, "")
    assert DISBELIEF[client.language.name] in done.errors
    assert not running.service.lines("decided")


async def test_what_must_not_come_in_does_not(go: Built, running: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    running.authority.issue("laptop-9", -0.01)
    for address, shown, why in (
        (running.address, running.credentials("laptop-9"), ENDED),
        (running.address, running.bearer_credentials(TOKEN), ENDED),
        (running.address, Credentials(), "unknown authority"),
        (running.address.removeprefix("tls:"), running.credentials("laptop-1"), ENDED),
    ):
        done = await report(go, monkeypatch, address, "laptop-1", shown)
        assert (done.code, done.output) == (1, "")
        assert re.search(f"code = Unavailable .*({why})", done.errors), done.errors
    assert not running.service.lines("decided")
