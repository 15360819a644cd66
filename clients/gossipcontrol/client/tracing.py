"""The caller's span, which the metadata of a call names to the service."""

from __future__ import annotations

import sys


def trace_context() -> tuple[tuple[str, str], ...] | None:
    """What the caller's propagators say of its current span; None where it has none, or no OpenTelemetry at all."""
    # A program that has a span has imported this itself, so nothing is imported for those that have none.
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import propagate, trace

    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple((key.lower(), value) for key, value in carrier.items())
