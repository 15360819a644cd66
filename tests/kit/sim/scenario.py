"""Scenarios for the simulator, as data."""

from __future__ import annotations

from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.sim.scenario import Scenario, Step

TIGHT = Parameters(rate=2.0, burst=3, park_time=30.0)

SMALL = (
    Scenario(
        name="everything at once", nodes=6, stores=3, stores_per_node=2, nodes_per_host=2, away=0.3, seeds=350,
        parameters=TIGHT, loss=0.2, duplicate=0.3, delay=1.5,
        steps=(
            Step(at=5, what="outage", share=0.5, length=20),
            Step(at=12, what="ask", times=5, every=3),
            Step(at=20, what="suspect", times=6, every=4),
            Step(at=30, what="restart", length=4),
            Step(at=33, what="clock", length=-500),
            Step(at=45, what="restart", length=2),
            Step(at=50, what="flap", times=30, every=0.1),
            Step(at=60, what="partition", length=20),
            Step(at=90, what="clock", length=40),
        ),
    ),
    Scenario(
        name="crash after crash", nodes=4, stores_per_node=2, seeds=250, loss=0.2, duplicate=0.3, delay=1.5,
        steps=(
            Step(at=2, what="ask", times=40, every=1.1),
            Step(at=5, what="restart", length=1, times=8, every=7),
            Step(at=8, what="clock", length=-60, times=3, every=14),
        ),
    ),
    Scenario(
        name="a small office", nodes=8, nodes_per_host=2, seeds=250, parameters=Parameters(rate=1.0, burst=2),
        loss=0.1, steps=(Step(at=5, what="outage", length=70), Step(at=10, what="suspect", times=10, every=5)),
    ),
    Scenario(
        name="half of a small fleet parked", nodes=8, away=0.5, seeds=150, parameters=TIGHT, duplicate=0.5,
        steps=(Step(at=5, what="ask", times=6, every=6), Step(at=20, what="flap", share=0.5, times=5, every=0.1)),
    ),
    Scenario(
        name="neighbours churn and nobody asks", nodes=12, seeds=60, duration=90,
        steps=(Step(at=5, what="churn", times=200, every=0.4), Step(at=30, what="restart", length=2)),
    ),
)  # fmt: skip
"""Small scenarios, for many seeds."""

STRANGERS = Scenario(
    name="strangers, sleepers and nodes without an agent", nodes=6, stores=2, nodes_per_host=2, seeds=25, duration=150,
    report_interval=2, parameters=Parameters(node_limit=6, park_time=30.0), loss=0.1, duplicate=0.3,
    steps=(
        Step(at=5, what="stranger", times=60, every=2.1),
        Step(at=9, what="lid", share=0.34, times=6, every=20),
        Step(at=12, what="agentless", times=6, every=20),
        Step(at=60, what="restart", length=3),
    ),
)  # fmt: skip
"""Exercises what the parts of the core must keep from each other."""

LARGE = (
    Scenario(
        name="office Wi-Fi outage", nodes=2000, stores=20, duration=100, report_interval=20,
        steps=(Step(at=10, what="outage", length=30), Step(at=60, what="suspect", share=0.05, times=3, every=5)),
    ),
    Scenario(
        name="a lid closed and opened 50 times", nodes=6, stores_per_node=2, nodes_per_host=2, duration=600, seeds=3,
        steps=(Step(at=5, what="lid", share=0.34, times=50, every=10),),
    ),
    Scenario(
        name="a flapping link", nodes=6, stores_per_node=2, nodes_per_host=2, duration=620, seeds=2,
        steps=(Step(at=5, what="flap", share=0.34, times=6000, every=0.1),),
    ),
    Scenario(
        name="a hub restarts under 10,000 nodes", nodes=10_000, stores=50, duration=40, report_interval=30,
        steps=(Step(at=5, what="ask", share=0.2), Step(at=10, what="restart", length=5)),
    ),
    Scenario(
        name="half of the agents parked", nodes=600, stores=10, away=0.5, duration=90, seeds=2,
        steps=(Step(at=5, what="flap", times=3, every=8),),
    ),
)  # fmt: skip
"""Scenarios of many nodes or a long time."""

LIVE = (
    Scenario(
        name="all is well", nodes=9, stores=1, report_interval=2, duration=120, seeds=8,
        steps=(Step(at=20, what="ask", share=0.3, times=3, every=20), Step(at=30, what="churn", times=20, every=3)),
    ),
    Scenario(
        name="cut in two and mended", nodes=10, stores=1, report_interval=2, duration=150, seeds=8,
        steps=(Step(at=30, what="partition", length=80),),
    ),
    Scenario(
        name="one cut off from three", nodes=4, stores=1, report_interval=2, duration=150, seeds=8,
        steps=(Step(at=30, what="partition", share=0.25, length=80),),
    ),
    Scenario(
        name="two of two", nodes=2, stores=1, report_interval=2, duration=150, seeds=8,
        steps=(Step(at=30, what="partition", length=80),),
    ),
    Scenario(
        name="one node beside its service, cut off", nodes=3, stores=1, agents=1, report_interval=2, seeds=8,
        duration=170,
        steps=(Step(at=30, what="partition", share=0.34, length=75),),
    ),
    Scenario(
        name="one node beside its service, alone for long", nodes=3, stores=1, agents=1, report_interval=2, seeds=3,
        duration=1500, steps=(Step(at=30, what="partition", share=0.34, length=1300),),
    ),
    Scenario(
        name="one node beside its service writes while the others are away", nodes=3, stores=1, agents=1,
        report_interval=2, seeds=3, duration=700,
        steps=(Step(at=30, what="partition", share=0.34, length=600), Step(at=35, what="write")),
    ),
    Scenario(
        name="nobody hears one node", nodes=7, stores=1, report_interval=2, duration=230, seeds=8,
        steps=(Step(at=70, what="mute", length=60),),
    ),
    Scenario(
        name="one node hears nobody", nodes=7, stores=1, report_interval=2, duration=230, seeds=8,
        steps=(Step(at=70, what="deaf", length=60),),
    ),
    Scenario(
        name="large messages of one node vanish", nodes=7, stores=1, report_interval=2, duration=260, seeds=8,
        steps=(Step(at=70, what="hole", length=90),),
    ),
)  # fmt: skip
"""Scenarios for ``LiveWorld``: rejoins come from the findings of liveness."""
