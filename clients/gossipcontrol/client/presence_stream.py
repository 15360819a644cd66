"""A store's presence over one stream after the other: each goes on where the one before ended. No IO."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
from gossipcontrol.client import decode
from gossipcontrol.client.errors import ClientError, StatusCode, UnreachableError
from gossipcontrol.client.failure import client_error
from gossipcontrol.client.presence import PresenceUpdate
from gossipcontrol.client.retry import is_transient
from gossipcontrol.client.servers import Search
from gossipcontrol.v1 import gossip_control_pb2

OnLoss = Callable[[ClientError], None]
"""Called with the reason when a stream breaks and another will be opened."""


class PresenceStream:
    """Open a stream with ``request``; give every response to ``accept``, and what ends the stream to ``wait_after``.

    Only the first answer must come within ``timeout`` seconds.
    """

    def __init__(
        self,
        store_id: str,
        resume_token: str,
        timeout: float,
        on_loss: OnLoss,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.request = gossip_control_pb2.WatchPeersRequest(store_id=store_id, resume_token=resume_token)
        self._timeout = timeout
        self._on_loss = on_loss
        self._clock = clock
        self._ends_at: float | None = clock() + timeout

    def left(self, search: Search) -> float | None:
        """Seconds until this server's first answer must be there; None once one is."""
        return None if self._ends_at is None else max(0.001, search.attempt_time(self._ends_at - self._clock()))

    def accept(self, response: gossip_control_pb2.WatchPeersResponse, search: Search) -> PresenceUpdate:
        """The update in a response; a further stream resumes after it."""
        self._ends_at = None
        search.succeed()
        self.request.resume_token = response.resume_token
        return decode.presence_update(response)

    def no_answer(self) -> UnreachableError:
        """The error when the first answer did not come in time."""
        return UnreachableError(f"no answer within {self._timeout:g} s", StatusCode.DEADLINE_EXCEEDED)

    def wait_unanswered(self, search: Search) -> float:
        """Seconds before the next stream, after one without an answer; raises ClientError when there is no time."""
        wait = search.wait(None)
        if self._is_too_late(wait):
            raise self.no_answer()
        self._on_loss(self.no_answer())
        return wait

    def wait_after(self, error: grpc.RpcError | None, search: Search) -> float:
        """Seconds before the next stream, after this error or an orderly end; raises ClientError when it is final."""
        loss = UnreachableError("the service ended the stream") if error is None else client_error(error)
        may_pass = error is None or is_transient(error) or search.may_go_on(error)
        if not may_pass:
            raise loss from error
        wait = search.wait(error)
        if self._is_too_late(wait):
            raise loss from error
        self._on_loss(loss)
        return wait

    def _is_too_late(self, wait: float) -> bool:
        return self._ends_at is not None and self._clock() + wait >= self._ends_at
