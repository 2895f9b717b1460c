"""Mutual TLS by BCP 195, as PS3.15 B.9 profiles it: TLS 1.2 and up, forward secrecy, AES-GCM, both sides certified."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

from cryptography import x509

from shadow.domain.errors import SetupError
from shadow.protocol.deployment import Tls

CIPHERS = "ECDHE+AESGCM:DHE+AESGCM"


def server_context(settings: Tls, home: Path, where: str) -> ssl.SSLContext:
    """What a server asks of those who connect. `where`: the table of the deployment file, for errors.

    Raises:
        SetupError: a file cannot be read, or certificate and key do not belong together.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, settings, home, where)


def client_context(settings: Tls, home: Path, where: str) -> ssl.SSLContext:
    """The same for associations that are opened here.

    Raises:
        SetupError: a file cannot be read, or certificate and key do not belong together.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, settings, home, where)


def valid_until(settings: Tls, home: Path) -> datetime:
    """When our certificate ends, of a table whose files can be used."""
    return x509.load_pem_x509_certificate((home / settings.certificate).read_bytes()).not_valid_after_utc


def _context(protocol: int, settings: Tls, home: Path, where: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_mode = ssl.CERT_REQUIRED
    for name in ("certificate", "key", "client_authorities"):
        if not (home / getattr(settings, name)).is_file():
            raise SetupError(f"{where}.{name}: there is no file {getattr(settings, name)}")

    def asked_for_a_passphrase() -> str:
        raise SetupError(f"{where}.key: {settings.key} has a passphrase, which nobody is there to type; take it off")

    try:
        context.load_cert_chain(home / settings.certificate, home / settings.key, asked_for_a_passphrase)
        context.load_verify_locations(home / settings.client_authorities)
    except (OSError, ssl.SSLError) as error:
        raise SetupError(f"{where}: certificate, key or authorities cannot be used: {error}") from error
    return context
