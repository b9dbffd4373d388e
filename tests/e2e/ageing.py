"""Makes certificates old. The clock of a server in a namespace cannot be set, so instead of waiting for weeks its certificate is
replaced by one that has nearly run out: for the same key and domain, from an authority of ours that the clients trust too."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .server import DOMAIN, Server

LINEAGE = f"/etc/letsencrypt/live/{DOMAIN}"
PEM = serialization.Encoding.PEM
DAY = datetime.timedelta(days=1)


def certificate(issuer: str, subject: str, public, days: tuple[int, int]) -> x509.CertificateBuilder:
    """days: from when to when, before and after today."""
    now, name = datetime.datetime.now(datetime.UTC), x509.Name.from_rfc4514_string
    begins, ends = (now + day * DAY for day in days)
    return x509.CertificateBuilder(name(issuer), name(subject), public, x509.random_serial_number(), begins, ends)


@dataclass(slots=True)
class Past:
    """Yesterday's authority."""

    name: str = "CN=e2e of the past"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def root(self) -> bytes:
        """What clients trust it by, as PEM."""
        made = certificate(self.name, self.name, self.key.public_key(), (-60, 60))
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return made.sign(self.key, hashes.SHA256()).public_bytes(PEM)

    def age(self, server: Server) -> str:
        """Nginx serves an old certificate from now on. Its serial number, as `getpeercert` writes it."""
        text = server.run("openssl", "pkey", "-pubout", "-in", f"{LINEAGE}/privkey.pem").out
        made = certificate(self.name, f"CN={DOMAIN}", serialization.load_pem_public_key(text.encode()), (-17, 3))
        old = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False).sign(
            self.key, hashes.SHA256()
        )
        for file in ("cert.pem", "fullchain.pem"):
            server.run("sh", "-ceu", 'cat >"$1"', "sh", f"{LINEAGE}/{file}", stdin=old.public_bytes(PEM).decode())
        server.run("systemctl", "reload", "nginx")
        return f"{old.serial_number:X}".zfill(2)
