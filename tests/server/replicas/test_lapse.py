"""How long agents keep to an owner that is gone or cut off, and how long the next one awaits them."""

from __future__ import annotations

from gossipcontrol.agent.agent import CONNECT_TIMEOUT, SPREAD
from gossipcontrol.client.channel import OPTIONS
from gossipcontrol.client.retry import reconnect_wait
from gossipcontrol.server.core.deciding.engine import RETURN_TIME
from gossipcontrol.server.replicas.lapse import LOOK_INTERVAL
from gossipcontrol.server.replicas.lease import RENEW_INTERVAL, SURE_TIME, UNSEEN_TIME
from gossipcontrol.server.state.etcd_client import CALL_TIME, PATIENCE

LONGEST_RECONNECT = 0.1
"""Seconds that an agent waits at most before it asks its own server once more."""


def test_who_lost_an_owner_without_a_word_is_back_while_the_next_one_awaits_it() -> None:
    """Before, the next owner took all these nodes for gone, and said that their peers were away."""
    assert max(reconnect_wait(1) for _ in range(100)) <= LONGEST_RECONNECT
    chosen = dict(OPTIONS)
    seen = (chosen["grpc.keepalive_time_ms"] + chosen["grpc.keepalive_timeout_ms"]) / 1000
    back = seen + LONGEST_RECONNECT + CONNECT_TIMEOUT + SPREAD
    assert back < UNSEEN_TIME - RENEW_INTERVAL + RETURN_TIME


def test_who_is_sent_away_by_an_owner_that_is_cut_off_is_back_while_the_next_one_awaits_it() -> None:
    sent_away = SURE_TIME + LOOK_INTERVAL + PATIENCE + CALL_TIME
    assert sent_away + LONGEST_RECONNECT + SPREAD < UNSEEN_TIME + RETURN_TIME
