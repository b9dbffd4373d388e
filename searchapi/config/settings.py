"""The table of settings, and what is read by it: `SETTINGS`, `Settings`, `load`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from decouple import Config, RepositoryEmpty, RepositoryEnv

from ..checking import DocumentLimits
from ..query.limits import Limits
from .casts import (
    boolean,
    choice,
    dsn,
    engine_shown,
    engine_url,
    folder,
    fraction,
    host,
    integer,
    origins,
    rate,
    redis_url,
    release,
    secret,
    size,
)

CHECKOUT = Path(__file__).resolve().parent.parent.parent


class SettingsError(Exception):
    """A setting that cannot be used: its name, its value and what was expected, in one line."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. default: as it would be typed. cast: text -> value, raising ValueError(what was expected).
    development: the default there, where it is another. secret: never shown. shown: what may be seen, where a part is secret."""

    name: str
    default: str
    cast: Callable[[str], Any]
    help: str
    development: str | None = None
    secret: bool = False
    shown: Callable[[str], str | None] | None = None

    def default_in(self, environment: str) -> str:
        return self.default if environment != "development" or self.development is None else self.development

    def visible(self, text: str) -> str | None:
        """What may be seen of its text; None where that is nothing."""
        if self.secret:
            return None
        return text if self.shown is None else self.shown(text)

    def read(self, text: str) -> Any:
        try:
            return self.cast(text.strip())
        except ValueError as error:
            shown = self.visible(text)
            raise SettingsError(
                f"{self.name} is {'not usable' if shown is None else repr(shown)}, but it must be {error}."
            ) from None


# --------------------------------------------------------------------------------------------------------- table

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "ENVIRONMENT",
        "development",
        choice("development", "staging", "production"),
        "`development` lets this machine search without a key; `staging` and `production` refuse what has no key.",
    ),
    Setting("DATA_DIR", "./var", folder, "Where documents and indexes live. In production: absolute, and outside the code."),
    Setting(
        "ENGINE_URL",
        "embedded:",
        engine_url,
        "Which engine searches. `embedded:` is SQLite and tantivy in DATA_DIR; `opensearch://user:password@h1:9200,h2:9200/prefix`"
        " is an OpenSearch cluster, `opensearchs://` one over TLS.",
        shown=engine_shown,
    ),
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
    Setting(
        "BODY_TIMEOUT_MS",
        "20000",
        integer(100, 600_000),
        "How long a request may take to arrive, and a client to take each 256 KiB of its answer.",
    ),
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


def repository(path: Path | None) -> RepositoryEmpty:
    try:
        return RepositoryEnv(str(path)) if path else RepositoryEmpty()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from None


def load(path: Path | None = None) -> Settings:
    """The settings of the environment and of one file: `path`, else `env_file()`. Raises SettingsError, which names all that
    cannot be read."""
    config = Config(repository(path or env_file()))
    values, faults = {}, []
    for s in SETTINGS:  # ENVIRONMENT is the first, and drives the defaults of the others
        try:
            values[s.name.lower()] = config(s.name, default=s.default_in(values.get("environment", "production")), cast=s.read)
        except SettingsError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError(" ".join(faults))
    return Settings(**values)
