"""What one identity may have at once, and how fast it may send: values of the configuration or of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityLimits:
    """Limits of each identity; a row of the table may give others. The service's own socket and port have none."""

    streams: int = 256
    """Most Attach and RecordIntentions calls at once."""
    watchers: int = 16
    """Most WatchPeers calls at once."""
    health_watches: int = 16
    """Most Health.Watch calls at once."""
    requests: int = 500
    """Requests per second: calls, and messages of a stream; ten seconds' worth may come at once."""
    bytes: int = 2 * 1024 * 1024
    """Bytes of requests per second; ten seconds' worth may come at once."""
    stores: int = 1000
    """Most stores that it names in registrations, reports, triggers and intentions, while the service knows them."""
    parked: int = 100
    """Most parked rejoins that it asked for."""

    @property
    def by_key(self) -> Mapping[str, int]:
        """The same by name."""
        return {key: getattr(self, key) for key in self.__slots__}


LIMITS = tuple(IdentityLimits().by_key)
"""Names of the limits."""
