"""What web pages may read: those of CORS_ORIGINS everything, others nothing, errors included."""

from __future__ import annotations

import pytest

from searchapi import cors
from searchapi.app import create_app
from searchapi.config import Settings, SettingsError
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from tests.keys import admin_key

from .conftest import API, assert_problem

PAGE, OTHER = "https://www.example.com", "https://evil.example"
UNLIMITED = {"rate_limit_per_key": "off", "rate_limit_per_ip": "off"}
ALLOW, EXPOSE = "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    system = SystemDatabase(data)
    engine = EmbeddedEngine(data, system)
    yield data, engine, system, admin_key(data, system)
    engine.close()


@pytest.fixture
def site(parts):
    def made(*origins: str, **settings) -> API:
        data, engine, system, key = parts
        app = create_app(Settings(data_dir=data, cors_origins=origins, **{**UNLIMITED, **settings}), engine, system)
        return API(app.test_client(), key)

    return made


def asked(api: API, path: str = "/v1/indexes", method: str = "GET", origin: str | None = PAGE, **headers: str):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.raw(method, path, headers=({"Origin": origin} if origin else {}) | names)


def preflight(
    api: API, path: str = "/v1/indexes", method: str = "POST", send: str = "authorization,content-type", origin: str = PAGE
):
    api = API(api.client)  # a browser sends no key with it
    return asked(api, path, "OPTIONS", origin, Access_Control_Request_Method=method, Access_Control_Request_Headers=send)


def about_cors(response) -> list[str]:
    return sorted(name for name, _ in response.headers if name.lower().startswith("access-control"))


def varies(response) -> bool:
    return "origin" in ",".join(response.headers.getlist("Vary")).lower().replace(" ", "").split(",")


def test_none(site):
    """Without CORS_ORIGINS there is no trace of it."""
    answer = asked(site())
    assert (answer.status_code, about_cors(answer), varies(answer)) == (200, [], False)
    assert about_cors(preflight(site())) == []


def test_a_page_that_may(site):
    """It is named, sees our own headers, and is never given credentials."""
    answer = asked(site(PAGE))
    assert answer.headers.getlist(ALLOW) == [PAGE]
    exposed = answer.headers[EXPOSE].split(", ")
    assert {"X-Request-ID", "RateLimit", "RateLimit-Policy", "Retry-After", "ETag", "Location", "Idempotency-Replayed"} == set(
        exposed
    )
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert varies(answer)


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "null",
        "http://www.example.com",
        "https://www.example.com.evil.example",
        "https://wwwxexample.com",
        f"{PAGE}:8443",
        "https://evil.example/https://www.example.com",
        f"{PAGE}\t",
        "*",
        "x" * 5000,
    ],
)
def test_a_page_that_may_not(site, origin):
    """Another origin, however like, is told nothing, but caches learn that it depends."""
    for answer in (asked(site(PAGE), origin=origin), preflight(site(PAGE), origin=origin)):
        assert (about_cors(answer), varies(answer)) == ([], True)


@pytest.mark.parametrize("origins", [(PAGE,), (PAGE, "http://[::1]:3000")])
def test_no_page_at_all(site, origins):
    """What is not asked by a page has no CORS headers, but a cache must not give it to one."""
    answer = asked(site(*origins), origin=None)
    assert (about_cors(answer), varies(answer)) == ([], True)


def test_several_pages(site):
    """Each is told its own origin alone; brackets and ports are no patterns, and case does not matter."""
    api = site(PAGE, "http://[::1]:3000", "https://b.example:8443")
    for origin in (PAGE, "http://[::1]:3000", "https://b.example:8443", "https://WWW.example.com"):
        assert asked(api, origin=origin).headers.getlist(ALLOW) == [origin]
    assert about_cors(asked(api, origin="http://1:3000")) == []


def test_every_page(site):
    """`*` is said as it is, the same for everybody, so that caches need not care; production refuses it."""
    answer = asked(site("*"), origin=OTHER)
    assert (answer.headers.getlist(ALLOW), varies(answer)) == (["*"], False)
    assert about_cors(asked(site("*"), origin=None)) == []
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        site("*", environment="production", secret_key="an unguessable secret of the tests 0123456789")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_preflight(site, method):
    """A browser may send every method and every header that the API knows, and remember that for ten minutes; it has no key yet."""
    answer = preflight(site(PAGE), "/v1/indexes/x/documents/a", method, ",".join(cors.SENT).lower())
    assert answer.status_code == 200
    assert answer.headers[ALLOW] == PAGE
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert set(allowed) == {name.lower() for name in cors.SENT}
    assert answer.headers["Access-Control-Max-Age"] == "600"
    assert varies(answer)


def test_a_header_that_is_not_known(site):
    """Others are not allowed."""
    answer = preflight(site(PAGE), send="authorization, x-evil, cookie")
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization"


def test_a_preflight_costs(site):
    """It counts against the address, as everything does that has no key."""
    api = site(PAGE, rate_limit_per_ip="3/hour")
    statuses = [preflight(api).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


def test_errors_can_be_read(site, monkeypatch):
    """A page can read why it was refused: 401, 403, 404, 405, 413, 422, 429, 500."""
    api = site(PAGE, rate_limit_per_ip="9/hour", max_body_bytes=2000, max_document_bytes=2000)

    def refused(status: int, *arguments, **rest) -> None:
        answer = asked(api, *arguments, **rest)
        assert_problem(answer, status)
        assert (answer.headers.getlist(ALLOW), varies(answer)) == ([PAGE], True)
        assert "Retry-After" in answer.headers[EXPOSE]

    refused(401, Authorization="Bearer nonsense")
    refused(404, "/nope")
    refused(404, "/v1/indexes/none/search")
    refused(405, method="TRACE")
    refused(422, "/v1/indexes?nope=1")
    answer = api.raw("POST", "/v1/indexes", data=b"x" * 5000, headers={"Origin": PAGE, "Content-Type": "application/json"})
    assert (answer.status_code, answer.headers[ALLOW]) == (413, PAGE)
    monkeypatch.setattr(EmbeddedEngine, "indexes", None, raising=False)
    monkeypatch.setattr(EmbeddedEngine, "names", None, raising=False)
    refused(500)
    while asked(api).status_code != 429:
        pass
    refused(429)
