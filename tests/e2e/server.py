"""The server of the e2e, and what is around it: a certificate authority, and clients with addresses of their own."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import gotools

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("E2E_HOME", "/var/lib/searchapi-e2e"))
TABLE = "searchapi_e2e"  # nft's, made by `droplet`
DOMAIN = "search.example.com"  # as docs/deploy.md has it
BOOTS = 900.0  # seconds for building the first server: generous, for a slow archive


class ServerError(Exception):
    """A command on the server, or one that makes it, failed: what it said last."""


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def execute(argv: list[str], stdin: str | None = None, timeout: float = 120, check: bool = True, **variables: str) -> Done:
    """A program on this machine. Raises ServerError where it fails and `check` is set."""
    try:
        given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        ended = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=os.environ | variables,
            **given,
        )
    except subprocess.TimeoutExpired as late:
        raise ServerError(f"{shlex.join(argv)[:200]} did not end within {late.timeout:.0f} s") from None
    done = Done(ended.returncode, ended.stdout, ended.stderr)
    if check and done.status:
        raise ServerError(f"{shlex.join(argv)[:200]} ended with {done.status}:\n{done.said.strip()[-2000:]}")
    return done


def eventually(true: Callable[[], Any], what: str, patience: float) -> float:
    """Wait until it is true; the seconds that took. Fails with `what` where it takes longer than `patience`."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < patience, f"not within {patience:.0f} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


# ------------------------------------------------------------------------------------------------------ the server


@dataclass(frozen=True, slots=True)
class Server:
    """One Debian. address: its own; gateway: this machine's, as the server sees it; clients: others of this machine's."""

    name: str
    address: str
    gateway: str
    clients: tuple[str, ...]

    def run(self, *argv: str, stdin: str | None = None, timeout: float = 120, check: bool = True) -> Done:
        """A command as root, past SSH and the firewall."""
        return execute([str(HERE / "droplet"), "run", self.name, *argv], stdin, timeout, check)

    def shell(self, script: str, *arguments: str, timeout: float = 120, check: bool = True) -> str:
        """What a script of sh prints. Its arguments are $1, $2, …"""
        return self.run("sh", "-ceu", script, "sh", *arguments, timeout=timeout, check=check).out

    def reboot(self) -> None:
        droplet("reboot", self.name)

    def fingerprint(self) -> str:
        """Of its SSH host key, as `ssh-keygen -l` prints it."""
        return self.run("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub").out.split()[1]

    def active(self, unit: str) -> bool:
        return self.run("systemctl", "is-active", "--quiet", unit, check=False).status == 0

    def pid(self, unit: str) -> int:
        return int(self.run("systemctl", "show", "-p", "MainPID", "--value", unit).out)

    def journal(self, *arguments: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", *arguments).out

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """SSH between this machine and the server is dead meanwhile: what we send is reset, what it sends is lost."""
        rules = (
            f"add chain ip {TABLE} cutout {{ type filter hook output priority -10; }}",
            f"add chain ip {TABLE} cutin {{ type filter hook input priority -10; }}",
            f"add rule ip {TABLE} cutout ip daddr {self.address} tcp dport 22 reject with tcp reset",
            f"add rule ip {TABLE} cutin ip saddr {self.address} tcp sport 22 tcp flags & rst == 0 drop",
        )
        execute(["nft", "-f", "-"], "\n".join(rules) + "\n")
        try:
            yield
        finally:
            execute(["nft", "-f", "-"], f"delete chain ip {TABLE} cutout\ndelete chain ip {TABLE} cutin\n")


def droplet(*arguments: str, timeout: float = 300, check: bool = True) -> Done:
    return execute([str(HERE / "droplet"), *arguments], timeout=timeout, check=check, E2E_HOME=str(HOME))


def up(name: str) -> Server:
    """A running server."""
    droplet("up", name, timeout=BOOTS)
    gateway = droplet("address", "gateway").out.strip()
    net = gateway.rpartition(".")[0]
    return Server(name, droplet("address", name).out.strip(), gateway, tuple(f"{net}.{n}" for n in range(2, 10)))


def down(name: str) -> None:
    droplet("down", name)
    droplet("net-down", check=False)  # refused where another server is up


# ------------------------------------------------------------------------------------------- certificate authority


@dataclass(frozen=True, slots=True)
class Authority:
    """Pebble. directory: where certbot asks; api_ca: what that is trusted by; root: what its certificates are trusted by."""

    directory: str
    api_ca: Path
    root: Path


@contextlib.contextmanager
def authority(gateway: str, names: Mapping[str, str]) -> Iterator[Authority]:
    """names: domain -> address, what its DNS answers. Raises gotools.Unavailable where it cannot be built."""
    programs = {gotools.built(*wanted).parent for wanted in (gotools.PEBBLE, gotools.PEBBLE_DNS)}
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    tool = [str(HERE / "acme-up")]
    execute([*tool, "down"], E2E_HOME=str(HOME))  # what a killed run has left
    try:
        execute([*tool, "up", gateway, *(f"{n}={a}" for n, a in names.items())], PATH=path, E2E_HOME=str(HOME))
        yield Authority(f"https://{gateway}:14000/dir", HOME / "acme" / "ca.pem", HOME / "acme" / "issuing-root.pem")
    finally:
        execute([*tool, "down"], E2E_HOME=str(HOME))


# ------------------------------------------------------------------------------------------------------------ asking


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)
    certificate: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Web:
    """The server as a browser far away sees it. source: the address that it is asked from."""

    address: str
    authority: Path
    source: str
    domain: str = DOMAIN
    port: int = 443

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))

    def connect(self, timeout: float = 10.0, context: ssl.SSLContext | None = None) -> http.client.HTTPSConnection:
        return Pinned(self, timeout, context or self.context())

    def ask(
        self, method: str, path: str, body: bytes | None = None, key: str | None = None, timeout: float = 10.0, **headers: str
    ) -> Answer:
        """One request on a connection of its own. Header names are written with `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body, sent)
            certificate = connection.sock.getpeercert()
            answer = connection.getresponse()
            return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read(), certificate)
        finally:
            connection.close()

    def get(self, path: str, key: str | None = None, **headers: str) -> Answer:
        return self.ask("GET", path, key=key, **headers)

    def plain(self, path: str, host: str | None = None) -> Answer:
        """Over HTTP."""
        connection = http.client.HTTPConnection(self.address, 80, timeout=10, source_address=(self.source, 0))
        try:
            connection.request("GET", path, headers={"Host": host or self.domain})
            answer = connection.getresponse()
            return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def answers(self, path: str = "/health") -> bool:
        """Whether it is answered with 200, now."""
        try:
            return self.ask("GET", path, timeout=2.0).status == 200
        except (OSError, http.client.HTTPException):
            return False


class Pinned(http.client.HTTPSConnection):
    """A connection to the server's address, whatever its name resolves to here."""

    def __init__(self, web: Web, timeout: float, context: ssl.SSLContext):
        super().__init__(web.domain, 443, timeout=timeout, context=context)
        self._web, self._tls = web, context

    def connect(self) -> None:
        plain = socket.create_connection((self._web.address, self._web.port), self.timeout, (self._web.source, 0))
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
