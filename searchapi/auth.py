"""Who may ask what. Until there are keys: everything from this machine in development, and nothing elsewhere.

In development a request must come from the loopback address and name a loopback host, and a browser's must come from a page of
such a host: so no web page that a developer visits can reach the data, not by DNS rebinding either.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from .config import LOOPBACK, Settings

OPEN = frozenset(("/health", "/health/ready"))  # for load balancers, which have no keys


def init_app(app: Flask, settings: Settings) -> None:
    app.before_request(_loopback_only if settings.development else _refuse)


def _refuse() -> None:
    if request.environ["PATH_INFO"] not in OPEN:
        raise Unauthorized(
            "This server answers only requests with a key, and has no keys yet. Only ENVIRONMENT=development does without.",
            www_authenticate=WWWAuthenticate("bearer", {"realm": "searchapi"}),
        )


def _loopback_only() -> None:
    environ = request.environ
    if environ["PATH_INFO"] in OPEN:
        return
    if not _is_loopback(environ.get("REMOTE_ADDR", "")):
        raise Forbidden("In development only this machine is answered, by its loopback address.")
    if _hostname(environ.get("HTTP_HOST", "")) not in LOOPBACK:
        raise Forbidden("In development the Host must be 127.0.0.1, localhost or [::1].")
    origin = environ.get("HTTP_ORIGIN")
    if origin and urlsplit(origin).hostname not in LOOPBACK:
        raise Forbidden("In development a web page must come from 127.0.0.1, localhost or [::1] itself.")


def _is_loopback(address: str) -> bool:
    if address in LOOPBACK:
        return True
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return (getattr(known, "ipv4_mapped", None) or known).is_loopback


def _hostname(host: str) -> str:
    """The name in a Host header, without its port: `[::1]:8000` -> `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
