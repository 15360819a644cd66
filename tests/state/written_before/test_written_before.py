"""A state file that an earlier version wrote gives the same answers byte for byte, and goes on in the same way.

The code of commit 579c17f wrote ``state_v0.db.gz``: its engine, book, outbox and SQLite journal were driven with an
injected clock through two runs, each of which ended like ``kill -9``. ``answers.json.gz`` holds the answers of that
code after it loaded the file, with one word of it corrected in both places: it tested ``seen is UNSEEN``, which is
false for a trigger that was decoded, so after a restart the trigger of an unknown node showed an empty ``seen`` and the
sentence "it saw no agent attached". Corrected, it tests ``==``, as the present code does.

Sentences for people were reworded since; ``rewording.py`` says which, and how they are compared.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.server.core.deciding.answers import Answer
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters

from tests.state.written_before.continuation import future
from tests.state.written_before.questions import answers
from tests.state.written_before.rewording import REWORDED, REWORDED_WHERE_SAVED, Comparison
from tests.state.written_before.written_state import (
    DECIDING,
    EARLIER,
    KNOWLEDGE,
    STORES,
    load,
    restore,
    rewritten,
    unpack,
    without_log,
)  # fmt: skip

ANSWERS = Path(__file__).parent / "answers.json.gz"
LOGGED = {
    "RejoinRequested": {"node_id", "store_ids", "cause", "request_id", "evidence", "bridge"},
    "NetworkChanged": {"host_id", "node_ids", "kind", "boot_id", "generation", "request_id"},
    "NodeAttached": {
        "node_id", "session_id", "store_ids", "host_id", "capabilities", "addresses", "incarnation", "agent",
    },
    "NodeDetached": {"node_id", "session_id", "left"},
    "RejoinFinished": {"rejoin_id", "attempt", "ok", "error", "retry_in"},
    "TimePassed": set[str](),
    "StartDelayed": {"rejoin_id", "attempt"},
    "StoreSeen": {"node_id", "store_id"},
    "RejoinProved": {"rejoin_id", "what"},
    "AdviceOutdated": {"node_id", "store_id"},
    "SuspicionEnded": {"node_id", "store_id", "cause", "healed"},
    "ServiceStarted": {"run_id"},
}  # fmt: skip
"""What the log holds: every kind of fact, and every field of it."""
KNOWN = {"IntentionsRecorded", "MembersChanged"}
"""The same for knowledge, whose fields are packed."""
SAVED = {
    "rejoin": {
        "number", "rejoin_id", "node_id", "store_id", "cause", "requested_at", "uncovered_at", "outcome", "rule",
        "deadline", "timer", "queued", "place", "expected_at", "urgency", "attempts", "rung", "climbs", "acknowledged",
        "first_started_at", "started_at", "ended_at", "verified_after", "detail", "bootstrap", "bridge", "host_id",
        "causes", "first_trigger", "last_triggers", "trigger_count", "decision",
    },
    "peer": {"peer_id", "addresses"},
    "node": {
        "node_id", "known_at", "host_id", "session_id", "seen_at", "registered", "capabilities", "addresses",
    },
    "slot": {"last_start_at", "skipped_id", "restart_advised", "standing", "tried"},
    "host": {"host_id", "changed_at", "cause"},
    "store": {"rejoin_at"},
    "deciding": {
        "window", "rate", "burst", "queue_limit", "park_time", "verify_timeout", "trial_time", "fresh", "fanout",
        "spread", "request_memory", "request_limit", "generation_memory", "generation_limit", "decision_limit",
        "history_limit", "history_age", "node_limit", "stores_per_node",
    },
    "knowledge": {
        "store_limit", "chain_limit", "branch_limit", "member_limit", "intention_limit", "recent", "floating_limit",
        "keep", "forget_every", "name_limit", "sender_limit", "unshared_age", "look_every",
    },
}  # fmt: skip
"""What the snapshot holds: every field of everything in it."""


Kept = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def any_request_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old code gave the recorded answer to any request with a known id; the continuation uses ids twice."""

    def fits(answer: Answer, digest: str) -> bool:
        del answer, digest
        return True

    monkeypatch.setattr(Answer, "fits", fits)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of the file, because reading it opens it for writing."""
    return unpack(tmp_path)


@pytest.fixture(scope="module")
def kept() -> Kept:
    """What the old code answered, by circumstances and name."""
    with gzip.open(ANSWERS) as file:
        read: Kept = json.load(file)
    return read


@pytest.fixture
def comparison() -> Comparison:
    return Comparison()


def test_it_gives_the_same_answers(path: Path, kept: Kept, comparison: Comparison) -> None:
    core, must_rewrite = restore(load(path), DECIDING, KNOWLEDGE)
    assert not must_rewrite, "the parameters are those in the file"
    assert comparison.differing(answers(core), kept["answers"]) == []


def test_it_gives_the_same_answers_under_other_parameters(path: Path, kept: Kept, comparison: Comparison) -> None:
    core, must_rewrite = restore(load(path), Parameters(), KnowledgeParameters())
    assert must_rewrite
    assert comparison.differing(answers(core), {**kept["answers"], **kept["under other parameters"]}) == []


def test_it_goes_on_in_the_same_way(path: Path, kept: Kept, comparison: Comparison) -> None:
    core, _ = restore(load(path), DECIDING, KNOWLEDGE)
    assert comparison.differing(future(core), kept["future"]) == []


def test_its_snapshots_alone_give_the_same_answers_and_go_on_in_the_same_way(
    path: Path, kept: Kept, comparison: Comparison
) -> None:
    core, _ = restore(without_log(load(path)), DECIDING, KNOWLEDGE)
    assert comparison.differing(answers(core, EARLIER), kept["snapshot"]) == []
    assert comparison.differing(future(core, EARLIER), kept["snapshot, future"]) == []


def test_rewritten_it_gives_the_same_answers_and_goes_on_in_the_same_way(
    path: Path, kept: Kept, comparison: Comparison
) -> None:
    core, _ = restore(load(path), DECIDING, KNOWLEDGE)
    core, must_rewrite = restore(rewritten(core), DECIDING, KNOWLEDGE)
    assert not must_rewrite
    assert comparison.differing(answers(core), kept["answers"]) == []
    assert comparison.differing(future(core), kept["future"]) == []


def test_every_reworded_phrase_occurs(path: Path, kept: Kept, comparison: Comparison) -> None:
    core, _ = restore(load(path), DECIDING, KNOWLEDGE)
    comparison.differing(answers(core), kept["answers"])
    comparison.differing(future(core), kept["future"])
    assert comparison.met == REWORDED.keys() | REWORDED_WHERE_SAVED.keys()


def rows(path: Path, query: str) -> list[Any]:
    """What the file itself says."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def raw(path: Path) -> Any:
    """The snapshot as it stands in the file."""
    ((body,),) = rows(path, "SELECT body FROM snapshot")
    return json.loads(zlib.decompress(body))


def names(values: Sequence[Any]) -> set[str]:
    """The fields that stand in any of these objects."""
    return set[str]().union(*(one.keys() for one in values))


def test_every_kind_of_fact_and_every_field_of_it_stands_in_the_log(path: Path) -> None:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for kind, fields in rows(path, "SELECT kind, fields FROM log WHERE store IS NULL"):
        found[kind] |= json.loads(fields).keys()
    assert found == LOGGED


def test_the_log_holds_each_way_in_which_things_happen(path: Path) -> None:
    log = rows(path, "SELECT kind, fields FROM log WHERE store IS NULL")
    facts: defaultdict[str, list[Any]] = defaultdict(list)
    for kind, fields in log:
        facts[kind].append(json.loads(fields))
    assert {one["kind"] for one in facts["NetworkChanged"]} == {1, 2, 3, 4}
    assert {one["cause"] for one in facts["RejoinRequested"]} == {1, 5, 6, 7, 8, 9}
    assert {one.get("left", False) for one in facts["NodeDetached"]} == {True, False}
    assert {one.get("healed", True) for one in facts["SuspicionEnded"]} == {True, False}
    ends = {(one.get("ok", False), "retry_in" in one) for one in facts["RejoinFinished"]}
    assert ends == {(True, False), (False, False), (False, True)}
    assert set().union(*(one.get("capabilities", ()) for one in facts["NodeAttached"])) == {1, 2, 3}


def test_liveness_was_asked_and_each_kind_of_its_answers_stands_in_the_log(path: Path) -> None:
    said = [one for (told,) in rows(path, "SELECT said FROM log") for one in json.loads(told)]
    assert [] in said
    assert ["yes"] in said
    assert any(len(one) == 2 for one in said), "two peers to dial"
    assert any(one and one[0].replace(".", "").isdigit() for one in said), "an instant"


def test_knowledge_stands_in_snapshots_and_in_the_log_after_them(path: Path) -> None:
    kinds = rows(path, "SELECT store, kind FROM log WHERE store IS NOT NULL")
    assert {kind for _, kind in kinds} == KNOWN
    assert {store_id for store_id, _ in kinds} == set(STORES)
    stores = dict(rows(path, "SELECT id, generation FROM store"))
    assert stores.keys() == set(STORES) - {"chat"}
    assert min(stores.values()) < 0 < max(stores.values()), "taken with all others, and alone"
    bodies = b"".join(body for (body,) in rows(path, "SELECT body FROM part ORDER BY generation, number"))
    assert b'"added":{"p1":"0000","m1":"0003"},"removed":["m2"]' in bodies, "a change of members before the snapshots"
    parts = rows(path, "SELECT generation, count(*) FROM part GROUP BY generation")
    assert {generation for generation, _ in parts} == set(stores.values())
    assert max(count for _, count in parts) > 1
    ((heard,),) = rows(path, "SELECT seq FROM book")
    ((first,),) = rows(path, "SELECT min(seq) FROM log WHERE store IS NOT NULL")
    assert first < heard, "there are facts that the senders know already"


def test_the_snapshot_holds_every_field_of_everything(path: Path) -> None:
    snapshot = raw(path)
    core = snapshot["core"]
    nodes, rejoins = core["registry"]["nodes"], core["history"]["rejoins"]
    book = json.loads(rows(path, "SELECT fields FROM book")[0][0])
    assert {
        "rejoin": names(rejoins),
        "peer": names([peer for rejoin in rejoins for peer in rejoin.get("bootstrap", ())]),
        "node": names([node["fields"] for node in nodes]),
        "slot": names([slot[-1] for node in nodes for slot in node["slots"]]),
        "host": names([host["fields"] for host in core["registry"]["hosts"]]),
        "store": names(list(core["registry"]["stores"].values())),
        "deciding": set(snapshot["parameters"]),
        "knowledge": set(book["parameters"]),
    } == SAVED


def test_the_snapshot_holds_each_outcome_and_everything_that_may_be_under_way(path: Path) -> None:
    core = raw(path)["core"]
    rejoins = core["history"]["rejoins"]
    registry, scheduler = core["registry"], core["scheduler"]
    assert {one["outcome"] for one in rejoins} == set(range(1, 10))
    assert {one["cause"] for one in rejoins} >= {1, 2, 3, 5, 6, 7, 8, 9}
    assert {one["rule"] for one in rejoins if one["outcome"] in (1, 2)} == {2, 3, 4, 5, 6, 7}
    slots = [slot for node in registry["nodes"] for slot in node["slots"]]
    by_id = {one["rejoin_id"]: one for one in rejoins}
    on_trial = [by_id[trial] for _, _, _, trial, _ in slots if trial]
    assert {one["cause"] for one in on_trial} >= {7, 9}
    assert any(running for _, running, _, _, _ in slots)
    assert any(waiting for _, _, waiting, _, _ in slots)
    assert any(len(fields.get("standing", ())) == 2 for *_, fields in slots)
    assert any(host["parked"] for host in registry["hosts"])
    assert any(node["parked"] for node in registry["nodes"])
    assert registry["detached"]
    assert scheduler["admission"]["queue"]["nodes"]
    assert scheduler["admission"]["limiter"] > 0
    assert scheduler["bootstrap"]
    assert scheduler["timers"]["standing"]
    assert all(scheduler["counts"])
    assert {cause for _, _, (cause, _) in core["intake"]["requests"]} >= {None, 1, 2}
    assert {key[0] for key, _, _ in core["intake"]["generations"]} == {True, False}


def test_what_is_restored_has_something_of_everything_under_way(path: Path) -> None:
    core, _ = restore(load(path), DECIDING, KNOWLEDGE)
    rejoins = list(core.catalog.rejoins())
    assert {int(rejoin.outcome) for rejoin in rejoins} == set(range(1, 10))
    saved = core.save()
    assert saved["scheduler"]["admission"]["queue"]["nodes"]
    counts = core.counts()
    assert min(counts.attached, counts.queued, counts.parked, counts.running) > 0
