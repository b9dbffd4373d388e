"""Who is at the door, and whether this is for them (flask-httpauth).

`Authorization: Bearer sk_…` names a key; `keystore.py` knows what it may do. (JWTs and tenant tokens will come by the same header
and end as the same `Grant`.) In development, where REQUIRE_KEYS is false, searching needs none: then the request must come from
the loopback address itself, not through a proxy, and name a loopback host, and a browser's must come from a page of such a host, so
that no web page that a developer visits can search the data, not by DNS rebinding either.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, g, request
from flask_httpauth import HTTPTokenAuth
from werkzeug.datastructures import Authorization

from . import guard, logs
from .config import LOOPBACK
from .exceptions import AliasNotFound, IndexNotFound, NotAuthenticated, NotPermitted, SearchAPIError
from .keystore import NOBODY, Grant
from .services import services

UNAUTHORIZED = 401
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")  # a proxy's: its own address, or what a client made up


class Bearer(HTTPTokenAuth):
    """flask-httpauth's, with three steps made short, for every request takes them: together they were a third of its time."""

    def get_auth(self) -> Authorization | None:
        scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        return Authorization("bearer", token=token.strip()) if scheme.lower() == "bearer" else None

    def authorize(self, role: frozenset[str], user: Grant, auth: Authorization | None) -> bool:
        g.flask_httpauth_user = user  # a key without the scope too: what it is refused counts for it
        return not user.scopes.isdisjoint(role)

    def ensure_sync(self, f: Callable[..., Any]) -> Callable[..., Any]:
        return f  # nothing here is async


bearer = Bearer("Bearer", realm="searchapi")


def grant() -> Grant:
    """What the request being answered may do. Only for routes with scopes."""
    return g.flask_httpauth_user  # where flask-httpauth keeps it


def known() -> Grant | None:
    """The same where it has been found out; None for routes that everybody may call, and where no valid key came."""
    return g.get("flask_httpauth_user")


def offered() -> Grant | None:
    """What the key that came with the request may do, on a route that everybody may call; None where there came none. Raises
    NotAuthenticated."""
    given = bearer.get_auth()
    return _verify(given.token) if given is not None and given.token else None


@bearer.verify_token
def _verify(token: str) -> Grant:
    # While the engine is away for long nobody is let in, for a key may have been revoked, but to the figures that tell of it.
    stale = guard.current().scopes == ("metrics",)
    found = services().keys.verify(token, logs.timestamp(time.time()), stale)
    logs.note(key=found.key_id)
    return found


@bearer.error_handler
def _refused(status: int) -> None:
    if status == UNAUTHORIZED:
        if "HTTP_AUTHORIZATION" in request.environ:
            raise NotAuthenticated("Send the key as Authorization: Bearer sk_…", code="invalid_key")
        raise NotAuthenticated("This needs a key: send it as Authorization: Bearer sk_…")
    scopes = guard.current().scopes
    needed = scopes[0] if len(scopes) == 1 else f"one of {', '.join(scopes)}"
    raise NotPermitted(f"This needs the scope {needed}, which this key has not.", code="missing_scope")


def init_app(app: Flask, on_refusal: Callable[[SearchAPIError], None]) -> None:
    """After the guards. on_refusal: called with what is raised for a request that is not let in, before it is answered."""
    needs_key = app.extensions["searchapi"].settings.require_keys
    checks: dict[tuple[str, ...], Callable[[], None]] = {}
    for known in app.extensions["guards"].values():
        if known.scopes and known.scopes not in checks:
            checks[known.scopes] = bearer.login_required(role=frozenset(known.scopes))(_allowed)

    @app.before_request
    def authenticate() -> None:
        scopes = guard.current().scopes
        if not scopes:
            return
        try:
            if "search" in scopes and not needs_key and "HTTP_AUTHORIZATION" not in request.environ:
                _loopback_only()
                g.flask_httpauth_user = NOBODY
            else:
                checks[scopes]()
            _must_see(request.view_args)
        except SearchAPIError as error:
            on_refusal(error)
            raise


def _allowed() -> None:
    """What flask-httpauth calls where the key is valid and has the scope."""


def _must_see(named: dict[str, str] | None) -> None:
    """An index or alias that the key may not know of is answered as one that there is not, before anything is looked up."""
    if named:
        index, alias = named.get("index"), named.get("alias")
        if index is not None and not grant().sees(index):
            raise IndexNotFound(index)
        if alias is not None and not grant().sees(alias):
            raise AliasNotFound(alias)


def _loopback_only() -> None:
    environ = request.environ
    if not _is_loopback(environ.get("REMOTE_ADDR", "")):
        raise NotPermitted("Without a key only this machine is answered, by its loopback address.", code="not_local")
    if _hostname(environ.get("HTTP_HOST", "")) not in LOOPBACK:
        raise NotPermitted("Without a key the Host must be 127.0.0.1, localhost or [::1].", code="not_local")
    if not set(_FORWARDED).isdisjoint(environ):
        raise NotPermitted("Without a key only this machine itself is answered, not what a proxy forwards.", code="not_local")
    origin = environ.get("HTTP_ORIGIN")
    if origin and not _local_page(origin):
        raise NotPermitted("Without a key a web page must come from 127.0.0.1, localhost or [::1] itself.", code="not_local")


def _is_loopback(address: str) -> bool:
    if address in LOOPBACK:
        return True
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return (getattr(known, "ipv4_mapped", None) or known).is_loopback


def _local_page(origin: str) -> bool:
    try:
        return urlsplit(origin).hostname in LOOPBACK
    except ValueError:  # `http://[`
        return False


def _hostname(host: str) -> str:
    """The name in a Host header, without its port: `[::1]:8000` -> `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
