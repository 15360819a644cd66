"""The interface behind which each driver is one file, and the sessions that a driver can act through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.core.effect import AdviseRestart, StartRejoin
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.rpc.session import Session


@dataclass(frozen=True, slots=True)
class Result:
    """What the node reported about an attempt; only neighbours and messages prove that it worked."""

    ok: bool
    error: str = ""
    permanent: bool = False
    """Whether a retry is pointless."""


DISCONNECTED = Result(False, "the agent disconnected before the command was sent")


class Driver(Protocol):
    """Carries out rejoins and syncs. A node is attached when some driver can act for it.

    The result of an attempt comes in one of two forms. Either the node reports it later, and ``finish`` ends the
    ``rejoin`` that waits for it; or the driver learns it itself, as from a command that it runs: then ``rejoin``
    returns it, and ``finish`` changes nothing. The contract in ``tests/server/drivers`` is tested over both.
    """

    def attach(self, session: Session) -> Session | None:
        """Act for a node through this session; returns the session that it replaces."""
        ...

    def detach(self, session: Session) -> None:
        """Stop using a session; a session that was replaced changes nothing."""
        ...

    def is_current(self, session: Session) -> bool:
        """Whether this session speaks for its node: the newest one does, until it is detached."""
        ...

    def session(self, node_id: str) -> Session | None:
        """The session that speaks for a node; None: this driver cannot act for it."""
        ...

    def capabilities(self, node_id: str) -> frozenset[Capability] | None:
        """What the node can do beyond a plain rejoin; None: this driver cannot act for the node."""
        ...

    async def rejoin(self, start: StartRejoin) -> Result:
        """Carry out one attempt; the caller cancels it after ``start.timeout`` seconds."""
        ...

    def finish(self, node_id: str, rejoin_id: str, attempt: int, result: Result) -> None:
        """Pass on a node's result; ignored when no attempt of this node waits for it, or the driver learns its own."""
        ...

    def sync(self, wanted: SyncWanted, addresses: Sequence[str]) -> bool:
        """Ask a node to sync with a peer at these addresses; returns whether the request was sent."""
        ...

    def advise(self, advice: AdviseRestart) -> bool:
        """Tell who speaks for a node that a restart is advised; returns whether it was told."""
        ...


class AttachedSessions:
    """The newest session of each node that a driver can act for."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def attach(self, session: Session) -> Session | None:
        """Act for a node through this session; returns the session that it replaces."""
        replaced = self._sessions.get(session.node_id)
        self._sessions[session.node_id] = session
        return replaced if replaced is not session else None

    def detach(self, session: Session) -> None:
        """Stop using a session; a session that was replaced changes nothing."""
        if self._sessions.get(session.node_id) is session:
            del self._sessions[session.node_id]

    def is_current(self, session: Session) -> bool:
        """Whether this session speaks for its node: the newest one does, until it is detached."""
        return self._sessions.get(session.node_id) is session

    def session(self, node_id: str) -> Session | None:
        """The session that speaks for a node; None: it has none."""
        return self._sessions.get(node_id)

    def capabilities(self, node_id: str) -> frozenset[Capability] | None:
        """What the node can do beyond a plain rejoin; None: it has no session."""
        session = self._sessions.get(node_id)
        return None if session is None else session.capabilities

    def finish(self, node_id: str, rejoin_id: str, attempt: int, result: Result) -> None:
        """Ignore a node's result: only drivers whose nodes report theirs take it."""

    def advise(self, advice: AdviseRestart) -> bool:
        """Tell nobody: only drivers with an agent can."""
        del advice
        return False

    @property
    def count(self) -> int:
        """Number of attached sessions."""
        return len(self._sessions)

    def sessions(self) -> list[Session]:
        """All attached sessions."""
        return list(self._sessions.values())

    def started_for(self, start: StartRejoin) -> Session | None:
        """The session that a rejoin was started for; None when the node has no session or a newer one."""
        session = self._sessions.get(start.node_id)
        return session if session is not None and session.session_id == start.session_id else None

    def able_to_sync(self, node_id: str) -> Session | None:
        """The node's session if it can sync with a peer on request."""
        session = self._sessions.get(node_id)
        able = session is not None and Capability.SYNC_WITH_PEER in session.capabilities
        return session if able else None
