"""`indexer`: the process that carries documents into the search index."""

from __future__ import annotations

import signal
import threading

import click

from .. import config


@click.command()
def indexer() -> None:
    """Carry written documents into the search index, and do tasks, until SIGTERM or Ctrl-C. Several may run: one works, the others
    wait. OpenSearch indexes by itself; there it does the tasks."""
    from .. import logs, sentry
    from ..engines import open_worker

    settings = config.load()
    config.require_safe(settings)
    logs.configure(settings)
    logs.last_resort()
    sentry.init(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    open_worker(settings).run(stop)
