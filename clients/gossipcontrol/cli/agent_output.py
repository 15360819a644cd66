"""What a command that runs an agent prints: events of the agent, and how the service sees peers."""

from __future__ import annotations

from gossipcontrol.agent.event import AgentEvent
from gossipcontrol.cli.document import event_line
from gossipcontrol.cli.output import say
from gossipcontrol.client.presence import PeerChange


class AgentOutput:
    """Prints each event as a line for people, or as one JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, what: str, text: str, **fields: object) -> None:
        """Print one event."""
        say(event_line(what, fields) if self._as_json else text)

    def agent_event(self, event: AgentEvent) -> None:
        """Print what the agent says."""
        text = " ".join(filter(None, (event.what, event.store_id, event.rejoin_id, event.peer_id[:10])))
        self.say(event.what, f"{text}: {event.detail}", store=event.store_id, rejoin=event.rejoin_id,
                 peer=event.peer_id, detail=event.detail)  # fmt: skip

    def peer_changed(self, store: str, change: PeerChange) -> None:
        """Print that the service sees a peer differently."""
        state = "absent" if change.after is None else str(change.after)
        text = f"{store}: {change.peer_id[:10]} is {state}"
        self.say("presence", text, store=store, peer=change.peer_id, state=state)
