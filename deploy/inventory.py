"""Which servers there are: `deploy/hosts.toml`, one table each, kept out of git. `hosts.example.toml` shows every member."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HOSTS = HERE / "hosts.toml"


class InventoryError(Exception):
    """What is wrong with hosts.toml, or with the name that was asked for, and what to type."""


@dataclass(frozen=True, slots=True)
class Host:
    """One server.

    host_key:       SHA-256 fingerprint of its SSH host key, as `ssh-keygen -l` prints it. No other is accepted.
    domain, email:  what the certificate is for, and where Let's Encrypt writes to.
    environment:    staging or production, the ENVIRONMENT of the application.
    env_file:       the other settings, on this machine; becomes /etc/searchapi/env. None: those of the server stay.
    port, identity: where SSH listens, and with which private key; without one, what the agent and ~/.ssh have.
    user:           who ships, made by provision; `root` is tried where it is not there yet.
    acme_directory: another certificate authority than Let's Encrypt; acme_ca: the file of a CA that it is to be trusted by.
    """

    name: str
    address: str
    host_key: str
    domain: str
    email: str
    environment: str = "production"
    env_file: Path | None = None
    user: str = "deploy"
    port: int = 22
    identity: Path | None = None
    acme_directory: str | None = None
    acme_ca: Path | None = None


_PATHS = ("env_file", "identity", "acme_ca")
_NEEDED = ("address", "host_key", "domain", "email")
_KNOWN = tuple(f.name for f in fields(Host) if f.name != "name")
_SERVICES = ("searchapi", "redis", "www-data", "nobody")
_FORMS: dict[str, tuple[str, str]] = {
    "address": (r"[A-Za-z0-9:][A-Za-z0-9.:_-]*", "an IP address or host name"),
    "host_key": (r"SHA256:[A-Za-z0-9+/]{43}=?", "as `ssh-keygen -lf` prints it: SHA256:… (43 letters)"),
    "domain": (
        r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}",
        "a domain in lower case, as search.example.com",
    ),
    "email": (r"[^@\s\"'<>]+@[^@\s\"'<>]+", "an address that people read"),
    "environment": (r"staging|production", "staging or production"),
    "user": (r"[a-z_][a-z0-9_-]{0,31}", "the name of a Unix user"),
    "acme_directory": (r"https://[^\s\"';]+", "an https:// address"),
}


def host(wanted: str | None = None, path: Path = HOSTS) -> Host:
    """The server with this name; without one, the only one there is. Raises InventoryError."""
    found = hosts(path)
    if wanted is None:
        if len(found) != 1:
            raise InventoryError(f"{path.name} has {', '.join(found)}; say which, as --to {next(iter(found))}.")
        return next(iter(found.values()))
    if wanted not in found:
        near = difflib.get_close_matches(wanted, found, 1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(found)}."
        raise InventoryError(f"{path.name} has no [{wanted}]; {hint}")
    return found[wanted]


def hosts(path: Path = HOSTS) -> dict[str, Host]:
    """Every server of the file. Raises InventoryError."""
    try:
        tables = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InventoryError(f"There is no {path}; copy hosts.example.toml to it and fill in your server.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InventoryError(f"{path} cannot be read: {error}.") from None
    if not tables:
        raise InventoryError(f"{path} names no server; hosts.example.toml shows one.")
    found = {name: _host(name, table, path) for name, table in tables.items()}
    names: dict[tuple[str, int], str] = {}
    for name, host in found.items():
        other = names.setdefault((host.address, host.port), name)
        if other != name:
            raise InventoryError(f"{path.name}: [{other}] and [{name}] are one server, {host.address}; each needs its own.")
    return found


def _host(name: str, table: Any, path: Path) -> Host:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InventoryError(f"{path.name}: {name!r} must be a name of letters, digits, - and _.")
    if not isinstance(table, dict):
        raise InventoryError(f"{path.name}: {name} stands outside of a table; begin one with [production].")
    for member in table:
        if member not in _KNOWN:
            near = difflib.get_close_matches(member, _KNOWN, 1)
            raise InventoryError(
                f"{path.name}: [{name}] has {member!r}{f'; did you mean {near[0]}?' if near else ', which means nothing.'}"
            )
    for member in _NEEDED:
        if member not in table:
            raise InventoryError(f"{path.name}: [{name}] lacks {member!r}.")
    if table.get("user") in _SERVICES:
        raise InventoryError(f"{path.name}: [{name}] user {table['user']!r} is a service's, which must not become root.")
    values = {"environment": "staging" if name == "staging" else "production", **table}
    for member, value in values.items():
        _check(f"{path.name}: [{name}] {member}", member, value)
    for member in _PATHS:
        if member in values:
            values[member] = (path.parent / Path(values[member]).expanduser()).resolve()
    return Host(name=name, **values)


def _check(where: str, member: str, value: Any) -> None:
    if member == "port":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
            raise InventoryError(f"{where} must be a port, not {value!r}.")
    elif not isinstance(value, str) or not value:
        raise InventoryError(f"{where} must be a text, not {value!r}.")
    elif member in _FORMS and not re.fullmatch(_FORMS[member][0], value):
        raise InventoryError(f"{where} is {value!r}, but must be {_FORMS[member][1]}.")
