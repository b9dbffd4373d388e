"""Nginx and the certificate of a server: first without one, then, where there was none, once more with it."""

from __future__ import annotations

import secrets
import socket
import urllib.error
import urllib.request
from dataclasses import replace

from . import web
from .commands import as_root, shell
from .connection import execute
from .topics import Job, ProvisionFailed

# Debian's timers renew certificates and install upgrades.
SERVICES = (
    *("nginx.service", "redis-server.service", "certbot.timer"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"),
)
_PUT_QUESTION = 'install -d -m 755 -- "${1%/*}"; cat >"$1"; chmod 644 "$1"'


def nginx(job: Job) -> None:
    machine, host = job.machine, job.host
    if host.acme_ca is not None:
        machine.file(web.ACME_CA, host.acme_ca.read_text())
    machine.folders(dict.fromkeys(web.FOLDERS, ("root:root", 0o755)))
    found = installed(job)
    _apply(job, found, {})
    machine.units(*SERVICES)
    if found.certificate and machine.holds(web.is_from(host)):
        return
    if obtain(job, anew=found.certificate) and not found.certificate:
        shown = web.files(host, found, job.settings) if machine.plan else {}
        _apply(job, replace(found, certificate=True), shown)


def installed(job: Job) -> web.Server:
    """What is there now; in the plan of a server that has no Nginx yet, what Debian would install."""
    machine = job.machine
    certificate = machine.holds(web.has_certificate(job.host))
    nginx, certbot = machine.ask(web.NGINX_VERSION, check=False), machine.ask(web.CERTBOT_VERSION, check=False)
    ipv6 = machine.holds(web.HAS_IPV6)
    if machine.plan and (nginx.status or certbot.status):  # not there yet
        usual = web.DEBIAN.get(machine.release.get("VERSION_ID", ""), web.DEBIAN["12"])
        return replace(usual, ipv6=ipv6, certificate=certificate)
    try:
        return web.server(nginx.err + nginx.out, certbot.out + certbot.err, ipv6, certificate)
    except ValueError as error:
        raise ProvisionFailed(f"{error}.") from None


def _apply(job: Job, found: web.Server, shown: dict[str, str]) -> None:
    """shown: files that a plan has told of before."""
    texts = {path: text for path, text in web.files(job.host, found, job.settings).items() if shown.get(path) != text}
    without = web.left_over(job.host, found)
    job.machine.apply("nginx", texts, ("reload Nginx", web.RELOAD), without=without, mode=web.mode, test=web.TEST)


def obtain(job: Job, anew: bool) -> bool:
    """Whether there is one now. Where not, a note says why, and the next run tries again."""
    machine, host = job.machine, job.host
    argv, what = web.obtain(host, anew), f"get a certificate for {host.domain}"
    if machine.plan:
        machine.do(what, argv)
        return True
    # Let's Encrypt counts what fails, and soon answers no more: it is asked only where it will find us.
    why = unreachable(job) if host.acme_directory is None else None
    if why is None:
        done = machine.ask(argv, check=False)
        if not done.status:
            machine.changed(what)
            return True
        why = "the certificate authority says: " + _last_words(done.out + done.err)
    job.notes.append(
        f"no certificate{' of this authority' if anew else ', so nothing answers on https'} yet: {why} "
        f"When that is mended, and {host.domain} points to {host.address}, run `fab provision` again."
    )
    return False


def _last_words(said: str) -> str:
    rows = [row.strip() for row in said.splitlines() if row.strip()]
    told = [row.partition(":")[2].strip() for row in rows if row.startswith("Detail:")]
    said = " ".join(told or [row for row in rows if not row.startswith(("Ask for help", "Saving debug"))][-2:])
    return said.rstrip(".") + "."


def unreachable(job: Job) -> str | None:
    """Why the domain does not lead to this server over HTTP, where a certificate authority would look; None where it does."""
    host, name, answer = job.host, secrets.token_hex(16), secrets.token_hex(16)
    path = f"/var/www/acme/.well-known/acme-challenge/{name}"
    try:
        found = sorted({row[4][0] for row in socket.getaddrinfo(host.domain, 80, type=socket.SOCK_STREAM)})
    except OSError:
        return f"{host.domain} has no address."
    connection = job.machine.connection
    execute(connection, as_root(shell(_PUT_QUESTION, path), connection.user), answer.encode())
    try:
        with urllib.request.urlopen(f"http://{host.domain}/.well-known/acme-challenge/{name}", timeout=15) as response:
            came = response.read(100).decode(errors="replace")
        why = None if came == answer else "another server answers there."
    except (OSError, urllib.error.URLError, ValueError) as error:
        why = f"nothing like this server answers there ({getattr(error, 'reason', None) or error})."
    finally:
        execute(connection, as_root(["rm", "-f", "--", path], connection.user))
    return why and f"{host.domain} is {', '.join(found)}, and {why}"
