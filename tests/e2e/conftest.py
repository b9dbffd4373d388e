"""The e2e: one real Debian server, made and used as docs/deploy.md says, from outside.

Everything is made once for all tests, each step by the first test that needs it; the files' names put the tests in order.

    E2E_SUITE=trixie   takes Debian 13
    E2E_KEEP=1         leaves the server up: `tests/e2e/droplet run e2e bash` looks around in it, `… down e2e` ends it
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import gotools

from . import server as servers
from .ageing import Past
from .server import Authority, Server, ServerError, Web
from .user import Ran, User

NAME = "e2e"
INDEX = "library"
HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


# ------------------------------------------------------------------------------------------------------------ figures


@dataclass
class Reach:
    """What was measured, beside what was to be reached. Printed at the end; only what is far off fails a test."""

    rows: list[str] = field(default_factory=list)

    def note(self, what: str, figure: float, unit: str, reach: float | None = None) -> None:
        verdict = "" if reach is None else f"   (reach {reach:g} {unit}{'' if figure <= reach else ', MISSED'})"
        self.rows.append(f"{what:<52} {figure:8.2f} {unit}{verdict}")

    def say(self, line: str) -> None:
        self.rows.append(line)


REACH = Reach()


@pytest.fixture(scope="session")
def reach() -> Reach:
    return REACH


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REACH.rows:
        terminalreporter.section("e2e: figures")
        for row in REACH.rows:
            terminalreporter.write_line(row)


# ------------------------------------------------------------------------------------------------------- what is there


def unable() -> str | None:
    """Why no server can be made here; None where it should work."""
    if os.geteuid() != 0:
        return "needs root: sudo scripts/test -m e2e"
    if shutil.which("apt-get") is None:
        return "needs Debian or Ubuntu"
    if servers.execute(["unshare", "--mount", "mount", "-t", "tmpfs", "e2e", "/mnt"], check=False).status:
        return "may not mount here: a container that was not given the right to"
    return None


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A new server. Skipped where none can be made; a failure in CI, where it should have been possible."""
    if why := unable():
        pytest.skip(why)
    try:
        servers.down(NAME)  # what a killed run has left
        made = servers.up(NAME)
    except ServerError as error:
        with contextlib.suppress(ServerError):  # half of one is left by nobody
            servers.down(NAME)
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no server can be made here: {error}")
    yield made
    if os.environ.get("E2E_KEEP"):
        REACH.say(f"the server is still up: tests/e2e/droplet run {NAME} bash")
    else:
        servers.down(NAME)


@pytest.fixture(scope="session")
def authority(server: Server) -> Iterator[Authority]:
    try:
        with servers.authority(server.gateway, {servers.DOMAIN: server.address}) as made:
            yield made
    except gotools.Unavailable as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


@dataclass(frozen=True, slots=True)
class Planted:
    """Secrets that must be nowhere but where they belong."""

    wrong_key: str = field(default_factory=lambda: f"sk_{secrets.token_hex(6)}_{secrets.token_hex(19)}")
    keys: list[str] = field(default_factory=list)  # of the API, as they are made


@pytest.fixture(scope="session")
def planted() -> Planted:
    return Planted()


@pytest.fixture(scope="session")
def past() -> Past:
    return Past()


@pytest.fixture(scope="session")
def user(server: Server, authority: Authority, past: Past, tmp_path_factory: pytest.TempPathFactory) -> User:
    person = User(tmp_path_factory.mktemp("laptop"))
    person.prepare(server, authority, "LOG_LEVEL=info\n")
    (person.folder / "trusted.pem").write_bytes(authority.root.read_bytes() + past.root)
    return person


# ------------------------------------------------------------------------------------------------ made as the page says


@pytest.fixture(scope="session")
def named(user: User) -> User:
    """The user has said which server it is."""
    user.follows("1. Say which server")
    user.fill_in()
    return user


WATCH = """
import pathlib, time
seen = set()
with open("/var/tmp/e2e-seen", "a", errors="replace") as file:
    while True:
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_text(errors="replace").replace("\\0", " ")
                except OSError:
                    continue
                if text not in seen:
                    seen.add(text)
                    print(text, file=file, flush=True)
        time.sleep(0.3)
"""
WATCH_UNIT = """
[Service]
ExecStart=/usr/bin/python3 /usr/local/sbin/e2e-watch
[Install]
WantedBy=sysinit.target
"""


@pytest.fixture(scope="session")
def watched(server: Server) -> str:
    """From here on the server writes down what processes are called with and have in their environment; where."""
    for path, text in (("/usr/local/sbin/e2e-watch", WATCH), ("/etc/systemd/system/e2e-watch.service", WATCH_UNIT)):
        server.run("sh", "-ceu", 'cat >"$1"', "sh", path, stdin=text)
    server.run("systemctl", "enable", "--quiet", "--now", "e2e-watch")
    return "/var/tmp/e2e-seen"


@pytest.fixture(scope="session")
def provisioned(named: User, watched: str, reach: Reach) -> Ran:
    [ran] = named.follows("2. Make the server")
    reach.note("provision", ran.seconds, "s", 360)
    return ran


@pytest.fixture(scope="session")
def deployed(named: User, provisioned: Ran, reach: Reach) -> Ran:
    [ran] = named.follows("3. Ship")
    reach.note("the first deploy, with its packages", ran.seconds, "s")
    return ran


@pytest.fixture(scope="session")
def web(server: Server, user: User, deployed: Ran) -> Web:
    """The API, asked from outside."""
    return Web(server.address, user.folder / "trusted.pem", server.clients[0])


@pytest.fixture(scope="session")
def used(user: User, deployed: Ran, planted: Planted) -> list[Ran]:
    """What the page does with it first."""
    ran = user.follows("4. Use it")
    planted.keys.append(user.key)
    return ran


@pytest.fixture(scope="session")
def key(user: User, used: list[Ran]) -> str:
    """The first admin key."""
    return user.key


@pytest.fixture(scope="session")
def books(web: Web, key: str) -> str:
    """An index with documents in it."""
    words = ("house", "tempest", "garden", "green", "stone", "winter", "river", "night", "letter", "island")
    documents = [
        {"id": f"n{n}", "title": f"The {words[n % 10]} of {words[n // 10 % 10]}", "year": 1900 + n % 100, "text": " ".join(words)}
        for n in range(2000)
    ]
    answer = web.ask("POST", f"/v1/indexes/{INDEX}/documents?refresh=wait_for", json.dumps(documents).encode(), key, timeout=60)
    assert answer.status == 200, answer.body[:300]
    return INDEX
