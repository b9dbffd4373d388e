"""A server in a folder: what systemd does is done by starting and ending the same programs here, and remembered in files, so that
it outlives the process that asked for it. Releases are tiny, their Gunicorn is the real one.

As a program, `python -m tests.deploy.local ROOT AT deploy NAME`, it deploys and is killed at the AT-th change it makes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.onhost import asking, environment, settling, shift
from deploy.onhost.asking import Answer, Instance
from deploy.onhost.places import SLOTS, Places, cooling, parts
from deploy.onhost.system import Failed, System, Unit

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGES = ("start", "stop", "restart", "weigh", "enable", "disable", "write", "append", "link", "rename", "remove")

TINY = """
import json, os, threading, time

KIND, NAME = os.environ["KIND"], os.environ["NAME"]
if KIND == "import":
    raise ImportError("no module named sorrow")
if KIND == "crash":
    threading.Timer(0.6, os._exit, [9]).start()
if KIND == "later":
    STARTED = time.monotonic()
DOCUMENT = {"id": "1", "title": "of mice and men"}
ANSWERS = {
    "/health/ready": {"status": "ready"},
    "/v1/indexes": {"indexes": [{"name": "books"}]},
    "/v1/indexes/books/stats": {"seq": 7, "indexed_seq": 6 if KIND == "behind" else 7},
    "/v1/indexes/books/search": {"hits": [{"id": "1", "document": DOCUMENT}], "total": 1},
    "/db-health": {"status": "ok"},
    "/release": NAME,
    "/metrics": '''searchapi_index_lag_documents{index="books"} 0.0
searchapi_request_duration_seconds_count{status="2xx"} 997.0
searchapi_request_duration_seconds_count{status="5xx"} 3.0
''',
}

def app(environ, start_response):
    path, status = environ["PATH_INFO"], "200 OK"
    body = ANSWERS[path]
    if path == "/health/ready" and (KIND == "unready" or (KIND == "later" and time.monotonic() - STARTED < 1)):
        status, body = "503 Service Unavailable", {"detail": "This instance cannot search now."}
    if path.endswith("/search") and KIND == "slow":
        time.sleep(0.5)
    if path.endswith("/search") and KIND == "wrong" and "q=" in environ["QUERY_STRING"]:
        status, body = "500 Internal Server Error", {"detail": "a mistake of ours"}
    if path != "/health/ready" and path != "/release" and not environ.get("HTTP_AUTHORIZATION", "").startswith("Bearer sk_"):
        status, body = "401 Unauthorized", {"detail": "no key"}
    start_response(status, [("Content-Type", "application/json")])
    return [body.encode() if path == "/metrics" else json.dumps(body).encode()]
"""
MAIN = """
import os, sys, time
from pathlib import Path

asked = sys.argv[1:]
if asked[:1] == ["indexer"]:
    time.sleep(3600)
if asked[:1] == ["check"] and os.environ["KIND"] == "settings":
    sys.exit("searchapi: refused: SECRET_KEY")
if asked[:2] == ["keys", "create"]:
    print("sk_0123456789ab_" + "s" * 40)
if asked[:1] == ["keys"]:
    with Path(os.environ["KEYS"]).open("a") as file:
        print(*asked, file=file)
"""


class LocalSystem(System):
    """root: of everything. Units are processes; `systemd/` below root says which, and which are enabled."""

    def __init__(self, root: Path):
        self.root, self.known = root, root / "systemd"

    def start(self, *units: str) -> None:
        for unit in units:
            if not self._pid(unit):
                (self.known / unit).write_text("0" if not unit.endswith(".service") else self._spawn(unit))
        for unit in units:
            if unit.startswith("searchapi@") and unit.endswith(".service"):
                self._wait_listening(unit)

    def stop(self, *units: str) -> None:
        for unit in units:
            pid = self._pid(unit)
            if pid:
                _end(pid)
            (self.known / unit).unlink(missing_ok=True)

    def restart(self, *units: str) -> None:
        self.stop(*units)
        self.start(*units)

    def weigh(self, weight: int, *units: str) -> None:
        for unit in units:
            (self.known / f"{unit}.weight").write_text(str(weight))

    def enable(self, *units: str) -> None:
        for unit in units:
            (self.known / "enabled" / unit).touch()

    def disable(self, *units: str) -> None:
        for unit in units:
            (self.known / "enabled" / unit).unlink(missing_ok=True)

    def enabled(self, *units: str) -> list[bool]:
        return [(self.known / "enabled" / unit).exists() for unit in units]

    def units(self, *names: str) -> list[Unit]:
        return [self._unit(name) for name in names]

    def _unit(self, name: str) -> Unit:
        if not (self.known / name).exists():
            return Unit(name, True, "inactive")
        pid = self._pid(name)
        alive = pid or not name.endswith(".service")
        return Unit(name, True, "active" if alive else "failed", pid)

    def errors_of(self, units, since) -> list[str]:
        return [row for unit in units for row in self._log(unit).read_text().splitlines() if "Error" in row]

    def stopping(self) -> bool:
        return (self.root / "stopping").exists()

    def forget(self, *units: str) -> None:
        pass

    def administration(self, release: Path, *arguments: str, waiting: bool = True) -> list[str]:
        settings = [f"{name}={value}" for name, value in self._settings(release).items()]
        return ["env", "-C", str(release), *settings, f"{release}/.venv/bin/python", "-B", "-m", "searchapi", *arguments]

    def run_on_data(self, argv, cwd: Path) -> str:
        return self.run(argv, cwd=cwd)

    def served(self, domain: str) -> str | None:
        """What a test says that Nginx has loaded."""
        path = self.root / "served.pem"
        return path.read_text() if path.exists() else None

    def has_user(self) -> bool:
        return True

    def chown(self, path: Path, user: str) -> None:
        pass

    def sync(self) -> None:
        pass

    def journal(self, run: str) -> list[str]:
        return ["tail", "-n", "+1", "-f", str(self.root / f"{run}.log")]

    def record(self, line: str) -> None:
        with (self.root / "journal").open("a") as file:
            file.write(line + "\n")

    # processes

    def reboot(self) -> None:
        """As a power cut: all end at once, and what is enabled starts."""
        for path in [path for path in self.known.iterdir() if path.is_file()]:
            if pid := self._pid(path.name):
                _end(pid, signal.SIGKILL)
            path.unlink()
        for path in (self.root / "run/searchapi").iterdir():
            path.unlink()
        self.start(*sorted(path.name for path in (self.known / "enabled").iterdir()))

    def _spawn(self, unit: str) -> str:
        """The process belongs to nobody here, as one of systemd's: `pid start-time`."""
        slot = unit.partition("@")[2].partition(".")[0]
        folder = self.root / "srv/searchapi/slots" / slot
        python, module = f"{folder}/.venv/bin/python", ["searchapi", "indexer"]
        if "indexer" not in unit:
            listen = f"unix:{self.root}/run/searchapi/{slot}.sock"
            module = [
                "gunicorn",
                "--bind",
                listen,
                "--threads",
                "2",
                "--graceful-timeout",
                "1",
                "--no-control-socket",
                "searchapi.tiny:app",
            ]
        environment = os.environ | self._settings(folder.resolve())
        argv = [
            "sh",
            "-c",
            'log=$1; shift; "$@" >"$log" 2>&1 </dev/null & echo $!',
            "sh",
            str(self._log(unit)),
            python,
            "-B",
            "-m",
            *module,
        ]
        started = subprocess.run(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        pid = int(started.stdout)
        return f"{pid} {_started(pid)}"

    def _settings(self, release: Path) -> dict[str, str]:
        kind = (release / "KIND").read_text()
        return {"KIND": kind, "NAME": release.name, "KEYS": str(self.root / "keys")}

    def _log(self, unit: str) -> Path:
        return self.root / "log" / unit

    def _pid(self, unit: str) -> int:
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid, started = (self.known / unit).read_text().split()
            return int(pid) if _started(int(pid)) == started else 0
        return 0

    def _wait_listening(self, unit: str) -> None:
        slot = unit.partition("@")[2].partition(".")[0]
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if _listens(self.root / "run/searchapi" / f"{slot}.sock"):
                return
            if not self._pid(unit):
                raise Failed(f"Job for {unit} failed")
            time.sleep(0.01)
        raise Failed(f"{unit} does not listen")


def _listens(path: Path) -> bool:
    """A socket's file is there a moment before it listens."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
        return True
    return False


def _end(pid: int, number: int = signal.SIGTERM) -> None:
    family = [pid, *children(pid)]
    for each in family if number == signal.SIGKILL else family[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, number)
    end = time.monotonic() + 10
    while any(_started(each) for each in family):
        if time.monotonic() > end:
            for each in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    from deploy.onhost.system import descendants

    return sorted(descendants(pid))


def _started(pid: int) -> str:
    """What tells a process from a later one with its number; empty where it has ended."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


class Killed(LocalSystem):
    """Ends this process, as SIGKILL would. at: the number of a moment before or after a change, or how what is done begins."""

    def __init__(self, root: Path, at: str):
        super().__init__(root)
        self.at, self.moments, self.deep = at, 0, False

    def _moment(self, what: str) -> None:
        self.moments += 1
        if self.at in (str(self.moments), what[: len(self.at)]):
            print(f"killed {what}", flush=True)
            os._exit(137)


def _dying(name: str):
    original = getattr(LocalSystem, name)

    def change(self, *arguments, **options):
        if self.deep:  # `write` ends in `rename`: that is one change
            return original(self, *arguments, **options)
        what = f"{name} {' '.join(map(str, arguments))[:90]}"
        self._moment(f"before {what}")
        self.deep = True
        try:
            return original(self, *arguments, **options)
        finally:
            self.deep = False
            self._moment(f"after {what}")

    return change


for _name in CHANGES:
    setattr(Killed, _name, _dying(_name))


@dataclass
class Server:
    """root: everything of it. `ship` makes a release; `deploy` and `rollback` as the unit does; `asked` what a client sees."""

    root: Path
    shipped: int = 0

    def __post_init__(self) -> None:
        self.system = LocalSystem(self.root)
        self.places = Places(self.system, self.root)
        self.said: list[str] = []

    @classmethod
    def make(cls, root: Path) -> Server:
        for folder in (
            "systemd/enabled",
            "log",
            "srv/searchapi/releases",
            "srv/searchapi/venvs",
            "srv/searchapi/slots",
            "run/searchapi",
        ):
            (root / folder).mkdir(parents=True)
        for folder in ("etc/searchapi", "var/lib/searchapi", "var/lib/searchapi-deploy"):
            (root / folder).mkdir(parents=True)
        (root / "etc/searchapi/env").touch()
        (root / "keys").touch()
        server = cls(root)
        server._environment(b"# tiny\n")
        return server

    def _environment(self, requirements: bytes) -> None:
        """This machine's own packages, in the place where `environment` would install them."""
        folder = self.places.venvs / environment.name_of(requirements)
        packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        packages.mkdir(parents=True)
        (packages / "own.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (folder / "bin").mkdir()
        (folder / "bin/python").symlink_to(os.path.realpath(sys.executable))
        home = Path(os.path.realpath(sys.executable)).parent
        (folder / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
        (folder / environment.COMPLETE).touch()

    def ship(self, kind: str = "good", reads: tuple[int, int] = (1, 1), writes: int = 1, index: str = "t1") -> str:
        self.shipped += 1
        name = f"20260101T{self.shipped:06}Z-{self.shipped:012x}"
        folder = self.places.releases / name
        (folder / "searchapi").mkdir(parents=True)
        texts = {"searchapi/__init__.py": "", "searchapi/tiny.py": TINY, "searchapi/__main__.py": MAIN, "KIND": kind}
        texts |= {"requirements.txt": "# tiny\n", "REVISION": json.dumps({"commit": "0" * 40, "subject": f"number {self.shipped}"})}
        texts["searchapi/data.json"] = json.dumps({"reads": reads, "writes": writes, "index": index})
        for path, text in texts.items():
            (folder / path).write_text(text)
        return name

    def shift(self, run: str | None = None) -> shift.Shift:
        return shift.Shift(self.places, run or f"run{time.monotonic_ns()}", "tester", self.said.append)

    def deploy(self, name: str | None = None, **shipped) -> str:
        name = name or self.ship(**shipped)
        self.shift().deploy(name, soak=0.05)
        return name

    def rollback(self, to: str | None = None) -> None:
        self.shift().rollback(to)

    def repair(self) -> dict | None:
        return settling.repair(self.places, self.said.append)

    def asked(self, path: str = "/release") -> Answer:
        return Instance(self.places.live).get(path)

    @property
    def live(self) -> str:
        """The release that a client reaches."""
        return self.asked().json

    def settled(self) -> None:
        """What must hold whenever nothing is under way."""
        live, places = self.places.live_slot(), self.places
        assert not places.intent.exists()
        assert live is not None and self.live == places.live_release().name
        assert places.warm(live)
        for slot in SLOTS:
            assert self.system.enabled(*parts(slot)) == [slot == live] * 3, slot
            cools = self.system.units(cooling(slot))[0].active
            assert cools == (slot != live and bool(places.running(slot))), slot

    def killed(self, at: str, *command: str) -> str | None:
        """Deploy or roll back in a process that is killed. Where it was; None where it came to its end before."""
        argv = [sys.executable, "-m", "tests.deploy.local", str(self.root), at, *command]
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 137), done.stdout + done.stderr
        return done.stdout.strip().splitlines()[-1] if done.returncode else None

    def end(self) -> None:
        for slot in SLOTS:
            self.system.stop(cooling(slot), *parts(slot))
        shutil.rmtree(self.root)


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Waits that need not be long."""
    before = asking.STUCK, asking.BUILDING, asking.PAUSE, shift.HANDED_OVER
    asking.STUCK, asking.BUILDING, asking.PAUSE, shift.HANDED_OVER = 60.0, 60.0, 0.02, 0.05
    try:
        yield
    finally:
        asking.STUCK, asking.BUILDING, asking.PAUSE, shift.HANDED_OVER = before


def main(root: str, at: str, action: str, name: str = "") -> None:
    server = Server(Path(root))
    server.system = server.places.system = Killed(Path(root), at)
    with quick():
        if action == "deploy":
            server.shift(f"run-{at}").deploy(name, soak=0.05)
        else:
            server.shift(f"run-{at}").rollback(name or None)


if __name__ == "__main__":
    main(*sys.argv[1:])
