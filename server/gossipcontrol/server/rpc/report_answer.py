"""What the answer to a liveness report holds: the store's view, and when to report next."""

from __future__ import annotations

from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.rpc.naming import Naming
from gossipcontrol.server.rpc.resume_token import ResumeTokens
from gossipcontrol.server.wire.encode import span_ms
from gossipcontrol.server.wire.encode_presence import LISTED_PEERS, view_message
from gossipcontrol.v1 import liveness_pb2


class ReportAnswers:
    """Reads presence for both ways to report: the PeerLiveness call and an agent's stream."""

    def __init__(self, liveness: Liveness, resume_tokens: ResumeTokens, naming: Naming) -> None:
        self._liveness = liveness
        self._resume_tokens = resume_tokens
        self._naming = naming

    def view(self, store_id: str, known_version: int, now: float) -> liveness_pb2.StoreView:
        """The store's peers, or what changed since the version that the sender holds."""
        known = self._resume_tokens.version(known_version)
        view = self._liveness.view(store_id, known, LISTED_PEERS)
        # Who holds a view of this run knows already what is yet to come.
        settling = self._resume_tokens.settling(now) if known is None else 0.0
        message = view_message(view, self._resume_tokens, now, settling)
        self._naming.peers(message.peers)
        return message

    def unchanged(self, store_id: str, known_version: int) -> liveness_pb2.StoreView:
        """No news for a report that was left out: the sender keeps what it holds."""
        return liveness_pb2.StoreView(store_id=store_id, version=known_version, delta=True)

    def next_report(self, now: float) -> float:
        """Seconds until the sender should report again."""
        return self._liveness.next_report(now)

    def next_report_ms(self, now: float) -> int:
        """Milliseconds until the sender should report again."""
        return span_ms(self.next_report(now))
