"""The enumerations of the client: those of the protocol, and open to a newer one."""

from __future__ import annotations

import copy
import logging
import pickle
from collections import Counter
from typing import Any

import pytest
from gossipcontrol.client import (
    Capability,
    Cause,
    ChangeKind,
    DecisionKind,
    Outcome,
    PeerState,
    Platform,
    Rule,
    Rung,
    decode,
    unrecognized_numbers,
)
from gossipcontrol.client.enumeration import MOST_COUNTED, OpenEnum
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, liveness_pb2

MIRRORS: list[tuple[type[OpenEnum], Any]] = [
    (Capability, attach_pb2.Capability),
    (Cause, decision_pb2.Cause),
    (ChangeKind, gossip_control_pb2.NetworkChangeKind),
    (DecisionKind, decision_pb2.DecisionKind),
    (Outcome, decision_pb2.RejoinOutcome),
    (PeerState, liveness_pb2.PeerState),
    (Platform, gossip_control_pb2.Platform),
    (Rule, decision_pb2.Rule),
    (Rung, decision_pb2.Rung),
]


@pytest.mark.parametrize(("own", "proto"), MIRRORS, ids=lambda one: getattr(one, "__name__", ""))
def test_it_has_the_numbers_and_names_of_the_protocol(own: type[OpenEnum], proto: Any) -> None:
    [prefix] = {name.removesuffix("UNSPECIFIED") for name, number in proto.items() if number == 0}
    assert {f"{prefix}{one.name}": one.value for one in own} == {
        name: number for name, number in proto.items() if number
    }


def test_a_member_is_shown_by_its_word() -> None:
    assert f"{Cause.NETWORK_CHANGE} {PeerState.ONLINE:<8}|" == "network-change online  |"
    assert (str(Rung.RESTART_ADVISED), ChangeKind.RESUMED.label) == ("restart-advised", "resume")


def test_an_unknown_number_is_kept_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    before = unrecognized_numbers().get("PeerState 777", 0)
    with caplog.at_level(logging.WARNING, "gossipcontrol.client"):
        unknown: Any = 777
        views = [liveness_pb2.PeerView(peer_id="p", state=unknown) for _ in range(3)]
        peers = [decode.peer(view) for view in views]
    assert [(one.state, one.state.name, str(one.state)) for one in peers] == [
        (777, "UNRECOGNIZED_777", "unrecognized-777")
    ] * 3
    assert repr(peers[0].state) == "<PeerState.UNRECOGNIZED_777: 777>"
    assert not peers[0].state.recognized
    assert PeerState.ONLINE.recognized
    assert unrecognized_numbers()["PeerState 777"] == before + 3
    assert len(caplog.records) == (0 if before else 1)
    assert peers[0].state == peers[1].state
    assert len({one.state for one in peers}) == 1


def test_an_unknown_number_can_be_copied() -> None:
    unknown = Cause(778)
    assert pickle.loads(pickle.dumps(unknown)) == copy.deepcopy(unknown) == unknown


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a valid Cause"):
        Cause("manual")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_number_that_was_not_given_is_not_counted() -> None:
    before = unrecognized_numbers()
    assert decode.decision(decision_pb2.Decision()).kind.name == "UNSPECIFIED"
    assert unrecognized_numbers() == before


def test_a_service_that_invents_numbers_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossipcontrol.client.enumeration._counts", Counter[str]())
    monkeypatch.setattr(logging.getLogger("gossipcontrol.client"), "disabled", True)
    for number in range(2 * MOST_COUNTED):
        Rule(10_000 + number)
    assert len(unrecognized_numbers()) == MOST_COUNTED


async def test_every_message_with_unknown_numbers_is_decoded() -> None:
    trigger: dict[str, Any] = {"cause": 901, "kind": 902, "rule": 903}
    numbers: dict[str, Any] = {"outcome": 904, "rung": 905}
    rejoin = decision_pb2.Rejoin(**numbers, triggers=[decision_pb2.TriggerRecord(**trigger)])
    record = decode.rejoin_record(rejoin)
    assert (record.outcome, record.rung) == (904, 905)
    assert [(one.cause, one.kind, one.rule) for one in record.triggers] == [(901, 902, 903)]
    unknown: Any = 906
    count = gossip_control_pb2.PeerCount(state=unknown, count=2)
    store = decode.store(gossip_control_pb2.Store(store_id="a", peer_counts=[count]))
    assert store.peer_counts == {906: 2}
