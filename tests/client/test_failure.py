"""Failed calls as errors of the client."""

from __future__ import annotations

import grpc
import pytest
from gossipcontrol.client import (
    ClientError,
    DeniedError,
    NotFoundError,
    RefusedError,
    StatusCode,
    UnreachableError,
    UnsupportedError,
)
from gossipcontrol.client.failure import client_error, plain_words


def failed(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "why")


@pytest.mark.parametrize("status", [one for one in grpc.StatusCode if one is not grpc.StatusCode.OK], ids=str)
def test_every_status_has_an_error_that_carries_it(status: grpc.StatusCode) -> None:
    error = client_error(failed(status))
    number, _ = status.value
    assert error.code == number
    assert error.code.name == status.name
    assert "why" in str(error)
    kinds = {
        StatusCode.UNAVAILABLE: UnreachableError, StatusCode.DEADLINE_EXCEEDED: UnreachableError,
        StatusCode.INVALID_ARGUMENT: RefusedError, StatusCode.NOT_FOUND: NotFoundError,
        StatusCode.PERMISSION_DENIED: DeniedError, StatusCode.UNAUTHENTICATED: DeniedError,
        StatusCode.UNIMPLEMENTED: UnsupportedError,
    }  # fmt: skip
    assert type(error) is kinds.get(error.code, ClientError)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("Failed to connect to remote host: Connection refused", "Connection refused"),
        (
            "SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
            "certificate has expired",
        ),
    ],
)
def test_of_what_the_core_says_the_reason_is_kept(last: str, words: str) -> None:
    details = f"failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: {last}"
    assert plain_words(details) == f"no service answers ({words})"
