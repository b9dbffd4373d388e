"""Which web pages may call the API from a browser (flask-cors): those of CORS_ORIGINS, and where that is empty, none.

Pages send their key in `Authorization`; cookies play no part, so credentials are never allowed. Errors have the headers as well,
or a page could not read why it was refused. A preflight needs no key.
"""

from __future__ import annotations

import re

from flask import Flask, Response, request
from flask_cors.core import get_cors_options, set_cors_headers

from .config import Settings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SENT = ("Authorization", "Content-Type", "Content-Encoding", "If-Match", "If-None-Match", "Idempotency-Key", "X-Request-ID")
READ = ("X-Request-ID", "RateLimit", "RateLimit-Policy", "Retry-After", "ETag", "Location", "Idempotency-Replayed")
PREFLIGHT_SECONDS = 600  # that a browser may remember what it was allowed; Chrome does not go beyond 7200


def init_app(app: Flask, settings: Settings) -> None:
    everybody = "*" in settings.cors_origins
    if not settings.cors_origins:
        return
    options = get_cors_options(
        app,
        {
            # Compiled, because flask-cors takes `http://[::1]:3000` for a pattern.
            "origins": "*" if everybody else [re.compile(re.escape(o) + r"\Z", re.IGNORECASE) for o in settings.cors_origins],
            "methods": METHODS,
            "allow_headers": SENT,
            "expose_headers": READ,
            "max_age": PREFLIGHT_SECONDS,
            "send_wildcard": everybody,
            "always_send": False,
            "vary_header": False,
        },
    )

    @app.after_request
    def allow(response: Response) -> Response:
        # Not flask-cors's own hook: that one takes its time with requests that no page sent.
        if "HTTP_ORIGIN" in request.environ:
            set_cors_headers(response, options)
        if not everybody:
            # On every answer: a cache must give the one without CORS headers to no page, whoever asked for it first.
            response.headers.add("Vary", "Origin")
        return response
