"""Errors of a call in words of the product: gRPC's own speak of its C core."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import closing, suppress
from pathlib import Path

from gossipcontrol.client.address import DEFAULT_TCP, TLS, split_addresses
from gossipcontrol.client.channel import proxy_for
from gossipcontrol.client.errors import ClientError, UnreachableError, UnsupportedError
from gossipcontrol.client.refusal import why_refused

if sys.platform != "win32":
    import pwd

CONNECT_TIME = 0.5
"""Seconds for which a connection is tried to see what is wrong."""
NO_ANSWER = (
    "failed to connect", "no service answers", "Deadline Exceeded", "DEADLINE_EXCEEDED", "Stream removed (Deadline",
)  # fmt: skip
"""How what gRPC says of a call that took too long begins."""
BROKEN = ("Stream removed", "Socket closed", "recvmsg:", "GOAWAY", "Endpoint closing", "ping timeout", "keepalive")
"""How what it says of a connection that broke begins."""
SYSTEM_SOCKET = "/run/gossipcontrol/gossipcontrol.sock"


class Denied(Exception):
    """The service is there, but this user may not open its socket."""


def words_of(address: str, error: ClientError) -> str:
    """What is wrong, as one sentence."""
    if isinstance(error, UnreachableError):
        try:
            if len(split_addresses(address)) > 1:
                return several_words(address, error)
            return why_unreachable(address, str(error))
        except Denied as denied:
            return str(denied)
    text = str(error).removeprefix(f"{error.code.name}: ")
    if isinstance(error, UnsupportedError):
        return f"what listens at {address} does not offer this call: it is an older service, or none of ours ({text})"
    return text


def nowhere(address: str, error: ClientError) -> str:
    """That no service answers, and why; raises Denied where permission is refused."""
    if len(split_addresses(address)) > 1:
        return f"no replica serves: {several_words(address, error)}"
    return f"no service at {address}: {why_unreachable(address, str(error))}"


def several_words(addresses: str, error: ClientError) -> str:
    """Why no replica serves: each that does not answer, and what the last one said that did."""
    ways = {one: why_unreachable(one, "") for one in split_addresses(addresses)}
    silent = [f"{one}: {why}" for one, why in ways.items() if why]
    if not (others := [one for one, why in ways.items() if not why]):
        return "; ".join(silent)
    said = str(error)
    unanswered = _unanswered(said)
    return "; ".join([*silent, said if unanswered == said else f"{', '.join(others)}: {unanswered}"])


def why_unreachable(address: str, otherwise: str) -> str:
    """Why no service answers at an address, as seen by connecting; raises Denied where permission is refused."""
    path = address.removeprefix("unix:")
    if path != address:
        return _why_no_socket(path) or _unanswered(otherwise)
    if proxy := proxy_for(address):
        return f"through the proxy {proxy}: {_unanswered(otherwise) or 'no answer'}"
    host, _, port = address.removeprefix(TLS).rpartition(":")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIME)
    except socket.gaierror as error:
        return f"the name {host} is not known ({error.strerror})"
    except TimeoutError:
        return f"{host} does not answer"
    except OSError as error:
        if address == DEFAULT_TCP and (hidden := _denied(SYSTEM_SOCKET)):
            raise Denied(hidden) from error
        if error.errno == errno.ECONNREFUSED:
            missing = f", and there is no {SYSTEM_SOCKET}" if address == DEFAULT_TCP else ""
            return f"nothing listens there{missing}; start gossipcontrol-server, or name another --address"
        return str(error.strerror or error)
    return why_refused(address, connection) or _unanswered(otherwise)


def _unanswered(otherwise: str) -> str:
    """Something listens: what the service said, unless the words are gRPC's own."""
    if otherwise.startswith(NO_ANSWER):
        return "something listens there, but gives no answer in time"
    if otherwise.startswith(BROKEN):
        return "something listens there, but the connection broke before an answer came"
    return otherwise


if sys.platform == "win32":

    def _why_no_socket(path: str) -> str:
        return f"there are no Unix sockets such as {path} for it on Windows; give --address host:port"

else:

    def _why_no_socket(path: str) -> str:
        """Why a Unix socket cannot be opened; "" when it can. Raises Denied."""
        if denied := _denied(path):
            raise Denied(denied)
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as trial:
            trial.settimeout(CONNECT_TIME)
            try:
                trial.connect(path)
            except FileNotFoundError:
                return "there is no such socket; start gossipcontrol-server, or name another --address"
            except ConnectionRefusedError:
                return "the socket is there, but nobody listens; start gossipcontrol-server"
            except TimeoutError:
                return "the service does not accept connections; its log says more"
            except OSError as error:
                return str(error.strerror or error)
        return ""


def _denied(path: str) -> str:
    """The sentence for a socket that this user may not open; "" when that is not what is wrong."""
    try:
        owner = Path(path).stat().st_uid
    except PermissionError:
        return f"permission denied: this user may not look into the directory of {path}; run it as root"
    except OSError:
        return ""
    if os.access(path, os.W_OK):
        return ""
    return f"permission denied: only {_users(owner)} may open {path}"


def _users(owner: int) -> str:
    """The users who may open what this one owns."""
    if owner == 0:
        return "root"
    if sys.platform != "win32":
        with suppress(KeyError):
            return f"{pwd.getpwuid(owner).pw_name} and root"
    return f"user {owner} and root"
