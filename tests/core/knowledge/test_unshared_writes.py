"""Writes that stay alone raise a suspicion, once in a while; stores are scanned in turn."""

from __future__ import annotations

from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.record import Unshared
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.knowledge.unshared_writes import STEP, STEP_WORK, UnsharedWriteScanner


class Scene:
    """A scanner over a store of knowledge, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.knowledge = KnowledgeStore(KnowledgeParameters(unshared_age=60.0, look_every=10.0))
        self.scanner = UnsharedWriteScanner(self.knowledge)
        self.acts = True

    def record(self, *intentions: Intention, store_id: str = "s") -> None:
        self.knowledge.handle(IntentionsRecorded(store_id, intentions), self.now)

    def look(self, later: float) -> list[tuple[str, int]]:
        self.now += later
        found = list(self.scanner.scan("s", self.now))
        for one in found if self.acts else ():
            self.scanner.suspect(one, self.now)
        return [(one.author_id, one.writes) for one in found]


def test_only_old_writes_are_suspicious_and_only_once_in_a_while() -> None:
    scene = Scene()
    scene.record(Intention("n", b"n1"), Intention("n", b"n2", b"n1"), Intention("m", b"m1", b"", (), True))
    assert scene.look(59.0) == []
    assert scene.look(2.0) == [("n", 2)]
    assert scene.look(30.0) == [], "it was suspected already"
    assert scene.look(31.0) == [("n", 2)]
    scene.record(Intention("m", b"m2", b"m1", (b"n2",), True))
    assert scene.look(1000.0) == [], "m holds all now, and its acknowledgements are no writes"


def test_what_nobody_acted_on_is_told_again() -> None:
    scene = Scene()
    scene.record(Intention("n", b"n1"), Intention("m", b"m1", b"", (), True))
    scene.acts = False
    assert scene.look(61.0) == scene.look(1.0) == [("n", 1)]


def test_the_evidence_is_a_sentence() -> None:
    assert Unshared("s", "n", 2, 100.0, bytes(range(32))).say(460.0) == (
        "2 writes by n that no other peer provably holds for 360 s; oldest 00010203"
    )
    assert "1 write by abababababab… that" in Unshared("s", "ab" * 32, 1, 0.0, b"h").say(1.0)


def test_each_store_is_scanned_once_in_every_round() -> None:
    scene = Scene()
    scene.scanner.arm(scene.now)
    assert scene.scanner.next_deadline() is None, "no store is tracked"
    for store_id in ("s", "t"):
        scene.record(Intention("n", b"n1"), Intention("m", b"m1", b"", (), True), store_id=store_id)
    scene.scanner.arm(scene.now)
    scene.now += 100.0
    scanned: list[str] = []
    for _ in range(4):
        assert scene.scanner.next_deadline() is not None
        scanned += [one.store_id for one in scene.scanner.scan_due(scene.now)]
        assert list(scene.scanner.scan_due(scene.now)) == [], "the next store is due half a round later"
        scene.now += 5.0
    assert sorted(scanned) == ["s", "s", "t", "t"]


def test_a_store_of_thousands_is_scanned_in_steps() -> None:
    scene = Scene()
    members = tuple(Member(f"m{number}") for number in range(3 * STEP_WORK))
    scene.knowledge.handle(MembersChanged("s", members), scene.now)
    scene.record(Intention("n", b"n1"))
    scene.scanner.arm(scene.now)
    scene.now += 100.0
    steps, found = 0, list[Unshared]()
    while not found:
        steps += 1
        found = list(scene.scanner.scan_due(scene.now))
        due = scene.scanner.next_deadline()
        assert due is not None
        assert found or due == scene.now + STEP
        scene.now = due
    assert [(one.author_id, one.writes) for one in found] == [("n", 1)]
    assert steps > 6
