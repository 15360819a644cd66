"""GRPC's settings for every server of the service."""

from __future__ import annotations

from gossipcontrol.server.config import Limits

PENDING_CONNECTIONS = 4
"""Connections full of calls that may wait for the event loop to take them; each call takes some kilobytes."""


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """GRPC's settings: bounds, and keepalive that finds a dead stream within 15 s and allows clients the same."""
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_concurrent_streams", limits.concurrent_calls),
        # Beyond these, by default 1,000 and 3,000, gRPC cancels calls by chance, whoever sent them: one connection must
        # not fill them.
        ("grpc.server.max_pending_requests", PENDING_CONNECTIONS * limits.concurrent_calls),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_CONNECTIONS * limits.concurrent_calls),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),  # else the ping itself waits for a minute, whatever keepalive says
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
