"""Which server is asked next, with the clock in hand."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from gossipcontrol.client import Credentials
from gossipcontrol.client.failure import OWNER
from gossipcontrol.client.retry import LONGEST_WAIT
from gossipcontrol.client.servers import (
    LONGEST_ROUND_WAIT,
    LONGEST_TURN,
    SHORTEST_SILENCE,
    SILENT_TIME,
    Search,
    Server,
    Servers,
)

TRUSTED = Credentials(authority="/etc/hub/ca.pem")
PUBLIC = Credentials()


class Scene:
    """A client of these servers, and the addresses that it asks."""

    def __init__(self, addresses: str, credentials: Credentials = PUBLIC, spread: float = 0.0) -> None:
        self.now = 100.0
        self.moves: list[str] = []
        self.servers = Servers(
            addresses, credentials, on_move=lambda old, new: self.moves.append(new), clock=lambda: self.now
        )
        self.search = Search(self.servers, spread=spread)

    def asked(self) -> str:
        return self.search.server().address

    def refused(self, owner: str = "", turn: float = 0.0) -> float:
        """The server that is asked refuses, and says this of the owner and of the caller's turn; returns the wait."""
        trailing = grpc.aio.Metadata((OWNER, owner))
        if turn:
            trailing.add("grpc-status-details-bin", _retry_in(turn))
        return self._fails(grpc.StatusCode.UNAVAILABLE, trailing)

    def unanswered(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, after: float = 0.0) -> float:
        return self._fails(code, grpc.aio.Metadata(), after)

    def _fails(self, code: grpc.StatusCode, trailing: grpc.aio.Metadata, after: float = 0.0) -> float:
        self.search.server()
        self.now += after
        return self.search.wait(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing))


def _retry_in(seconds: float) -> bytes:
    status = status_pb2.Status()
    delay = duration_pb2.Duration(nanos=round(seconds * 1e9) % 10**9, seconds=int(seconds))
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return bytes(status.SerializeToString())


def test_the_server_that_a_standby_names_is_asked_at_once() -> None:
    scene = Scene("h1:1,h2:1,h3:1")
    assert scene.asked() == "h1:1"
    assert scene.refused("h3:1") == 0.0
    assert scene.asked() == "h3:1"
    assert scene.moves == ["h3:1"]


def test_without_a_name_each_is_asked_in_turn_and_then_there_is_a_wait() -> None:
    scene = Scene("h1:1,h2:1,h3:1")
    waits = [scene.refused() for _ in range(9)]
    assert scene.moves == ["h2:1", "h3:1", "h1:1"] * 3
    assert [wait for number, wait in enumerate(waits) if number % 3 < 2] == [0.0] * 6
    assert all(0 < wait <= 0.4 for wait in waits[2::3])


def test_two_standbys_that_name_each_other_are_not_asked_without_end() -> None:
    scene = Scene("h1:1,h2:1")
    waits = [scene.refused("h2:1" if scene.asked() == "h1:1" else "h1:1") for _ in range(10)]
    assert all(waits[1::2]), "one round, one wait"


def test_nobody_is_believed_that_a_server_serves_that_has_just_not_answered() -> None:
    """Standbys name a killed owner until its lease has run out."""
    scene = Scene("h1:1,h2:1,h3:1")
    scene.unanswered(after=5.0)
    assert scene.asked() == "h2:1"
    scene.refused("h1:1")
    assert scene.asked() == "h3:1"
    scene.now += SILENT_TIME + 0.1
    scene.refused("h1:1")
    assert scene.asked() == "h1:1"


def test_a_server_that_refused_the_connection_at_once_is_soon_believed_again() -> None:
    """A standby that takes over listens to nobody for a moment: who asks just then must not avoid it for long."""
    scene = Scene("h1:1,h2:1,h3:1")
    scene.unanswered()
    scene.now += SHORTEST_SILENCE + 0.01
    scene.refused("h1:1")
    assert scene.asked() == "h1:1"


def test_a_round_leaves_out_a_server_that_has_just_not_answered() -> None:
    """Of a machine that is gone each attempt would take seconds."""
    scene = Scene("h1:1,h2:1,h3:1")
    scene.unanswered(after=2.0)
    waits = [scene.refused() for _ in range(4)]
    assert scene.moves == ["h2:1", "h3:1", "h2:1", "h3:1", "h2:1"]
    assert [wait > 0 for wait in waits] == [False, True, False, True]
    scene.now += SILENT_TIME
    assert scene.refused() == 0.0
    scene.refused()
    assert scene.asked() == "h1:1"


def test_all_that_have_just_not_answered_are_asked_again_in_turn() -> None:
    scene = Scene("h1:1,h2:1,h3:1")
    waits = [scene.unanswered(after=0.1) for _ in range(6)]
    assert scene.moves == ["h2:1", "h3:1", "h1:1", "h2:1", "h3:1", "h1:1"]
    assert all(waits[2:]), "from the end of the first round on, there is a wait before each"


def test_streams_come_when_standbys_say_and_do_not_wait_longer_the_longer_nobody_serves() -> None:
    """Their waits grew to five seconds while a standby took over, and went on long after it had."""
    scene = Scene("h1:1,h2:1")
    scene.search = Search(scene.servers, longest=LONGEST_WAIT, spread=2.0)
    assert [scene.refused(turn=turn) for turn in (0.7, 1.1)] == [0.0, 1.1], "the later turn, and no further jitter"
    waits = [scene.refused() for _ in range(100)]
    assert max(waits) <= LONGEST_ROUND_WAIT
    assert scene.refused(turn=3600.0) == 0.0
    assert scene.refused() == LONGEST_TURN, "nobody has a client wait for an hour"
    absent = [scene.unanswered() for _ in range(100)]
    assert max(absent) > LONGEST_ROUND_WAIT, "where nobody answers, waits grow"


@pytest.mark.parametrize(
    ("addresses", "credentials", "owner", "asked"),
    [
        ("h1:1,h2:1", TRUSTED, "evil:1", "h2:1"),  # plain text: whoever takes the place of h1 says what it likes
        ("tls:h1:1,tls:h2:1", PUBLIC, "evil:1", "tls:h2:1"),  # anybody gets a certificate for a name of his own
        ("tls:h1:1,tls:h2:1", TRUSTED, "h3:1", "tls:h3:1"),  # only who has a certificate of our authority for h3
        ("tls:h1:1,tls:h2:1", TRUSTED, "unix:/run/x:1", "tls:h2:1"),
        ("tls:h1:1,tls:h2:1", TRUSTED, "dns://evil/h3:1", "tls:h2:1"),
        ("tls:h1:1,tls:h2:1", TRUSTED, "h3:99999", "tls:h2:1"),
        ("tls:h1:1,tls:h2:1", TRUSTED, "h3:1,evil:1", "tls:h2:1"),
        ("h1:1", TRUSTED, "evil:1", "h1:1"),
    ],
)
def test_a_name_that_was_not_given_leads_nowhere_that_is_not_vouched_for(
    addresses: str, credentials: Credentials, owner: str, asked: str
) -> None:
    scene = Scene(addresses, credentials)
    scene.refused(owner)
    assert scene.asked() == asked


def test_the_server_that_serves_is_not_left_because_it_is_busy() -> None:
    scene = Scene("h1:1,h2:1")
    for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED):
        assert scene.unanswered(code) > 0
    assert (scene.asked(), scene.moves) == ("h1:1", [])


def test_calls_side_by_side_leave_a_server_once() -> None:
    scene = Scene("h1:1,h2:1,h3:1")
    other = Search(scene.servers)
    other.server()
    scene.refused()
    other.wait(None)
    assert scene.moves == ["h2:1"]


def test_a_name_becomes_its_addresses_and_a_name_again_when_all_were_asked() -> None:
    scene = Scene("tls:hub.example:7443")
    scene.refused()
    assert scene.servers.unknown == Server("tls:hub.example:7443")
    scene.servers.learn(Server("tls:hub.example:7443"), ["10.0.0.1", "10.0.0.2", "10.0.0.1", "2001:db8::1"])
    assert scene.search.server() == Server("tls:10.0.0.1:7443", "hub.example"), "its certificate must have the name"
    assert [scene.refused() for _ in range(2)] == [0.0, 0.0]
    assert scene.asked() == "tls:[2001:db8::1]:7443"
    scene.refused()
    assert scene.asked() == "tls:hub.example:7443", "it may have got others"


def test_a_name_with_one_address_stays_a_name() -> None:
    scene = Scene("hub.example:7443")
    scene.refused()
    scene.servers.learn(Server("hub.example:7443"), ["10.0.0.1"])
    assert scene.asked() == "hub.example:7443"


def test_an_attempt_leaves_time_for_another_server_but_not_at_a_lone_one() -> None:
    assert Scene("h1:1").search.attempt_time(30.0) == 30.0
    scene = Scene("h1:1,h2:1")
    assert scene.search.attempt_time(30.0) == 2.0
    scene.unanswered(grpc.StatusCode.DEADLINE_EXCEEDED)
    assert scene.search.attempt_time(30.0) == 4.0, "a long call ends some time"


def test_streams_that_lost_their_server_come_to_the_others_over_a_while() -> None:
    waits: list[float] = []
    for _ in range(200):
        scene = Scene("h1:1,h2:1,h3:1", spread=2.0)
        assert scene.search.lose() <= 0.1
        assert scene.asked() == "h1:1", "it may have been the connection only"
        waits.append(scene.unanswered())
    assert min(waits) < 0.5
    assert 1.5 < max(waits) <= 2.0


def test_streams_give_an_owner_with_too_much_to_do_time() -> None:
    """A fleet that gave up after the same time, and came again at once, kept it from serving anybody."""
    scene = Scene("h1:1,h2:1")
    scene.search = search = Search(scene.servers, longest=LONGEST_WAIT, spread=2.0)
    had, waits = list[float](), list[float]()
    for _ in range(100):
        had.append(search.answer_time(5.0, 20.0))
        search.note_ignored()
        scene.unanswered(grpc.StatusCode.DEADLINE_EXCEEDED, after=5.0)
        waits.append(scene.refused("h1:1"))
        scene.now += SILENT_TIME
    assert had[:4] == [5.0, 10.0, 20.0, 20.0]
    assert LONGEST_ROUND_WAIT < max(waits) <= LONGEST_WAIT
    search.lose()
    assert search.answer_time(5.0, 20.0) == 5.0


def test_a_call_that_a_stopping_server_ended_is_made_again_where_there_is_another() -> None:
    for code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED):
        ended = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())
        assert Scene("h1:1,h2:1").search.may_go_on(ended)
        assert not Scene("h1:1").search.may_go_on(ended)
