"""ENGINE_URL of an OpenSearch cluster, read and checked.

    opensearch://user:password@h1:9200,h2:9200/prefix
    opensearchs://h1,h2/prefix?ca=/path/ca.pem&cert=/path/client.pem&key=/path/client.key

Nothing is opened here, so that settings can be checked where there is no cluster.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from ...wording import nearest

SCHEMES = ("opensearch", "opensearchs")
PORT = 9200
PREFIX = "searchapi"
FILES = ("ca", "cert", "key")  # the members of the query, each the path of a PEM file

# OpenSearch's rules for names of indexes, and no dot: what begins with `one.` must never be another prefix's.
_PREFIX = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")


@dataclass(frozen=True, slots=True)
class Target:
    """hosts: (name or address, port) of each node, IPv6 without brackets. ca, cert, key: of TLS; without ca the machine's own
    authorities are trusted. prefix: what the names of all our indexes begin with."""

    hosts: tuple[tuple[str, int], ...]
    prefix: str = PREFIX
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Raises ValueError, which says what is wrong and never holds the user or the password."""
        scheme, separator, rest = text.partition("://")
        if scheme not in SCHEMES or not separator:
            raise ValueError("it begins with opensearch:// or opensearchs://")
        if any(c.isspace() or not c.isprintable() for c in text):
            raise ValueError("it holds no spaces; write one in a password as %20")
        if "#" in rest:
            raise ValueError("it holds no #; write one in a password as %23")
        rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")  # by hand: urlsplit knows one host, and of brackets only around it
        login, at, hosts = authority.rpartition("@")
        user, password = _login(login) if at else (None, None)
        tls = scheme == "opensearchs"
        return cls(_hosts(hosts), _prefix(path), tls, user, password, **_files(query, tls))

    @property
    def authorization(self) -> str | None:
        """The value of HTTP's header: Basic, in UTF-8 (RFC 7617)."""
        if self.user is None:
            return None
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __str__(self) -> str:
        """For people and logs: without user and password."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"opensearch{'s' * self.tls}://{hosts}/{self.prefix}"


def _login(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    for part in (user, password):
        if re.search(r"%(?![0-9A-Fa-f]{2})", part) or "@" in part:
            raise ValueError("user and password are percent-encoded: @ is %40, / is %2F, : is %3A, % is %25")
    if not (user and colon and password):
        raise ValueError("before @ it holds a user and a password, as user:password@")
    try:
        user, password = unquote(user, errors="strict"), unquote(password, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("user and password are percent-encoded UTF-8") from None
    if ":" in user:
        raise ValueError("a user's name holds no colon, for HTTP cannot send it")
    return user, password


def _hosts(text: str) -> tuple[tuple[str, int], ...]:
    hosts = tuple(_host(part) for part in text.split(","))
    if len(set(hosts)) != len(hosts):
        raise ValueError("it names each host once")
    return hosts


def _host(text: str) -> tuple[str, int]:
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        try:
            host = IPv6Address(address).compressed
        except ValueError:
            host = ""
        if not (host and bracket and rest[:1] in ("", ":")):
            raise ValueError("an IPv6 address stands in brackets, as [2001:db8::1]:9200")
        return host, _port(rest[1:]) if rest else PORT
    if text.count(":") > 1:
        raise ValueError("an IPv6 address stands in brackets, and @, / and : of a password are written %40, %2F and %3A")
    host, colon, port = text.partition(":")
    if not _HOST.fullmatch(host):
        raise ValueError("it names a host, or several with commas between, as search1:9200,search2:9200")
    return host.lower(), _port(port) if colon else PORT


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError("a port is a number from 1 to 65535; / and : of a password are written %2F and %3A")
    return int(text)


def _prefix(path: str) -> str:
    prefix = path.removesuffix("/")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise ValueError("its prefix is of 1 to 64 lowercase letters, digits, _ and -, and begins with a letter or digit")
    return prefix or PREFIX


def _files(query: str, tls: bool) -> dict[str, Path]:
    try:
        members = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise ValueError("what stands after ? is of the form ca=/path&cert=/path&key=/path") from None
    files: dict[str, Path] = {}
    for name, value in members:
        if name not in FILES:
            near = nearest(name, FILES)
            raise ValueError(f"after ? it knows ca, cert and key, not {name!r}{f'; did you mean {near}?' if near else ''}")
        if name in files:
            raise ValueError(f"it names {name} once")
        if not value.startswith("/") or "\0" in value:
            raise ValueError(f"{name} is the absolute path of a PEM file")
        files[name] = Path(value)
    if files and not tls:
        raise ValueError("ca, cert and key are for opensearchs://")
    if "key" in files and "cert" not in files:
        raise ValueError("key belongs to a cert, which is missing")
    return files
