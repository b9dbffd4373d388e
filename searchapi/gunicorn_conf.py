"""Gunicorn's settings: `gunicorn -c python:searchapi.gunicorn_conf searchapi.wsgi:app`.

Gunicorn takes every name here that is a setting of its own, so that none may be called `config`.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from searchapi import logs
from searchapi.config import SettingsError, load, require_safe
from searchapi.metricfiles import MetricFiles

try:
    settings = load()
    require_safe(settings)
except SettingsError as error:
    sys.exit(f"{'<2>' if logs.to_journald() else ''}searchapi cannot start: {error}")

logs.configure(settings)
logs.last_resort()

bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
worker_class = "searchapi.worker.Worker"
workers = settings.workers
# A thread for each turn (admission.py), for each place in the three lines for them, for each request that has stepped aside, and a
# few that are always free to answer /health and to refuse. Gunicorn starts one only when all others have something to do.
threads = settings.threads + settings.write_threads + settings.stream_threads + 4 * settings.max_waiting + 4
preload_app = False  # the engine must be opened after the fork
control_socket_disable = True  # a user without a home cannot have one
graceful_timeout = 30
timeout = 60
keepalive = 75
limit_request_line = 8190
forwarder_headers = ""  # else anybody's SCRIPT_NAME would be believed, and one that does not fit answered 500
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a slow disk must not make a worker look dead
accesslog = None  # requestlog.py writes a line a request
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "searchapi.logs.Lines"}},
    "filters": {"queries": {"()": "searchapi.logs.WithoutQueries"}},
    "loggers": {
        "gunicorn.error": {
            "level": settings.log_level.upper(),
            "handlers": ["stderr"],
            "filters": ["queries"],
            "propagate": False,
        }
    },
    "root": {"level": "WARNING", "handlers": ["stderr"]},
}


def on_starting(server) -> None:
    try:
        server.metric_files = MetricFiles()
    except OSError as error:
        sys.exit(f"searchapi cannot start: the files of its metrics cannot be made: {error}")


def child_exit(server, worker) -> None:
    server.metric_files.died(worker.pid, set(server.WORKERS))


def on_exit(server) -> None:
    server.metric_files.remove()


def post_worker_init(worker) -> None:
    """What was loaded at the start lives as long as the worker: the garbage collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def worker_exit(server, worker) -> None:
    """What a worker has in memory alone is written before it ends."""
    if loaded := sys.modules.get("searchapi.wsgi"):  # it is missing where it failed; the worker's own `wsgi` may be wrapped
        loaded.app.extensions["searchapi"].keys.close()
