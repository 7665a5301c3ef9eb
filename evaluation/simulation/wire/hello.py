"""TLS handshake messages by aioquic's encoder: the visible part of TLS 1.2, TLS 1.3, DTLS and QUIC.

What follows a key exchange is encrypted, so its content is random bytes of the right length.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from aioquic import tls
from aioquic.buffer import Buffer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from evaluation.simulation.wire.tap import noise

ECDHE_AES128_GCM = 0xC02B  # TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, RFC 5289
PSK_AES128_CCM8 = 0xC0A8  # TLS_PSK_WITH_AES_128_CCM_8, RFC 6655; mandatory in LwM2M
AES128_GCM = 0x1301  # TLS_AES_128_GCM_SHA256, RFC 8446
X25519 = 0x1D
TLS12, TLS13 = 0x0303, 0x0304
SESSION_TICKET = 35  # extension, RFC 5077
_CAPACITY = 8192
_ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Offer:
    """What a client offers beside the mandatory: a name, application protocols, a ticket, extensions."""

    name: str | None = None
    protocols: tuple[str, ...] = ()
    ticket: bytes = b""
    versions: tuple[int, ...] = (TLS13, TLS12)
    suites: tuple[int, ...] = (AES128_GCM, 0x1302, 0x1303, ECDHE_AES128_GCM, 0xC02F, 0xC02C, 0xC030)
    extensions: tuple[tuple[int, bytes], ...] = ()


def client_hello(rng: np.random.Generator, offer: Offer) -> bytes:
    """Return a ClientHello with its 4-byte header; a ticket is offered as a TLS 1.3 pre-shared key."""
    keys = [(X25519, noise(rng, 32))] if TLS13 in offer.versions else []
    psk = (
        tls.OfferedPsks([(offer.ticket, int(rng.integers(2**32)))], [noise(rng, 32)])
        if offer.ticket
        else None
    )
    hello = tls.ClientHello(
        random=noise(rng, 32),
        legacy_session_id=noise(rng, 32) if TLS12 in offer.versions else b"",
        cipher_suites=list(offer.suites),
        legacy_compression_methods=[0],
        alpn_protocols=list(offer.protocols) or None,
        key_share=keys,
        pre_shared_key=psk,
        psk_key_exchange_modes=[1] if keys else None,
        server_name=offer.name,
        signature_algorithms=[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501],
        supported_groups=[X25519, 0x17, 0x18],
        supported_versions=list(offer.versions),
        other_extensions=[(0x17, b""), (0xFF01, b"\0"), (0x0B, b"\1\0"), *offer.extensions],
    )
    return _written(lambda buffer: tls.push_client_hello(buffer, hello))


def server_hello(rng: np.random.Generator, suite: int, *, resumed: bool = False) -> bytes:
    """Return a ServerHello: TLS 1.3 when the suite is of 1.3, else 1.2."""
    modern = suite == AES128_GCM
    hello = tls.ServerHello(
        random=noise(rng, 32),
        legacy_session_id=noise(rng, 32),
        cipher_suite=suite,
        compression_method=0,
        key_share=(X25519, noise(rng, 32)) if modern else None,
        pre_shared_key=0 if modern and resumed else None,
        supported_version=TLS13 if modern else None,
        other_extensions=[] if modern else [(0xFF01, b"\0"), (0x17, b"")],
    )
    return _written(lambda buffer: tls.push_server_hello(buffer, hello))


def certificate12(name: str) -> bytes:
    """Return a TLS 1.2 Certificate message (RFC 5246 section 7.4.2) with the chain of a server."""

    def body(buffer: Buffer) -> None:
        with tls.push_block(buffer, 3):
            for certificate in certificate_chain(name):
                tls.push_opaque(buffer, 3, certificate)

    return message(tls.HandshakeType.CERTIFICATE, body)


def server_key_exchange(rng: np.random.Generator) -> bytes:
    """Return an ECDHE ServerKeyExchange (RFC 8422 section 5.4): named curve, point, signature."""

    def body(buffer: Buffer) -> None:
        buffer.push_uint8(3)
        buffer.push_uint16(X25519)
        tls.push_opaque(buffer, 1, noise(rng, 32))
        buffer.push_uint16(0x0403)
        tls.push_opaque(buffer, 2, noise(rng, 71))

    return message(12, body)


def client_key_exchange(public: bytes, *, width: int) -> bytes:
    """Return a ClientKeyExchange: an ECDHE point (width 1) or a PSK identity (width 2)."""
    return message(16, lambda buffer: tls.push_opaque(buffer, width, public))


def new_session_ticket12(ticket: bytes) -> bytes:
    """Return a TLS 1.2 NewSessionTicket (RFC 5077 section 3.3)."""

    def body(buffer: Buffer) -> None:
        buffer.push_uint32(7200)
        tls.push_opaque(buffer, 2, ticket)

    return message(tls.HandshakeType.NEW_SESSION_TICKET, body)


def message(kind: int, body: Callable[[Buffer], None] | None = None) -> bytes:
    """Return a handshake message: type, 24-bit length, body; an empty one without a body."""

    def write(buffer: Buffer) -> None:
        buffer.push_uint8(kind)
        with tls.push_block(buffer, 3):
            if body:
                body(buffer)

    return _written(write)


@lru_cache(maxsize=1024)
def certificate_chain(name: str) -> tuple[bytes, ...]:
    """Return the DER certificates of a server and its issuer; the same name has the same chain.

    Keys and serials follow from the name, and signatures are deterministic (RFC 6979): these protect nothing.
    """
    issuer = "Example Trust Services CA " + str(len(name) % 3 + 1)
    return _certificate(name, issuer), _certificate(issuer, "Example Root")


@lru_cache(maxsize=1024)
def _certificate(subject: str, issuer: str) -> bytes:
    common = NameOID.COMMON_NAME
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(common, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(common, issuer)]))
        .public_key(_key(subject).public_key())
        .serial_number(_digits(subject) >> 112 | 1)
        .not_valid_before(dt.datetime(2025, 9, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2026, 12, 1, tzinfo=dt.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject.replace(" ", "-"))]), critical=False)
        .add_extension(
            x509.UnrecognizedExtension(_TIMESTAMPS, _digits(subject).to_bytes(32) * 8), critical=False
        )
    )
    signed = builder.sign(_key(issuer), hashes.SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(Encoding.DER)


_TIMESTAMPS = x509.ObjectIdentifier(
    "1.3.6.1.4.1.11129.2.4.2"
)  # certificate transparency, RFC 6962: about 240 bytes


def _key(owner: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(_digits(owner) % (_ORDER_P256 - 1) + 1, ec.SECP256R1())


def _digits(text: str) -> int:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(text.encode())
    return int.from_bytes(digest.finalize())


def _written(write: Callable[[Buffer], None]) -> bytes:
    buffer = Buffer(_CAPACITY)
    write(buffer)
    return bytes(buffer.data)
