"""Random graphs of intentions, in many shapes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gossipcontrol.server.core.knowledge.intention import Intention


@dataclass(frozen=True)
class Shape:
    """How a random graph grows; the last six are probabilities."""

    authors: int
    intentions: int
    merges: int = 2
    """Most dependencies of one intention."""
    reach: int = 50
    """How many intentions back a dependency lies at most."""
    acks: float = 0.2
    forks: float = 0.0
    losses: float = 0.0
    """Of a new incarnation."""
    fresh: float = 0.5
    """That a new incarnation, or a fork, begins without a predecessor."""
    missing: float = 0.0
    """Of an intention that is never recorded."""


def grow(shape: Shape, rng: random.Random) -> list[Intention]:
    """Intentions, each after its ancestors."""
    made: list[Intention] = []
    chains: list[list[bytes]] = [[] for _ in range(shape.authors)]
    incarnations = [0] * shape.authors
    for number in range(shape.intentions):
        author = rng.randrange(shape.authors)
        chain = chains[author]
        prev = chain[-1] if chain else b""
        lost = rng.random() < shape.losses
        incarnations[author] += lost
        if chain and (lost or rng.random() < shape.forks):
            prev = b"" if rng.random() < shape.fresh else rng.choice(chain)
        recent = made[-shape.reach :]
        others = rng.sample(recent, min(len(recent), rng.randint(0, shape.merges)))
        made.append(
            Intention(
                author_id=f"p{author}",
                hash=b"h%d" % number,
                store_prev=prev,
                dependencies=tuple(one.hash for one in others),
                acknowledgement=rng.random() < shape.acks,
                incarnation=f"{incarnations[author]:04d}" if incarnations[author] else "",
            )
        )
        chain.append(made[-1].hash)
    return made


def arrive(made: list[Intention], shape: Shape, rng: random.Random, disorder: float = 1.0) -> list[Intention]:
    """An order of arrival: each intention is late by at most ``disorder`` times the length of the whole."""
    late = {one.hash: number + rng.random() * disorder * len(made) for number, one in enumerate(made)}
    return sorted((one for one in made if rng.random() >= shape.missing), key=lambda one: late[one.hash])
