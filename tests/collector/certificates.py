"""A certificate authority for one test, and the certificate of the collectors that it vouches for."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER = "esper-gateway"
"""The name that agents expect of a gateway; agents of a test carry the same certificate."""


def write_certificates(directory: Path) -> Path:
    """Write ``ca.crt``, ``tls.crt`` and ``tls.key``, as a Kubernetes secret has them; returns the folder."""
    directory.mkdir(parents=True)
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _name("test authority")
    ca = _builder(authority, authority, authority_key).add_extension(x509.BasicConstraints(True, 0), critical=True)
    names = [x509.DNSName(SERVER), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = _builder(_name(SERVER), authority, server_key).add_extension(
        x509.SubjectAlternativeName(names), critical=False
    )
    for file, builder in (("ca.crt", ca), ("tls.crt", server)):
        signed = builder.sign(authority_key, hashes.SHA256())
        (directory / file).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "tls.key").write_bytes(key)
    return directory


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - hour)
        .not_valid_after(now + hour)
    )
