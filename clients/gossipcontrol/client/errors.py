"""Errors of the client: one tree, each with its gRPC status code."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class StatusCode(IntEnum):
    """The status codes of gRPC, by number (https://grpc.io/docs/guides/status-codes/)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ClientError(Exception):
    """A call failed. The message is for people; ``code`` is the gRPC status.

    Raised itself for a status that has no class of its own here.
    """

    code = StatusCode.UNKNOWN

    def __init__(self, message: str, code: StatusCode | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class AddressError(ClientError, ValueError):
    """An address is neither ``unix:/path`` nor ``[tls:]host:port``. Raised at construction, before any call."""

    code = StatusCode.INVALID_ARGUMENT


class CredentialsError(ClientError, ValueError):
    """A file of credentials cannot be read or used, or one of two that belong together is missing."""

    code = StatusCode.UNAUTHENTICATED


class UnreachableError(ClientError):
    """No service answers at the address: UNAVAILABLE, or DEADLINE_EXCEEDED. Try again later."""

    code = StatusCode.UNAVAILABLE


class StandbyError(UnreachableError):
    """A replica answered that does not serve; the message says which one does."""


class RefusedError(ClientError):
    """The request was wrong, and changed nothing; ``violations`` are (field, what is wrong)."""

    code = StatusCode.INVALID_ARGUMENT

    def __init__(self, message: str, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.violations = violations


class OverloadedError(ClientError):
    """The service has no room; ``retry_in`` seconds later it may."""

    code = StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_in: float) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class NotFoundError(ClientError):
    """The service does not know what the request names: a rejoin, a store without intentions."""

    code = StatusCode.NOT_FOUND


class DeniedError(ClientError):
    """The caller may not do this: PERMISSION_DENIED, or UNAUTHENTICATED."""

    code = StatusCode.PERMISSION_DENIED


class UnsupportedError(ClientError):
    """The service does not offer the call: it is older than this client, or not GossipControl."""

    code = StatusCode.UNIMPLEMENTED
