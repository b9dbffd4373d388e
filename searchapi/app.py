"""The application: everything that is wired, in the order in which it happens to a request."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface

from . import (
    address,
    admission,
    auth,
    config,
    cors,
    guard,
    idempotency,
    incoming,
    logs,
    metrics,
    problems,
    ratelimit,
    requestlog,
    routes,
    sentry,
)
from .config import Settings
from .engines import open_engine
from .engines.base import Engine, SystemStore
from .keystore import KeyStore
from .search import SearchService
from .secretkey import secret_key
from .services import Services


def create_app(settings: Settings | None = None, engine: Engine | None = None, system: SystemStore | None = None) -> Flask:
    """The Flask application. Without settings they are read; without an engine it is opened, so call this after the fork.
    Raises SettingsError, and EngineUnavailable where the engine cannot be opened."""
    settings = settings or config.load()
    config.require_safe(settings)
    secret = secret_key(settings)
    logs.configure(settings, secret.decode(errors="replace"))
    sentry.init(settings)
    if engine is None or system is None:
        engine, system = open_engine(settings)

    app = Application("searchapi", static_folder=None, template_folder=None)
    app.session_interface = NoSessions()
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    keys = KeyStore(secret, system)
    app.extensions["searchapi"] = Services(settings, engine, system, keys, SearchService(engine, settings.limits))

    incoming.init_app(app)
    address.init_app(app, settings.proxy_hops)
    register_routes(app)
    guard.init_app(app)
    idempotency.init_app(app)
    problems.init_app(app)
    # What happens before a request is answered, in this order; what happens after it, in the reverse.
    requestlog.init_app(app, settings, secret)
    cors.init_app(app, settings)
    sentry.init_app(app, settings)
    metrics.init_app(app, settings)
    auth.init_app(app, on_refusal=ratelimit.refused)
    ratelimit.init_app(app, settings)
    admission.init_app(app, settings)
    return app


class Application(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Nothing here is a coroutine; Flask would look at each function again with every request."""
        return func


class NoSessions(SessionInterface):
    """Flask makes an object of its session for each request; nothing here has sessions."""

    none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self.none


def register_routes(app: Flask) -> None:
    """Every module of `routes/` defines `bp`."""
    for found in sorted(pkgutil.iter_modules(routes.__path__), key=lambda module: module.name):
        app.register_blueprint(importlib.import_module(f"{routes.__name__}.{found.name}").bp)
