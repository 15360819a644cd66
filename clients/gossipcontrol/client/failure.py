"""Failed gRPC calls, of either kind of channel, as errors of the client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

import grpc
from google.rpc import error_details_pb2, status_pb2
from gossipcontrol.client.errors import (
    ClientError,
    DeniedError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    StandbyError,
    StatusCode,
    UnreachableError,
    UnsupportedError,
)

OWNER = "gossipcontrol-owner"
"""Key of the trailing metadata in which a standby says where the owner is; empty: it does not know."""
_CLASSES: dict[StatusCode, type[ClientError]] = {
    StatusCode.NOT_FOUND: NotFoundError,
    StatusCode.PERMISSION_DENIED: DeniedError,
    StatusCode.UNAUTHENTICATED: DeniedError,
    StatusCode.UNIMPLEMENTED: UnsupportedError,
}


class Failure(Protocol):
    """What every error that gRPC raises offers."""

    def code(self) -> grpc.StatusCode:
        """Its status."""
        ...

    def details(self) -> str | None:
        """Its message."""
        ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """The metadata at the end of the call."""
        ...


def failure(error: grpc.RpcError) -> Failure:
    """The same error, typed: the stubs of grpc leave these methods out."""
    return cast("Failure", error)


def client_error(error: grpc.RpcError) -> ClientError:
    """The error that a caller should see."""
    failed = failure(error)
    code = StatusCode[failed.code().name]
    message = failed.details() or code.name
    match code:
        case StatusCode.UNAVAILABLE | StatusCode.DEADLINE_EXCEEDED:
            is_standby = owner_of(error) is not None
            return (StandbyError if is_standby else UnreachableError)(plain_words(message), code)
        case StatusCode.INVALID_ARGUMENT:
            return RefusedError(message, _violations(failed))
        case StatusCode.RESOURCE_EXHAUSTED:
            retry_in = retry_delay(error)
            return ClientError(message, code) if retry_in is None else OverloadedError(message, retry_in)
        case _:
            return _CLASSES.get(code, ClientError)(f"{code.name}: {message}", code)


def plain_words(details: str) -> str:
    """What gRPC says where nobody answers, without the words of its core: what the system said stands last."""
    if not details.startswith("failed to connect"):
        return details
    return f"no service answers ({details.removesuffix(': OK').rpartition(': ')[2]})"


def is_gone(error: grpc.RpcError) -> bool:
    """Whether nobody answered: no service says UNAVAILABLE without saying more."""
    failed = failure(error)
    return failed.code() is grpc.StatusCode.UNAVAILABLE and not failed.trailing_metadata()


def owner_of(error: grpc.RpcError) -> str | None:
    """Where the owner is, as a standby said; empty: it does not know; None: this is not from a standby."""
    for key, value in failure(error).trailing_metadata() or ():
        if key == OWNER:
            return value if isinstance(value, str) else ""
    return None


def retry_delay(error: grpc.RpcError) -> float | None:
    """Seconds after which the service wants to be asked again, if it said so."""
    info = error_details_pb2.RetryInfo()
    for detail in _status(failure(error)).details:
        if detail.Unpack(info):
            return float(info.retry_delay.ToMilliseconds()) / 1000
    return None


def _violations(failed: Failure) -> list[tuple[str, str]]:
    bad = error_details_pb2.BadRequest()
    return [
        (violation.field, violation.description)
        for detail in _status(failed).details
        if detail.Unpack(bad)
        for violation in bad.field_violations
    ]


def _status(failed: Failure) -> status_pb2.Status:
    for key, value in failed.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()
