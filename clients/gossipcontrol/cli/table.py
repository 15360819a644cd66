"""What people see: tables, one line per thing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

import click
from gossipcontrol.cli.status import Status
from gossipcontrol.v1 import decision_pb2, gossip_control_pb2, liveness_pb2
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLOURS = {
    decision_pb2.REJOIN_OUTCOME_VERIFIED: "green",
    decision_pb2.REJOIN_OUTCOME_UNVERIFIED: "red",
    decision_pb2.REJOIN_OUTCOME_FAILED: "red",
    decision_pb2.REJOIN_OUTCOME_EXPIRED: "yellow",
}
STATE_COLOURS: dict[int, str] = {
    liveness_pb2.PEER_STATE_ONLINE: "green",
    liveness_pb2.PEER_STATE_SUSPECT: "yellow",
    liveness_pb2.PEER_STATE_OFFLINE: "red",
    liveness_pb2.PEER_STATE_ASLEEP: "blue",
}
SHORT = 12
"""Characters shown of an id that looks like a key."""


def show_json(value: object) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, indent=2))


def show_status(address: str, status: Status) -> None:
    """The service in five lines."""
    outcomes = Counter(_outcome(rejoin.outcome) for rejoin in status.rejoins)
    counted = ", ".join(f"{count} {name}" for name, count in outcomes.most_common()) or "none"
    least = "" if status.all_nodes else "at least "
    more = "" if status.all_rejoins else f"{len(status.rejoins)}+, the newest: "
    click.echo(f"{address} is {'serving' if status.serving else 'not serving'}")
    click.echo(f"stores           {status.stores}")
    click.echo(f"nodes            {least}{status.nodes}, {least}{status.attached} of them attached")
    click.echo(f"rejoins (1 h)    {more}{counted}")
    if status.rejoins:
        click.echo(f"last rejoin      {ago(status.rejoins[0].requested_age_ms)}: {status.rejoins[0].detail}")


def show_decisions(decisions: Iterable[decision_pb2.Decision]) -> None:
    """One line per (node, store)."""
    table = columns("NODE", "STORE", "DECISION", "REJOIN", "WHY")
    for one in decisions:
        kind = decision_pb2.DecisionKind.Name(one.kind).removeprefix("DECISION_KIND_").lower()
        table.add_row(short(one.node_id), one.store_id, kind, one.rejoin_id, one.message)
    show(table, "nothing to decide")


def show_stores(stores: Iterable[gossip_control_pb2.Store]) -> None:
    """One line per (store, node)."""
    table = columns("STORE", "PEERS", "LAST REJOIN", "NODE", "ATTACHED", "NEIGHBOURS", "LAST REPORT")
    for store in stores:
        last = ago(store.rejoin_age_ms) if store.HasField("rejoin_age_ms") else "never"
        for number, node in enumerate(store.nodes):
            head = (store.store_id, str(store.peer_count), last) if number == 0 else ("", "", "")
            reported = ago(node.report_age_ms) if node.HasField("report_age_ms") else "never"
            attached = "yes" if node.attached else "no"
            table.add_row(*head, short(node.node_id), attached, str(node.neighbors), reported)
        if store.node_count > len(store.nodes):
            table.add_row("", "", "", f"and {store.node_count - len(store.nodes)} more", "", "", "")
    show(table, "no stores yet: no agent has attached")


def show_rejoins(rejoins: Iterable[decision_pb2.Rejoin], *, verbose: bool) -> None:
    """One line per rejoin; with ``verbose`` one more per trigger."""
    table = columns("REJOIN", "WHEN", "NODE", "STORE", "CAUSES", "OUTCOME", "AFTER", "TRIES", "DETAIL")
    for rejoin in rejoins:
        causes = dict.fromkeys(_cause(trigger.cause) for trigger in rejoin.triggers)
        after = f"{rejoin.verified_after_ms} ms" if rejoin.HasField("verified_after_ms") else ""
        table.add_row(
            rejoin.rejoin_id, ago(rejoin.requested_age_ms), short(rejoin.node_id), rejoin.store_id,
            f"{', '.join(causes)}{f' ({rejoin.trigger_count})' if rejoin.trigger_count > 1 else ''}",
            Text(_outcome(rejoin.outcome), COLOURS.get(rejoin.outcome, "")), after, str(rejoin.attempts),
            _detail(rejoin, verbose=verbose),
        )  # fmt: skip
        for trigger in rejoin.triggers if verbose else ():
            table.add_row("", ago(trigger.age_ms), "", "", _cause(trigger.cause), "", "", "", trigger.reason)
    show(table, "no rejoins")


def show_explanations(response: gossip_control_pb2.ExplainResponse) -> None:
    """What would happen or was decided: one paragraph per (node, store)."""
    if response.HasField("refused_retry_ms"):
        click.echo(f"refused: the queue is full; try again in {response.refused_retry_ms / 1000:g} s")
    if response.replayed:
        click.echo("the recorded answer to the earlier call with this request id would be given")
    for one in response.explanations:
        decision = one.decision
        kind = decision_pb2.DecisionKind.Name(decision.kind).removeprefix("DECISION_KIND_").lower()
        rule = decision_pb2.Rule.Name(decision.rule).removeprefix("RULE_").lower().replace("_", " ")
        where = f"{short(decision.node_id) or 'unknown node'} {decision.store_id or 'all stores'}"
        click.echo(f"{where}: {kind} by the rule '{rule}' ({_cause(one.cause)}, {ago(one.age_ms)})")
        click.echo(f"  {one.message}")
    if response.decision_count > len(response.explanations):
        click.echo(f"and {response.decision_count - len(response.explanations)} more")
    if not response.explanations and not response.HasField("refused_retry_ms"):
        click.echo("nothing to decide")


def columns(*names: str) -> Table:
    """An empty table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        # Sentences may wrap; ids, which are copied, must not.
        table.add_column(name, overflow="fold", no_wrap=name not in ("WHY", "DETAIL"))
    return table


def show(table: Table, empty: str) -> None:
    """Print a table, or what to say when it is empty."""
    # Ids and sentences may hold brackets: no markup.
    console = Console(markup=False)
    if not table.row_count:
        click.echo(empty)
    elif console.is_terminal:
        console.print(table)
    else:
        # Lines must not break where a program reads them.
        Console(width=1000, markup=False).print(table)


def short(identifier: str) -> str:
    """An id, cut when it looks like a key."""
    return identifier if len(identifier) <= 2 * SHORT else identifier[:SHORT] + "…"


def _detail(rejoin: decision_pb2.Rejoin, *, verbose: bool) -> str:
    """What happened, and on what evidence: that of its newest trigger, unless every trigger is shown anyway."""
    evidence = "" if verbose else next((one.evidence for one in reversed(rejoin.triggers) if one.evidence), "")
    return "; ".join(filter(None, (rejoin.detail, evidence and f"evidence: {evidence}")))


def _cause(cause: decision_pb2.Cause.ValueType) -> str:
    return decision_pb2.Cause.Name(cause).removeprefix("CAUSE_").lower().replace("_", "-")


def _outcome(outcome: decision_pb2.RejoinOutcome.ValueType) -> str:
    return decision_pb2.RejoinOutcome.Name(outcome).removeprefix("REJOIN_OUTCOME_").lower()


def state_name(state: liveness_pb2.PeerState.ValueType) -> str:
    """A presence in one word."""
    return liveness_pb2.PeerState.Name(state).removeprefix("PEER_STATE_").lower()


def ago(milliseconds: int) -> str:
    """An age in words."""
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s ago"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.1f} h ago"
