"""The clients of GossipControl, asynchronous and synchronous, with the values that they take and give.

A name is imported when it is first used: importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipcontrol.client.lazy import lazy_names

if TYPE_CHECKING:
    from gossipcontrol.client.address import check_address, default_address
    from gossipcontrol.client.client import Client
    from gossipcontrol.client.credentials import Credentials
    from gossipcontrol.client.decision import (
        Decision,
        ExplainResult,
        Explanation,
        ForgetResult,
        NetworkChange,
        PastTrigger,
        RejoinRecord,
        RejoinTrigger,
        RestartRecord,
        SeenState,
        TriggerRecord,
        TriggerResult,
    )
    from gossipcontrol.client.enumeration import (
        Capability,
        Cause,
        ChangeKind,
        DecisionKind,
        Outcome,
        PeerState,
        Platform,
        ReplicaRole,
        Rule,
        Rung,
        unrecognized_numbers,
    )
    from gossipcontrol.client.errors import (
        AddressError,
        ClientError,
        CredentialsError,
        DeniedError,
        NotFoundError,
        OverloadedError,
        RefusedError,
        StandbyError,
        StatusCode,
        UnreachableError,
        UnsupportedError,
    )
    from gossipcontrol.client.intention import (
        AuthorLag,
        ChainPosition,
        Frontier,
        Intention,
        IntentionBatch,
        Member,
        PeerKnowledge,
        PeerLag,
        RecordResult,
        UndoneChange,
    )
    from gossipcontrol.client.knowledge import Knowledge
    from gossipcontrol.client.liveness import (
        LivenessReport,
        LivenessResult,
        Neighbor,
        PeerObservation,
        SyncRequest,
        SyncResult,
    )
    from gossipcontrol.client.presence import Peer, PeerChange, Presence, PresenceUpdate, StoreView
    from gossipcontrol.client.replica import Replica, ReplicaList
    from gossipcontrol.client.store import Store, StoreNode
    from gossipcontrol.client.sync_client import SyncClient
else:
    __getattr__, __dir__ = lazy_names(__name__, {
        "gossipcontrol.client.address": ("check_address", "default_address"),
        "gossipcontrol.client.client": ("Client",),
        "gossipcontrol.client.credentials": ("Credentials",),
        "gossipcontrol.client.decision": (
            "Decision", "ExplainResult", "Explanation", "ForgetResult", "NetworkChange", "PastTrigger",
            "RejoinRecord", "RejoinTrigger", "RestartRecord", "SeenState", "TriggerRecord", "TriggerResult",
        ),
        "gossipcontrol.client.enumeration": (
            "Capability", "Cause", "ChangeKind", "DecisionKind", "Outcome", "PeerState", "Platform", "ReplicaRole",
            "Rule", "Rung", "unrecognized_numbers",
        ),
        "gossipcontrol.client.errors": (
            "AddressError", "ClientError", "CredentialsError", "DeniedError", "NotFoundError", "OverloadedError",
            "RefusedError", "StandbyError", "StatusCode", "UnreachableError", "UnsupportedError",
        ),
        "gossipcontrol.client.intention": (
            "AuthorLag", "ChainPosition", "Frontier", "Intention", "IntentionBatch", "Member", "PeerKnowledge",
            "PeerLag", "RecordResult", "UndoneChange",
        ),
        "gossipcontrol.client.knowledge": ("Knowledge",),
        "gossipcontrol.client.liveness": (
            "LivenessReport", "LivenessResult", "Neighbor", "PeerObservation", "SyncRequest", "SyncResult",
        ),
        "gossipcontrol.client.presence": ("Peer", "PeerChange", "Presence", "PresenceUpdate", "StoreView"),
        "gossipcontrol.client.replica": ("Replica", "ReplicaList"),
        "gossipcontrol.client.store": ("Store", "StoreNode"),
        "gossipcontrol.client.sync_client": ("SyncClient",),
    })  # fmt: skip

__all__ = [
    "AddressError", "AuthorLag", "Capability", "Cause", "ChainPosition", "ChangeKind", "Client", "ClientError",
    "Credentials", "CredentialsError", "Decision", "DecisionKind", "DeniedError", "ExplainResult", "Explanation",
    "ForgetResult", "Frontier", "Intention", "IntentionBatch", "Knowledge", "LivenessReport", "LivenessResult",
    "Member", "Neighbor", "NetworkChange", "NotFoundError", "Outcome", "OverloadedError", "PastTrigger", "Peer",
    "PeerChange", "PeerKnowledge", "PeerLag", "PeerObservation", "PeerState", "Platform", "Presence", "PresenceUpdate",
    "RecordResult", "RefusedError", "RejoinRecord", "RejoinTrigger", "Replica", "ReplicaList", "ReplicaRole",
    "RestartRecord", "Rule", "Rung", "SeenState", "StandbyError", "StatusCode", "Store", "StoreNode", "StoreView",
    "SyncClient", "SyncRequest", "SyncResult", "TriggerRecord", "TriggerResult", "UndoneChange", "UnreachableError",
    "UnsupportedError", "check_address", "default_address", "unrecognized_numbers",
]  # fmt: skip
