"""The floor: a bare Flask application with one route that does nothing. Gunicorn runs it as it runs searchapi."""

from __future__ import annotations

from flask import Flask, Response

app = Flask(__name__, static_folder=None)


@app.get("/")
def noop() -> Response:
    return Response(b"{}", content_type="application/json")
