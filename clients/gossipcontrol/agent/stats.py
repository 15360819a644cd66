"""What an agent counts about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class AgentStats:
    """Counts since the agent was made; each is also logged by the logger ``gossipcontrol.agent``."""

    attached: int = 0
    """Times that the service registered the node."""
    failed_attempts: int = 0
    """Streams that ended before the service registered the node."""
    callback_errors: int = 0
    """Exceptions that a callback of the app raised."""
    node_errors: int = 0
    """Exceptions that a method of the node raised, other than RejoinFailedError and SyncFailedError."""
    unknown_frames: int = 0
    """Frames of a newer service that this version does not know."""
    unrecognized_numbers: int = 0
    """Numbers of a newer service that this version does not know: a rung, a cause, a peer's state."""
    unexpected_errors: int = 0
    """Exceptions that ended a stream and that no other count explains."""
