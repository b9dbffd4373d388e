"""Secrets planted in every input are in no answer, no line of the log and no event for Sentry, unless they were put as data."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import sentry_sdk
from flask import Flask
from werkzeug.test import TestResponse

from searchapi import keytext, logs
from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.keystore import SCOPES, KeyStore
from tests.keys import CREATED
from tests.sentryserver import Sentry

from .conftest import API

SECRET_KEY = 'planted/secret "key" of the settings 0123456789'
REDIS_PASSWORD = "planted-redis-password"
ENGINE_PASSWORD = "planted-engine-password"
ANOTHER_KEY = keytext.written("4fJ0aZ71Qw2x", "plantedKEY0123456789ABCDEFGHIJKL")
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJwbGFudGVkIjoiSldUIn0.plantedJWTplantedJWTplantedJWT"  # pragma: allowlist secret
WORD = "planted word"  # what no shape tells from other text: it must not be taken along at all
ALWAYS = (SECRET_KEY, REDIS_PASSWORD, ENGINE_PASSWORD, ANOTHER_KEY[16:], JWT[21:])


@dataclass
class Site:
    api: API
    app: Flask
    sentry: Sentry
    answers: list[bytes] = field(default_factory=list)

    def ask(self, method: str, path: str, **rest) -> TestResponse:
        with self.api.raw(method, path, **rest) as response:
            self.answers.append(str(response.headers).encode() + response.get_data())
        return response

    def routes(self) -> Iterator[tuple[str, str]]:
        """(method, the rule as a path with `{}` for each name in it)"""
        for rule in self.app.url_map.iter_rules():
            path = "".join(text if not dynamic else "{}" for dynamic, text in rule._trace).partition("|")[2]
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield method, path

    def logged(self, capfd) -> str:
        return capfd.readouterr().err

    def reported(self) -> str:
        sentry_sdk.get_client().flush(10)
        return b"".join(self.sentry.raw).decode()


@pytest.fixture
def site(tmp_path: Path, capfd) -> Iterator[Site]:
    system = SystemDatabase(tmp_path)
    engine = EmbeddedEngine(tmp_path, system)
    with socket.create_server(("127.0.0.1", 0)) as nothing:
        port = nothing.getsockname()[1]
    with Sentry() as sentry:
        settings = Settings(
            environment="production",
            data_dir=tmp_path,
            secret_key=SECRET_KEY,
            engine_url=f"opensearch://planted-user:{ENGINE_PASSWORD}@127.0.0.1/x",  # for what is said; another one is used
            redis_url=f"redis://planted-user:{REDIS_PASSWORD}@127.0.0.1:{port}/0",
            sentry_dsn=sentry.dsn,
            sentry_traces=0.2,
            cors_origins=("https://shop.example",),
            rate_limit_bad_keys="off",
            rate_limit_per_ip="off",
        )
        app = create_app(settings, engine, system)
        key = KeyStore(SECRET_KEY.encode(), system).create(SCOPES, ("*",), CREATED)[1]
        yield Site(API(app.test_client(), key), app, sentry)
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)
    logs.configure(Settings())
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logs.Lines)]
    engine.close()


class Broken:
    """An engine of which nothing works, and that says what it should not."""

    def __getattr__(self, name: str):
        raise RuntimeError(
            f"broken, with {ANOTHER_KEY}, {JWT}, {SECRET_KEY}, redis://x:{REDIS_PASSWORD}@y, {ENGINE_PASSWORD}, Cookie: a={WORD}"
        )


HEADERS = """X-Request-ID User-Agent Cookie Referer Idempotency-Key If-Match If-None-Match Origin Accept X-Api-Key Range
    X-Forwarded-For Forwarded Accept-Language Content-Encoding Proxy-Authorization traceparent sentry-trace"""
PARAMETERS = "q fields facets limit cursor sort highlight refresh typo primary_key dry_run timeout_ms index"


def everywhere(secret: str) -> dict:
    """A request's headers and query string, full of it."""
    query = dict.fromkeys((*PARAMETERS.split(), secret), secret) | {"filter": f'title = "{secret}"'}
    return {"headers": dict.fromkeys(HEADERS.split(), secret), "query_string": query}


def one_each(secret: str) -> list[dict]:
    """Requests with it in one place each, as far as something could be done with it."""
    found = [{"query_string": {name: secret}} for name in (*PARAMETERS.split(), secret)]
    return [*found, {"query_string": {"filter": f'title = "{secret}"'}}]


BODIES = [
    {},
    {"data": "not JSON %(s)s"},
    {"json": {"%(s)s": "%(s)s"}},
    {"json": [{"id": "%(s)s", "a": {"%(s)s": 1}}, {"id": None, "x": "%(s)s"}]},
]


def planted(body: dict, secret: str) -> dict:
    if "data" in body:
        return {"data": body["data"].replace("%(s)s", secret), "content_type": "application/json"}
    return {"json": json.loads(json.dumps(body["json"]).replace("%(s)s", secret))} if body else {}


def requests(method: str, path: str) -> Iterator[tuple[str, dict]]:
    """(path, the rest) of requests for one route, with secrets in all that they have."""
    bodies = BODIES[: 1 if method == "GET" else None]
    for secret in (ANOTHER_KEY, JWT):
        for body in (planted(body, secret) for body in bodies):
            yield path.format(*["books", secret][: path.count("{}")]), {**everywhere(secret), **body}
            yield path.format(*[secret] * path.count("{}")), body
    books = path.format(*["books"] * path.count("{}"))
    for more in (everywhere(WORD), *(one_each(WORD) if method == "GET" else ())):
        yield books, {**more, **planted(bodies[-1], WORD)}
    for text in (f"Bearer {ANOTHER_KEY}", f"Basic {WORD}", WORD, f"Bearer {JWT}"):
        yield books, {"headers": {"Authorization": text}}


@pytest.mark.parametrize("broken", [False, True])
def test_every_route(site, capfd, broken):
    """Every route, with secrets in its path, its query string, its headers and its body: also where everything crashes."""
    if broken:
        services = site.app.extensions["searchapi"]
        site.app.extensions["searchapi"] = replace(services, engine=Broken(), search=Broken())
    statuses = set()
    for method, path in site.routes():
        site.api.raw("POST", "/v1/indexes", json={"name": "books"})  # where it was deleted
        statuses |= {site.ask(method, where, **rest).status_code for where, rest in requests(method, path)}
    assert {400, 401, 404, 422} <= statuses and (500 in statuses) == broken
    logged, reported = site.logged(capfd), site.reported()
    assert "sk_4fJ0aZ71Qw2x_[redacted]" in logged and len(logged.splitlines()) > 500
    assert '"transaction"' in reported and ("RuntimeError" in reported) == broken
    for secret in (*ALWAYS, site.api.key[16:], WORD):
        assert secret not in logged, found(secret, logged)
        assert secret not in reported, found(secret, reported)
    for secret in (SECRET_KEY, REDIS_PASSWORD, ENGINE_PASSWORD, *([ANOTHER_KEY[16:], JWT[21:]] if broken else [])):
        assert not any(secret.encode() in answer for answer in site.answers)
    for line in logged.splitlines():
        json.loads(line)


def found(secret: str, text: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 300) : at + 100]


def test_problems(site, capfd):
    """A secret that a client put into the wrong place is not shown back to it: its error may end up on a page or in another log."""
    for method, path in site.routes():
        for secret in (ANOTHER_KEY, JWT):
            names = [secret] * path.count("{}")
            answer = site.ask(method, path.format(*names), **everywhere(secret))
            if answer.mimetype == "application/problem+json":
                assert secret[25:] not in answer.get_data(as_text=True)


def test_no_answer_confirms_a_guess(tmp_path):
    """A weak password of Redis is not cut out of problems: that would break their type, and tell that it is the one."""
    system = SystemDatabase(tmp_path)
    engine = EmbeddedEngine(tmp_path, system)
    weak = {"redis_url": "unix:///nowhere/redis.sock?password=searchapi"}
    api = API(create_app(Settings(data_dir=tmp_path, **weak), engine, system).test_client())
    try:
        assert api.get("/searchapi", fails=404)["type"] == "urn:searchapi:problem:no_such_address"
        assert "'searchapi'" in api.get("/v1/indexes/searchapi", fails=404)["detail"]
    finally:
        logs.configure(Settings())
        root = logging.getLogger()
        root.handlers = [handler for handler in root.handlers if not isinstance(handler, logs.Lines)]
        engine.close()


def test_data_is_data(site, capfd):
    """What looks like a secret and is a document is stored and answered as it was."""
    document = {"id": ANOTHER_KEY, "text": f"{JWT} redis://u:{WORD}@h Cookie: {WORD}"}
    site.api.post("/v1/indexes", json={"name": "books"})
    site.api.put(f"/v1/indexes/books/documents/{ANOTHER_KEY}", json=document)
    assert site.api.get(f"/v1/indexes/books/documents/{ANOTHER_KEY}") == document
    logged = site.logged(capfd)
    assert ANOTHER_KEY[16:] not in logged and WORD not in logged and JWT[21:] not in logged


def test_a_new_key(site, capfd):
    """Making, rotating and revoking keys shows the key in the answer and nowhere else."""
    made = site.api.post("/v1/keys", json={"scopes": ["search"], "indexes": ["books"]})
    text = made["key"]
    rotated = site.api.post(f"/v1/keys/{made['id']}/rotate")
    site.api.delete(f"/v1/keys/{made['id']}")
    logged, reported = site.logged(capfd), site.reported()
    assert made["id"] in logged
    for secret in (text[16:], rotated["key"][16:]):
        assert secret not in logged and secret not in reported
