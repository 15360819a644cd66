"""Signatures of intentions: what is signed, the verifier that is built in, and an application's own."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, cast

from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.errors import StartError

DOMAIN = b"gossipcontrol.v1.Intention\0"
"""Begins what is signed, so that a signature says nothing elsewhere."""
ED25519 = "ed25519"
"""The verifier that is built in, as ``access.verifier`` names it."""
KEY_DIGITS = 64
"""Digits of an author id that is a public key."""


class SignedIntention(NamedTuple):
    """An intention of a store, with what is to be its author's signature."""

    store_id: str
    intention: Intention
    signature: bytes

    def message(self) -> bytes:
        """What is signed (see the contract)."""
        one = self.intention
        parts = (self.store_id.encode(), one.author_id.encode(), one.hash, one.store_prev, one.incarnation.encode())
        return b"".join(
            (
                DOMAIN,
                *map(_with_length, parts),
                b"\1" if one.acknowledgement else b"\0",
                len(one.dependencies).to_bytes(4, "big"),
                *map(_with_length, one.dependencies),
            )
        )


Verifier = Callable[[SignedIntention], bool]
"""Whether the signature is the author's. It is called in the event loop: it must answer within a millisecond."""


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def load_verifier(name: str) -> Verifier | None:
    """The verifier of this name: ``ed25519``, ``module:callable``, or none if empty; raises StartError."""
    if not name:
        return None
    if name == ED25519:
        return _ed25519()
    module, _, attribute = name.partition(":")
    try:
        found: object = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise StartError(f"access.verifier: {name} cannot be imported as module:callable: {error}") from error
    if not callable(found):
        raise StartError(f"access.verifier: {name} is not callable")
    return cast("Verifier", found)


def _ed25519() -> Verifier | None:
    """The built-in verifier; None where the package for it is not installed."""
    try:
        # Imported late: the package belongs to an extra.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return None

    def verify(signed: SignedIntention) -> bool:
        author_id = signed.intention.author_id
        if len(author_id) != KEY_DIGITS or not set(author_id) <= set("0123456789abcdef"):
            return False
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(author_id)).verify(signed.signature, signed.message())
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify
