"""Writes that nobody holds, and the way back through an author's intentions."""

from __future__ import annotations

from gossipcontrol.client.intention import Intention
from gossipcontrol.lattice.intentions import REMEMBERED, walk_back
from gossipcontrol.lattice.unsynced import ACKNOWLEDGEMENT_TIME, UnsyncedWrites


def test_writes_count_only_once_others_had_time_to_acknowledge() -> None:
    writes = UnsyncedWrites()
    assert writes.update(3, 3, 0.0) == 0
    for second in range(1, 60):
        assert writes.update(3 + second, 3, float(second)) == 0, "a steady writer is not acknowledged while it writes"
    assert writes.update(62, 62, 65.0) == 0
    assert writes.update(64, 62, 70.0) == 0
    assert writes.update(64, 62, 70.0 + ACKNOWLEDGEMENT_TIME) == 2
    assert writes.update(64, 63, 71.0 + ACKNOWLEDGEMENT_TIME) == 1


def chain(length: int) -> dict[bytes, Intention]:
    hashes = [b"", *(number.to_bytes(32, "big") for number in range(1, length + 1))]
    return {hashes[n]: Intention(author_id="a", hash=hashes[n], store_prev=hashes[n - 1]) for n in range(1, length + 1)}


async def test_the_way_back_ends_at_what_is_known_and_remembers_the_last_it_read() -> None:
    there = chain(REMEMBERED + 5)
    read: list[bytes] = []

    async def get(digest: bytes) -> Intention:
        read.append(digest)
        return there[digest]

    tip = max(there)
    hashes, kept = await walk_back(get, tip, set())
    assert hashes == sorted(there, reverse=True)
    assert (len(kept), min(there) in kept, tip in kept) == (REMEMBERED, True, False)
    known = sorted(there)[-3]
    assert len((await walk_back(get, tip, {known}))[0]) == 2
    assert await walk_back(get, known, {known}) == ([], {})


async def test_a_chain_that_bites_its_tail_has_an_end() -> None:
    async def get(digest: bytes) -> Intention:
        return Intention(author_id="a", hash=digest, store_prev=b"2" if digest == b"1" else b"1")

    assert (await walk_back(get, b"1", set()))[0] == [b"1", b"2"]
