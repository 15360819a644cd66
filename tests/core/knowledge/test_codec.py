"""Events as bytes: round trips, sizes, and errors on damage."""

from __future__ import annotations

import random

import pytest
from gossipcontrol.server.core.knowledge.codec import read_event, write_event
from gossipcontrol.server.core.knowledge.column import pack, unpack
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention
from hypothesis import given
from hypothesis import strategies as st

names = st.binary(min_size=1, max_size=64)
texts = st.text(max_size=20)
intentions = st.builds(
    Intention,
    texts,
    names,
    st.one_of(st.just(b""), names),
    st.lists(names, max_size=5).map(tuple),
    st.booleans(),
    texts,
)
events: st.SearchStrategy[KnowledgeEvent] = st.one_of(
    st.builds(
        IntentionsRecorded, st.just("s"), st.lists(intentions, max_size=30).map(tuple), texts, st.integers(0, 2**64 - 1)
    ),
    st.builds(
        MembersChanged,
        st.just("s"),
        st.lists(st.builds(Member, texts, texts), max_size=5).map(tuple),
        st.lists(texts, max_size=5).map(tuple),
    ),
)


@given(events, st.integers(-5, 2**62))
def test_an_encoded_event_is_decoded_unchanged(event: KnowledgeEvent, room: int) -> None:
    found, found_room = read_event("s", write_event(event, room))
    assert found == event
    assert found_room == (0 if isinstance(event, MembersChanged) else room)


@pytest.mark.parametrize("number", [255, 256, 70_000])
def test_tables_of_any_length(number: int) -> None:
    batch = tuple(Intention(f"p{one}", b"%d" % one, b"%d" % (one - 1) if one else b"") for one in range(number))
    assert read_event("s", write_event(IntentionsRecorded("s", batch), 1))[0] == IntentionsRecorded("s", batch)


def test_a_hash_is_stored_once_per_batch() -> None:
    rng = random.Random(1)
    made: list[Intention] = []
    for number in range(1000):
        author = f"{number % 20:064x}"
        seen = tuple(one.hash for one in made[-40:-10:15])
        made.append(Intention(author, rng.randbytes(32), made[-20].hash if number >= 20 else b"", seen))
    assert len(write_event(IntentionsRecorded("s", tuple(made)), 1)) < 50 * 1000


@given(events, st.data())
def test_a_record_that_is_cut_off_is_an_error(event: KnowledgeEvent, data: st.DataObject) -> None:
    body = write_event(event, 1)
    with pytest.raises((ValueError, KeyError, IndexError, TypeError)):
        read_event("s", body[: data.draw(st.integers(0, len(body) - 1))])


def test_a_record_of_a_newer_form_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of version 2"):
        unpack(pack({"version": "2"}, ()))
