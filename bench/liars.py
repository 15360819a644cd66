"""What nodes with credentials that lie do to the honest nodes of a store, in the simulator.

    python -m bench.liars [--json] [--quick] [--lie claim]

``--quick`` leaves out the store of 1,000 nodes, which takes some minutes.
"""

from __future__ import annotations

import time

from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.sim.liars import LIES, Fleet, Harm, Trial

from bench.report import Figure, arguments, at_most, show

SMALL = (Trial(honest=30, liars=0), Trial(honest=29, liars=1), Trial(honest=28, liars=2))
LARGE = tuple(Trial(honest=1000 - liars, liars=liars, seconds=80.0, interval=10.0) for liars in (10, 20, 50))
CHANCE = 1.5
"""How much more than their share of bootstrap places liars may have by chance."""


def main() -> None:
    """Try every lie with each number of liars."""
    parser = arguments(__doc__)
    parser.add_argument("--lie", choices=sorted(LIES), action="append", help="only this one; may be repeated")
    chosen = parser.parse_args()
    figures: dict[str, Figure] = {}
    began = time.process_time()
    for lie in chosen.lie or LIES:
        for base in SMALL if chosen.quick else (*SMALL, *LARGE):
            trial = Trial(lie=lie, honest=base.honest, liars=base.liars, seconds=base.seconds, interval=base.interval)
            figures |= of(trial, Fleet(trial).run())
    figures["CPU"] = Figure(round(time.process_time() - began, 1), "s")
    show("liars", figures, chosen.as_json)


def of(trial: Trial, harm: Harm) -> dict[str, Figure]:
    """The figures of one trial. One liar must move nobody."""
    nodes = trial.honest + trial.liars
    ids = trial.liars * (2 if trial.lie == "partition" else 1)
    share = ids / (trial.honest + ids - 5)
    name = f"{trial.lie}, {trial.liars} of {nodes} lie"
    moved, places = len(harm.rejoins), harm.false_places / max(1, harm.places)
    found = {
        f"{name}: honest nodes that rejoined": at_most(moved, "nodes", 0)
        if trial.liars < 2
        else Figure(moved, "nodes"),
        f"{name}: their rejoins": Figure(harm.rejoins.total(), "rejoins"),
        f"{name}: stronger than a rejoin": Figure(harm.resubscribed, "rejoins"),
        f"{name}: bootstrap places of liars": at_most(round(100 * places, 1), "%", round(100 * CHANCE * share, 1)),
        f"{name}: syncs with liars asked of honest nodes": Figure(harm.dials, "syncs"),
    }
    if trial.lie == "mask":
        found[f"{name}: rejoins of the mute node"] = Figure(harm.triggers, "rejoins")
        shown = int(harm.state is PeerState.ONLINE)
        what = f"{name}: the mute node is shown online at the end"
        found[what] = at_most(shown, "nodes", 0) if trial.liars < 2 else Figure(shown, "nodes")
    return found


if __name__ == "__main__":
    main()
