"""What each guard costs a request: `python -m bench.costs` prints it in µs of CPU, measured in this process, without sockets.

The route is the search's, but its view answers at once, so that only the way to it is measured. Each figure is the mean over a
batch of requests; of all batches the fastest, because other work on the machine only makes them slower. The batches of all lines go
by turns.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from searchapi.metricfiles import MetricFiles

BATCH = 100  # requests


def microseconds(calls: dict[str, Callable[[], bytes]], rounds: int) -> dict[str, float]:
    """Of one request of each, in CPU time of this thread."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.thread_time()
            for _ in range(BATCH):
                call()
            best[name] = min(best[name], (time.thread_time() - started) / BATCH * 1e6)
    return best


@contextmanager
def counting_in_files() -> Iterator[None]:
    """As Gunicorn's workers do; prometheus_client looks for it when it is imported."""
    files = MetricFiles()
    try:
        yield
    finally:
        files.remove()


def measured(rounds: int) -> Iterator[str]:
    from . import noop
    from .corpora import Unavailable
    from .guards import Guarded, dead_dsn, every, one_by_one
    from .profile import called, forget_log
    from .redis import redis

    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="searchapi-bench-")))
        try:
            url = stack.enter_context(redis())
        except Unavailable as error:
            url = ""
            yield f"without Redis: {error}"
        dsn = dead_dsn()
        lines = [guarded for guarded in (Guarded("no guards"), *one_by_one(dsn), every(dsn)) if url or not guarded.redis]
        forget_log()
        calls = {"no-op": called(noop.app, "/")}
        calls |= {guarded.what: request(guarded, data, url, stack) for guarded in lines}
        for call in calls.values():
            call()
        gc.collect()
        gc.freeze()  # as in a worker
        found = microseconds(calls, rounds)
    yield f"a request of the no-op application: {found['no-op']:.1f} µs"
    none = found["no guards"]
    yield f"a search without guards, less the search: {none:.1f} µs"
    for guarded in lines[1:]:
        yield f"  {guarded.what}: + {found[guarded.what] - none:.1f} µs"


def request(guarded, data: Path, redis_url: str, stack: ExitStack) -> Callable[[], bytes]:
    """What makes one request to an application with these guards. The data folder gets a key where it needs one."""
    from flask import Response

    from searchapi import config, logs
    from searchapi.app import create_app
    from searchapi.engines import open_engine
    from searchapi.keystore import SCOPES

    from .bare import stripped
    from .guards import NONE
    from .profile import called

    texts = (
        NONE | dict(guarded.settings) | {"DATA_DIR": str(data), "SECRET_KEY": "a key for the tests of speed, and of nothing else"}
    )
    if guarded.redis:
        texts["REDIS_URL"] = redis_url
    settings = config.Settings(**{s.name.lower(): s.read(texts[s.name]) for s in config.SETTINGS if s.name in texts})
    engine, system = open_engine(settings)
    stack.callback(engine.close)
    app = stripped(create_app(settings, engine, system), guarded.without)

    def answer(index: str) -> Response:
        logs.note(q="list items ", hits=10, engine_ms=0.5)
        return Response(b"{}", content_type="application/json")

    app.view_functions["search.search_get"] = answer
    headers = dict(guarded.headers)
    if guarded.key:
        text = app.extensions["searchapi"].keys.create(SCOPES, ("*",), "2026-01-01T00:00:00.000Z")[1]
        headers["Authorization"] = f"Bearer {text}"
    return called(app, "/v1/indexes/python/search?q=list+items&limit=10", headers)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.costs", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=150, metavar="N", help=f"of {BATCH} requests of each")
    asked = parser.parse_args(given)
    with counting_in_files():
        for line in measured(asked.rounds):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
