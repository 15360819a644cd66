"""Whose word an intention is: the identity's own nodes, signatures, and an application's verifier; on a real hub."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gossipcontrol.client import Client, Intention, IntentionBatch, OverloadedError, RefusedError
from gossipcontrol.server.access.identity import ANY, LOCAL, Identity, Role
from gossipcontrol.server.access.signature import SignedIntention, load_verifier
from gossipcontrol.server.access.word import MOST_WRONG, Words, speaks_for_all
from gossipcontrol.server.core.knowledge import intention as core
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.slices import finish
from gossipcontrol.server.errors import StartError
from gossipcontrol.v1 import peer_knowledge_pb2 as pb
from gossipcontrol.v1 import peer_knowledge_pb2_grpc
from prometheus_client import generate_latest

from tests.kit.hub import TABLE, Hub, hub

KEY = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
AUTHOR = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def signed(one: Intention, store_id: str = "notes") -> Intention:
    return replace(one, signature=KEY.sign(one.signed_bytes(store_id)))


def recorded(one: Intention) -> core.Intention:
    """As the service has it."""
    return core.Intention(
        one.author_id, one.hash, one.store_prev, one.dependencies, one.acknowledgement, one.incarnation
    )


ONE = Intention(
    author_id=AUTHOR, hash=b"h", store_prev=b"p", dependencies=(b"d", b"e" * 64), acknowledgement=True, incarnation="é"
)


def test_client_and_service_mean_the_same_bytes() -> None:
    assert SignedIntention("s", recorded(ONE), b"").message() == ONE.signed_bytes("s")
    assert ONE.signed_bytes("s") == (
        b"gossipcontrol.v1.Intention\0" + b"\0\0\0\1s" + b"\0\0\0\x40" + AUTHOR.encode() + b"\0\0\0\1h" + b"\0\0\0\1p"
        + b"\0\0\0\2\xc3\xa9" + b"\1" + b"\0\0\0\2" + b"\0\0\0\1d" + b"\0\0\0\x40" + b"e" * 64
    )  # fmt: skip


def test_a_signature_holds_for_exactly_what_was_signed() -> None:
    verify = load_verifier("ed25519")
    assert verify is not None
    good = signed(ONE)
    assert verify(SignedIntention("notes", recorded(good), good.signature))
    changed = (
        replace(good, hash=b"i"), replace(good, store_prev=b""), replace(good, dependencies=(b"d",)),
        replace(good, acknowledgement=False), replace(good, incarnation=""), replace(good, author_id="0" * 64),
        replace(good, author_id=AUTHOR.upper()), replace(good, author_id="laptop-1"),
    )  # fmt: skip
    for one in changed:
        assert not verify(SignedIntention("notes", recorded(one), good.signature))
    assert not verify(SignedIntention("photos", recorded(good), good.signature))
    for wrong in (b"", b"short", good.signature[:-1] + b"\0", b"\0" * 64, b"\0" * 512):
        assert not verify(SignedIntention("notes", recorded(good), wrong))


def weigh(words: Words, *intentions: Intention) -> bytes:
    """Which of these are their author's own word, if a laptop sends them."""
    event = IntentionsRecorded("notes", tuple(map(recorded, intentions)), "log", 1)
    laptop = Identity(name="laptop-1", roles=frozenset({Role.AGENT}), nodes=("laptop-1",), stores=("notes",))
    found = finish(words.weigh(event, [one.signature for one in intentions], laptop))
    assert found == replace(event, identity="laptop-1", authored=found.authored)
    return found.authored


def test_looking_at_signatures_is_bounded_and_spared_where_it_can_be() -> None:
    counted: list[bool] = []
    errors: list[Exception] = []
    words = Words(load_verifier("ed25519"), lambda store, name: name == b"known", counted.append, errors.append)
    own = Intention(author_id="laptop-1", hash=b"x", signature=b"wrong")
    known = signed(Intention(author_id=AUTHOR, hash=b"known"))
    plain = Intention(author_id=AUTHOR, hash=b"plain")
    right = signed(Intention(author_id=AUTHOR, hash=b"right"))
    assert weigh(words, own, known, plain, right) == b"\1\0\0\1"
    assert counted == [True]
    wrong = [Intention(author_id=AUTHOR, hash=b"%d" % one, signature=b"\0" * 64) for one in range(100)]
    assert weigh(words, *wrong, right) == bytes(101)
    assert counted == [True] + [False] * MOST_WRONG


def test_an_applications_verifier_decides_and_its_errors_prove_nothing() -> None:
    errors: list[Exception] = []

    def verify(signature: SignedIntention) -> bool:
        return signature.intention.author_id == f"{int(signature.signature)}"

    words = Words(verify, lambda store, name: False, lambda is_right: None, errors.append)
    made = [Intention(author_id="7", hash=b"1", signature=one) for one in (b"7", b"8", b"no number", b"")]
    assert weigh(words, *made) == b"\1\0\0\0"
    assert [type(one) for one in errors] == [ValueError]
    assert weigh(Words(None, lambda store, name: False, lambda is_right: None, errors.append), made[0]) == b"\0"


@pytest.mark.parametrize("name", ["nowhere.at.all:verify", "json:nothing", "json", "json:__name__", ":x"])
def test_a_verifier_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(StartError, match=r"access\.verifier"):
        load_verifier(name)


def test_a_verifier_is_a_callable_of_a_module_or_none() -> None:
    assert load_verifier("tests.server.access.test_words:always") is always
    assert load_verifier("") is None


def always(signature: SignedIntention) -> bool:
    return True


def test_who_speaks_for_all() -> None:
    def made(role: Role, *nodes: str) -> Identity:
        return Identity(name="x", roles=frozenset({role}), nodes=nodes)

    assert speaks_for_all(LOCAL)
    assert speaks_for_all(made(Role.ADMIN, *ANY))
    assert not speaks_for_all(made(Role.ADMIN, "laptop-*"))
    assert not speaks_for_all(made(Role.AGENT, *ANY))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub(tmp_path) as one:
        yield one


def chain(author: str, number: int, *seen: bytes) -> tuple[Intention, ...]:
    names = [b"", *(f"{author[:8]}.{count}".encode() for count in range(1, number + 1))]
    return tuple(
        Intention(author_id=author, hash=name, store_prev=prev, dependencies=seen)
        for prev, name in itertools.pairwise(names)
    )


async def held(client: Client) -> dict[str, int]:
    """Peer -> how many intentions it provably holds."""
    return {row.peer_id: row.held async for row in client.knowledge.rows("notes")}


def metrics_of(running: Hub) -> str:
    return generate_latest(running.service.app.metrics.registry).decode()


def stub(client: Client) -> peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub:
    """The calls themselves, for what the client does by itself."""
    made: peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub
    transport = client.knowledge._transport  # pyright: ignore[reportPrivateUsage]
    made = peer_knowledge_pb2_grpc.PeerKnowledgeStub(transport.channel)
    return made


async def record(client: Client, intentions: Sequence[Intention]) -> tuple[int, int, int]:
    """New, known, unproven."""
    done = await client.knowledge.record([IntentionBatch("notes", tuple(intentions))])
    return done.recorded, done.known, done.unproven


async def test_a_forged_acknowledgement_raises_nothing_and_the_real_one_does(running: Hub) -> None:
    """A15 (1) of the faults: another's word let the frontier rise, so that others pruned what a peer never had."""
    own, forged = chain("laptop-2", 1), chain("laptop-2", 1, b"laptop-1.3")
    real = [replace(forged[0], hash=b"real")]
    async with (
        running.client("laptop-1") as first,
        running.client("laptop-2") as second,
        running.client("laptop-3") as liar,
    ):
        assert await record(first, chain("laptop-1", 3)) == (3, 0, 0)
        assert await record(second, own) == (1, 0, 0)
        assert await record(liar, [replace(forged[0], hash=b"forged", store_prev=b"laptop-2.1")]) == (1, 0, 1)
        assert await held(first) == {"laptop-1": 3, "laptop-2": 1}
        assert (await first.knowledge.frontier("notes")).positions == ()
        assert await record(second, [replace(real[0], store_prev=b"laptop-2.1")]) == (1, 0, 0)
        assert await held(first) == {"laptop-1": 3, "laptop-2": 5}
        [stable] = (await first.knowledge.frontier("notes")).positions
        assert (stable.author_id, stable.position) == ("laptop-1", 3)
        forks = [row.forks async for row in first.knowledge.rows("notes")]
        assert forks == [0, 0], "what was forged makes the real one no fork"


async def test_two_others_vouch_for_one_who_cannot_speak_himself(running: Hub) -> None:
    absent = chain("phone", 2)
    async with running.client("laptop-1") as first, running.client("laptop-2") as second:
        assert await record(first, absent) == (2, 0, 2)
        assert await record(first, absent) == (0, 2, 0)
        assert await held(first) == {}
        assert await record(second, absent) == (2, 0, 0)
        assert await held(first) == {"phone": 2}


async def test_a_signature_proves_whoever_carries_it(running: Hub) -> None:
    made = [signed(one) for one in chain(AUTHOR, 3)]
    async with running.client("laptop-1") as carrier:
        assert await record(carrier, [replace(made[0], signature=made[1].signature)]) == (1, 0, 1)
        assert await record(carrier, made) == (3, 0, 0)
        assert await held(carrier) == {AUTHOR: 3}
    metrics = metrics_of(running)
    assert 'gossipcontrol_knowledge_signatures_total{result="right"} 3.0' in metrics
    assert 'gossipcontrol_knowledge_signatures_total{result="wrong"} 1.0' in metrics


async def test_a_signature_that_is_too_long_is_refused_by_name(running: Hub) -> None:
    made = [replace(chain(AUTHOR, 1)[0], signature=b"s" * 513)]
    async with running.client("laptop-1") as carrier:
        with pytest.raises(RefusedError, match=r"batch\.intentions\[0\]\.signature: must be at most 512 bytes"):
            await record(carrier, made)


async def test_nobody_skips_the_resume_of_another(running: Hub) -> None:
    """A15 (6): a sender id of another, raised to the greatest number, made its stream skip everything."""

    def asked(sequence: int) -> list[pb.RecordIntentionsRequest]:
        batch = pb.IntentionBatch(store_id="notes") if sequence else None
        return [pb.RecordIntentionsRequest(sender_id="log", sequence=sequence, batch=batch)]

    async with running.client("laptop-1") as first, running.client("laptop-3") as liar:
        assert (await stub(first).RecordIntentions(iter(asked(4)))).last_sequence == 4
        assert (await stub(liar).RecordIntentions(iter(asked(2**64 - 1)))).last_sequence == 2**64 - 1
        assert (await stub(first).RecordIntentions(iter(asked(0)))).last_sequence == 4


async def test_invented_authors_take_no_places(running: Hub) -> None:
    """A15 (4, 5): forged beginnings of one peer, and invented authors, took all places of it and of a store."""
    async with running.client("laptop-1") as first, running.client("laptop-3") as liar:
        invented = [Intention(author_id=f"x{one}", hash=b"x%d" % one) for one in range(900)]
        lives = [Intention(author_id="laptop-1", hash=b"l%d" % one, incarnation=f"{one}") for one in range(100)]
        assert await record(liar, [*invented, *lives]) == (1000, 0, 1000)
        assert await record(first, chain("laptop-1", 2)) == (2, 0, 0)
        assert await held(first) == {"laptop-1": 2}


async def test_an_agent_of_all_nodes_brings_in_a_bounded_number_of_authors(running: Hub) -> None:
    running.write_table(TABLE.replace('nodes = ["{name}"]', 'nodes = ["*"]'))
    async with running.client("laptop-1") as gateway, running.client("laptop-2") as other:
        many = [Intention(author_id=f"x{one}", hash=b"x%d" % one) for one in range(201)]
        with pytest.raises(OverloadedError, match="laptop-1 has brought 200 authors into store notes: authors_per_id"):
            await record(gateway, many)
        assert await record(other, many[200:]) == (1, 0, 0)
    assert 'gossipcontrol_knowledge_refused_total{reason="authors"} 1.0' in metrics_of(running)
