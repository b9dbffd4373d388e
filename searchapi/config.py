"""Settings: one table, read once by python-decouple into a frozen `Settings`.

A value comes from the environment, else from one file of `NAME=value` lines: `$CREDENTIALS_DIRECTORY/env` (systemd's
LoadCredential), else `.env` in the working directory, else `.env` beside the package. `python -m searchapi.config env` prints
`.env.example`, and `python -m searchapi.config docs` the table of docs/settings.md.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from decouple import Config, RepositoryEmpty, RepositoryEnv

from .checking import DocumentLimits
from .query.limits import Limits

CHECKOUT = Path(__file__).resolve().parent.parent
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SettingsError(Exception):
    """A setting that cannot be used: its name, its value and what was expected, in one line."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. default: as it would be typed. cast: text -> value, raising ValueError(what was expected).
    development: the default there, where it is another. secret: never shown."""

    name: str
    default: str
    cast: Callable[[str], Any]
    help: str
    development: str | None = None
    secret: bool = False

    def default_in(self, environment: str) -> str:
        return self.default if environment != "development" or self.development is None else self.development

    def read(self, text: str) -> Any:
        try:
            return self.cast(text.strip())
        except ValueError as error:
            shown = "not usable" if self.secret else f"{text!r}"
            raise SettingsError(f"{self.name} is {shown}, but it must be {error}.") from None


# --------------------------------------------------------------------------------------------------------- casts


def choice(*allowed: str) -> Callable[[str], str]:
    def cast(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text.lower()

    return cast


def integer(low: int, high: int) -> Callable[[str], int]:
    def cast(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return cast


def size(low: int = 1, high: int = 1 << 40) -> Callable[[str], int]:
    """Bytes: `1048576`, or with a binary unit, `1MiB`."""
    units = {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}

    def cast(text: str) -> int:
        number, unit = text[:-3].strip(), units.get(text[-3:].lower(), 0)
        if not unit:
            number, unit = text, 1
        if not (number.isascii() and number.isdigit() and low <= int(number) * unit <= high):
            raise ValueError(f"a number of bytes from {low} to {high}, as 1048576 or 1MiB")
        return int(number) * unit

    return cast


def folder(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("the path of a folder")
    return Path(text).expanduser()


def host(text: str) -> str:
    if not text or any(c.isspace() or c in "/@" for c in text):
        raise ValueError("an address or host name to listen on, as 127.0.0.1")
    return text


def engine_url(text: str) -> str:
    if text.startswith(("opensearch:", "http:", "https:")):
        raise ValueError("`embedded:`, for this release has no OpenSearch engine yet")
    if text != "embedded:":
        raise ValueError("`embedded:`")
    return text


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError("a fraction from 0 to 1, as 0.1")
    return value


def secret(text: str) -> str:
    if text and (len(text) < 32 or len(set(text)) < 10):
        raise ValueError("at least 32 random characters; `python -m searchapi keys secret` prints some")
    return text


def rate(text: str) -> str:
    """`600/minute`, in units of cost, or `off`."""
    if text.lower() != "off" and not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", text):
        raise ValueError("a number per second, minute, hour or day, as 600/minute, or off")
    return text.lower()


def origins(text: str) -> tuple[str, ...]:
    """`https://a.example, https://b.example:8443`, or `*`."""
    given = tuple(dict.fromkeys(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip()))
    for origin in given:
        if origin != "*" and not re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", origin):
            raise ValueError("origins with commas between, as https://www.example.com, https://example.com:8443, or *")
    return given


def redis_url(text: str) -> str:
    if text and not re.match(r"unix:///.|rediss?://[^/]", text):
        raise ValueError("unix:///run/redis/redis.sock, redis://127.0.0.1:6379/0 or rediss://user:password@host:6380/0, or empty")
    return text


def dsn(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^/@\s]+@[^/\s]+(/[^/\s]+)*/[0-9]+", text):
        raise ValueError("the DSN that Sentry shows for a project, as https://key@host/1, or empty")
    return text


def release(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._+@-]{0,100}", text):
        raise ValueError("letters, digits, `.`, `_`, `+`, `@` and `-`")
    return text


# --------------------------------------------------------------------------------------------------------- table

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "ENVIRONMENT",
        "development",
        choice("development", "staging", "production"),
        "`development` lets this machine search without a key; `staging` and `production` refuse what has no key.",
    ),
    Setting("DATA_DIR", "./var", folder, "Where documents and indexes live. In production: absolute, and outside the code."),
    Setting("ENGINE_URL", "embedded:", engine_url, "Which engine searches. `embedded:` is SQLite and tantivy in DATA_DIR."),
    Setting("HOST", "127.0.0.1", host, "The address Gunicorn listens on, where systemd hands it no socket."),
    Setting("PORT", "8000", integer(1, 65535), "The port Gunicorn listens on."),
    Setting("RELEASE", "", release, "Which release this is, for Sentry and /metrics; searchapi's version where it is empty."),
    Setting(
        "SECRET_KEY",
        "",
        secret,
        "API keys are hashed with it: another one makes them all useless. In development one is made in DATA_DIR.",
        secret=True,
    ),
    Setting("REQUIRE_KEYS", "true", boolean, "Whether searching needs a key. Everything else always does.", development="false"),
    Setting(
        "PROXY_HOPS",
        "1",
        integer(0, 5),
        "How many proxies of yours stand in front: each adds one address to X-Forwarded-For. 1 is Nginx alone.",
        development="0",
    ),
    Setting("CORS_ORIGINS", "", origins, "Origins whose pages may call the API, with commas between. Empty: none."),
    Setting(
        "REDIS_URL",
        "",
        redis_url,
        "Where rate limits are counted for all workers together; empty: each worker counts for itself.",
        secret=True,
    ),
    Setting(
        "RATE_LIMIT_PER_KEY", "6000/minute", rate, "What one key may cost, where it has no limit of its own. A search costs 1."
    ),
    Setting("RATE_LIMIT_PER_IP", "1200/minute", rate, "What one address may cost (an IPv6 /64 is one)."),
    Setting("RATE_LIMIT_BAD_KEYS", "20/minute", rate, "How often one address may come with a wrong key before it is told to wait."),
    Setting("WORKERS", "2", integer(1, 64), "Gunicorn's worker processes: one a core is a good start."),
    Setting("THREADS", "4", integer(1, 64), "Searches and reads that a worker answers at once."),
    Setting("WRITE_THREADS", "2", integer(1, 64), "Writes that a worker does at once."),
    Setting("STREAM_THREADS", "2", integer(1, 64), "Exports that a worker sends at once."),
    Setting(
        "MAX_WAITING",
        "8",
        integer(0, 1000),
        "Reads, and as many writes and exports, that may wait in a worker for their turn; the next one is answered 503.",
    ),
    Setting("MAX_WAIT_MS", "1000", integer(0, 60_000), "How long a request may wait for its turn before it is answered 503."),
    Setting("LOG_LEVEL", "info", choice("debug", "info", "warning", "error"), "The least severe level that is logged."),
    Setting("LOG_QUERIES", "hash", choice("hash", "clear"), "Whether the log holds what people searched for, or a hash of it."),
    Setting("LOG_SAMPLE", "1", fraction, "The share of requests answered with 2xx that are logged; all others are always."),
    Setting("SENTRY_DSN", "", dsn, "Where errors are reported; empty: nowhere.", secret=True),
    Setting("SENTRY_TRACES", "0", fraction, "The share of requests whose times are sent to Sentry."),
    Setting("MAX_BODY_BYTES", "32MiB", size(1024), "The longest request body, as it is sent."),
    Setting("MAX_UNPACKED_BYTES", "256MiB", size(1024), "What NDJSON as gzip may unpack to."),
    Setting("BODY_TIMEOUT_MS", "20000", integer(100, 600_000), "How long a request may take to arrive."),
    Setting("IDEMPOTENCY_HOURS", "24", integer(1, 720), "How long an Idempotency-Key is remembered."),
    Setting("MAX_DOCUMENT_BYTES", "1MiB", size(256, 64 << 20), "The longest document, and the longest other JSON body."),
    Setting("MAX_DOCUMENTS", "100000", integer(1, 10_000_000), "The most documents in one request."),
    Setting("MAX_NESTING", "20", integer(1, 100), "How deep the objects of a document may nest."),
    Setting("MAX_ARRAY", "10000", integer(1, 1_000_000), "The most elements of one array of a document."),
    Setting("MAX_FIELDS", "500", integer(1, 500), "The most fields of an index."),
    Setting("MAX_PAGE_SIZE", "1000", integer(1, 10_000), "The most hits or documents on one page."),
    Setting("MAX_PAGE", "1000", integer(1, 10_000), "The cap on `limit` + `offset` of a search; a cursor goes beyond it."),
    Setting("DEFAULT_LIMIT", "20", integer(1, 1000), "Hits on a page where a search does not say."),
    Setting("MAX_QUERY_LENGTH", "1000", integer(16, 10_000), "The longest `q`, in characters."),
    Setting("MAX_CLAUSES", "64", integer(1, 256), "The most words and phrases in `q`."),
    Setting("MAX_FILTER_LENGTH", "8000", integer(16, 100_000), "The longest `filter`, in characters."),
    Setting("MAX_FILTER_NODES", "200", integer(1, 2000), "The most conditions, NOTs, ANDs and ORs in a filter."),
    Setting("MAX_IN_VALUES", "1000", integer(1, 10_000), "The most values after IN in a filter."),
    Setting("MAX_FILTER_DEPTH", "20", integer(1, 100), "How deep parentheses and NOTs of a filter may nest."),
    Setting("MAX_FACETS", "20", integer(1, 100), "The most facets in one search."),
    Setting("MAX_FACET_VALUES", "1000", integer(1, 10_000), "The most values that one facet may answer."),
    Setting("MAX_FACET_RANGES", "50", integer(1, 1000), "The most ranges of one facet."),
    Setting("MAX_SORT_FIELDS", "5", integer(1, 16), "The most fields to sort by."),
    Setting("MAX_SNIPPET_LENGTH", "2000", integer(16, 100_000), "The longest snippet, in characters."),
    Setting("MAX_SUGGESTIONS", "50", integer(1, 1000), "The most suggestions in one answer."),
    Setting("DEFAULT_TIMEOUT_MS", "1000", integer(1, 600_000), "How long a search may take where it does not say."),
    Setting("MAX_TIMEOUT_MS", "10000", integer(1, 600_000), "The longest `timeout_ms` that a search may ask for."),
    Setting("WAIT_TIMEOUT_MS", "10000", integer(1, 25_000), "How long `refresh=wait_for` waits for the index to catch up."),
    Setting("MIN_FREE_BYTES", "256MiB", size(0), "`check` warns when the disk of DATA_DIR has less free."),
)

_NAMES = frozenset(s.name for s in SETTINGS)
_Values = make_dataclass(
    "_Values",
    [(s.name.lower(), Any, field()) for s in SETTINGS],
    frozen=True,
    kw_only=True,
)


class Settings(_Values):
    """One attribute a row of SETTINGS, in lower case: `settings.data_dir`. `Settings(port=9000)` takes the defaults else, those
    of its environment."""

    def __init__(self, **given: Any):
        environment = given.get("environment", "development")
        defaults = {s.name.lower(): s.cast(s.default_in(environment)) for s in SETTINGS if s.name.lower() not in given}
        super().__init__(**defaults, **given)

    @cached_property
    def limits(self) -> Limits:
        """The bounds that requests are checked against."""
        shared = {name: getattr(self, name) for name in Limits.__dataclass_fields__ if hasattr(self, name)}
        return Limits(**shared)

    @cached_property
    def document_limits(self) -> DocumentLimits:
        """The bounds that documents are checked against."""
        return DocumentLimits(**{name: getattr(self, name) for name in DocumentLimits.__dataclass_fields__})

    @property
    def development(self) -> bool:
        return self.environment == "development"


# ------------------------------------------------------------------------------------------------------- reading


def env_file() -> Path | None:
    """The file that settings are read from, or None."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    places = [Path(credentials, "env")] if credentials else []
    places += [Path.cwd() / ".env", CHECKOUT / ".env"]
    return next((place for place in places if place.is_file()), None)


def _repository(path: Path | None) -> RepositoryEmpty:
    try:
        return RepositoryEnv(str(path)) if path else RepositoryEmpty()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from None


def load(path: Path | None = None) -> Settings:
    """The settings of the environment and of one file: `path`, else `env_file()`. Raises SettingsError, which names all that
    cannot be read."""
    config = Config(_repository(path or env_file()))
    values, faults = {}, []
    for s in SETTINGS:  # ENVIRONMENT is the first, and drives the defaults of the others
        try:
            values[s.name.lower()] = config(s.name, default=s.default_in(values.get("environment", "production")), cast=s.read)
        except SettingsError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError(" ".join(faults))
    return Settings(**values)


# -------------------------------------------------------------------------------------------------------- checks


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
    s = settings
    data = s.data_dir.absolute()
    loopback = s.host in LOOPBACK
    rules: list[tuple[bool, str, str, str]] = [
        (
            s.development and not s.require_keys and not loopback,
            "HOST",
            "error",
            f"is {s.host}, but searching without keys is for the loopback address alone; use 127.0.0.1, or REQUIRE_KEYS=true",
        ),
        (
            not s.development and not s.require_keys,
            "REQUIRE_KEYS",
            "error",
            f"is false, but {s.environment} never answers without a key; leave it out",
        ),
        (
            not s.development and not s.secret_key,
            "SECRET_KEY",
            "error",
            f"is empty, but {s.environment} needs one; `python -m searchapi keys secret` prints one",
        ),
        (
            not s.development and s.proxy_hops == 0,
            "PROXY_HOPS",
            "error",
            f"is 0, but in {s.environment} Nginx stands in front, and every client would share its address",
        ),
        (
            s.environment == "production" and "*" in s.cors_origins,
            "CORS_ORIGINS",
            "error",
            "is *, but in production the pages that may call the API are named, as https://www.example.com",
        ),
        (
            not s.development and not s.redis_url and s.workers > 1 and {s.rate_limit_per_key, s.rate_limit_per_ip} != {"off"},
            "REDIS_URL",
            "warning",
            f"is empty, so each of the {s.workers} workers counts rate limits for itself",
        ),
        (
            s.environment == "production" and not loopback,
            "HOST",
            "error",
            f"is {s.host}, but in production Nginx stands in front and Gunicorn listens on 127.0.0.1 or a unix socket",
        ),
        (
            s.environment == "production" and not s.data_dir.is_absolute(),
            "DATA_DIR",
            "error",
            f"is {s.data_dir}, but in production it must be absolute: /var/lib/searchapi",
        ),
        (
            s.environment == "production" and data.is_relative_to(CHECKOUT),
            "DATA_DIR",
            "error",
            f"is {data}, inside the code, where the next release would not find it; use /var/lib/searchapi",
        ),
        (s.environment == "production" and s.log_queries == "clear", "LOG_QUERIES", "warning", "writes what people search for"),
        (s.environment == "production" and s.log_level == "debug", "LOG_LEVEL", "warning", "is debug: many lines a request"),
        (s.default_limit > s.max_page, "DEFAULT_LIMIT", "error", f"is {s.default_limit}, above MAX_PAGE, {s.max_page}"),
        (
            s.default_timeout_ms > s.max_timeout_ms,
            "DEFAULT_TIMEOUT_MS",
            "error",
            f"is {s.default_timeout_ms}, above MAX_TIMEOUT_MS, {s.max_timeout_ms}",
        ),
        (
            s.max_document_bytes > s.max_body_bytes,
            "MAX_DOCUMENT_BYTES",
            "error",
            f"is {s.max_document_bytes}, above MAX_BODY_BYTES, {s.max_body_bytes}",
        ),
    ]
    return [Check(name, level, detail) for broken, name, level, detail in rules if broken]


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
    for name in getattr(_repository(path), "data", {}):
        if name not in _NAMES and (near := difflib.get_close_matches(name, _NAMES, 1)):
            found.append(Check(name, "warning", f"in {path} is not a setting; did you mean {near[0]}?"))
    return [*found, _data_check(settings.data_dir), _space_check(settings)]


def _shown(setting: Setting, value: Any) -> str:
    if setting.secret and value:
        return "set"
    if isinstance(value, tuple):
        value = ", ".join(value)
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


# ------------------------------------------------------------------------------------------------------ printing


def example() -> str:
    """The text of `.env.example`: every setting with its default, commented out."""
    head = "# Settings of searchapi. Copy to .env and uncomment what should differ from its default.\n"
    return head + "".join(f"\n# {s.help}{_in_development(s)}\n# {s.name}={s.default}\n" for s in SETTINGS)


def table() -> str:
    """The table of docs/settings.md."""
    rows = "".join(f"| `{s.name}` | {_code(s.default)} | {s.help}{_in_development(s)} |\n" for s in SETTINGS)
    return f"| Setting | Default | |\n|---|---|---|\n{rows}"


def _in_development(setting: Setting) -> str:
    return "" if setting.development is None else f" In development: `{setting.development}`."


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def main(arguments: list[str]) -> int:
    printers = {"env": example, "docs": table}
    if len(arguments) != 1 or arguments[0] not in printers:
        print("usage: python -m searchapi.config env|docs", file=sys.stderr)
        return 2
    print(printers[arguments[0]](), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
