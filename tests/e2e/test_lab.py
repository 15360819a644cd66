"""What the measurements rest on: which nodes hold together, as they tell it themselves."""

from __future__ import annotations

from tests.kit.fleet import Overlay


def told(overlay: Overlay, *lines: str) -> None:
    for line in lines:
        node_id, event, peer = line.split()
        assert overlay.take(node_id, {"event": event, "peer": peer})


def parts(overlay: Overlay, node_ids: str) -> list[str]:
    return sorted("".join(sorted(part)) for part in overlay.components(node_ids))


def test_nodes_hold_together_when_both_ends_say_so() -> None:
    overlay = Overlay()
    assert parts(overlay, "abc") == ["a", "b", "c"]
    told(overlay, "a up b")
    assert parts(overlay, "abc") == ["a", "b", "c"]
    told(overlay, "b up a", "b up c", "c up b")
    assert parts(overlay, "abc") == ["abc"]
    assert parts(overlay, "ac") == ["a", "c"]
    told(overlay, "b down c")
    assert parts(overlay, "abc") == ["ab", "c"]


def test_what_was_once_a_pair_of_neighbours_stays_known() -> None:
    overlay = Overlay()
    told(overlay, "a up b", "a down b")
    assert overlay.neighbors("a") == frozenset()
    assert overlay.ever == {frozenset("ab")}
    assert not overlay.take("a", {"event": "heard", "peer": "c"})
