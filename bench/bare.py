"""searchapi without the guards that no setting switches off: what others are compared with. BENCH_WITHOUT names their modules."""

from __future__ import annotations

import os
from collections.abc import Collection

from flask import Flask


def stripped(app: Flask, without: Collection[str]) -> Flask:
    """The application less what these modules of searchapi hang before and after its requests. Raises LookupError for one that
    hangs nothing there: a benchmark of it would compare nothing."""
    for name in without:
        removed = 0
        for hooks in (app.before_request_funcs, app.after_request_funcs):
            every = hooks.get(None, [])
            kept = [hook for hook in every if hook.__module__ != f"searchapi.{name}"]
            removed += len(every) - len(kept)
            hooks[None] = kept
        if not removed:
            raise LookupError(f"searchapi.{name} does nothing before or after requests")
    return app


def __getattr__(name: str) -> Flask:
    """`bench.bare:app`, for Gunicorn."""
    if name != "app":
        raise AttributeError(name)
    from searchapi.wsgi import app

    globals()["app"] = stripped(app, os.environ["BENCH_WITHOUT"].split(","))
    return app
