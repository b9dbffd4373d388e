"""What `fab status`, `fab releases` and `fab logs --release` have to say."""

from __future__ import annotations

import datetime
import re
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.onhost import copying, telling
from deploy.onhost.places import parts
from deploy.onhost.system import Failed

from .local import Server


def test_status_before_anything_is_there(server: Server) -> None:
    rows = list(telling.status(server.places))
    assert rows[0] == "release      none yet: fab deploy" and rows[1:3] == ["blue         empty", "green        empty"]
    assert "certificate  none yet" in rows and "snapshot     none yet: fab snapshot" in rows


def test_status_on_one_screen(server: Server) -> None:
    """What is live and since when, the slots, the certificate, figures, a snapshot, what was done, what hangs."""
    first, second = server.deploy(), server.deploy()
    with pytest.raises(Failed):
        server.deploy(kind="import")
    server.rollback(first)
    folder = server.places.certificates / "search.example.com"
    folder.mkdir(parents=True)
    _certificate(folder / "cert.pem", days=40)
    copying.snapshot(server.places, server.said.append)
    server.places.intent.write_text('{"action": "deploy", "to": "x", "phase": "starting", "by": "me", "started": "now"}')
    rows = list(telling.status(server.places))
    text = "\n".join(rows)
    assert len(rows) < 24 and max(map(len, rows)) < 260
    assert (
        rows[0].startswith(f"release      {first}  number 1")
        and "live since 20" in rows[1]
        and "seconds ago), by tester" in rows[1]
    )
    slots = {row.split()[0]: row for row in rows if row.startswith(("blue", "green"))}
    live = server.places.live_slot()
    assert f"live, {first}: " in slots[live] and "web active" in slots[live]
    assert any("cold" in row or "warm" in row for slot, row in slots.items() if slot != live)
    assert "search.example.com: 40 days left" in text or "search.example.com: 39 days left" in text
    assert "index        1 indexes, 0 writes behind" in text and "errors       3 of 1,000 requests failed" in text
    assert "cut short    deploy of x, starting, by me since now; the next deploy cleans up, or `fab unlock`" in text
    assert f"rollback of {first}  ok" in text and "failed: " in text and f"deploy of {second}  ok" in text


def test_the_certificate_that_is_served(server: Server) -> None:
    """Not only the file: one that was renewed and not loaded, or that expired, is seen."""
    folder = server.places.certificates / "search.example.com"
    folder.mkdir(parents=True)

    def told() -> str:
        return next(row for row in telling.status(server.places) if row.startswith("certificate "))

    _certificate(folder / "cert.pem", days=40)
    assert told().endswith("days left (Nginx serves none for it)")
    served = server.root / "served.pem"
    served.write_text((folder / "cert.pem").read_text())
    assert told().endswith("days left")
    _certificate(folder / "cert.pem", days=90)
    assert re.search(
        r"(90|89) days left \(but Nginx serves another: (40|39) days left; `systemctl reload nginx` loads it\)", told()
    )
    _certificate(folder / "cert.pem", days=-3)
    assert "expired 3 days ago" in told()
    (folder / "cert.pem").write_text("no certificate")
    assert told().endswith("search.example.com: cannot be read")


def _certificate(path: Path, days: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(until - datetime.timedelta(days=100)).not_valid_after(until).sign(key, hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def test_figures() -> None:
    """Sums over rows, with values as Prometheus writes them; no division by nothing."""
    text = """# HELP searchapi_index_lag_documents writes
searchapi_index_lag_documents{index="a"} 3.0
searchapi_index_lag_documents{index="b"} 1e+03
searchapi_index_lag_seconds{index="a"} 0.5
searchapi_index_lag_seconds{index="b"} 12.25
searchapi_request_duration_seconds_count{method="GET",route="/x",status="2xx"} 90.0
searchapi_request_duration_seconds_count{method="GET",route="/x",status="5xx"} 10.0
"""
    text += f"searchapi_start_time_seconds {time.time() - 7200}\n"
    assert list(telling.figures(text)) == [
        "index        2 indexes, 1,003 writes behind, the oldest 12.2 s",
        "errors       10 of 100 requests failed in 2 hours (10.000%)",
    ]
    assert list(telling.figures("")) == [
        "index        0 indexes, 0 writes behind",
        "errors       0 of 0 requests failed (0.000%)",
    ]


def test_releases_and_what_became_of_them(server: Server) -> None:
    """A line each, the newest first."""
    assert list(telling.releases(server.places)) == ["No releases yet: fab deploy"]
    first, second, third = (server.deploy() for _ in range(3))
    with pytest.raises(Failed):
        server.deploy(bad := server.ship(kind="wrong"))
    server.rollback()
    never = server.ship()
    server.places.mark_bad(bad, "x" * 5000)
    assert max(len(row) for row in telling.releases(server.places)) < 250
    rows = dict(row.split("  ", 1) for row in telling.releases(server.places))
    assert list(rows) == [never, bad, third, second, first]
    for name, state in zip(rows, ("never live", "bad: ", "warm (", "live (", "was live"), strict=True):
        assert rows[name].startswith(state), rows
    server.system.stop(*parts(server.places.idle_slot()))
    rows = dict(row.split("  ", 1) for row in telling.releases(server.places))
    assert rows[third].startswith("left by a rollback")


def test_the_time_of_a_release(server: Server) -> None:
    """In its slot, from when it was started there until another was: what journalctl is asked for."""
    first, second, third = (server.deploy() for _ in range(3))
    found = telling.span(server.places, first)
    assert found["slot"] == "blue" and found["since"].endswith(" UTC") and found["until"] is not None
    assert telling.span(server.places, second) == {
        "slot": "green",
        "since": telling.span(server.places, second)["since"],
        "until": None,
    }
    assert telling.span(server.places, third)["slot"] == "blue"
    assert telling.span(server.places, server.ship()) is None
