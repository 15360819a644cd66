"""What may go wrong with a call, for callers."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.rpc import error_details_pb2, status_pb2


class ClientError(Exception):
    """A call failed; the message is for people."""


class UnreachableError(ClientError):
    """No service answers at the address."""


class RefusedError(ClientError):
    """The request was wrong; ``violations`` are (field, what is wrong)."""

    def __init__(self, message: str, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.violations = violations


class OverloadedError(ClientError):
    """The service has no room; ``retry_in`` seconds later it may."""

    def __init__(self, message: str, retry_in: float) -> None:
        super().__init__(message)
        self.retry_in = retry_in


def client_error(error: grpc.aio.AioRpcError) -> ClientError:
    """The error that a caller should see."""
    message = error.details() or error.code().name
    match error.code():
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnreachableError(message)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return RefusedError(message, _violations(error))
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            retry_in = retry_delay(error)
            return ClientError(message) if retry_in is None else OverloadedError(message, retry_in)
        case code:
            return ClientError(f"{code.name}: {message}")


def retry_delay(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds after which the service wants to be asked again, if it said so."""
    info = error_details_pb2.RetryInfo()
    for detail in _status(error).details:
        if detail.Unpack(info):
            return float(info.retry_delay.ToMilliseconds()) / 1000
    return None


def _violations(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    bad = error_details_pb2.BadRequest()
    return [
        (violation.field, violation.description)
        for detail in _status(error).details
        if detail.Unpack(bad)
        for violation in bad.field_violations
    ]


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()
