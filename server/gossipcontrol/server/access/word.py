"""Whose word the intentions of a batch are: told before the core sees them, so that a replay needs no signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gossipcontrol.server.access.identity import LOCAL, Identity, Role, Scope
from gossipcontrol.server.access.ownership import NODE
from gossipcontrol.server.access.signature import SignedIntention, Verifier
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.slices import Slices

NAMELESS = "?"
"""The name of an identity whose certificate has an empty one."""
MOST_WRONG = 16
"""Wrong signatures of a batch after which no more of it are looked at: each costs as much as a right one."""


def speaks_for_all(identity: Identity) -> bool:
    """Whether an identity's word is taken for every author's: the service's own socket, an admin of all nodes."""
    return identity is LOCAL or (Role.ADMIN in identity.roles and identity.owns_all(Scope.NODES))


def name_of(identity: Identity) -> str:
    """The name under which an identity's word is kept; empty: it is taken for every author's."""
    return "" if speaks_for_all(identity) else identity.name or NAMELESS


class Words:
    """Tells which intentions are their authors' own word: the identity may speak for the author, or a signature does.

    ``knows`` says whether a hash of a store is recorded, so that no signature is needed; ``count`` is told of each
    signature whether it is right, and ``failed`` of errors of the verifier.
    """

    def __init__(
        self,
        verifier: Verifier | None,
        knows: Callable[[str, bytes], bool],
        count: Callable[[bool], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._verifier = verifier
        self._knows = knows
        self._count = count
        self._failed = failed

    def weigh(
        self, event: IntentionsRecorded, signatures: Sequence[bytes], identity: Identity
    ) -> Slices[IntentionsRecorded]:
        """The event with whose word it is; a signature takes some 60 us."""
        authored = bytearray(len(event.intentions))
        wrong = 0
        for number, one in enumerate(event.intentions):
            if identity.owns(NODE.roles, NODE.scope, one.author_id):
                authored[number] = 1
            elif signatures[number] and wrong < MOST_WRONG and not self._knows(event.store_id, one.hash):
                authored[number] = self._is_right(SignedIntention(event.store_id, one, signatures[number]))
                wrong += not authored[number]
                yield
        return replace(event, identity=name_of(identity), authored=bytes(authored))

    def _is_right(self, signed: SignedIntention) -> bool:
        if self._verifier is None:
            return False
        try:
            is_right = bool(self._verifier(signed))
        except Exception as error:  # noqa: BLE001 - an application's code; its faults prove nothing
            self._failed(error)
            is_right = False
        self._count(is_right)
        return is_right
