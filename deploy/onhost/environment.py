"""A release's packages: one environment for each (requirements.txt, Python), shared by the releases that agree."""

from __future__ import annotations

import hashlib
import platform
import sys
from pathlib import Path

from .places import Places, Release
from .system import Failed

PYTHON = "/usr/bin/python3"  # the system's; an environment made of links to it goes along with its security updates
COMPLETE = ".complete"  # the last file that is made: without it a folder is what an interrupted installation has left

# Nothing is built and nothing is looked up: what is installed is what was locked, or nothing.
_INSTALL = ("--quiet", "--disable-pip-version-check", "--no-cache-dir", "--require-hashes", "--only-binary", ":all:", "--no-deps")


def name_of(requirements: bytes) -> str:
    """The folder of the environment for these requirements on this machine."""
    python = f"{sys.implementation.cache_tag}-{platform.machine()}"
    return hashlib.sha256(requirements + b"\0" + python.encode()).hexdigest()[:16]


def prepare(places: Places, release: Release) -> str:
    """Make the environment where it is not there, link it, compile the release. What was done, for a person. Raises Failed."""
    try:
        requirements = (release.path / "requirements.txt").read_bytes()
    except OSError:
        raise Failed(f"{release.name} has no requirements.txt") from None
    target = places.venvs / name_of(requirements)
    shared = (target / COMPLETE).exists()
    if not shared:
        _make(places, release, target)
    if release.environment != target:
        _compile(places, target, release.path / "searchapi")
        places.system.link(release.path / ".venv", str(target))
    return f"packages {'shared with an earlier release' if shared else 'installed'} ({target.name})"


def _make(places: Places, release: Release, target: Path) -> None:
    """Under its own name from the start: the programs in bin/ hold the path."""
    system, python = places.system, f"{target}/bin/python"
    system.remove(target)
    try:
        system.run([PYTHON, "-m", "venv", str(target)])
        system.run([python, "-m", "pip", "install", *_INSTALL, "-r", str(release.path / "requirements.txt")])
        system.run([python, "-m", "pip", "check", "--disable-pip-version-check"])
    except Failed as error:
        system.remove(target)
        raise Failed(f"the packages cannot be installed: {error}") from None
    system.sync()
    system.write(target / COMPLETE, "")


def _compile(places: Places, environment: Path, folder: Path) -> None:
    """The service may not write into the release, and would compile every file at every start. A file that cannot be compiled fails
    when it is imported, with a better word."""
    compile = [f"{environment}/bin/python", "-m", "compileall", "-qq", "--invalidation-mode", "unchecked-hash", str(folder)]
    places.system.run(compile, check=False)
