"""Why a server and a client do not come together over TLS, seen by shaking hands: gRPC does not say it.

A server that refuses a client's certificate ends the connection after the handshake, without a word or with an alert
(TLS 1.3). gRPC then tells what it noticed first: a socket that closed, a broken pipe, a record that it could not read,
or that another address of the same name refused.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

LOOK_TIME = 2.0
"""Seconds that the handshake, and then the first byte of an answer, may take."""
GREETING_TIME = 0.3
"""Seconds in which a server that speaks first does so."""
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_ISSUER: Final = frozenset({18, 19, 20, 21})
_OTHER_HOST: Final = frozenset({62, 64})
"""What OpenSSL says of a certificate (``X509_V_ERR_`` in openssl/x509_vfy.h)."""
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"})
"""What it says of an answer that is no record of TLS."""
_BROKEN: Final = "the connection ends within the handshake of TLS; is it the right port?"


class FilesError(ValueError):
    """A file cannot be read, has no such part, or does not belong to the other."""


class Files(Protocol):
    """Paths of a client's files, in PEM; each may be empty."""

    @property
    def authority(self) -> str:
        """Certificates of the authority that signed the server's; empty: those of the system."""
        ...

    @property
    def certificate(self) -> str:
        """The client's certificate chain; empty: it shows none."""
        ...

    @property
    def key(self) -> str:
        """Its key."""
        ...


class Settings(NamedTuple):
    """How a user sets what is wrong, in words that a cure can contain."""

    authority: str
    certificate: str
    """The certificate and its key."""
    no_tls: str
    """That a server is reached without TLS."""


def check_files(files: Files) -> None:
    """Raise FilesError for files that cannot be used; gRPC would fail each handshake without a reason."""
    _context(files)


def why_refused(connection: socket.socket, host: str, files: Files, settings: Settings) -> str:
    """Why a server ends this client's connections, as one sentence, with a cure after "; "; "" if it does not.

    ``connection``: an open one; it is closed. ``host``: what the server's certificate must name. Takes two times
    ``LOOK_TIME`` at most. Raises FilesError.
    """
    with connection:
        connection.settimeout(LOOK_TIME)
        context = _context(files)
        context.set_alpn_protocols(["h2"])
        if not files.authority:
            context.load_default_certs()
        try:
            wrapped = context.wrap_socket(connection, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            return _disbelief(error, host, files, settings)
        except TimeoutError:
            return ""
        except ssl.SSLError as error:
            if error.reason in _NO_TLS:
                return f"what listens there does not speak TLS; {settings.no_tls}"
            return _BROKEN if isinstance(error, ssl.SSLEOFError) else _refusal(files, settings)
        except (OSError, ValueError):  # the latter for a host that no certificate can name
            return _BROKEN
        with wrapped:
            if wrapped.selected_alpn_protocol() != "h2":
                return "what listens there speaks TLS, but not gRPC; is it a port for HTTP?"
            try:
                is_answered = bool(wrapped.recv(1))
            except TimeoutError:
                return ""
            except OSError:  # an alert, or a connection that was reset
                is_answered = False
        return "" if is_answered else _refusal(files, settings)


def speaks_tls(connection: socket.socket) -> bool:
    """Whether a handshake succeeds, whoever the server is; the connection, an open one, is closed.

    A server of gRPC without TLS speaks first (the settings of HTTP/2), and is sent nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connection:
        try:
            connection.settimeout(GREETING_TIME)
            with suppress(TimeoutError):
                connection.recv(4096)  # all of it, so that the connection ends in order
                return False
            connection.settimeout(LOOK_TIME)
            context.wrap_socket(connection).close()
        except OSError:
            return False
    return True


def _context(files: Files) -> ssl.SSLContext:
    """What the files say, without the authorities of the system."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.authority:
        _check_readable(files.authority)
        try:
            context.load_verify_locations(files.authority)
        except ssl.SSLError as error:
            raise FilesError(f"{files.authority}: has no certificate in PEM") from error
    if files.certificate:
        _check_readable(files.certificate)
        _check_readable(files.key)
        try:
            context.load_cert_chain(files.certificate, files.key)
        except ssl.SSLError as error:
            both = f"{files.certificate} and {files.key}"
            raise FilesError(f"{both}: are no certificate in PEM and its key ({error.reason})") from error
    return context


def _check_readable(path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise FilesError(f"{path}: cannot be read: {error.strerror}") from error


def _disbelief(error: ssl.SSLCertVerificationError, host: str, files: Files, settings: Settings) -> str:
    """Why the client does not believe the server."""
    if error.verify_code in _OTHER_HOST:
        return f"its certificate is not for {host}; name it as its certificate does"
    if error.verify_code in _UNKNOWN_ISSUER and not files.authority:
        return f"this system knows no authority that signed its certificate; set {settings.authority}"
    if error.verify_code in _UNKNOWN_ISSUER:
        return f"the authority in {files.authority} did not sign its certificate; take the one that did"
    if error.verify_code == _EXPIRED:
        return "its certificate has expired; issue a new one"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet; compare the clocks"
    return f"its certificate is not believed ({error.verify_message})"


def _refusal(files: Files, settings: Settings) -> str:
    """Why the server does not believe the client."""
    if not files.certificate:
        return f"it wants a certificate, and none is shown; set {settings.certificate}"
    code = _own_mistake(files)
    if code == _EXPIRED:
        return f"it refuses the certificate in {files.certificate}, which has expired; issue a new one"
    if code == _NOT_YET_VALID:
        return f"it refuses the certificate in {files.certificate}, which is not valid yet; compare the clocks"
    return f"it refuses the certificate in {files.certificate}; have one issued by the authority that it believes"


def _own_mistake(files: Files) -> int:
    """What OpenSSL has against the client's own certificate whoever signed it, such as its age; 0: nothing.

    The ssl module reads no dates of a file, so the certificate is shown to a server in memory that believes only it.
    """
    try:
        _show_to_itself(files)
    except ssl.SSLCertVerificationError as error:
        return error.verify_code
    except OSError:  # an error of TLS, or a file that is being replaced
        pass
    return 0


def _show_to_itself(files: Files) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    server.load_cert_chain(files.certificate, files.key)
    server.load_verify_locations(files.certificate)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(files.certificate, files.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(3):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
