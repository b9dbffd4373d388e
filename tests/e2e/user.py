"""A person with a laptop: a checkout of their own, a shell, an SSH key, and what they read in docs/deploy.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .server import DOMAIN, HOME, Authority, Server, ServerError, execute

KEEPS_KEY = '\nif [ -n "${KEY-}" ]; then printf %s "$KEY" >"$HOME/key"; fi'  # as the user's own shell would
CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = "docs/deploy.md"
# Only this person's machine knows where the domain is.
WITH_HOSTS = 'mount --bind "$1" /etc/hosts; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended. seconds: how long it took."""

    command: str
    status: int
    said: str
    seconds: float


@dataclass
class User:
    """said: everything that any command of theirs printed."""

    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def checkout(self) -> Path:
        return self.folder / "searchapi"

    def prepare(self, server: Server, authority: Authority, settings: str) -> None:
        """What a person has before the first line of docs/deploy.md: a checkout, an SSH key, a domain that points at the server.
        settings: what they write into deploy/production.env."""
        home = self.folder / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        shutil.copy(HOME / "id_ed25519", home / ".ssh" / "id_ed25519")
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{server.address} {DOMAIN}\n")
        self._clone()
        self._environment()
        self.settings, self.server, self.authority = settings, server, authority

    def fill_in(self) -> None:
        """hosts.toml, after it was copied: what the page says, and an authority that is not Let's Encrypt."""
        path = self.checkout / "deploy" / "hosts.toml"
        text = path.read_text()
        for name, value in (("address", self.server.address), ("host_key", self.server.fingerprint())):
            text, count = re.subn(rf'^{name} = "[^"]*"', f'{name} = "{value}"', text, flags=re.MULTILINE)
            assert count == 1, f"hosts.example.toml has {name} {count} times"
        assert f'domain = "{DOMAIN}"' in text
        text += f'acme_directory = "{self.authority.directory}"\nacme_ca = "{self.authority.api_ca}"\nenv_file = "production.env"\n'
        path.write_text(text)
        (self.checkout / "deploy" / "production.env").write_text(self.settings)

    # ------------------------------------------------------------------------------------------------------- typing

    def types(self, command: str, timeout: float = 600, check: bool = True) -> Ran:
        """A line in their shell. Raises ServerError where it fails and `check` is set."""
        began = time.monotonic()
        done = execute(self._argv("sh", "-ec", command), timeout=timeout, check=False, **self._variables())
        ran = Ran(command, done.status, done.said, time.monotonic() - began)
        self.said.append(ran.said)
        if check and ran.status:
            raise ServerError(f"{command} ended with {ran.status} after {ran.seconds:.0f} s:\n{ran.said.strip()[-3000:]}")
        return ran

    @property
    def key(self) -> str:
        """The API key that an example of the page has put into $KEY."""
        return (self.folder / "home" / "key").read_text()

    def fab(self, *arguments: str, timeout: float = 600, check: bool = True) -> Ran:
        return self.types(" ".join(["scripts/fab", *arguments]), timeout, check)

    def starts(self, *arguments: str) -> Running:
        """`scripts/fab …`, not waited for."""
        log = self.folder / f"log-{time.monotonic_ns()}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._argv("scripts/fab", *arguments),
                cwd=self.checkout,
                env=self._variables(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return Running(process, log, self)

    def follows(self, heading: str) -> list[Ran]:
        """Types what docs/deploy.md has under this heading, example by example."""
        return [self.types(example + KEEPS_KEY) for example in examples(heading)]

    # ------------------------------------------------------------------------------------------------------- the code

    def commits(self, subject: str, change: Callable[[Path], None] = lambda checkout: None) -> str:
        """A commit on top, with what `change` does to the checkout; its id."""
        change(self.checkout)
        self._git("add", "--all")
        self._git("commit", "-q", "--allow-empty", "-m", subject)
        return self._git("rev-parse", "HEAD").strip()

    def takes_back(self) -> None:
        """The last commit, as `git revert` does."""
        self._git("revert", "--no-edit", "HEAD")

    def _clone(self) -> None:
        """A repository with what is in this one's files now, in one commit: also what was not committed yet."""
        listed = execute(["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]).out
        for name in filter(None, listed.split("\0")):
            if (CHECKOUT / name).is_file():  # not one that was deleted and is not committed yet
                (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, self.checkout / name)
        self._git("init", "-q", "-b", "main")
        self._git("config", "user.name", "A person")
        self._git("config", "user.email", "person@example.com")
        self.commits("what is here")

    def _environment(self) -> None:
        """What scripts/fab would make: this interpreter, with the stamps of both requirements."""
        venv = self.checkout / ".venv"
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (venv / "bin" / "python").chmod(0o755)
        for name in ("requirements.txt", "requirements-dev.txt"):
            stamp = execute(["cksum"], stdin=(self.checkout / name).read_text()).out
            (venv / f"{name}.stamp").write_text(stamp)

    def _git(self, *arguments: str) -> str:
        return execute(["git", "-C", str(self.checkout), *arguments], HOME=str(self.folder / "home")).out

    def _argv(self, *command: str) -> list[str]:
        unshared = ["unshare", "--mount", "--propagation", "private", "sh", "-ceu", WITH_HOSTS, "sh", str(self.folder / "hosts")]
        return [*unshared, "env", "-C", str(self.checkout), *command]

    def _variables(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return kept | {
            "HOME": str(self.folder / "home"),
            "CURL_CA_BUNDLE": str(self.folder / "trusted.pem"),
            "PYTHONUNBUFFERED": "1",
        }


@dataclass
class Running:
    process: subprocess.Popen
    log: Path
    user: User

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def ends(self, timeout: float) -> int:
        status = self.process.wait(timeout)
        self.user.said.append(self.said)
        return status

    def dies(self) -> None:
        self.process.kill()  # every program of the command line has become the next one, so this is fab itself
        self.process.wait(10)
        self.user.said.append(self.said)


def examples(heading: str) -> list[str]:
    """The ```sh examples below a heading of docs/deploy.md; what is only shown is not in ```sh."""
    text = (CHECKOUT / PAGE).read_text()
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{PAGE} has no heading {heading!r}"
    return re.findall(r"^```sh\n(.*?)^```$", found[1], re.MULTILINE | re.DOTALL)
