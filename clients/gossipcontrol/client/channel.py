"""The one way to open a channel to the service, for every client, the agent, the watcher and the tests."""

from __future__ import annotations

import os
from collections.abc import Mapping

import grpc
from gossipcontrol.client.address import TLS, check_address, is_local
from gossipcontrol.client.call import serving
from gossipcontrol.client.credentials import Credentials, channel_credentials
from gossipcontrol.client.servers import Server

PROXY = "GOSSIPCONTROL_PROXY"
"""Environment variable with the HTTP proxy, as http://host:port, through which a service elsewhere is reached."""
OPTIONS: tuple[tuple[str, int], ...] = (
    # A dead connection is found within 15 s, also while nothing is under way.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # else the ping itself waits for a minute, whatever keepalive says
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # By default gRPC waits up to two minutes before it tries to connect again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # The time that an attempt to connect has; one that is refused ends at once, and the waits above follow.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    # Retries are ours (see retry): hidden ones would double them.
    ("grpc.enable_retries", 0),
    # Two channels of one process must not share a connection that one of them wants to give up.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


def open_channel(
    address: str, *further: tuple[str, int | str], credentials: Credentials | None = None
) -> grpc.aio.Channel:
    """A channel to the service, with further settings of gRPC; connects when it is first used.

    Without credentials those of the environment count, which only an address with TLS needs. Raises AddressError and
    CredentialsError.
    """
    options = [*channel_options(address), *further]
    if check_address(address).startswith(TLS):
        return grpc.aio.secure_channel(address.removeprefix(TLS), _shown(credentials), options=options)
    return grpc.aio.insecure_channel(address, options=options)


def open_blocking_channel(
    address: str, *further: tuple[str, int | str], credentials: Credentials | None = None
) -> grpc.Channel:
    """The same for calls that block."""
    options = [*channel_options(address), *further]
    if check_address(address).startswith(TLS):
        return grpc.secure_channel(address.removeprefix(TLS), _shown(credentials), options=options)
    return grpc.insecure_channel(address, options=options)


def open_channel_to(server: Server, credentials: Credentials | None = None) -> grpc.aio.Channel:
    """A channel to one server; the same errors."""
    return open_channel(server.address, *_named(server), credentials=credentials)


def open_blocking_channel_to(server: Server, credentials: Credentials | None = None) -> grpc.Channel:
    """The same for calls that block."""
    return open_blocking_channel(server.address, *_named(server), credentials=credentials)


def _named(server: Server) -> list[tuple[str, str]]:
    """The certificate is compared with the name that was looked up, as gRPC does that looks up names itself."""
    if not server.name:
        return []
    return [("grpc.ssl_target_name_override", server.name), ("grpc.default_authority", server.name)]


def _shown(credentials: Credentials | None) -> grpc.ChannelCredentials:
    return channel_credentials(Credentials.from_environment() if credentials is None else credentials)


def channel_options(address: str, environ: Mapping[str, str] | None = None) -> list[tuple[str, int | str]]:
    """GRPC's settings for a channel to this address.

    gRPC would send every call through ``http_proxy``, ``https_proxy`` or ``grpc_proxy``, loopback included: the proxy
    would connect to its own host's loopback (https://github.com/grpc/grpc/issues/29718). So those are never obeyed.
    """
    proxy = proxy_for(address, environ)
    chosen: list[tuple[str, int | str]] = [("grpc.enable_http_proxy", int(bool(proxy)))]
    return [*OPTIONS, *chosen, *([("grpc.http_proxy", proxy)] if proxy else [])]


def proxy_for(address: str, environ: Mapping[str, str] | None = None) -> str:
    """The proxy through which this address is reached, as http://host:port; "" if it is reached directly."""
    environ = os.environ if environ is None else environ
    return "" if is_local(address) else environ.get(PROXY, "")


async def is_serving(channel: grpc.aio.Channel, timeout: float) -> bool:
    """Whether the service says within ``timeout`` seconds that it serves; raises AioRpcError when it says nothing."""
    call = serving()
    answer = await call.method(channel)(call.request, timeout=timeout)
    return call.decode(answer)
