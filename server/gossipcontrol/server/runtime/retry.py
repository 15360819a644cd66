"""When a failed attempt is tried again: tenacity's rules, evaluated outside the core so that its log replays."""

from __future__ import annotations

import tenacity
from gossipcontrol.server.config import Retry


class RetryRule:
    """Exponential with full jitter, capped, for a number of attempts."""

    def __init__(self, config: Retry) -> None:
        self.configure(config)

    def configure(self, config: Retry) -> None:
        """Take over other settings, for all attempts that fail from now on."""
        self._stop = tenacity.stop_after_attempt(config.attempts)
        self._wait = tenacity.wait_random_exponential(multiplier=config.base, max=config.cap)
        self._retrying = tenacity.Retrying(stop=self._stop, wait=self._wait)

    def wait(self, attempt: int) -> float | None:
        """Seconds until the attempt after this one (from 1), or None when it was the last."""
        state = tenacity.RetryCallState(self._retrying, None, (), {})
        state.attempt_number = attempt
        return None if self._stop(state) else self._wait(state)
