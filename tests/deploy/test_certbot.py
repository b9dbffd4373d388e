"""Certificates: how the first is asked for, when one is renewed, what happens then."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy import web
from deploy.commands import line
from deploy.render import HERE

from .nginx import DOMAIN, HOST, program

DUE, RENEWED = (HERE / "certbot" / f"certificate-{name}" for name in ("due", "renewed"))
DROP_IN = "/etc/systemd/system/certbot.service.d/searchapi.conf"
BOOKWORM, TRIXIE = web.DEBIAN["12"], web.DEBIAN["13"]
NEWER = replace(TRIXIE, certbot=(4, 1, 0))
KEY = ec.generate_private_key(ec.SECP256R1())


# ----------------------------------------------------------------------------------------------------- commands


def test_asking_for_one():
    assert web.obtain(HOST) == [
        "certbot",
        "certonly",
        "--non-interactive",
        "--agree-tos",
        "--no-eff-email",
        "--email=you@example.com",
        "--server=https://acme-v02.api.letsencrypt.org/directory",
        "--webroot",
        "--webroot-path=/var/www/acme",
        "--domain=search.example.com",
        "--cert-name=search.example.com",
        "--keep-until-expiring",
        "--deploy-hook=/usr/local/lib/searchapi/certificate-renewed",
    ]


def test_another_authority():
    """Another directory, a CA that it is to be trusted by, and a certificate in place of one that is good still."""
    host = replace(HOST, acme_directory="https://10.0.0.1:14000/dir", acme_ca=Path("/home/me/ca.pem"))
    asked = web.obtain(host, anew=True)
    assert asked[:3] == ["env", "REQUESTS_CA_BUNDLE=/etc/searchapi/acme-ca.pem", "certbot"]
    assert "--server=https://10.0.0.1:14000/dir" in asked
    assert "--force-renewal" in asked and "--keep-until-expiring" not in asked


def test_what_is_there():
    """A certificate of a staging authority does not count for production."""
    assert web.has_certificate(HOST) == ["test", "-s", "/etc/letsencrypt/live/search.example.com/fullchain.pem"]
    staging = replace(HOST, acme_directory="https://acme-staging-v02.api.letsencrypt.org/directory")
    conf = "/etc/letsencrypt/renewal/search.example.com.conf"
    assert web.is_from(staging) == ["grep", "-qxF", "--", f"server = {staging.acme_directory}", conf]
    assert web.is_from(HOST) == ["grep", "-qxF", "--", f"server = {web.LETS_ENCRYPT}", conf]


def test_hostile_values_are_one_argument():
    """An address that looks like an option, or holds a command, is the value of its option and nothing else."""
    host = replace(HOST, email="-v;$(id)`id`&@example.com")
    asked = web.obtain(host)
    assert f"--email={host.email}" in asked
    shown = subprocess.run(["sh", "-c", f"printf '%s\\n' {line(asked)}"], capture_output=True, text=True, check=True, timeout=30)
    assert shown.stdout.splitlines() == asked


# -------------------------------------------------------------------------------------------------- when it is due


def certificate(live: Path, name: str, lifetime: timedelta, left: timedelta) -> None:
    """One with this lifetime, of which so much is left."""
    ends = datetime.now(UTC) + left
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(KEY.public_key())
    built = built.serial_number(x509.random_serial_number()).not_valid_before(ends - lifetime).not_valid_after(ends)
    (live / name).mkdir(parents=True)
    pem = built.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (live / name / "cert.pem").write_bytes(pem)


def is_due(live: Path, **environment: str) -> bool:
    program("openssl")
    ran = subprocess.run([DUE, live], env={**os.environ, **environment}, capture_output=True, text=True, timeout=30)
    assert ran.returncode in (0, 1) and ran.stdout == "", ran
    return ran.returncode == 0


@pytest.mark.parametrize(
    ("lifetime", "left", "due"),
    [
        (90, 89.9, False),
        (90, 30.1, False),
        (90, 29.9, True),
        (64, 21.5, False),
        (64, 21.2, True),
        (45, 15.1, False),
        (45, 14.9, True),
        (20, 19.9, False),
        (6.67, 3.4, False),
        (6.67, 3.3, True),
        (90, -1, True),
    ],
)
def test_due_by_the_lifetime_left(tmp_path, lifetime, left, due):
    """With a third left, with half of a short one; also when it is too late."""
    certificate(tmp_path, DOMAIN, timedelta(days=lifetime), timedelta(days=left))
    assert is_due(tmp_path) == due
    assert is_due(tmp_path, TZ="Pacific/Kiritimati", LC_ALL="de_DE.UTF-8") == due


def test_due_in_minutes(tmp_path):
    """A certificate of a test authority may live for a minute."""
    certificate(tmp_path, "fresh", timedelta(seconds=600), timedelta(seconds=590))
    assert not is_due(tmp_path)
    certificate(tmp_path, "old", timedelta(seconds=600), timedelta(seconds=290))
    assert is_due(tmp_path)


def test_none_is_not_due(tmp_path):
    """Nothing is there to be renewed, and certbot's README is no certificate."""
    assert not is_due(tmp_path / "missing")
    (tmp_path / "README").write_text("This directory contains your keys and certificates.")
    assert not is_due(tmp_path)


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_cannot_be_read_is_due(tmp_path, text):
    """certbot is to say what is wrong with it; skipping would hide it until it is too late."""
    (tmp_path / DOMAIN).mkdir()
    (tmp_path / DOMAIN / "cert.pem").write_text(text)
    assert is_due(tmp_path)


@pytest.mark.parametrize(("server", "gate"), [(BOOKWORM, True), (TRIXIE, True), (NEWER, False)], ids=["12", "13", "newer"])
@pytest.mark.parametrize("ca", [None, Path("/home/me/ca.pem")], ids=["public", "own"])
def test_certbots_service(server, gate, ca):
    """certbot before 4.1 runs only when one is due; each is told of the authority's CA. Else Debian's service is as it was."""
    host = replace(HOST, acme_ca=ca)
    text = web.files(host, server).get(DROP_IN)
    assert (text is None) == (not gate and ca is None) == (DROP_IN in web.left_over(host, server))
    rows = set(re.findall(r"^\w+=.*$", text or "", re.M))
    expected = {"ExecCondition=/usr/local/lib/searchapi/certificate-due"} if gate else set()
    assert rows == expected | ({"Environment=REQUESTS_CA_BUNDLE=/etc/searchapi/acme-ca.pem"} if ca else set())


# ----------------------------------------------------------------------------------------------- when there is one


@pytest.fixture
def hook(tmp_path):
    """Runs the hook with programs that only write down how they were called: -> (its status, the calls)."""

    def run(nginx: int, systemctl: int = 0) -> tuple[int, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        for name, status in (("nginx", nginx), ("systemctl", systemctl)):
            (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{calls}\nexit {status}\n')
            (tmp_path / name).chmod(0o755)
        path = f"{tmp_path}:/usr/bin:/bin"
        ran = subprocess.run([RENEWED], env={"PATH": path}, capture_output=True, text=True, timeout=30)
        return ran.returncode, calls.read_text().splitlines()

    return run


def test_nginx_reads_it(hook):
    """After a test. systemd does nothing where Nginx does not run, and says so with success."""
    assert hook(nginx=0) == (0, ["nginx -t -q", "systemctl try-reload-or-restart nginx.service"])


def test_nginx_is_left_alone(hook):
    """Where its configuration is broken: what runs goes on, and certbot reports that the hook failed."""
    assert hook(nginx=1) == (1, ["nginx -t -q"])


def test_a_reload_that_fails_is_told(hook):
    assert hook(nginx=0, systemctl=3)[0] == 3


def test_scripts_are_for_any_shell():
    """dash is Debian's sh."""
    for script in (DUE, RENEWED):
        assert os.access(script, os.X_OK) and script.read_text().startswith("#!/bin/sh\n")
        subprocess.run(["sh", "-n", script], check=True, timeout=30)
