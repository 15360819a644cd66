"""What a client shows of itself over TLS, and which service it believes: files, named in code or in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import grpc
from gossipcontrol.client.errors import CredentialsError
from gossipcontrol.system.handshake import FilesError, check_files

PREFIX = "GOSSIPCONTROL_TLS_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Paths of files; each may be replaced while the client runs, and counts from the next connection or call on."""

    authority: str = ""
    """Certificates of the authority that signed the service's, in PEM; empty: those of the system."""
    certificate: str = ""
    """The client's certificate chain, in PEM; empty: it shows none."""
    key: str = ""
    """Its key, in PEM."""
    token: str = ""
    """A bearer token, alone in its file; empty: none is sent."""

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.key):
            raise CredentialsError("a certificate and its key belong together: both are given, or neither")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Credentials:
        """Paths in GOSSIPCONTROL_TLS_AUTHORITY, _CERTIFICATE, _KEY and _TOKEN; raises CredentialsError."""
        environ = os.environ if environ is None else environ
        return cls(**{one.name: environ.get(f"{PREFIX}{one.name}".upper(), "") for one in fields(cls)})


def channel_credentials(credentials: Credentials) -> grpc.ChannelCredentials:
    """The same for gRPC; raises CredentialsError for files that cannot be read, or not be used together."""
    try:
        check_files(credentials)
    except FilesError as error:
        raise CredentialsError(str(error)) from error
    channel = grpc.ssl_channel_credentials(
        root_certificates=_read(credentials.authority),
        private_key=_read(credentials.key),
        certificate_chain=_read(credentials.certificate),
    )
    if not credentials.token:
        return channel
    _read(credentials.token)
    calls = grpc.metadata_call_credentials(_Token(Path(credentials.token)), name="token")
    return grpc.composite_channel_credentials(channel, calls)


class _Token(grpc.AuthMetadataPlugin):
    """Sends the token that the file has at each call, so that it can be replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(
        self,
        context: grpc.AuthMetadataContext,
        callback: Callable[[tuple[tuple[str, str], ...], Exception | None], None],
    ) -> None:
        """Give the metadata of a call."""
        del context
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            callback((), error)
        else:
            callback((("authorization", f"Bearer {token}"),), None)


def _read(path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror}") from error
