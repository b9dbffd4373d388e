"""What bounds a row: `python -m bench.profile "json decoder "` shows where the time of one search goes, in this process.

The application is called as Gunicorn calls it, without sockets. First the plain times, then cProfile's list of functions, whose
own cost inflates small Python functions: its order says where to look, the plain times say what was gained.
`--indexing` shows the way of documents instead: from NDJSON to the store, and from the store to the index.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.engines.embedded.indexer import Indexer
from searchapi.ndjson import read_documents
from searchapi.writes import write_batch

from . import noop
from .corpora import Corpus, Unavailable, packages, stdlib
from .inprocess import Searches
from .servers import bodies

CORPORA = {"python": stdlib, "packages": packages}


def called(app: Any, address: str, headers: Mapping[str, str] | None = None) -> Callable[[], bytes]:
    """One request to a WSGI application, as Gunicorn makes it."""
    path, _, query = address.partition("?")
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "RAW_URI": address,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()},
    }

    def call() -> bytes:
        answer = app.wsgi_app(dict(environ), lambda status, headers, failure=None: None)
        try:
            return b"".join(answer)
        finally:
            answer.close()

    return call


def microseconds(call: Callable[[], Any], times: int) -> float:
    """The median CPU time of single calls, and none of the first ones: other work on the machine changes it little."""
    for _ in range(min(20, times)):
        call()
    taken = []
    for _ in range(times):
        started = time.thread_time()
        call()
        taken.append(time.thread_time() - started)
    return statistics.median(taken) * 1e6


def profiled(call: Callable[[], Any], times: int, top: int, order: str) -> str:
    """cProfile's functions by `order`."""
    profile, text = cProfile.Profile(time.thread_time), io.StringIO()
    profile.enable()
    for _ in range(times):
        call()
    profile.disable()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats(order).print_stats(top)
    return text.getvalue()


def indexed(corpus: Corpus, folder: Path) -> EmbeddedEngine:
    """The corpus in a new data folder, searchable."""
    engine = EmbeddedEngine(folder)
    engine.create_index(corpus.name, corpus.settings)
    store(engine, corpus)
    index(folder)
    return engine


def store(engine: EmbeddedEngine, corpus: Corpus) -> None:
    for body in bodies(corpus.documents):
        items = read_documents(io.BytesIO(body), "application/x-ndjson")
        write_batch(engine, corpus.name, "put", items, corpus.settings.primary_key)


def index(folder: Path) -> None:
    indexer = Indexer(folder)
    try:
        while indexer.step():
            pass
    finally:
        indexer.close()


def forget_log() -> None:
    """Lines are made and written as in production, and nothing keeps them."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    status = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"


def search(corpus: Corpus, folder: Path, asked: argparse.Namespace) -> str:
    engine = indexed(corpus, folder)
    forget_log()
    app = create_app(Settings(data_dir=folder, rate_limit_per_ip="off"), engine, engine.system)
    address = f"/v1/indexes/{corpus.name}/search?{urlencode({'q': asked.query, 'limit': 10})}{asked.parameters}"
    call, searches = called(app, address), Searches(engine, corpus.name)
    answer = searches.answer(address)
    own = microseconds(lambda: searches.answer(address), asked.times)
    whole, floor = microseconds(call, asked.times), microseconds(called(noop.app, "/"), asked.times)
    return (
        f"{address}\n{answer.total} found, {len(answer.hits)} hits, {len(call()):,} bytes\n"
        f"whole request {whole:.0f} µs, in the service {own:.0f} µs, no-op request {floor:.0f} µs, "
        f"ours beside both {whole - own - floor:.0f} µs\n" + profiled(call, asked.times, asked.top, asked.order)
    )


def documents(corpus: Corpus, folder: Path, asked: argparse.Namespace) -> str:
    engine = EmbeddedEngine(folder)
    engine.create_index(corpus.name, corpus.settings)
    return "\n".join(
        f"{what}, {len(corpus.documents):,} documents\n{profiled(call, 1, asked.top, asked.order)}"
        for what, call in (("into the store", lambda: store(engine, corpus)), ("into the index", lambda: index(folder)))
    )


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__.partition("\n")[0])
    parser.add_argument("query", nargs="?", default="json decoder ", help="with a blank at its end the last word is no prefix")
    parser.add_argument("--corpus", choices=CORPORA, default="python")
    parser.add_argument("--parameters", default="", help='more of the address, as "&facets=kind"')
    parser.add_argument("--indexing", action="store_true", help="documents instead of a search")
    parser.add_argument("--times", type=int, default=500, help="searches")
    parser.add_argument("--documents", type=int, help="of the corpus, at most")
    parser.add_argument("--top", type=int, default=35, help="functions to list")
    parser.add_argument("--order", default="tottime", choices=("tottime", "cumtime", "ncalls"))
    asked = parser.parse_args(given)
    try:
        corpus = CORPORA[asked.corpus](asked.documents)
    except Unavailable as error:
        print(f"bench.profile: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="searchapi-bench-") as folder:
        print((documents if asked.indexing else search)(corpus, Path(folder), asked))
    return 0


if __name__ == "__main__":
    sys.exit(main())
