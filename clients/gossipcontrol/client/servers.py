"""Which of several servers to ask: one of them serves, the others refuse and say who does. No IO.

What a server says of another is followed to an address that the client was given. An address that it was not given is
followed only from one TLS connection to the next, by the same authority of the client's own: who takes the place of a
server without TLS, or has any certificate of a public authority, cannot send a client elsewhere.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import grpc
from gossipcontrol.client.address import TLS, check_address, split_addresses
from gossipcontrol.client.credentials import Credentials
from gossipcontrol.client.errors import AddressError
from gossipcontrol.client.failure import failure, owner_of, retry_delay
from gossipcontrol.client.retry import LONGEST_WAIT, reconnect_wait

SHORTEST_SILENCE, SILENT_TIME = 0.2, 2.0
"""Bounds of the seconds for which nobody is believed that a server serves that has just not answered, as a standby
notices later, and for which it is left out of a round: ten times as long as it took to learn that. A server that
begins to serve does not listen for a moment, and says so at once; one whose machine is gone says nothing."""
ATTEMPT_TIME = 2.0
"""Seconds that the first attempt of a call has where there is another server to ask; each further one has twice as
many as the one before that was not answered."""
LONGEST_ROUND_WAIT = 0.5
"""Most seconds between two rounds of a call over several servers, unless they ask for more; and of a stream where a
standby has answered: soon one will serve, and standbys say themselves when they are asked too often."""
LONGEST_TURN = 10.0
"""Most seconds that a standby may have a client wait."""
STAY = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED})
"""What the server says that serves: another would not do better."""
_OWNER = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")

OnMove = Callable[[str, str], None]
"""Called with the address that is left, and the one that is asked next."""


@dataclass(frozen=True, slots=True)
class Server:
    """One place where the service may be."""

    address: str
    name: str = ""
    """The host that its certificate must name; empty: that of the address."""

    @property
    def host(self) -> str:
        """Its name, if it must be looked up; else empty."""
        host = self.address.removeprefix(TLS).rpartition(":")[0].strip("[]")
        return "" if self.name or self.address.startswith("unix:") or _is_ip(host) else host

    def at(self, ip: str) -> Server:
        """The same at one address of its name."""
        port = self.address.rpartition(":")[2]
        tls = TLS if self.address.startswith(TLS) else ""
        return Server(f"{tls}[{ip}]:{port}" if ":" in ip else f"{tls}{ip}:{port}", self.host)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Servers:
    """The servers of one client, shared by its calls; raises AddressError for a malformed list.

    A name whose server refuses is replaced by its IP addresses, which the client looks up, until all of them were asked
    in vain.
    """

    def __init__(
        self,
        addresses: str,
        credentials: Credentials | None = None,
        *,
        on_move: OnMove = lambda old, new: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = [Server(one) for one in split_addresses(addresses)]
        self._known = self._given
        self._position = 0
        self._credentials = credentials
        self._on_move = on_move
        self.clock = clock
        """Seconds, monotonic."""
        self._silent: dict[Server, float] = {}
        """Until when nobody is believed that a server serves."""
        self.current = self._given[0]
        """To be asked next."""
        self.unknown: Server | None = None
        """A server whose name must be looked up first."""

    @property
    def count(self) -> int:
        """Number of servers that are known."""
        return len(self._known)

    def refuse(self, server: Server, owner: str) -> None:
        """Note that a server does not serve, and which one does, as it says; empty: it does not know."""
        if server.host and server in self._known:
            self.unknown = server
        self._leave(server, self._named(server, owner))

    def fail(self, server: Server, took: float = SILENT_TIME) -> None:
        """Note that a server does not answer, and in how many seconds that was seen."""
        if self.count > 1 or server != self.current:
            self._silent = {one: until for one, until in self._silent.items() if until > self.clock()}
            self._silent[server] = self.clock() + min(SILENT_TIME, max(SHORTEST_SILENCE, 10 * took))
        self._leave(server, None)

    def is_over(self, asked: Collection[Server]) -> bool:
        """Whether a round is over in which these servers were asked: the others have just not answered."""
        return all(one in asked or self._is_silent(one) for one in self._known)

    def learn(self, server: Server, ips: Sequence[str]) -> None:
        """Take the IP addresses of a server's name instead of it."""
        self.unknown = None
        found = [server.at(ip) for ip in dict.fromkeys(ips)]
        if len(found) < 2 or server not in self._known:
            return
        place = self._known.index(server)
        self._known = [*self._known[:place], *found, *self._known[place + 1 :]]
        if self.current == server:
            self._position, self.current = place, found[0]

    def _leave(self, server: Server, hinted: Server | None) -> None:
        if server != self.current:
            return  # another call has left it already
        self.current = hinted or self._next()
        if hinted in self._known:
            self._position = self._known.index(hinted)
        if self.current != server:
            self._on_move(server.address, self.current.address)

    def _next(self) -> Server:
        """The next one that may answer; where none may, the next one."""
        position = self._position
        for _ in range(self.count):
            if not self._is_silent(found := self._step()):
                return found
        self._position = position
        return self._step()

    def _step(self) -> Server:
        self._position = (self._position + 1) % self.count
        if not self._position:
            self._known = self._given  # names may have got other addresses
        return self._known[self._position]

    def _is_silent(self, server: Server) -> bool:
        return self._silent.get(server, 0.0) > self.clock()

    def _named(self, server: Server, owner: str) -> Server | None:
        """The server that another one named; None: it is not to be asked."""
        if not _OWNER.fullmatch(owner):
            return None
        is_secure = server.address.startswith(TLS)
        address = f"{TLS}{owner}" if is_secure else owner
        try:
            found = next((one for one in self._known if one.address == check_address(address)), None)
        except AddressError:
            return None
        if found is None and is_secure and self._has_authority():
            found = Server(address)
        return None if found == server or (found and self._is_silent(found)) else found

    def _has_authority(self) -> bool:
        chosen = Credentials.from_environment() if self._credentials is None else self._credentials
        return bool(chosen.authority)


class Search:
    """One call's or one stream's way to the server that serves; ``spread``: the seconds over which streams come back.

    Ask ``server()``, and give each failure to ``wait``.
    """

    def __init__(self, servers: Servers, *, longest: float = LONGEST_ROUND_WAIT, spread: float = 0.0) -> None:
        self._servers = servers
        self._longest = longest
        self._spread = spread
        self._is_spread = True
        self._server = servers.current
        self._asked_at = 0.0
        self._round: list[Server] = []
        """Servers asked in this round."""
        self._rounds = 0
        self._unanswered = 0
        self._ignored = 0
        """Streams in a row that connected servers did not answer."""
        self._pause = 0.0
        """Seconds that a server asked to wait, in this round."""
        self._is_refused = False
        """Whether a standby has answered in this round."""

    def server(self) -> Server:
        """The server to ask now."""
        self._server, self._asked_at = self._servers.current, self._servers.clock()
        return self._server

    def attempt_time(self, left: float) -> float:
        """Seconds that an attempt has, of those that are left."""
        return left if self._servers.count == 1 else min(left, ATTEMPT_TIME * 2**self._unanswered)

    def answer_time(self, first: float, longest: float) -> float:
        """Seconds that a new stream has to be answered: twice as many after each that a connected server ignored.

        A server with too much to do works off what its clients have given up, and gets it again from them. One that is
        not connected is tried again as soon as ever: the path to it may have returned.
        """
        return min(longest, first * 2.0 ** min(self._ignored, 10))

    def note_ignored(self) -> None:
        """A server was connected, and did not answer within the time that the stream had."""
        self._ignored += 1

    def note_answered(self) -> None:
        """A server answered the beginning of a stream."""
        self._ignored = 0

    def may_go_on(self, error: BaseException) -> bool:
        """Whether a call that a server did not answer in time, or ended as it stopped, may be answered by another."""
        if self._servers.count == 1 or not isinstance(error, grpc.RpcError):
            return False
        return failure(error).code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)

    def is_refused(self, error: grpc.RpcError) -> bool:
        """Whether a standby refused."""
        return owner_of(error) is not None

    def succeed(self) -> None:
        """A server served."""
        self._rounds = self._unanswered = self._ignored = 0
        self._begin_round()

    def _begin_round(self) -> None:
        self._round, self._pause, self._is_refused = [], 0.0, False

    def lose(self) -> float:
        """Seconds to wait after a stream that had worked: its server is asked once more, then others."""
        self.succeed()
        self._is_spread = False
        return reconnect_wait(1)

    def wait(self, error: grpc.RpcError | None) -> float:
        """Seconds to wait after an error, None: no answer at all; another server may be asked then."""
        asked = 0.0 if error is None else retry_delay(error) or 0.0
        if error is not None and failure(error).code() in STAY:
            self._rounds += 1
            return max(asked, reconnect_wait(self._rounds))
        self._note(error, asked)
        self._round.append(self._server)
        if len(self._round) < self._servers.count and not self._servers.is_over(self._round):
            return self._between()
        self._rounds += 1
        wait = self._between_rounds()
        self._begin_round()
        return wait

    def _note(self, error: grpc.RpcError | None, asked: float) -> None:
        owner = None if error is None else owner_of(error)
        if owner is None:
            self._pause = max(self._pause, asked)
            self._unanswered += error is None or failure(error).code() is grpc.StatusCode.DEADLINE_EXCEEDED
            self._servers.fail(self._server, self._servers.clock() - self._asked_at)
        else:
            self._is_refused = True
            self._pause = max(self._pause, min(asked, LONGEST_TURN))
            self._servers.refuse(self._server, owner)

    def _between_rounds(self) -> float:
        """Seconds; where a standby has given this client a turn, exactly until that."""
        if self._is_refused and self._pause:
            return self._pause
        longest = LONGEST_WAIT if self._servers.count == 1 else self._longest
        if self._is_refused and not self._unanswered:  # else there is one, which has too much to do
            longest = min(longest, LONGEST_ROUND_WAIT)
        return max(self._pause, reconnect_wait(self._rounds, longest))

    def _between(self) -> float:
        """Seconds between two servers of a round."""
        if self._is_spread or not self._spread:
            return 0.0
        self._is_spread = True
        return random.uniform(0.0, self._spread)
