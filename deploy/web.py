"""Nginx and certbot on a server: their files, and certbot's commands. Pure.

What provision does with it, in this order:
1. PACKAGES, FOLDERS; all `files`, none `left_over`; TEST, then RELOAD where something changed. Without a certificate only port 80
   answers: the authority's question, and a redirect.
2. `obtain`, unless `has_certificate` and `is_from` hold.
3. Once more as 1., now with a certificate: https.conf joins. A reload loses no request, so nothing of this is a downtime.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from searchapi.config import SETTINGS

from .commands import Argv
from .inventory import Host
from .render import HERE, render

PACKAGES = ("nginx", "certbot", "openssl", "logrotate")  # the last keeps access.log from growing for ever
FOLDERS = (  # root:root, 0755
    *(f"/etc/nginx/searchapi{below}" for below in ("", "/http", "/server", "/sites")),
    *(f"/etc/systemd/system/{unit}.service.d" for unit in ("nginx", "certbot")),
    *("/usr/local/lib/searchapi", "/var/www", "/var/www/acme"),
)

NGINX_VERSION: Argv = ["nginx", "-V"]  # it answers on stderr
CERTBOT_VERSION: Argv = ["certbot", "--version"]
HAS_IPV6: Argv = ["test", "-e", "/proc/net/if_inet6"]
TEST: Argv = ["nginx", "-t", "-q"]
RELOAD: Argv = ["systemctl", "reload-or-restart", "nginx.service"]

ACME_CA = "/etc/searchapi/acme-ca.pem"  # where Host.acme_ca goes
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

_NGINX, _SCRIPTS = "/etc/nginx/searchapi", "/usr/local/lib/searchapi"
_CERTBOT = "/etc/systemd/system/certbot.service.d/searchapi.conf"
_HTTPS = f"{_NGINX}/sites/https.conf"
_OLDEST = (1, 19, 4)  # knows ssl_reject_handshake
_HTTP2 = (1, 25, 1)  # knows `http2 on`, and warns of `listen … http2`
_HYBRID = (3, 5)  # of OpenSSL: knows X25519MLKEM768; before, `nginx -t` fails of it
_BY_LIFETIME = (4, 1)  # of certbot: renews when the authority says, or with a third of the lifetime left

_RATE, _BURST, _CONNECTIONS, _READ_SECONDS = 200, 1200, 100, 120
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, slots=True)
class Server:
    """What was found on a server. ipv6: it can listen on `[::]`. certificate: there is one for the host's domain."""

    nginx: tuple[int, ...]
    openssl: tuple[int, ...]
    certbot: tuple[int, ...]
    ipv6: bool = True
    certificate: bool = False


# What Debian's packages are, for the plan of a server that has none yet: by VERSION_ID.
DEBIAN = {"12": Server((1, 22, 1), (3, 0, 0), (2, 1, 0)), "13": Server((1, 26, 3), (3, 5, 0), (4, 0, 0))}


def server(nginx: str, certbot: str, ipv6: bool, certificate: bool) -> Server:
    """From what NGINX_VERSION and CERTBOT_VERSION print. Raises ValueError."""
    found = Server(
        _version(nginx, r"nginx version: nginx/"), _version(nginx, r"OpenSSL "), _version(certbot, r"certbot "), ipv6, certificate
    )
    if found.nginx < _OLDEST:
        raise ValueError(f"the server has nginx {'.'.join(map(str, found.nginx))}, but this needs 1.19.4: Debian 12 or later")
    return found


def _version(said: str, before: str) -> tuple[int, ...]:
    """The last one: where nginx runs with another OpenSSL than it was built with, it names that one last."""
    found = re.findall(before + r"([0-9]+(?:\.[0-9]+){1,3})", said)
    if not found:
        raise ValueError(f"{said.strip()[:80]!r} names no version of {before.split()[0].rstrip(':')}")
    return tuple(map(int, found[-1].split(".")))


# --------------------------------------------------------------------------------------------------------- files


def files(host: Host, server: Server, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """{path: text}, root:root, with `mode`. settings: of /etc/searchapi/env, whose limits these must not be below."""
    http2 = server.nginx >= _HTTP2
    listen = {"IPV6": "" if server.ipv6 else "# no IPv6 here: "}
    tls = listen | {"LISTEN_HTTP2": "" if http2 else " http2"}
    curves = ["?X25519MLKEM768"] * (server.openssl >= _HYBRID) + ["X25519", "prime256v1", "secp384r1"]
    values = {
        "http/limits.conf": _limits(settings or {}),
        "http/problems.conf": {"MAX_BODY_BYTES": _setting("MAX_BODY_BYTES", settings)},
        "http/sizes.conf": {"MAX_BODY_BYTES": _setting("MAX_BODY_BYTES", settings)},
        "http/timeouts.conf": {"PROXY_READ_SECONDS": max(_READ_SECONDS, _setting("MAX_TIMEOUT_MS", settings) // 1000 + 30)},
        "http/tls.conf": {"CURVES": ":".join(curves), "HTTP2": "" if http2 else "# with `listen` in this version: "},
        "sites/http.conf": listen | {"DOMAIN": host.domain},
        "sites/https.conf": tls | {"DOMAIN": host.domain},
        "sites/unknown.conf": tls,
    }
    names = sorted(path.relative_to(HERE / "nginx").as_posix() for path in (HERE / "nginx").glob("*/*.conf"))
    found = {f"{_NGINX}/{name}": render(f"nginx/{name}", **values.get(name, {})) for name in names}
    if not server.certificate:
        del found[_HTTPS]
    found["/etc/nginx/nginx.conf"] = render("nginx/nginx.conf")
    found["/etc/systemd/system/nginx.service.d/searchapi.conf"] = render("nginx/nginx.service.conf")
    for script in ("certificate-due", "certificate-renewed"):
        found[f"{_SCRIPTS}/{script}"] = render(f"certbot/{script}")
    gate, ca = server.certbot < _BY_LIFETIME, host.acme_ca is not None
    if gate or ca:
        off = {"GATE": "" if gate else "# certbot itself, from 4.1: ", "CA": "" if ca else "# no other authority: "}
        found[_CERTBOT] = render("certbot/certbot.service.conf", **off)
    return found


def left_over(host: Host, server: Server) -> list[str]:
    """Paths of what another server or host would have, and this one must not."""
    return sorted({_HTTPS, _CERTBOT} - files(host, server).keys())


def mode(path: str) -> int:
    return 0o755 if path.startswith(f"{_SCRIPTS}/") else 0o644


def _limits(settings: Mapping[str, str]) -> dict[str, int]:
    """Twice what RATE_LIMIT_PER_IP lets through, and what it lets through in a minute as the burst; never below our own."""
    count, _, period = _setting("RATE_LIMIT_PER_IP", settings).partition("/")
    seconds = _SECONDS.get(period)
    if seconds is None:  # off
        return {"RATE": _RATE, "BURST": _BURST, "CONNECTIONS": _CONNECTIONS}
    burst = int(count) if seconds <= 60 else 0
    return {"RATE": max(_RATE, math.ceil(2 * int(count) / seconds)), "BURST": max(_BURST, burst), "CONNECTIONS": _CONNECTIONS}


def _setting(name: str, settings: Mapping[str, str] | None) -> int | str:
    row = next(row for row in SETTINGS if row.name == name)
    return row.read((settings or {}).get(name, row.default))


# --------------------------------------------------------------------------------------------------- certificates


def has_certificate(host: Host) -> Argv:
    """Succeeds where there is one for the domain."""
    return ["test", "-s", f"/etc/letsencrypt/live/{host.domain}/fullchain.pem"]


def is_from(host: Host) -> Argv:
    """Succeeds where it comes from the host's authority: one of a staging authority is not good for production."""
    row = f"server = {host.acme_directory or LETS_ENCRYPT}"
    return ["grep", "-qxF", "--", row, f"/etc/letsencrypt/renewal/{host.domain}.conf"]


def obtain(host: Host, anew: bool = False) -> Argv:
    """certbot's first certificate for the domain, renewed in the same way. anew: there is one, but from another authority."""
    ca = ["env", f"REQUESTS_CA_BUNDLE={ACME_CA}"] if host.acme_ca else []
    return [
        *ca,
        "certbot",
        "certonly",
        "--non-interactive",
        "--agree-tos",
        "--no-eff-email",
        f"--email={host.email}",
        f"--server={host.acme_directory or LETS_ENCRYPT}",
        "--webroot",
        "--webroot-path=/var/www/acme",
        f"--domain={host.domain}",
        f"--cert-name={host.domain}",
        "--force-renewal" if anew else "--keep-until-expiring",
        f"--deploy-hook={_SCRIPTS}/certificate-renewed",
    ]
