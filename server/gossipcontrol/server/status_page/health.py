"""Liveness and readiness, for probes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from gossipcontrol.server.status_page.bridge import Bridge, LoopSilent
from gossipcontrol.server.status_page.site import Answer, Request, text

PROBE_TIME = 2.0
"""Seconds in which the event loop must answer a probe."""


class Health:
    """``/healthz``: whether the event loop goes round. ``/readyz``: whether the service takes triggers.

    ``obstacle`` says what keeps it from that; empty: nothing.
    """

    def __init__(self, bridge: Bridge, obstacle: Callable[[], str]) -> None:
        self._bridge = bridge
        self._obstacle = obstacle

    def live(self, request: Request) -> Answer:
        """200 while the event loop answers; 503: restart the process."""
        del request
        try:
            self._bridge.run(asyncio.sleep(0), PROBE_TIME)
        except LoopSilent as error:
            return text(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        return text("ok")

    def ready(self, request: Request) -> Answer:
        """200 while triggers are taken; 503 with what is in the way."""
        alive = self.live(request)
        obstacle = self._obstacle()
        if alive.status is not HTTPStatus.OK:
            return alive
        return text(obstacle, HTTPStatus.SERVICE_UNAVAILABLE) if obstacle else text("ready")
