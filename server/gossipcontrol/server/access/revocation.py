"""Certificates that are not to be trusted any more: a revocation list (RFC 5280) of the private authority."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path


class RevocationError(Exception):
    """The list cannot be read, or is not the authority's."""


class Revoked:
    """The serial numbers of revoked certificates."""

    def __init__(self, serials: frozenset[int] = frozenset()) -> None:
        self.serials = serials

    def has(self, pem: bytes) -> bool:
        """Whether a certificate is revoked."""
        return bool(self.serials) and _serial(pem) in self.serials


NONE_REVOKED = Revoked()


@lru_cache(10_000)
def _serial(pem: bytes) -> int:
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(pem).serial_number


@lru_cache(10_000)
def expiry(pem: bytes) -> datetime | None:
    """When a certificate is over; None where the package that reads it, of the extra ``tls``, is missing."""
    try:
        from cryptography.x509 import load_pem_x509_certificate
    except ImportError:
        return None
    return load_pem_x509_certificate(pem).not_valid_after_utc


def read_revoked(path: Path, authority: Path) -> Revoked:
    """Read a list in PEM, which the authority's certificate must have signed; raises RevocationError."""
    from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_crl

    try:
        found = load_pem_x509_crl(path.read_bytes())
        signer = load_pem_x509_certificate(authority.read_bytes()).public_key()
        is_signed = found.is_signature_valid(signer)  # type: ignore[arg-type] # keys of authorities sign
    except OSError as error:
        raise RevocationError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RevocationError(f"{path}: is no revocation list in PEM: {error}") from error
    if not is_signed:
        raise RevocationError(f"{path}: was not signed by {authority}")
    return Revoked(frozenset(one.serial_number for one in found))
