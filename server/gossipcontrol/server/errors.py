"""The errors of the start, and of calls, whose classes each carry their gRPC status and details."""

from __future__ import annotations

import random
from collections.abc import Sequence

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from gossipcontrol.system.wording import try_again

LISTED_VIOLATIONS = 25
"""Most fields named in one answer, because gRPC clients drop trailers of more than 8 kB."""

JITTER = 0.2
"""Largest part by which the delay until a retry differs from client to client."""


OWNER_TRAILER = "gossipcontrol-owner"
"""Key of the trailing metadata that says where the owner is; empty: that is not known."""


class OwnershipLost(Exception):
    """Another replica has taken over, so this process must end; the message says who."""


class StartError(Exception):
    """The service cannot start; the message names what is in the way."""


class GossipControlError(Exception):
    """A call cannot be served; the message is for people."""

    code = grpc.StatusCode.INTERNAL

    def details(self) -> Sequence[Message]:
        """The google.rpc details sent with the status."""
        return ()

    def trailers(self) -> Sequence[tuple[str, str]]:
        """Further trailing metadata."""
        return ()


def _bad_request(violations: Sequence[tuple[str, str]]) -> BadRequest:
    found = [BadRequest.FieldViolation(field=name, description=what) for name, what in violations]
    return BadRequest(field_violations=found)


def _retry_info(delay_ms: int) -> RetryInfo:
    delay = Duration()
    delay.FromMilliseconds(delay_ms)
    return RetryInfo(retry_delay=delay)


class InvalidRequest(GossipControlError):
    """Fields of the request are wrong: pairs of path and what is wrong, of which the first are sent."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        more = f"; and {len(violations) - 5} more" if len(violations) > 5 else ""
        super().__init__("; ".join(f"{name}: {what}" for name, what in violations[:5]) + more)
        self.violations = violations[:LISTED_VIOLATIONS]

    def details(self) -> Sequence[Message]:
        """A google.rpc.BadRequest that names the fields."""
        return (_bad_request(self.violations),)


class Overloaded(GossipControlError):
    """A limit is reached; a retry after ``retry_in`` seconds may succeed.

    Each client gets its own delay, up to a fifth longer, so that a fleet does not come again in step.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, what: str, retry_in: float) -> None:
        super().__init__(f"{what}; {try_again(retry_in)}")
        self.retry_in = retry_in
        self._delay_ms = int(retry_in * 1000 * random.uniform(1, 1 + JITTER))

    def details(self) -> Sequence[Message]:
        """A google.rpc.RetryInfo."""
        return (_retry_info(self._delay_ms),)

    def trailers(self) -> Sequence[tuple[str, str]]:
        """The delay that gRPC clients with automatic retries obey."""
        return (("grpc-retry-pushback-ms", str(self._delay_ms)),)


class Unauthenticated(GossipControlError):
    """It is not known whose the call is."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(GossipControlError):
    """The identity does not own a field of the request (``field``), or may not make the call (empty).

    It says nothing of whether what the field names exists.
    """

    code = grpc.StatusCode.PERMISSION_DENIED

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}" if field else why)
        self.field = field
        self._why = why

    def details(self) -> Sequence[Message]:
        """A google.rpc.BadRequest that names the field."""
        return (_bad_request([(self.field, self._why)]),) if self.field else ()


class NotFound(GossipControlError):
    """What the call asks for is not known."""

    code = grpc.StatusCode.NOT_FOUND


class Precondition(GossipControlError):
    """What the call names is not in a state that allows it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Replaced(GossipControlError):
    """A newer stream of the same node has taken over."""

    code = grpc.StatusCode.ABORTED


class StateFailing(GossipControlError):
    """The state cannot be written, so what a crash would lose is refused."""

    code = grpc.StatusCode.UNAVAILABLE

    def __init__(self, why: str) -> None:
        super().__init__(f"the state cannot be written, so triggers and intentions are refused: {why}")


class NotOwner(GossipControlError):
    """Another replica serves, or soon will; ``owner`` is where clients reach it, as far as it is known."""

    code = grpc.StatusCode.UNAVAILABLE

    def __init__(self, why: str, owner: str = "", retry_in: float = 0.0) -> None:
        super().__init__(why)
        self.owner = owner
        self.retry_in = retry_in
        """Seconds after which to ask again, where nobody else can be asked; 0.0: as the client likes."""

    def details(self) -> Sequence[Message]:
        """A google.rpc.RetryInfo, if there is a delay."""
        return (_retry_info(int(self.retry_in * 1000)),) if self.retry_in else ()

    def trailers(self) -> Sequence[tuple[str, str]]:
        """Where the owner is, for programs."""
        return ((OWNER_TRAILER, self.owner),)


class Stopping(GossipControlError):
    """The service is stopping."""

    code = grpc.StatusCode.UNAVAILABLE
