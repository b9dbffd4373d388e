"""What speaks against settings: from their values alone (`verdicts`), and with what is on disk (`checks`)."""

from __future__ import annotations

import difflib
import errno
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ..engines.opensearch.target import Target
from .casts import UNITS
from .settings import CHECKOUT, SETTINGS, Setting, Settings, SettingsError, env_file, repository

LOOPBACK = ("127.0.0.1", "localhost", "::1")

_NAMES = frozenset(s.name for s in SETTINGS)


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict. level: `ok`, `warning` (serves anyway) or `error` (must not serve so); `ok` is False for an error alone."""

    name: str
    level: Literal["ok", "warning", "error"]
    detail: str

    @property
    def ok(self) -> bool:
        return self.level != "error"


def verdicts(settings: Settings) -> list[Check]:
    """What speaks against these settings, from their values alone: unsafe or contradicting ones."""
    rules = [*_of_access(settings), *_of_production(settings), *_of_each_other(settings)]
    return [Check(name, level, detail) for broken, name, level, detail in rules if broken]


Rule = tuple[bool, str, Literal["warning", "error"], str]  # whether it is broken, the setting, how bad, why


def _of_access(s: Settings) -> list[Rule]:
    """Who may ask, and who is told from whom."""
    live = not s.development
    limited = {s.rate_limit_per_key, s.rate_limit_per_ip} != {"off"}
    return [
        (
            s.development and not s.require_keys and s.host not in LOOPBACK,
            "HOST",
            "error",
            f"is {s.host}, but searching without keys is for the loopback address alone; use 127.0.0.1, or REQUIRE_KEYS=true",
        ),
        (
            live and not s.require_keys,
            "REQUIRE_KEYS",
            "error",
            f"is false, but {s.environment} never answers without a key; leave it out",
        ),
        (
            live and not s.secret_key,
            "SECRET_KEY",
            "error",
            f"is empty, but {s.environment} needs one; `python -m searchapi keys secret` prints one",
        ),
        (
            live and s.proxy_hops == 0,
            "PROXY_HOPS",
            "error",
            f"is 0, but in {s.environment} Nginx stands in front, and every client would share its address",
        ),
        (
            live and not s.redis_url and s.workers > 1 and limited,
            "REDIS_URL",
            "warning",
            f"is empty, so each of the {s.workers} workers counts rate limits for itself",
        ),
        (
            live and s.redis_url.startswith("redis://") and urlsplit(s.redis_url).hostname not in LOOPBACK,
            "REDIS_URL",
            "warning",
            "goes to another host unencrypted, its password too; use rediss://",
        ),
        (
            live
            and s.engine_url.startswith("opensearch://")
            and any(h not in LOOPBACK for h, _ in Target.parse(s.engine_url).hosts),
            "ENGINE_URL",
            "warning",
            "goes to another host unencrypted, documents and password too; use opensearchs://",
        ),
    ]


def _of_production(s: Settings) -> list[Rule]:
    production, data = s.environment == "production", s.data_dir.absolute()
    return [
        (
            production and "*" in s.cors_origins,
            "CORS_ORIGINS",
            "error",
            "is *, but in production the pages that may call the API are named, as https://www.example.com",
        ),
        (
            production and s.host not in LOOPBACK,
            "HOST",
            "error",
            f"is {s.host}, but in production Nginx stands in front and Gunicorn listens on 127.0.0.1 or a unix socket",
        ),
        (
            production and not s.data_dir.is_absolute(),
            "DATA_DIR",
            "error",
            f"is {s.data_dir}, but in production it must be absolute: /var/lib/searchapi",
        ),
        (
            production and data.is_relative_to(CHECKOUT),
            "DATA_DIR",
            "error",
            f"is {data}, inside the code, where the next release would not find it; use /var/lib/searchapi",
        ),
        (production and s.log_queries == "clear", "LOG_QUERIES", "warning", "writes what people search for"),
        (production and s.log_level == "debug", "LOG_LEVEL", "warning", "is debug: many lines a request"),
    ]


def _of_each_other(s: Settings) -> list[Rule]:
    """What one setting says against another."""
    above = [
        ("DEFAULT_LIMIT", "MAX_PAGE"),
        ("DEFAULT_TIMEOUT_MS", "MAX_TIMEOUT_MS"),
        ("MAX_DOCUMENT_BYTES", "MAX_BODY_BYTES"),
    ]
    values = [(name, getattr(s, name.lower()), most, getattr(s, most.lower())) for name, most in above]
    return [(value > cap, name, "error", f"is {value}, above {most}, {cap}") for name, value, most, cap in values]


def require_safe(settings: Settings) -> None:
    """Raise SettingsError with every error among the verdicts."""
    errors = [f"{v.name} {v.detail}." for v in verdicts(settings) if not v.ok]
    if errors:
        raise SettingsError(" ".join(errors))


def checks(settings: Settings, path: Path | None = None) -> list[Check]:
    """Every setting and its verdict, then what was found on disk: the settings file's unknown names, the data folder, its space."""
    against = verdicts(settings)
    named = {v.name for v in against}
    found = [Check(s.name, "ok", f"is {_shown(s, getattr(settings, s.name.lower()))}") for s in SETTINGS if s.name not in named]
    order = [s.name for s in SETTINGS]
    found = sorted(found + against, key=lambda check: order.index(check.name))
    path = path or env_file()
    for name in getattr(repository(path), "data", {}):
        if name not in _NAMES and (near := difflib.get_close_matches(name, _NAMES, 1)):
            found.append(Check(name, "warning", f"in {path} is not a setting; did you mean {near[0]}?"))
    return [*found, _data_check(settings.data_dir), _space_check(settings)]


def _shown(setting: Setting, value: Any) -> str:
    if isinstance(value, str) and value:
        value = setting.visible(value)
        if value is None:
            return "set"
    if isinstance(value, tuple):
        value = ", ".join(value)
    if setting.default.endswith("iB"):  # bytes, as they would be typed
        return next(f"{value // unit}{name}" for name, unit in UNITS.items() if not value % unit)
    return "empty" if value == "" else str(value).lower() if isinstance(value, bool) else str(value)


def _existing(data_dir: Path) -> Path:
    data_dir = data_dir.absolute()
    return next(p for p in (data_dir, *data_dir.parents) if p.exists())


def _data_check(data_dir: Path) -> Check:
    place = _existing(data_dir)
    if not place.is_dir():
        return Check("data folder", "error", f"{place} is not a folder")
    try:
        tempfile.TemporaryFile(dir=place).close()  # a disk that has turned read-only after an error does not say so in its flags
    except OSError as error:
        if error.errno == errno.EROFS:
            return Check("data folder", "error", f"{place} is on a disk that is read-only")
        if error.errno != errno.ENOSPC:  # a full disk can be searched
            return Check("data folder", "error", f"{place} cannot be written by this user")
    return Check("data folder", "ok", f"{data_dir.absolute()} {'is there' if place == data_dir.absolute() else 'will be made'}")


def _space_check(settings: Settings) -> Check:
    free = shutil.disk_usage(_existing(settings.data_dir)).free
    level = "ok" if free >= settings.min_free_bytes else "warning"
    return Check("disk space", level, f"{free >> 20} MiB free, MIN_FREE_BYTES is {settings.min_free_bytes >> 20} MiB")
