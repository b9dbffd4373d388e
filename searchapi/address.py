"""Where a request comes from, as far as it can be trusted.

Each of the PROXY_HOPS proxies that stand in front adds the address that it was called from to the end of `X-Forwarded-For`, so the
client's is that many from the end; what is before it anybody may have written. With 0 the header is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

LOCAL = "local"  # through a unix socket, and no proxy said from where
UNKNOWN = "unknown"  # no address; all of these are one client

_LONGEST = 80  # an IPv6 address with its zone, port and brackets is shorter
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


def init_app(app: Flask, hops: int) -> None:
    """REMOTE_ADDR becomes the client's address. The scheme is what the nearest proxy says."""
    if hops:
        app.wsgi_app = unquoted(ProxyFix(app.wsgi_app, x_for=hops, x_proto=1))


def unquoted(wsgi_app: Callable) -> Callable:
    """WSGI middleware: X-Forwarded-For without quotes. ProxyFix takes what is between two of them for one address, so a client that
    opens one would hide what the proxies add to it."""

    def call(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        forwarded = environ.get("HTTP_X_FORWARDED_FOR")
        if forwarded and '"' in forwarded:
            environ["HTTP_X_FORWARDED_FOR"] = forwarded.replace('"', "")
        return wsgi_app(environ, start_response)

    return call


def client(environ: dict[str, Any]) -> str:
    """Whom to count a request for: an IPv4 address, an IPv6 network of /64 (what one customer has), LOCAL or UNKNOWN."""
    text = environ.get("REMOTE_ADDR")
    return bucket(text) if text and len(text) <= _LONGEST else UNKNOWN if text else LOCAL


@lru_cache(maxsize=8192)
def bucket(text: str) -> str:
    """The same of an address as a proxy writes it: also with a port, in brackets, with a zone."""
    if with_port := _WITH_PORT.fullmatch(text):
        text = with_port[1] or with_port[2]
    try:
        address = ip_address(text)
    except ValueError:
        return UNKNOWN
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def of_request() -> str:
    """The same of the request that is being answered."""
    return client(request.environ)
