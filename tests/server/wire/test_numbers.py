"""The numbers of the core's words are those of the contract, so that they need no translation."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest
from gossipcontrol.server.core.decision import Capability, Cause, DecisionKind, Outcome, Rule, Rung
from gossipcontrol.server.core.event import ChangeKind
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, liveness_pb2

PAIRS = [
    (Cause, decision_pb2.Cause, "CAUSE_"),
    (DecisionKind, decision_pb2.DecisionKind, "DECISION_KIND_"),
    (Outcome, decision_pb2.RejoinOutcome, "REJOIN_OUTCOME_"),
    (Rung, decision_pb2.Rung, "RUNG_"),
    (Rule, decision_pb2.Rule, "RULE_"),
    (PeerState, liveness_pb2.PeerState, "PEER_STATE_"),
    (Capability, attach_pb2.Capability, "CAPABILITY_"),
    (ChangeKind, gossip_control_pb2.NetworkChangeKind, "NETWORK_CHANGE_KIND_"),
]


@pytest.mark.parametrize(("word", "message", "prefix"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_word_has_the_names_and_numbers_of_the_contract(word: type[IntEnum], message: Any, prefix: str) -> None:
    wire = {name.removeprefix(prefix): number for name, number in message.items() if number}
    assert {one.name: one.value for one in word} == wire
