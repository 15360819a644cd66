"""The cost of knowledge: intentions per second, memory, queries, snapshots, growth, and a naive walk as a baseline.

Times are CPU seconds of one thread, so other load counts little. Each run is a process of its own, so its memory is
measured alone.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import click
from gossipcontrol.server.core.knowledge.answer import (
    at_risk,
    behind_by_author,
    holders,
    knowledge,
    lags,
    positions,
)
from gossipcontrol.server.core.knowledge.codec import read_event, write_event
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.knowledge.tracker import Tracker

from bench.memory import resident
from bench.report import Figure, at_least, at_most, show

BATCH = 1000
NEVER = 1_000_000_000
QUERIES = ("frontier", "lag_of_one", "lag_of_all", "stability_lag", "row_of_one", "holders", "at_risk", "old_vector")
PATTERNS = ("steady", "skewed", "late")


def write(number: int, authors: int, pattern: str, rng: random.Random) -> Iterator[Intention]:
    """Intentions of a gossip store: three other authors hear each, and their next intentions depend on it.

    One in five is an acknowledgement only. ``skewed``: a tenth of the authors write nine tenths. ``late``: one in ten
    arrives up to 2000 places late, so the intentions that depend on it float.
    """
    ids = [f"{rng.getrandbits(256):064x}" for _ in range(authors)]
    last = [b""] * authors
    heard: list[list[bytes]] = [[] for _ in range(authors)]
    held_up: dict[int, list[Intention]] = {}
    draw = rng.random
    for count in range(number):
        luck = draw()
        author = int(draw() * (max(1, authors // 10) if pattern == "skewed" and luck < 0.9 else authors))
        name = rng.getrandbits(256).to_bytes(32, "little")
        one = Intention(ids[author], name, last[author], tuple(heard[author][-2:]), draw() < 0.2)
        last[author] = name
        heard[author].clear()
        for _ in range(3):
            other = int(draw() * authors)
            if other != author:
                heard[other].append(name)
        if pattern == "late" and luck < 0.1:
            held_up.setdefault(count + 1 + int(draw() * 2000), []).append(one)
        else:
            yield one
        yield from held_up.pop(count, ())
    for rest in held_up.values():
        yield from rest


def run(number: int, authors: int, pattern: str, keep: int) -> dict[str, float]:
    """Record intentions, then query; returns the figures of one run."""
    store = KnowledgeStore(KnowledgeParameters(keep=keep, intention_limit=NEVER, floating_limit=10_000_000))
    source = write(number, authors, pattern, random.Random(1))
    gc.collect()
    before, spent, sequence, worst, event = resident(), 0.0, 0, 0.0, None
    while batch := tuple(islice(source, BATCH)):
        sequence += 1
        took = seconds(
            partial(store.handle, IntentionsRecorded("store", batch, "bench", sequence), 1e9 + sequence / 100)
        )
        spent, worst = spent + took, max(worst, took)
    event = None
    while (pending := store.tracker("store")) and pending.is_pending:
        sequence += 1
        spent += seconds(partial(store.handle, IntentionsRecorded("store", ()), 1e9 + sequence / 100))
    del batch, source, event
    gc.collect()
    tracker = store.tracker("store")
    assert tracker is not None
    assert tracker.graph.order == number, "every intention has its place"
    found = {
        "rate": number / spent,
        "worst_batch_ms": worst * 1000,
        "retained": tracker.graph.retained,
        "bytes": (resident() - before) / tracker.graph.retained,
        **ask(tracker),
    }
    return found | snapshot_and_restore(store, tracker.graph.retained)


def snapshot_and_restore(store: KnowledgeStore, retained: int) -> dict[str, float]:
    """The cost of a snapshot in the event loop and in the writer thread, of its longest part, and of a restore."""
    captured_s = min(seconds(partial(store.capture, "store")) for _ in range(3))
    parts: list[bytes] = []
    took: list[float] = []
    source = store.capture("store").parts()
    while True:
        start = time.process_time()
        part = next(source, None)
        took.append(time.process_time() - start)
        if part is None:
            break
        parts.append(part)
    body = b"".join(parts)
    return {
        "capture_ms": captured_s * 1000,
        "snapshot_s": sum(took),
        "longest_part_ms": max(took) * 1000,
        "snapshot_bytes": len(body) / retained,
        "restore_s": seconds(lambda: KnowledgeStore(store.parameters).load((), {"store": body})),
    }


def replay(number: int, authors: int) -> dict[str, float]:
    """The cost of writing a batch to the log, and of replaying such records."""
    source, store, records = write(number, authors, "steady", random.Random(1)), KnowledgeStore(), list[bytes]()
    written_s = 0.0
    while batch := tuple(islice(source, BATCH)):
        event = IntentionsRecorded("store", batch, "bench", 1)
        written_s += seconds(lambda event=event: records.append(write_event(event, NEVER)))  # type: ignore[misc]

    def again() -> None:
        for record in records:
            store.handle(read_event("store", record)[0], 1e9)

    return {
        "record_us": written_s * 1e6 / number,
        "record_bytes": sum(map(len, records)) / number,
        "replay_us": seconds(again) * 1e6 / number,
    }


def ask(tracker: Tracker) -> dict[str, float]:
    """Milliseconds of each query."""
    peers = tracker.peers()
    name = next(iter(tracker.graph.chains[-1].hashes))
    queries: dict[str, Callable[[], object]] = {
        "frontier_ms": lambda: positions(tracker, tracker.frontier()),
        "stability_lag_ms": lambda: behind_by_author(tracker, tracker.frontier()),
        "lag_of_one_ms": lambda: list(lags(tracker, peers[:1])),
        "lag_of_all_ms": lambda: list(lags(tracker, peers)),
        "row_of_one_ms": lambda: knowledge(tracker, peers[0]),
        "holders_ms": lambda: holders(tracker, name),
        "at_risk_ms": lambda: at_risk(tracker),
    }
    found = {key: min(seconds(query) for _ in range(5)) * 1000 for key, query in queries.items()}
    chains, rng = tracker.graph.chains, random.Random(2)
    places = [chain.number << 32 | rng.randint(chain.first, chain.length) for chain in rng.choices(chains, k=50)]
    found["old_vector_ms"] = seconds(lambda: [tracker.graph.vector(place) for place in places]) * 1000 / len(places)
    return found


def walk(intentions: list[Intention]) -> float:
    """Milliseconds of one frontier by a naive walk from the last intention of every author."""
    known = {one.hash: one for one in intentions}
    last = {one.author_id: one.hash for one in intentions}

    def frontier() -> set[bytes]:
        common: set[bytes] | None = None
        for tip in last.values():
            todo, reached = [tip], set[bytes]()
            while todo:
                name = todo.pop()
                if name not in reached:
                    reached.add(name)
                    one = known[name]
                    todo += one.dependencies
                    if one.store_prev:
                        todo.append(one.store_prev)
            common = reached if common is None else common & reached
        return common or set()

    return seconds(frontier) * 1000


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def apart(number: int, authors: int, pattern: str, keep: int) -> dict[str, float]:
    """``run`` in a process of its own."""
    command = [sys.executable, "-m", "bench.knowledge", "--run", str(number), str(authors), pattern, str(keep)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(number: int) -> dict[str, Figure]:
    """Measure everything with ``number`` intentions in each run."""
    figures: dict[str, Figure] = {}
    for authors in (10, 100, 1000):
        figures |= by_authors(number, authors)
    for pattern in ("skewed", "late"):
        found = apart(number, 100, pattern, NEVER)
        figures[f"recorded at 100 authors, {pattern}"] = at_least(found["rate"], "intentions/s", 100_000)
    for part in (number // 10, number):
        figures |= by_growth(part)
    for size in (1000, 10_000):
        intentions = list(write(size, 100, "steady", random.Random(1)))
        tracker = Tracker()
        tracker.record(intentions, 1e9)
        figures[f"frontier of {size:,} by naive walk"] = Figure(walk(intentions), "ms")
        figures[f"frontier of {size:,} by vectors"] = Figure(ask(tracker)["frontier_ms"], "ms")
    return figures


def by_authors(number: int, authors: int) -> dict[str, Figure]:
    """Rate, memory, queries and snapshots when nothing is forgotten; the targets are for 100 authors."""
    found = apart(number, authors, "steady", NEVER)
    aim = authors == 100
    figures = {
        "recorded": _least(found["rate"], "intentions/s", 100_000 if aim else None),
        "memory": _most(found["bytes"], "bytes/retained intention", 200 if aim else None),
    }
    for key in QUERIES:
        target = 5 if aim and key in ("frontier", "lag_of_one", "lag_of_all") else None
        figures[key.replace("_", " ")] = _most(found[f"{key}_ms"], "ms", target)
    figures |= {
        "snapshot, in the event loop": Figure(found["capture_ms"], "ms"),
        "snapshot, in the writer": Figure(found["snapshot_s"] * 1e6 / number, "us/retained intention"),
        "snapshot, its longest part": Figure(found["longest_part_ms"], "ms"),
        "snapshot size": Figure(found["snapshot_bytes"], "bytes/retained intention"),
        "restore": Figure(found["restore_s"] * 1e6 / number, "us/retained intention"),
    }
    replayed = replay(min(number, 200_000), authors)
    figures |= {
        "record of the log": Figure(replayed["record_us"], "us/intention"),
        "record size": Figure(replayed["record_bytes"], "bytes/intention"),
        "replay": Figure(replayed["replay_us"], "us/intention"),
    }
    return {f"{name} at {authors} authors": figure for name, figure in figures.items()}


def _least(value: float, unit: str, target: float | None) -> Figure:
    return Figure(value, unit) if target is None else at_least(value, unit, target)


def _most(value: float, unit: str, target: float | None) -> Figure:
    return Figure(value, unit) if target is None else at_most(value, unit, target)


def by_growth(number: int) -> dict[str, Figure]:
    """Memory and rate when stable intentions are forgotten."""
    found = apart(number, 100, "steady", 10_000)
    figures = {
        "retained": Figure(found["retained"], "intentions"),
        "recorded": at_least(found["rate"], "intentions/s", 100_000),
        "memory in all": Figure(found["bytes"] * found["retained"] / 1e6, "MB"),
        "longest batch of 1000": Figure(found["worst_batch_ms"], "ms"),
    }
    return {f"{name} of {number:,}, forgetting what is stable": figure for name, figure in figures.items()}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--quick", is_flag=True, help="A twentieth of the intentions.")
@click.option("--run", "one", type=(int, int, click.Choice(PATTERNS), int), hidden=True)
def main(as_json: bool, quick: bool, one: tuple[int, int, str, int] | None) -> None:
    """Measure the cost of knowledge."""
    if one:
        click.echo(json.dumps(run(*one)))
    else:
        show("knowledge", measure(50_000 if quick else 1_000_000), as_json)


if __name__ == "__main__":
    main()
