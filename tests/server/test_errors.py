"""The delay until a retry is spread, and says the same in both places."""

from __future__ import annotations

from google.rpc.error_details_pb2 import RetryInfo
from gossipcontrol.server.errors import Overloaded


def test_clients_that_are_refused_together_do_not_come_again_together() -> None:
    delays: list[int] = []
    for _ in range(200):
        error = Overloaded("full", 10.0)
        [info], [(_, pushback)] = error.details(), error.trailers()
        assert isinstance(info, RetryInfo)
        assert info.retry_delay.ToMilliseconds() == int(pushback)
        delays.append(int(pushback))
    assert 10_000 <= min(delays) < 10_500
    assert 11_500 < max(delays) <= 12_000
