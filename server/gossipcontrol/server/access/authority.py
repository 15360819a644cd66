"""A small private certificate authority in a directory: enough for one hub and its clients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY = "authority"
"""Name of the authority's own files."""
REVOKED = "revoked.pem"
AUTHORITY_DAYS = 3650
LIST_DAYS = 3650
"""Days until the next list must be there; readers here take an older one, for no list is worse."""
EARLY = timedelta(hours=1)
"""How far a clock of another host may be behind."""
NAME_BYTES = 64
"""Longest common name (RFC 5280)."""


class AuthorityError(Exception):
    """What is asked for cannot be done; the message says why."""


class Authority:
    """The authority in a directory of mode 0700. Keys are on the curve P-256, without a passphrase, mode 0600."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def found(self) -> None:
        """Make the authority; raises AuthorityError where there is one."""
        if self.path(AUTHORITY, "key").exists():
            raise AuthorityError(f"{self.path(AUTHORITY, 'key')} exists: there is an authority already")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "GossipControl authority")])
        builder = _begin(name, name, key.public_key(), AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        self._write(AUTHORITY, key, builder.sign(key, hashes.SHA256()))
        self._write_list(())

    def issue(self, name: str, days: float, hosts: Sequence[str] = ()) -> None:
        """Make NAME.crt and NAME.key: of a service at these hosts, or of a client with this name.

        Raises AuthorityError.
        """
        if not 0 < len(name.encode()) <= NAME_BYTES or not name.isprintable() or "/" in name or name == AUTHORITY:
            raise AuthorityError(f"{name!r} is no name: 1 to {NAME_BYTES} printable bytes without a slash")
        if self.path(name, "crt").exists():
            raise AuthorityError(f"{self.path(name, 'crt')} exists: revoke it, or choose another name")
        authority, authority_key = self._load()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _begin(subject, authority.subject, key.public_key(), days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_host(host) for host in hosts or (name,)]), critical=False
        )
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        builder = builder.add_extension(signer, critical=False)
        self._write(name, key, builder.sign(authority_key, hashes.SHA256()))

    def revoke(self, name: str) -> None:
        """Put NAME.crt on the list, and move it away; raises AuthorityError."""
        path = self.path(name, "crt")
        serial = self._certificate(path).serial_number
        self._write_list((*self._revoked(), serial))
        path.rename(path.with_suffix(f".{serial:x}.revoked"))
        self.path(name, "key").unlink(missing_ok=True)

    def path(self, name: str, kind: str) -> Path:
        """Path of a file."""
        return self.directory / f"{name}.{kind}"

    @property
    def revoked_path(self) -> Path:
        """Path of the revocation list."""
        return self.directory / REVOKED

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        path = self.path(AUTHORITY, "key")
        certificate = self._certificate(self.path(AUTHORITY, "crt"))
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise AuthorityError(f"{path}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"{path}: is no key of this authority")
        return certificate, key

    def _certificate(self, path: Path) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except FileNotFoundError as error:
            raise AuthorityError(f"{path}: there is no such certificate") from error
        except (OSError, ValueError) as error:
            raise AuthorityError(f"{path}: {error}") from error

    def _revoked(self) -> tuple[int, ...]:
        try:
            return tuple(one.serial_number for one in x509.load_pem_x509_crl(self.revoked_path.read_bytes()))
        except (OSError, ValueError) as error:
            raise AuthorityError(f"{self.revoked_path}: {error}") from error

    def _write_list(self, serials: Sequence[int]) -> None:
        authority, key = self._load()
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=authority.subject, last_update=now - EARLY, next_update=now + timedelta(days=LIST_DAYS)
        )
        for serial in serials:
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(one.build())
        content = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        _replace(self.revoked_path, content, 0o644)

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _replace(self.path(name, "key"), private, 0o600)
        _replace(self.path(name, "crt"), certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise AuthorityError(f"{host!r} is no name for a certificate: {error}") from error


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole: a reader finds the old one or the new one. Raises AuthorityError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        raise AuthorityError(f"{path}: cannot be written: {error.strerror}") from error
