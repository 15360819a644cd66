"""Tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from gossipcontrol.cli.columns import Columns
from gossipcontrol.cli.document import plain_list, print_document
from gossipcontrol.cli.output import say, say_wrapped
from gossipcontrol.cli.status import Status
from gossipcontrol.client import decode
from gossipcontrol.client.decision import Decision, ExplainResult, RejoinRecord, RestartRecord
from gossipcontrol.client.enumeration import Outcome, PeerState
from gossipcontrol.client.store import Store
from gossipcontrol.system.printable import printable
from gossipcontrol.system.wording import try_again
from gossipcontrol.v1 import decision_pb2
from rich.console import Console
from rich.text import Text

COLOURS = {
    Outcome.VERIFIED: "green",
    Outcome.UNVERIFIED: "red",
    Outcome.FAILED: "red",
    Outcome.EXPIRED: "yellow",
}
STATE_COLOURS = {
    PeerState.ONLINE: "green",
    PeerState.SUSPECT: "yellow",
    PeerState.OFFLINE: "red",
    PeerState.ASLEEP: "blue",
}
SHORT = 12
"""Characters shown of an id that looks like a key."""


def show_decision_messages(decisions: Collection[decision_pb2.Decision], as_json: bool) -> None:
    """Decisions for programs or for people."""
    if as_json:
        print_document({"decisions": plain_list(decisions)})
    else:
        show_decisions(map(decode.decision, decisions))


def show_rejoin_messages(rejoins: Collection[decision_pb2.Rejoin], as_json: bool, *, verbose: bool = False) -> None:
    """Rejoins for programs or for people."""
    if as_json:
        print_document({"rejoins": plain_list(rejoins)})
    else:
        show_rejoins(map(decode.rejoin_record, rejoins), verbose=verbose)


def show_status(address: str, status: Status) -> None:
    """The service in five lines, and what is wrong first."""
    outcomes = Counter(str(rejoin.outcome) for rejoin in status.rejoins)
    counted = ", ".join(f"{count} {name}" for name, count in outcomes.most_common()) or "none"
    least = "" if status.all_nodes else "at least "
    more = "" if status.all_rejoins else f"{len(status.rejoins)}+, the newest: "
    say_wrapped(f"{address} is {'serving' if status.serving else 'not serving'}")
    for trouble in status.troubles:
        say_wrapped(f"{'wrong' if trouble.is_wrong else 'note':<16} {trouble.sentence}", 17)
    if any(trouble.is_wrong for trouble in status.troubles):
        say("cure             gossipcontrol doctor says how")
    say_wrapped(f"stores           {status.stores}", 17)
    say_wrapped(f"nodes            {least}{status.nodes}, {least}{status.attached} of them attached", 17)
    say_wrapped(f"rejoins (1 h)    {more}{counted}", 17)
    if status.rejoins:
        last = status.rejoins[0]
        say_wrapped(f"last rejoin      {ago(last.requested_age)}: {_detail(last, verbose=False)}", 17)


def show_decisions(decisions: Iterable[Decision]) -> None:
    """One line per (node, store)."""
    table = Columns("NODE", "STORE", "DECISION", "REJOIN", "WHY")
    for one in decisions:
        table.add_row(called(one.node_id, one.node_name), one.store_id, str(one.kind), one.rejoin_id, one.message)
    show(table, "nothing to decide")


def show_stores(stores: Iterable[Store]) -> None:
    """One line per (store, node)."""
    table = Columns("STORE", "PEERS", "LAST REJOIN", "NODE", "ATTACHED", "NEIGHBOURS", "LAST REPORT")
    for store in stores:
        last = "never" if store.rejoin_age is None else ago(store.rejoin_age)
        for number, node in enumerate(store.nodes):
            head = (store.store_id, str(store.peer_count), last) if number == 0 else ("", "", "")
            reported = "never" if node.report_age is None else ago(node.report_age)
            attached = "yes" if node.attached else "no"
            table.add_row(*head, called(node.node_id, node.name), attached, str(node.neighbors), reported)
        if store.node_count > len(store.nodes):
            table.add_row("", "", "", f"and {store.node_count - len(store.nodes)} more", "", "", "")
    show(table, "no stores yet: no agent has attached")


def show_rejoins(rejoins: Iterable[RejoinRecord], *, verbose: bool) -> None:
    """One line per rejoin; with ``verbose`` one more per trigger."""
    table = Columns("REJOIN", "WHEN", "NODE", "STORE", "CAUSES", "OUTCOME", "AFTER", "TRIES", "DETAIL")
    for rejoin in rejoins:
        causes = dict.fromkeys(str(trigger.cause) for trigger in rejoin.triggers)
        after = "" if rejoin.verified_after is None else f"{rejoin.verified_after * 1000:.0f} ms"
        table.add_row(
            rejoin.rejoin_id, ago(rejoin.requested_age), called(rejoin.node_id, rejoin.node_name), rejoin.store_id,
            f"{', '.join(causes)}{f' ({rejoin.trigger_count})' if rejoin.trigger_count > 1 else ''}",
            Text(str(rejoin.outcome), COLOURS.get(rejoin.outcome, "")), after, str(rejoin.attempts),
            _detail(rejoin, verbose=verbose),
        )  # fmt: skip
        for trigger in rejoin.triggers if verbose else ():
            table.add_row("", ago(trigger.age), "", "", str(trigger.cause), "", "", "", trigger.reason)
        if verbose and rejoin.restart is not None:
            table.add_row("", ago(rejoin.restart.age), "", "", "", "", "", "", restarted(rejoin.restart))
    show(table, "no rejoins")


def restarted(restart: RestartRecord) -> str:
    """What became of a restart command, as a sentence."""
    ended = restart.error or f"ended with {restart.exit_code}"
    return f"a restart was advised: the agent's restart command {ended}, after {restart.duration:.1f} s"


def show_explanations(result: ExplainResult) -> None:
    """What would happen or was decided: one paragraph per (node, store)."""
    if result.refused_retry is not None:
        say(f"refused: the queue is full; {try_again(result.refused_retry)}")
    if result.replayed:
        say("the service would repeat its answer to the earlier call with this request id")
    for one in result.explanations:
        decision = one.decision
        rule = str(decision.rule).replace("-", " ")
        node = called(decision.node_id, decision.node_name) or "unknown node"
        where = f"{node} {decision.store_id or 'all stores'}"
        say_wrapped(f"{where}: {decision.kind} by the rule '{rule}' ({one.cause}, {ago(one.age)})")
        say_wrapped(f"  {one.message}", 2)
    if result.decision_count > len(result.explanations):
        say(f"and {result.decision_count - len(result.explanations)} more")
    if not result.explanations and result.refused_retry is None:
        say("nothing to decide")


def show(rows: Columns, empty: str) -> None:
    """Print rows, or what to say when there are none."""
    # Ids and sentences may hold brackets: no markup.
    console = Console(markup=False, highlight=False)
    if not rows.row_count:
        say(empty)
    elif console.is_terminal:
        console.print(rows.render(console.width))
    else:
        # Lines must not break where a program reads them.
        Console(width=rows.full_width(), markup=False, highlight=False).print(rows.render())


def terminal_width() -> int | None:
    """Columns of the terminal that is printed to; None for a pipe, where nothing is cut."""
    console = Console()
    return console.width if console.is_terminal else None


def short(identifier: str) -> str:
    """An id, cut when it looks like a key."""
    identifier = printable(identifier)
    return identifier if len(identifier) <= 2 * SHORT else identifier[:SHORT] + "…"


def called(identifier: str, name: str) -> str:
    """An id behind the name of its node, if it has one; what is shown can be pasted."""
    return f"{printable(name)} ({short(identifier)})" if name else short(identifier)


def _detail(rejoin: RejoinRecord, *, verbose: bool) -> str:
    """What happened, and on what evidence: that of its newest trigger, unless every trigger is shown anyway."""
    evidence = "" if verbose else next((one.evidence for one in reversed(rejoin.triggers) if one.evidence), "")
    return "; ".join(filter(None, (rejoin.detail, evidence and f"evidence: {evidence}")))


def ago(seconds: float) -> str:
    """An age in words."""
    if seconds < 60:
        return f"{seconds:.1f} s ago"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.1f} h ago"
