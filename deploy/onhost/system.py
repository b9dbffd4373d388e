"""What touches the machine. Tests put a class with the same methods in its place that runs the same programs without systemd."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..units import web

USER = "searchapi"
LIMIT = 60.0  # seconds that an administrative command may take: one that hangs must not hang a deploy
UNIT = "searchapi-deploy"  # what changes the server runs as this unit: there is one of a name


class Failed(Exception):
    """A step that could not be done: why, in one line."""


@dataclass(frozen=True, slots=True)
class Unit:
    """loaded: whether there is a file for it. active: also while it starts or stops. state: systemd's ActiveState. pid: of its
    first process, 0 where there is none. restarts: by systemd, since it was started. memory: bytes, None where unknown."""

    name: str
    loaded: bool
    state: str
    pid: int = 0
    restarts: int = 0
    memory: int | None = None

    @property
    def active(self) -> bool:
        return self.state not in ("inactive", "failed")


_SHOWN = ("Id", "LoadState", "ActiveState", "MainPID", "NRestarts", "MemoryCurrent")


class System:
    """systemd, and files. What changes something is a method of its own: tests end the process before and after each."""

    # ------------------------------------------------------------------------------------------------------- systemd

    def start(self, *units: str) -> None:
        """Start them and wait until systemd calls them started. Raises Failed."""
        self.forget(*units)
        self._systemctl("start", *units)

    def stop(self, *units: str) -> None:
        self._systemctl("stop", *units)

    def forget(self, *units: str) -> None:
        """That they have failed."""
        self._systemctl("reset-failed", *units, check=False)

    def restart(self, *units: str) -> None:
        """Not waited for."""
        self._systemctl("try-restart", "--no-block", *units)

    def weigh(self, weight: int, *units: str) -> None:
        """Their share of the processor, where there is not enough for all; until the next reboot, whatever becomes of them."""
        for unit in units:
            self._systemctl("set-property", "--runtime", unit, f"CPUWeight={weight}")

    def enable(self, *units: str) -> None:
        """That they start at a reboot. systemd need not read all its files again for that."""
        self._systemctl("enable", "--quiet", "--no-reload", *units)

    def disable(self, *units: str) -> None:
        self._systemctl("disable", "--quiet", "--no-reload", *units)

    def enabled(self, *units: str) -> list[bool]:
        rows = self._systemctl("is-enabled", *units, check=False).splitlines()
        return [row.strip() == "enabled" for row in rows]

    def units(self, *names: str) -> list[Unit]:
        """What systemd knows of them, in this order."""
        blocks = self._systemctl("show", f"--property={','.join(_SHOWN)}", *names).strip().split("\n\n")
        return [_unit(dict(row.partition("=")[::2] for row in block.splitlines())) for block in blocks]

    def stopping(self) -> bool:
        """Whether the server shuts down: from then on it waits for us, and we must not wait for it."""
        return self._systemctl("is-system-running", check=False).strip() == "stopping"

    def errors_of(self, units: Sequence[str], since: float) -> list[str]:
        """Lines that these units wrote with the priority of an error, since a time (seconds since 1970); a hundred at most."""
        chosen = [f"--unit={unit}" for unit in units]
        argv = ["journalctl", "--quiet", "--output=cat", "--priority=err", f"--since=@{since:.0f}", "--lines=100", *chosen]
        return self.run(argv, check=False).splitlines()

    def administration(self, release: Path, *arguments: str, waiting: bool = True) -> list[str]:
        """The command that runs `python -m searchapi …` of a release as the service's user, with the service's settings."""
        environment = self._systemctl("show", "--property=Environment", "--value", web("blue")).split()
        return administration(str(release), environment, arguments, waiting)

    def administer(self, release: Path, *arguments: str, waiting: bool = True) -> str:
        """What it prints; nothing where it is not waited for. Raises Failed with what it says."""
        began = time.monotonic()
        try:
            return self.run(self.administration(release, *arguments, waiting=waiting))
        except Failed:
            if time.monotonic() - began < LIMIT:
                raise
            raise Failed(f"`python -m searchapi {' '.join(arguments[:2])}` did not end within {LIMIT:.0f} s") from None

    def _systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.run(["systemctl", *arguments], check=check)

    # ------------------------------------------------------------------------------------------------------ programs

    def run(self, argv: Sequence[str], check: bool = True, cwd: Path | None = None, **options) -> str:
        """What a program prints. Raises Failed with the end of what it said where it fails."""
        try:
            given = {"stdin": subprocess.DEVNULL} if options.get("input") is None else {}
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", cwd=cwd, **given, **options)
        except OSError as error:
            raise Failed(f"{argv[0]} cannot be run: {error.strerror}") from None
        if check and done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-4:]
            raise Failed(
                f"{Path(argv[0]).name} {' '.join(argv[1:3])} ended with {done.returncode}: {' / '.join(said) or 'it said nothing'}"
            )
        return done.stdout

    def run_on_data(self, argv: Sequence[str], cwd: Path) -> str:
        """The same as the user who owns the data: files that root makes beside a database lock the service out of it."""
        return self.run(argv, cwd=cwd, user=USER, group=USER, extra_groups=[])

    def served(self, domain: str) -> str | None:
        """The certificate, as PEM, that Nginx shows who asks for this domain. None where it shows none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whatever it is, it is to be seen
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", 443), timeout=3) as plain,
            context.wrap_socket(plain, server_hostname=domain) as tls,
        ):
            return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True))
        return None

    def has_user(self) -> bool:
        with contextlib.suppress(KeyError):
            return bool(pwd.getpwnam(USER))
        return False

    # --------------------------------------------------------------------------------------------------------- files

    def write(self, path: Path, text: str, mode: int = 0o644) -> None:
        """The whole text or, after a power cut, what was there before."""
        new = path.with_name(path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.rename(new, path)

    def append(self, path: Path, line: str) -> None:
        """A line at the end; one that a power cut left half written is ended first."""
        with path.open("ab+") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                line = "\n" + line
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync(path.parent)

    def link(self, path: Path, target: str) -> None:
        """A symbolic link in place of the one that was there, in one step: rename(2)."""
        new = path.with_name(path.name + ".new")
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        self.rename(new, path)

    def rename(self, path: Path, to: Path) -> None:
        path.rename(to)
        _sync(to.parent)

    def remove(self, path: Path) -> None:
        """A file, a link, or a folder with all that is in it."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def chown(self, path: Path, user: str) -> None:
        shutil.chown(path, user, user)

    def sync(self) -> None:
        """All that any program has written, as `systemctl enable` does, is on the disk."""
        os.sync()

    def journal(self, run: str) -> list[str]:
        """The command that prints the lines of a run as they come, from its first."""
        return ["journalctl", "--quiet", "--follow", "--lines=all", "--output=cat", f"--identifier={UNIT}-{run}"]

    def record(self, line: str) -> None:
        """A line of the journal under a name of its own: `journalctl -t searchapi-audit`."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.connect("/run/systemd/journal/socket")
            journal.send(f"SYSLOG_IDENTIFIER=searchapi-audit\nPRIORITY=5\nMESSAGE={line}\n".encode())


def administration(release: str, environment: Sequence[str], arguments: Sequence[str], waiting: bool) -> list[str]:
    """The command. environment: what the service's own unit sets, as NAME=value."""
    properties = [
        f"User={USER}",
        f"Group={USER}",
        "LoadCredential=env:/etc/searchapi/env",
        f"WorkingDirectory={release}",
        "UMask=0077",
    ]
    properties += [
        f"RuntimeMaxSec={LIMIT:.0f}s",
        "TimeoutStopSec=5s",
        "NoNewPrivileges=yes",
        "CPUWeight=20",
        *(f"Environment={pair}" for pair in environment),
    ]
    options = [f"--property={each}" for each in properties]
    command = [f"{release}/.venv/bin/python", "-B", "-m", "searchapi", *arguments]
    return ["systemd-run", "--quiet", "--collect", *["--pipe", "--wait"] * waiting, *options, "--", *command]


def _unit(shown: dict[str, str]) -> Unit:
    memory = shown.get("MemoryCurrent", "")
    return Unit(
        shown.get("Id", ""),
        shown.get("LoadState") == "loaded",
        shown.get("ActiveState", "inactive"),
        int(shown.get("MainPID") or 0),
        int(shown.get("NRestarts") or 0),
        int(memory) if memory.isdigit() and len(memory) < 19 else None,
    )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def descendants(pid: int) -> frozenset[int]:
    """The processes that this one started and that are there. Gunicorn's workers are such."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.add(int(stat.parent.name))
    return frozenset(found)


def memory() -> int:
    """Bytes that programs can still have without swapping."""
    return _meminfo().get("MemAvailable", 0)


def _meminfo() -> dict[str, int]:
    rows: Iterable[str] = Path("/proc/meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (row.partition(":") for row in rows)}
