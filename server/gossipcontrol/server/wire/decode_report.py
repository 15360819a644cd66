"""From liveness reports to the core's events: the busiest decoder. Raises InvalidRequest for wrong fields.

Valid reports are read column by column in a few fast passes; entries are checked one by one only to name what is wrong.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from operator import attrgetter
from typing import NamedTuple

from gossipcontrol.server.core.event import NEVER, LivenessReported
from gossipcontrol.server.wire.limits import (
    AGE_MS,
    ID_BYTES,
    PEERS,
    REPORTS,
    Violations,
    are_ids,
    check_age,
    check_count,
    check_text,
    refuse,
)
from gossipcontrol.server.wire.unrecognized import Note, ignore
from gossipcontrol.v1 import gossip_control_pb2, liveness_pb2

_OBSERVATION = attrgetter("peer_id", "heard_age_ms", "path", "heard_count")
_NEIGHBOR = attrgetter("peer_id", "up_age_ms")
_PATHS = frozenset(liveness_pb2.Path.values())
_DIRECT = liveness_pb2.PATH_DIRECT


class _Heard(NamedTuple):
    """What a node heard of its peers, as in ``LivenessReported``."""

    at: dict[str, float]
    counts: Sequence[int]
    direct: Sequence[str]


_NOTHING = _Heard({}, (), ())


def liveness_reported(
    request: gossip_control_pb2.PeerLivenessRequest, now: float, note: Note = ignore
) -> Generator[None, None, list[LivenessReported]]:
    """The events of a PeerLiveness call, with a pause after each report; unknown paths are noted.

    Raises InvalidRequest once all reports were read, so that a wrong one changes nothing.
    """
    violations: Violations = []
    if not request.reports:
        violations.append(("reports", "must not be empty"))
    if not check_count(len(request.reports), "reports", REPORTS, violations):
        refuse(violations)
    events: list[LivenessReported] = []
    for index, report in enumerate(request.reports):
        events.append(_reported(report, f"reports[{index}].", report.node_id, now, violations, note))
        yield
    refuse(violations)
    return events


def agent_liveness(
    report: liveness_pb2.LivenessReport, node_id: str, now: float, note: Note = ignore
) -> LivenessReported:
    """The event of a LivenessReport in the stream of a node; unknown paths are noted. Raises InvalidRequest."""
    violations: Violations = []
    if report.node_id not in ("", node_id):
        violations.append(("liveness.node_id", f"must be empty or the attached node {node_id}"))
    event = _reported(report, "liveness.", node_id, now, violations, note)
    refuse(violations)
    return event


def _reported(
    report: liveness_pb2.LivenessReport, prefix: str, node_id: str, now: float, violations: Violations, note: Note
) -> LivenessReported:
    check_text(node_id, f"{prefix}node_id", ID_BYTES, violations, required=True)
    check_text(report.store_id, f"{prefix}store_id", ID_BYTES, violations, required=True)
    heard = _heard(report, prefix, now, violations, note)
    return LivenessReported(
        node_id=node_id,
        store_id=report.store_id,
        heard=heard.at,
        neighbors=_neighbors(report.neighbors, f"{prefix}neighbors", now, violations),
        broadcast_count=report.broadcast_count,
        unsynced_writes=report.unsynced_writes,
        going_to_sleep=report.going_to_sleep,
        heard_counts=heard.counts,
        direct=heard.direct,
    )


def _heard(report: liveness_pb2.LivenessReport, prefix: str, now: float, violations: Violations, note: Note) -> _Heard:
    """What the node heard of its peers, from either form of the report."""
    peers, columns = report.peers, report.heard
    if peers:
        found = _read_observations(peers, now, note)
        if found is None:
            _check_observations(peers, f"{prefix}peers", violations)
        if report.HasField("heard"):
            violations.append((f"{prefix}heard", "must not be given beside peers"))
    else:
        found = _read_columns(columns, now)
        if found is None:
            _check_columns(columns, f"{prefix}heard.", violations)
    return found or _NOTHING


def _read_observations(peers: Sequence[liveness_pb2.PeerObservation], now: float, note: Note) -> _Heard | None:
    """The peers in the form of observations; None when something is wrong."""
    ids, ages, paths, counts = zip(*map(_OBSERVATION, peers), strict=True)
    at = _instants(ids, ages, now)
    if at is None:
        return None
    if not _PATHS.issuperset(paths):
        for path in set(paths) - _PATHS:
            note("path", path)
    if 0 in ages:
        # An age of 0 may mean that no age was given.
        at.update((peer.peer_id, NEVER) for peer in peers if not peer.HasField("heard_age_ms"))
    direct = [one for one, path in zip(ids, paths, strict=True) if path == _DIRECT and at[one] > NEVER]
    return _Heard(at, counts, direct)


def _read_columns(heard: liveness_pb2.PeersHeard, now: float) -> _Heard | None:
    """The peers in the form of columns; None when something is wrong."""
    ids, ages, counts, direct = heard.peer_ids[:], heard.heard_ages_ms[:], heard.heard_counts[:], heard.direct[:]
    given, unheard = len(ages), len(ids) - len(ages)
    if unheard < 0 or len(counts) not in (0, given) or len(direct) > given or max(direct, default=-1) >= given:
        return None
    at = _instants(ids, ages, now)
    if at is not None and unheard and counts:
        counts += [0] * unheard
    return None if at is None else _Heard(at, counts, [ids[place] for place in direct])


def _instants(ids: Sequence[str], ages: Sequence[int], now: float) -> dict[str, float] | None:
    """The instant at which each peer was heard, NEVER for those without an age; None when something is wrong."""
    if not ids:
        return {}
    at = dict(zip(ids, [now - age / 1000 for age in ages], strict=False))
    if len(ages) < len(ids):
        at.update(dict.fromkeys(ids[len(ages) :], NEVER))
    is_valid = len(at) == len(ids) <= PEERS and are_ids(ids) and max(ages, default=0) <= AGE_MS
    return at if is_valid else None


def _check_observations(peers: Sequence[liveness_pb2.PeerObservation], name: str, violations: Violations) -> None:
    """Name what is wrong in the observations."""
    if _check_ids([peer.peer_id for peer in peers], name, ".peer_id", violations):
        for index, peer in enumerate(peers):
            check_age(peer.heard_age_ms, f"{name}[{index}].heard_age_ms", violations)


def _check_columns(heard: liveness_pb2.PeersHeard, prefix: str, violations: Violations) -> None:
    """Name what is wrong in the columns."""
    if not _check_ids(heard.peer_ids, f"{prefix}peer_ids", "", violations):
        return
    most, given = len(heard.peer_ids), len(heard.heard_ages_ms)
    if given > most:
        violations.append((f"{prefix}heard_ages_ms", f"must have at most as many entries as peer_ids, {most}"))
        return
    for index, age in enumerate(heard.heard_ages_ms):
        check_age(age, f"{prefix}heard_ages_ms[{index}]", violations)
    if len(heard.heard_counts) not in (0, given):
        violations.append((f"{prefix}heard_counts", f"must have as many entries as heard_ages_ms, {given}, or none"))
    if len(heard.direct) > given or max(heard.direct, default=-1) >= given:
        violations.append((f"{prefix}direct", f"must be indexes of peers with an age, from 0 to below {given}"))


def _check_ids(ids: Sequence[str], name: str, suffix: str, violations: Violations) -> bool:
    """Not too many ids, each once; returns whether the other fields should be checked one by one."""
    if not check_count(len(ids), name, PEERS, violations):
        return False
    if len(set(ids)) != len(ids):
        violations.append((name, "must name each peer once"))
    for index, peer_id in enumerate(ids):
        check_text(peer_id, f"{name}[{index}]{suffix}", ID_BYTES, violations, required=True)
    return True


def _neighbors(
    neighbors: Sequence[liveness_pb2.Neighbor], name: str, now: float, violations: Violations
) -> dict[str, float]:
    if not neighbors:
        return {}
    ids, ages = zip(*map(_NEIGHBOR, neighbors), strict=True)
    at = _instants(ids, ages, now)
    if at is None and _check_ids(ids, name, ".peer_id", violations):
        for index, age in enumerate(ages):
            check_age(age, f"{name}[{index}].up_age_ms", violations)
    return at or {}
