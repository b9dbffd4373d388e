"""Makes a certificate old. The clock of a server in a namespace cannot be set, so instead of waiting for weeks its certificate is
replaced by one that has nearly run out: for the same key and domain, from an authority of ours that the clients trust too."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .server import DOMAIN, Server

LINEAGE = f"/etc/letsencrypt/live/{DOMAIN}"


def age(server: Server, trusted: Path) -> str:
    """Its serial number, as `getpeercert` writes it. The authority joins those in `trusted`; Nginx serves it at once."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=e2e yesterday's authority")
    public = serialization.load_pem_public_key(
        server.run("openssl", "pkey", "-pubout", "-in", f"{LINEAGE}/privkey.pem").out.encode()
    )
    issuer = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - 60 * day, now + 60 * day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    old = (
        x509.CertificateBuilder(
            name, x509.Name.from_rfc4514_string(f"CN={DOMAIN}"), public, x509.random_serial_number(), now - 17 * day, now + 3 * day
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    with trusted.open("ab") as file:
        file.write(issuer.public_bytes(serialization.Encoding.PEM))
    text = old.public_bytes(serialization.Encoding.PEM).decode()
    for file in ("cert.pem", "fullchain.pem"):
        server.run("sh", "-ceu", 'cat >"$1"', "sh", f"{LINEAGE}/{file}", stdin=text)
    server.run("systemctl", "reload", "nginx")
    return f"{old.serial_number:X}".zfill(2)
