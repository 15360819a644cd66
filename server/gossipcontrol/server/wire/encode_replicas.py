"""The replicas as messages."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.config import State
from gossipcontrol.server.replicas.roster import Listed
from gossipcontrol.v1 import gossip_control_pb2

_ROLES = {
    "owner": gossip_control_pb2.REPLICA_ROLE_OWNER,
    "standby": gossip_control_pb2.REPLICA_ROLE_STANDBY,
    "replaced": gossip_control_pb2.REPLICA_ROLE_REPLACED,
}
_MOST_32, _MOST_64 = (1 << 32) - 1, (1 << 64) - 1


def replicas_response(rows: Sequence[Listed], state: State) -> gossip_control_pb2.ListReplicasResponse:
    """The replicas, and where their state is."""
    path = state.path if state.backend == "sqlite" else ""
    return gossip_control_pb2.ListReplicasResponse(replicas=map(_replica, rows), backend=state.backend, path=path)


def _replica(row: Listed) -> gossip_control_pb2.Replica:
    notice = row.notice
    return gossip_control_pb2.Replica(
        replica_id=notice.holder,
        address=notice.address,
        role=_ROLES[row.role],
        epoch=_bounded(notice.epoch),
        applied_entry=None if notice.applied is None else _bounded(notice.applied),
        lag_entries=None if row.lag is None else _bounded(row.lag),
        seen_age_ms=round(row.age * 1000),
        version=notice.version,
        format=_bounded(notice.format, _MOST_32),
    )


def _bounded(number: int, most: int = _MOST_64) -> int:
    """Another replica wrote it, so it may be anything."""
    return max(0, min(number, most))
