"""Fleets on one hub: what one has is neither visible to another nor can be named there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.access.identity import Scope
from gossipcontrol.server.access.ownership import CALLS, PEERS, peers_of
from gossipcontrol.server.access.table import TableError, digest_of, read_table
from gossipcontrol.server.app import DESCRIPTORS
from gossipcontrol.v1 import (
    attach_pb2,
    decision_pb2,
    gossip_control_pb2,
    gossip_control_pb2_grpc,
    liveness_pb2,
    peer_knowledge_pb2,
    peer_knowledge_pb2_grpc,
)

from tests.kit.hub import Hub, hub
from tests.kit.service_lab import BareAgent, refusal, rejoin

KEY, TOKEN = "c0ffee" * 8, "a-token-of-acme"


def rows(fleet: str, further: str = "") -> str:
    """Devices and an admin of a fleet."""
    return f"""
[[identity]]
name = "{fleet} devices"
fleet = "{fleet}"
certificates = ["{fleet}.laptop-*"]
roles = ["agent", "watcher"]
nodes = ["{{name}}"{further}]
hosts = ["{{name}}"]
stores = ["*"]

[[identity]]
name = "{fleet} admin"
fleet = "{fleet}"
certificates = ["{fleet}.admin"]
roles = ["admin"]
"""


TABLE = f"""{rows("acme")}
tokens = [{{ sha256 = "{digest_of(TOKEN)}" }}]
{rows("beta", f', "{KEY}"')}
[[identity]]
name = "operator"
fleet = "*"
certificates = ["operator"]
roles = ["admin"]
"""


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path, TABLE) as one:
        yield one


class Caller:
    """The stubs of one client."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.control: Any = gossip_control_pb2_grpc.GossipControlStub(channel)
        self.knowledge: Any = peer_knowledge_pb2_grpc.PeerKnowledgeStub(channel)

    async def stores(self) -> list[str]:
        """The stores that it sees."""
        answer = await self.control.ListStores(gossip_control_pb2.ListStoresRequest())
        return [one.store_id for one in answer.stores]

    async def rejoins(self) -> set[str]:
        """The nodes whose rejoins it sees."""
        answer = await self.control.ListRejoins(gossip_control_pb2.ListRejoinsRequest())
        return {one.node_id for one in answer.rejoins}


async def caller(running: Hub, name: str, stack: AsyncExitStack) -> Caller:
    """A client with the certificate of this name."""
    opened = open_channel(running.address, credentials=running.credentials(name))
    return Caller(await stack.enter_async_context(opened))


async def test_what_another_fleet_has_is_neither_visible_nor_can_be_named(running: Hub) -> None:
    async with AsyncExitStack() as stack:
        names = ("acme.laptop-1", "beta.laptop-1", "acme.admin", "beta.admin", "operator")
        acme, beta, acme_admin, beta_admin, operator = [await caller(running, name, stack) for name in names]
        agent = BareAgent(beta.control)
        await agent.register("beta.laptop-1", "beta.notes", host_id="beta.laptop-1", name="kitchen")
        await beta.control.Rejoin(rejoin("beta.laptop-1", "beta.notes"))
        await acme.control.Rejoin(rejoin("acme.laptop-1", "acme.notes"))

        assert await acme.stores() == await acme_admin.stores() == ["acme.notes"]
        assert await beta.stores() == await beta_admin.stores() == ["beta.notes"]
        assert await operator.stores() == ["acme.notes", "beta.notes"]
        assert await acme_admin.rejoins() == {"acme.laptop-1"}
        token = Caller(
            await stack.enter_async_context(
                open_channel(running.token_address, credentials=running.bearer_credentials(TOKEN))
            )
        )
        assert await token.stores() == ["acme.notes"]

        control, knowledge = acme_admin.control, acme_admin.knowledge

        def report(peer_id: str) -> Any:
            told = liveness_pb2.PeerObservation(peer_id=peer_id)
            one = liveness_pb2.LivenessReport(node_id="acme.laptop-1", store_id="acme.notes", peers=[told])
            return control.PeerLiveness(gossip_control_pb2.PeerLivenessRequest(reports=[one]))

        for call in (
            control.Rejoin(rejoin("beta.laptop-1", "acme.notes")),
            control.Rejoin(rejoin("acme.laptop-1", "beta.notes")),
            control.ListPeers(gossip_control_pb2.ListPeersRequest(store_id="beta.notes")),
            control.WatchPeers(gossip_control_pb2.WatchPeersRequest(store_id="beta.notes")).read(),
            control.Forget(gossip_control_pb2.ForgetRequest(node_id="beta.laptop-1")),
            control.Forget(gossip_control_pb2.ForgetRequest(node_id=KEY)),
            control.ReportNetworkChange(gossip_control_pb2.ReportNetworkChangeRequest(host_id="beta.laptop-1")),
            report("beta.laptop-1"),
            report(KEY),
            knowledge.GetStabilityFrontier(peer_knowledge_pb2.GetStabilityFrontierRequest(store_id="beta.notes")),
            knowledge.ChangeMembers(
                peer_knowledge_pb2.ChangeMembersRequest(store_id="acme.notes", removed_peer_ids=["beta.laptop-1"])
            ),
        ):
            assert (await refusal(call)).code() is grpc.StatusCode.PERMISSION_DENIED
        stranger = BareAgent(acme.control)
        await stranger.register("acme.laptop-1", "acme.notes", host_id="acme.laptop-1")
        await stranger.send(neighbor=attach_pb2.NeighborEvent(store_id="acme.notes", peer_id="beta.laptop-1", up=True))
        assert (await stranger.ended())[0] is grpc.StatusCode.PERMISSION_DENIED
        peers = await acme.control.ListPeers(gossip_control_pb2.ListPeersRequest(store_id="acme.notes"))
        assert "beta" not in str(peers)
        assert "kitchen" not in str(peers)


async def test_whether_another_fleets_node_is_there_cannot_be_told(running: Hub) -> None:
    async with AsyncExitStack() as stack:
        acme, beta = [await caller(running, name, stack) for name in ("acme.laptop-1", "beta.laptop-1")]
        agent = BareAgent(beta.control)
        await agent.register("beta.laptop-1", "beta.notes", host_id="beta.laptop-1")
        await acme.control.Rejoin(rejoin("acme.laptop-1", "acme.notes"))
        answers: set[str] = set()
        for node_id in ("beta.laptop-1", "beta.laptop-9"):
            for store in ("acme.notes", "beta.notes"):
                asked = gossip_control_pb2.ExplainRequest(
                    rejoin=gossip_control_pb2.RejoinRequest(
                        node_id=node_id, store_ids=[store], cause=decision_pb2.CAUSE_MANUAL
                    )
                )
                refused = await refusal(acme.control.Explain(asked))
                answers.add(f"{refused.code()} {refused.details()}")
        assert len(answers) == 1


async def test_a_certificate_of_a_fleet_that_the_hub_does_not_have_is_refused(running: Hub) -> None:
    async with AsyncExitStack() as stack:
        gamma = await caller(running, "gamma.laptop-1", stack)
        refused = await refusal(gamma.control.ListStores(gossip_control_pb2.ListStoresRequest()))
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED


def test_scopes_are_bound_to_the_fleet(tmp_path: Path) -> None:
    path = tmp_path / "identities.toml"
    path.write_text(TABLE, encoding="utf-8")
    table = read_table(path)
    admin, device = table.by_name("acme admin"), table.by_name("beta.laptop-1")
    assert admin is not None
    assert device is not None
    assert (admin.nodes, admin.stores, admin.owns_all(Scope.STORES)) == (("acme.*",), ("acme.*",), False)
    assert device.nodes == ("beta.laptop-1", KEY)
    for fleet, value, is_of in (
        ("acme", "acme.x", True), ("acme", "beta.x", False), ("acme", KEY, False), ("beta", KEY, True),
        ("acme", "a" * 64, True), ("acme", "acmes.x", False), ("acme", "other.x", False),
    ):  # fmt: skip
        assert table.is_of(fleet, value) is is_of


ROW = '[[identity]]\nname = "a"\nfleet = "acme"\ncertificates = ["acme.a"]\nroles = ["agent"]\n'
ALL = 'nodes = ["*"]\nstores = ["*"]\n'


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            f'{ROW}{ALL}[[identity]]\nname = "b"\ncertificates = ["b"]\nroles = ["admin"]',
            "identity 2: fleet: must be given",
        ),
        (ROW.replace("acme.a", "a") + ALL, "a is not of the fleet acme: begin it with acme."),
        (ROW.replace('"acme"', '"Acme"') + ALL, "fleet: must be lower-case letters"),
        (ROW.replace('"acme"', "1") + ALL, "fleet: must be lower-case letters"),
        (f'{ROW}nodes = ["lap*"]\nstores = ["*"]', "nodes: lap* reaches beyond the fleet"),
        (f'{ROW}nodes = ["?cme.x"]\nstores = ["*"]', "reaches beyond the fleet"),
        (f'{ROW}nodes = ["*"]\nstores = ["beta.notes"]', "stores: beta.notes is not of the fleet"),
        (
            f'{ROW}nodes = ["k"]\nstores = ["*"]\n'
            + ROW.replace("acme", "beta").replace('"a"', '"b"')
            + 'nodes = ["k"]\nstores = ["*"]',
            "nodes: k is in two fleets",
        ),
    ],
)
def test_a_row_that_reaches_beyond_its_fleet_is_named(tmp_path: Path, text: str, mistake: str) -> None:
    path = tmp_path / "identities.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TableError) as error:
        read_table(path)
    assert mistake in "; ".join(error.value.mistakes)


def fields(message: Descriptor, prefix: str = "") -> list[str]:
    """Paths of all fields with text."""
    found: list[str] = []
    for field in message.fields:
        path = f"{prefix}{field.name}"
        if field.message_type is not None:
            found += fields(field.message_type, f"{path}.")
        elif field.type == field.TYPE_STRING:
            found.append(path)
    return found


def test_every_field_that_names_a_peer_is_checked() -> None:
    """A new field that names peers has one of these names, or is not found by the check."""
    for service in DESCRIPTORS:
        for method in service.methods:
            naming = [path for path in fields(method.input_type) if "peer" in path.rpartition(".")[2]]
            assert {path.rpartition(".")[2] for path in naming} <= PEERS, naming
    assert all(peers_of(method) for method in CALLS)
