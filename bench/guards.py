"""Guards: the search route with all of them and with none against the no-op route, and with one after another against none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from .corpora import Corpus, Unavailable, packages, stdlib
from .figures import Aim, Pair, compared
from .load import load
from .options import Options
from .queries import Words, draw, paths
from .redis import redis
from .servers import Server, beside, bodies, free_port, running, started
from .serving import answered
from .table import Part, Row

CLIENTS = 8
AIMS = {"python": Aim(">=", 0.30), "packages": Aim(">=", 0.20)}

# Never reached here, and as many a second as the default for a key is a minute: a piece that a worker leases in Redis is as small.
RATE = "6000/second"
RATES = {"RATE_LIMIT_PER_KEY": RATE, "RATE_LIMIT_PER_IP": RATE}
ORIGIN = "http://localhost:3000"
ALWAYS = ("metrics", "admission", "ratelimit")  # modules that no setting switches off

KEY = {"REQUIRE_KEYS": "true"}
CORS = {"CORS_ORIGINS": f"{ORIGIN},https://www.example.com"}
NONE = {"RATE_LIMIT_PER_KEY": "off", "RATE_LIMIT_PER_IP": "off", "LOG_SAMPLE": "0"}


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server with some guards. without: modules of ALWAYS that are taken out. headers: sent with every search; `key` sends the
    key as well, `redis` counts in Redis."""

    what: str
    settings: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ALWAYS
    headers: Mapping[str, str] = field(default_factory=dict)
    key: bool = False
    redis: bool = False


def every(dead_dsn: str) -> Guarded:
    """What production has. dead_dsn: of a Sentry that is not there."""
    settings = {**RATES, **CORS, "ENVIRONMENT": "production", "SENTRY_DSN": dead_dsn, "LOG_SAMPLE": "1"}
    return Guarded("all guards", settings, (), {"X-Forwarded-For": "203.0.113.7"}, key=True, redis=True)


def one_by_one(dead_dsn: str) -> tuple[Guarded, ...]:
    def less(name: str) -> tuple[str, ...]:
        return tuple(other for other in ALWAYS if other != name)

    return (
        Guarded("a key", KEY, key=True),
        Guarded("a key, its limit and that of the address in memory", KEY | RATES, less("ratelimit"), key=True),
        Guarded("a key, its limit and that of the address in Redis", KEY | RATES, less("ratelimit"), key=True, redis=True),
        Guarded("admission", without=less("admission")),
        Guarded("metrics", without=less("metrics")),
        Guarded("CORS, without Origin", CORS),
        Guarded("CORS, with Origin", CORS, headers={"Origin": ORIGIN}),
        Guarded("a line of the log", {"LOG_SAMPLE": "1"}),
        Guarded("Sentry, traces of a tenth", {"SENTRY_DSN": dead_dsn, "SENTRY_TRACES": "0.1"}),
    )


def dead_dsn() -> str:
    return f"http://nobody@127.0.0.1:{free_port()}/1"


def guards(options: Options, say) -> Part:
    notes = [
        "Ours: requests/s of searches for exact words with 10 hits at 8 clients. The first two rows of a corpus: against the no-op "
        "route. The others: with these guards against none.",
        "",
    ]
    rows: list[Row] = []
    with ExitStack() as stack:
        try:
            url = stack.enter_context(redis())
        except Unavailable as error:
            url = ""
            notes.append(f"- Redis: left out, because {error}.")
        for collect in (stdlib, packages):
            try:
                corpus = collect(options.documents)
            except Unavailable as error:
                notes.append(f"- Debian packages: skipped, because {error}.")
                continue
            with running() as (ours, floor, _):
                say(f"{corpus.title}: indexing {len(corpus.documents):,} documents")
                ours.create(corpus.name, corpus.settings)
                ours.load(corpus.name, bodies(corpus.documents))
                rows += _corpus(corpus, ours, floor, url, options, notes, say)
    return Part("guards", rows, notes)


def _corpus(corpus: Corpus, ours: Server, floor: Server, redis_url: str, options: Options, notes: list[str], say) -> Iterator[Row]:
    listed = paths(corpus.name, draw(Words.of(corpus.documents, corpus.settings), "exact", options.queries))
    dsn = dead_dsn()

    def row(what: str, pairs: list[Pair], aim: Aim | None = None) -> Row:
        return Row(what, corpus.title, "requests/s", compared(pairs), aim)

    with started(server(ours, Guarded("no guards"), redis_url)) as bare:
        notes.append(f"- {corpus.described()}; {answered(bare, listed)}")
        for guarded in (every(dsn), *one_by_one(dsn)):
            if guarded.redis and not redis_url:
                continue
            say(f"{corpus.title}: {guarded.what}")
            with started(server(ours, guarded, redis_url)) as one:
                answered(one, listed)  # its own workers have opened the index then
                sides = [(one, listed), (bare, listed)]
                if not guarded.without:
                    sides.insert(1, (floor, ["/"]))
                rounds = [[rate(side, asked, options) for side, asked in sides] for _ in range(options.rounds)]
            if not guarded.without:
                yield row("all guards, against the no-op route", [Pair(a, no) for a, no, _ in rounds], AIMS.get(corpus.name))
                yield row("no guards, against the no-op route", [Pair(b, no) for _, no, b in rounds])
            yield row(guarded.what, [Pair(found[0], found[-1]) for found in rounds])


def server(first: Server, guarded: Guarded, redis_url: str) -> Server:
    """One with these guards, on the data folder of the first."""
    app = "bench.bare:app" if guarded.without else "searchapi.wsgi:app"
    settings = NONE | dict(guarded.settings) | {"BENCH_WITHOUT": ",".join(guarded.without)}
    if guarded.redis:
        settings["REDIS_URL"] = redis_url
    headers = dict(guarded.headers) | (first.headers if guarded.key else {})
    return beside(first, app, headers, settings)


def rate(one: Server, listed: list[str], options: Options) -> float:
    return load(one.base, listed, CLIENTS, options.seconds, one.headers).per_second
