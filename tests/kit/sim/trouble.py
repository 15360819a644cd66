"""Troubles of real networks, as data: what happens, and within which bounds it must be over."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum

from gossipcontrol.server.core.repair.unheard import HOLD
from gossipcontrol.sim.scenario import Scenario, Step, What


class Shape(Enum):
    """Which nodes have an agent, and where the service is."""

    HUB = None
    """All, at one service that no cut between the nodes concerns."""
    SIDECAR = 1
    """One, beside its own service."""
    BARE = 0
    SIDECARS = "all"
    """All, each at a service of its own."""

    @property
    def agents(self) -> int | None:
        """How many nodes have an agent; None: all."""
        return None if self is Shape.SIDECARS else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Seconds; None: not bounded, because nothing tells the service."""

    heals: float | None = 0.5
    """From the trouble's end until the overlay is one component, for good; the model looks every 0.5 s."""
    away: float | None = 0.5
    """The longest that a node which can be reached is shown as asleep or offline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A trouble with its bounds by shape. In every case no node hears less than without any agent."""

    name: str
    steps: tuple[Step, ...]
    duration: float = 150.0
    hub: Bound = field(default_factory=Bound)
    sidecar: Bound = field(default_factory=Bound)
    more_than_bare: tuple[Shape, ...] = ()
    """The shapes in which the nodes that bare ones lose hear strictly more, because bare nodes stay apart."""

    def bound(self, shape: Shape) -> Bound:
        """The bound in a shape."""
        return self.hub if shape is Shape.HUB else self.sidecar

    def scenario(self, shape: Shape, nodes: int) -> Scenario:
        """The trouble among so many nodes."""
        return Scenario(
            name=f"{self.name}, {shape.name.lower()}, {nodes} nodes", nodes=nodes, stores=1, report_interval=2,
            agents=shape.agents, steps=self.steps, duration=self.duration,
        )  # fmt: skip


BOTH = (Shape.HUB, Shape.SIDECAR)
PROBED = 2.5
"""Seconds until a path that nobody announces is found: a probe every 2 s, and the rejoin."""
SETTLED = 8.0
"""Seconds until a site is whole: 3 until the nodes know their addresses, and up to a window of 6 s of a rejoin that had
only old ones."""
DEAD = 20.0
"""Seconds until dead links are replaced: a partition shows after some 14, then a probe and a new endpoint."""
SPOKEN = 5.5
"""Seconds until a peer without an agent is heard of: a message every 2 to 3 s, and a report every 2 s."""

TROUBLES = (
    Trouble(
        name="silent black hole of one host", steps=(Step(at=40, what="partition", share=0.1, length=75),),
        hub=Bound(heals=PROBED, away=1.5), sidecar=Bound(heals=PROBED, away=SPOKEN), more_than_bare=BOTH,
    ),
    Trouble(
        name="short black hole of one host", steps=(Step(at=40, what="partition", share=0.1, length=25),), duration=100,
    ),
    Trouble(  # in the sidecar shape one node reports, and hears its own side: to it the others may be merely away
        name="black hole between two parts of a site", steps=(Step(at=40, what="partition", share=0.6, length=75),),
        hub=Bound(heals=PROBED, away=1.5), sidecar=Bound(heals=PROBED + HOLD + 1.0, away=PROBED + HOLD + SPOKEN),
        more_than_bare=BOTH,
    ),
    Trouble(  # syncs reach it, but a rejoin would go over its dead links, which the node lists for 48 s and longer
        name="dead links of one host", steps=(Step(at=40, what="stall", share=0.1),), duration=120,
        hub=Bound(heals=DEAD), sidecar=Bound(heals=60.0, away=12.0),
    ),
    Trouble(
        name="one host unplugged", steps=(Step(at=40, what="unplug", share=0.1, length=75),),
        sidecar=Bound(away=1.5), more_than_bare=BOTH,
    ),
    Trouble(
        name="one host unplugged for a moment", steps=(Step(at=40, what="unplug", share=0.1, length=20),),
        duration=100,
    ),
    Trouble(name="one host moves", steps=(Step(at=40, what="move", share=0.1),), duration=100),
    Trouble(
        name="site renumbered at once", steps=(Step(at=40, what="renumber"),), more_than_bare=(Shape.HUB,),
        hub=Bound(heals=SETTLED), sidecar=Bound(heals=None),
    ),
    Trouble(
        name="site renumbered host by host", steps=(Step(at=40, what="renumber", length=5.0),),
        more_than_bare=(Shape.HUB,), hub=Bound(heals=SETTLED), sidecar=Bound(heals=None),
    ),
    Trouble(name="a VPN on one host", steps=(Step(at=40, what="vpn", share=0.1, length=40),), duration=100),
    Trouble(name="internet lost", steps=(Step(at=40, what="vpn", length=40),), duration=100),
    Trouble(name="service stops for 10 s", steps=(Step(at=40, what="freeze", length=10),), duration=80),
    Trouble(name="service stops for 100 s", steps=(Step(at=40, what="freeze", length=100),), duration=180),
    Trouble(name="one host stops for 100 s", steps=(Step(at=40, what="pause", share=0.1, length=100),), duration=180),
    Trouble(  # the service is back 5 s before the path; agents attach within 5 s, and a partition takes 3 s to confirm
        name="service stops while a host is in a black hole",
        steps=(Step(at=40, what="partition", share=0.1, length=75), Step(at=60, what="freeze", length=50)),
        hub=Bound(heals=PROBED + 5.0, away=1.5), sidecar=Bound(heals=PROBED, away=SPOKEN), more_than_bare=BOTH,
    ),
    Trouble(
        name="service stops while the site is renumbered",
        steps=(Step(at=39, what="freeze", length=10), Step(at=40, what="renumber")),
        more_than_bare=(Shape.HUB,), hub=Bound(heals=SETTLED), sidecar=Bound(heals=None),
    ),
)  # fmt: skip
"""One kind of trouble each, and the service's own pause on top of two."""

LENGTHS = (5.0, 20.0, 45.0, 75.0, 110.0)
KINDS: tuple[What, ...] = ("partition", "unplug", "move", "renumber", "vpn", "freeze", "pause")


def random_trouble(seed: int) -> Trouble:
    """Two to four troubles, one after the other or on top of each other; the bounds are those of a site."""
    chance = random.Random(f"trouble {seed}")
    steps: list[Step] = []
    at = 40.0
    for _ in range(chance.randint(2, 4)):
        what = chance.choice(KINDS)
        share = 1.0 if what == "renumber" else chance.choice((0.1, 0.34, 0.6 if what == "partition" else 1.0))
        length = chance.choice((0.0, 5.0, 12.0)) if what == "renumber" else chance.choice(LENGTHS)
        steps.append(Step(at=at, what=what, share=share, length=0.0 if what == "move" else length))
        at += chance.choice((3.0, 10.0, length + 1.0, length + 60.0))
    ends_at = max(step.at + step.length * (6 if step.what == "renumber" else 1) for step in steps)
    return Trouble(
        name=f"random trouble {seed}", steps=tuple(steps), duration=ends_at + 60.0,
        hub=Bound(heals=SETTLED + PROBED, away=SPOKEN), sidecar=Bound(heals=None, away=None),
    )  # fmt: skip
