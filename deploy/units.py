"""What systemd reads on a server: units, tmpfiles.d, journald. Pure.

A slot is `blue` or `green`. Its parts are started in the order of `parts`, and stopped all at once: while its socket listens, a
connection starts the web server again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .render import render

SLOTS = ("blue", "green")
ENVIRONMENTS = ("staging", "production")
FOLDER = "/etc/systemd/system"
JOURNALD = "/etc/systemd/journald.conf.d/searchapi.conf"
TMPFILES = "/etc/tmpfiles.d/searchapi.conf"

OLDEST = 252  # Debian 12's systemd
BACKOFF = 254  # the first that knows RestartSteps

_WEB, _INDEXER = "searchapi@.service", "searchapi-indexer@.service"
_PLAIN = ("searchapi@.socket", "searchapi-cool@.timer", "searchapi-cool@.service", "searchapi.slice")
_VERSION = re.compile(r"systemd ([1-9][0-9]{1,4})\b")


@dataclass(frozen=True, slots=True)
class Network:
    """Which of the two need a network; without it they have none at all."""

    web: bool = False
    indexer: bool = False


def files(environment: str, version: int, network: Network) -> dict[str, str]:
    """{path: text} of everything, for a server with this version of systemd. Raises ValueError."""
    if environment not in ENVIRONMENTS:
        raise ValueError(f"the environment is {environment!r}, but must be one of {', '.join(ENVIRONMENTS)}")
    if version < OLDEST:
        raise ValueError(f"the server has systemd {version}, but these units need {OLDEST}: Debian 12 or later")
    found = {f"{FOLDER}/{name}": render(f"systemd/{name}") for name in _PLAIN}
    for name, connected in ((_WEB, network.web), (_INDEXER, network.indexer)):
        found[f"{FOLDER}/{name}"] = render(f"systemd/{name}", ENVIRONMENT=environment)
        for part in _drop_ins(version, connected):
            found[f"{FOLDER}/{name}.d/{part}"] = render(f"systemd/{part}")
    return found | {TMPFILES: render("systemd/tmpfiles.conf"), JOURNALD: render("systemd/journald.conf")}


def left_over(environment: str, version: int, network: Network) -> list[str]:
    """Paths of drop-ins that another version or other settings would have: they must not be there."""
    every = {f"{FOLDER}/{name}.d/{part}" for name in (_WEB, _INDEXER) for part in _drop_ins(BACKOFF, True)}
    return sorted(every - files(environment, version, network).keys())


def _drop_ins(version: int, connected: bool) -> list[str]:
    """In the order in which systemd reads them, that of the alphabet."""
    return ["hardening.conf", *["network.conf"] * connected, *["restart.conf"] * (version >= BACKOFF)]


def network(settings: Mapping[str, str]) -> Network:
    """What the settings of /etc/searchapi/env ask for: Sentry is told over HTTPS, OpenSearch is on other machines, and Redis may
    be."""
    both = bool(settings.get("SENTRY_DSN")) or settings.get("ENGINE_URL", "").startswith(("opensearch://", "opensearchs://"))
    return Network(web=both or settings.get("REDIS_URL", "").startswith(("redis://", "rediss://")), indexer=both)


def version(said: str) -> int:
    """252, of what `systemctl --version` prints. Raises ValueError."""
    found = _VERSION.match(said)
    if found is None:
        raise ValueError(f"systemctl --version says {said[:80]!r}, which names no version")
    return int(found[1])


# ----------------------------------------------------------------------------------------------------------- names


def web(slot: str) -> str:
    return f"searchapi@{_known(slot)}.service"


def socket(slot: str) -> str:
    return f"searchapi@{_known(slot)}.socket"


def indexer(slot: str) -> str:
    return f"searchapi-indexer@{_known(slot)}.service"


def cooling(slot: str) -> str:
    """The timer that stops a slot some time after it was left."""
    return f"searchapi-cool@{_known(slot)}.timer"


def parts(slot: str) -> list[str]:
    """What a slot is made of: the indexer first, because the web server's answers wait for what it does."""
    return [indexer(slot), socket(slot), web(slot)]


def _known(slot: str) -> str:
    if slot not in SLOTS:
        raise ValueError(f"there is no slot {slot!r}; there are {' and '.join(SLOTS)}")
    return slot
