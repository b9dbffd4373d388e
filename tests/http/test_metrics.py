"""/metrics: who may see it, what is counted, and that no label grows without bound."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from searchapi import metrics
from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.exceptions import EngineUnavailable
from searchapi.keystore import KeyStore
from searchapi.secretkey import secret_key
from tests.keys import CREATED, admin_key

from .conftest import API

Labels = frozenset[tuple[str, str]]
DOCS = Path(__file__).parents[2] / "docs/metrics.md"
DURATION = "searchapi_request_duration_seconds_count"


class Site:
    def __init__(self, folder: Path, **settings):
        self.system = SystemDatabase(folder)
        self.engine = EmbeddedEngine(folder, self.system)
        off = {"rate_limit_per_ip": "off", "rate_limit_per_key": "off", "rate_limit_bad_keys": "off"}
        self.settings = Settings(data_dir=folder, **(off | settings))
        self.app = create_app(self.settings, self.engine, self.system)
        self.api = API(self.app.test_client(), admin_key(folder, self.system))

    def key(self, *scopes: str, indexes: tuple[str, ...] = ("*",)) -> API:
        store = KeyStore(secret_key(self.settings), self.system)
        return API(self.app.test_client(), store.create(scopes, indexes, CREATED)[1])

    def figures(self, api: API | None = None) -> dict[tuple[str, Labels], float]:
        text = (api or self.api).get("/metrics").decode()
        families = text_string_to_metric_families(text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def figure(self, name: str, **labels: str) -> float:
        return self.figures().get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_who_may_see_it(site):
    """A key with the scope `metrics`, in development too; whatever else it may or may not do."""
    API(site.app.test_client()).get("/metrics", fails=401)
    site.key("search", "documents:read", "documents:write", "indexes:admin", "keys:admin").get("/metrics", fails=403)
    assert b"searchapi_build_info{" in site.key("metrics").get("/metrics")
    site.api.get("/metrics?nope=1", fails=422, code="unknown_parameter")


def test_formats(site):
    """The text format by default, OpenMetrics where Prometheus asks for it: each says which it is."""
    plain = site.api.raw("GET", "/metrics")
    assert plain.content_type.startswith("text/plain; version=")
    assert list(text_string_to_metric_families(plain.text))
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    other = site.api.raw("GET", "/metrics", headers={"Accept": accept})
    assert other.content_type.startswith("application/openmetrics-text") and other.text.endswith("# EOF\n")
    assert list(openmetrics(other.text))


def test_requests_are_counted(site):
    """By route, method and class of status; each once, with its time."""
    site.api.post("/v1/indexes", json={"name": "books"})
    for _ in range(3):
        site.api.get("/health")
    for _ in range(2):
        site.api.get("/v1/indexes/books")
        site.api.get("/v1/indexes/none", fails=404)
    site.api.raw("HEAD", "/v1/indexes/books")
    site.api.get("/v1/indexes/books/search?q=a")
    list(site.api.raw("GET", "/v1/indexes/books/export").iter_encoded())
    found = site.figures()

    def count(method: str, route: str, status: str) -> float:
        return found[DURATION, frozenset({"method": method, "route": route, "status": status}.items())]

    one = "/v1/indexes/<segment:index>"
    assert count("GET", "/health", "2xx") == 3
    assert (count("GET", one, "2xx"), count("GET", one, "4xx"), count("HEAD", one, "2xx")) == (2, 2, 1)
    assert count("POST", "/v1/indexes", "2xx") == count("GET", f"{one}/search", "2xx") == 1
    seconds = found[
        "searchapi_request_duration_seconds_sum", frozenset({"method": "GET", "route": "/health", "status": "2xx"}.items())
    ]
    assert 0 < seconds < 30
    assert found["searchapi_engine_duration_seconds_count", frozenset({("route", f"{one}/search")})] == 1


def test_what_is_at_no_address_is_one(site):
    """However many paths and methods a client makes up, there is one more row for them."""
    for n in range(30):
        site.api.get(f"/made-up-{n}", fails=404)
        site.api.call(f"MADE{n}", "/health", fails=405)
        site.api.call(f"MADE{n}", f"/made-up-{n}", fails=404)
    assert site.figure(DURATION, method="unmatched", route="unmatched", status="4xx") == 90
    text = site.api.get("/metrics").decode()
    assert "made-up" not in text.lower() and "MADE" not in text


def test_names_follow_the_conventions(site):
    """Units in base form as suffixes, `_total` on counters alone, help for each, bounded labels."""
    site.api.post("/v1/indexes", json={"name": "books"})
    for family in text_string_to_metric_families(site.api.get("/metrics").decode()):
        assert re.fullmatch(r"searchapi_[a-z_]+", family.name) and family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|milliseconds|kb|minutes)\b", family.name)
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in samples), family.name
        assert all(set(s.labels) <= {"method", "route", "status", "le", "turn", "kind", "index", *BUILD} for s in samples)


BUILD = ("version", "release", "environment")


def test_docs(site):
    """Every name is in the table of docs/metrics.md, with its type and labels, and no other."""
    site.api.post("/v1/indexes/books/documents", json=[{"id": 1}])
    site.api.get("/v1/indexes/books/search?q=a")
    found = {}
    for family in text_string_to_metric_families(site.api.get("/metrics").decode()):
        if family.name.endswith("_created"):  # where it counts in memory alone
            continue
        labels = set().union(*(set(sample.labels) for sample in family.samples)) - {"le"}
        found[family.name + "_total" * (family.type == "counter")] = (family.type, labels)
    table = re.findall(r"^\| `(searchapi_\w+)` \| (\w+) \|(.*?)\|", DOCS.read_text(), re.M)
    assert {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in table} == found
    assert set(re.findall(r"searchapi_[a-z_]+", DOCS.read_text())) <= {
        *found,
        *(f"{n}_{s}" for n in found for s in ("count", "bucket")),
    }


def test_refusals(tmp_path):
    """Wrong keys, rate limits by kind."""
    site = Site(tmp_path, rate_limit_bad_keys="3/minute", rate_limit_per_key="12/minute")
    anybody = API(site.app.test_client(), "sk_nothing")
    for _ in range(3):
        anybody.get("/v1/indexes", fails=401)
    anybody.get("/v1/indexes", fails=429)
    searching = site.key("search")
    for _ in range(12):
        searching.get("/v1/indexes")
    for _ in range(2):
        searching.get("/v1/indexes", fails=429)
    found = site.figures()
    assert found["searchapi_unauthorized_total", frozenset()] == 3
    assert found["searchapi_rate_limited_total", frozenset({("kind", "bad_keys")})] == 1
    assert found["searchapi_rate_limited_total", frozenset({("kind", "key")})] == 2
    assert found["searchapi_ratelimit_in_memory", frozenset()] == 1  # there is no Redis


def test_replays_are_counted(site):
    """A write that was answered again."""
    site.api.post("/v1/indexes", json={"name": "books"})
    for _ in range(3):
        site.api.put("/v1/indexes/books/documents/a", json={"x": 1}, headers={"Idempotency-Key": "once"})
    assert site.figure("searchapi_idempotent_replays_total") == 2


def test_the_instance(tmp_path):
    """What runs, since when."""
    site = Site(tmp_path, release="2026-11-23-abc", environment="development")
    found = site.figures()
    build = next(dict(labels) for name, labels in found if name == "searchapi_build_info")
    assert build["release"] == "2026-11-23-abc" and build["environment"] == "development" and build["version"]
    assert found["searchapi_workers", frozenset()] == 1
    assert abs(found["searchapi_start_time_seconds", frozenset()] - tmp_path.stat().st_mtime) < 300


def test_indexes(site):
    """Documents of each index, and how far searches are behind. (No indexer runs here.)"""
    for name, count in (("books", 3), ("films", 1)):
        site.api.post(f"/v1/indexes/{name}/documents", json=[{"id": n} for n in range(count)])
    found = site.figures()
    assert found["searchapi_indexes", frozenset()] == 2
    for name, count in (("books", 3), ("films", 1)):
        of = frozenset({("index", name)})
        assert found["searchapi_index_documents", of] == found["searchapi_index_lag_documents", of] == count
        assert 0 < found["searchapi_index_lag_seconds", of] < 300


def test_a_key_for_one_index_sees_no_other(site):
    """Not its name, nor that there is one: by the index's name, or by that of an alias that the key may see."""
    for name in ("books", "secret-plans", "films-2"):
        site.api.post("/v1/indexes", json={"name": name})
    site.api.put("/v1/aliases/films", json={"index": "films-2"})
    body = site.key("metrics", indexes=("books", "films")).raw("GET", "/metrics").text
    assert "secret" not in body and "films-2" not in body
    assert 'searchapi_index_documents{index="books"}' in body and 'searchapi_index_documents{index="films"}' in body
    assert re.search(r"^searchapi_indexes 2\.0$", body, re.M)
    details = site.key("metrics", indexes=("books",)).get("/health/ready")
    assert "indexes" not in details["engine"] and "documents" not in details["engine"]
    assert "documents" not in site.key("metrics", indexes=("books",)).get("/db-health")
    assert site.api.get("/db-health")["indexes"] == 3


def test_many_indexes(site, monkeypatch):
    """The first by name are shown, and how many there are."""
    monkeypatch.setattr(metrics, "MAX_INDEXES", 2)
    for name in ("c", "a", "b"):
        site.api.post("/v1/indexes", json={"name": name})
    found = site.figures()
    assert found["searchapi_indexes", frozenset()] == 3
    shown = {dict(labels)["index"] for name, labels in found if name == "searchapi_index_documents"}
    assert shown == {"a", "b"}


def test_an_index_that_fails_does_not_fail_the_others(site, monkeypatch):
    """Its row is missing: an alert on absence tells."""
    for name in ("a", "b"):
        site.api.post("/v1/indexes", json={"name": name})
    real = site.engine.progress

    def progress(name: str):
        if name == "a":
            raise EngineUnavailable("planted")
        return real(name)

    monkeypatch.setattr(site.engine, "progress", progress)
    shown = {dict(labels)["index"] for name, labels in site.figures() if name == "searchapi_index_documents"}
    assert shown == {"b"}


def test_scrapes_do_not_pile_up(site, monkeypatch):
    """They take no turn, so there are few at once; the next one is told to come again."""
    inside, leave, real = threading.Semaphore(0), threading.Event(), site.engine.names

    def names() -> list[str]:
        inside.release()
        assert leave.wait(30)
        return real()

    monkeypatch.setattr(site.engine, "names", names)
    threads = [threading.Thread(target=site.key("metrics").get, args=("/metrics",)) for _ in range(metrics.MAX_SCRAPES)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=30)
    site.api.get("/metrics", fails=503, code="overloaded")
    leave.set()
    for thread in threads:
        thread.join(30)
    assert site.api.get("/metrics")


def test_each_application_counts_for_itself(tmp_path):
    """Two in one process, as in tests, do not mix."""
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    one, other = Site(tmp_path / "a"), Site(tmp_path / "b")
    one.api.get("/health")
    assert one.figure(DURATION, method="GET", route="/health", status="2xx") == 1
    assert other.figure(DURATION, method="GET", route="/health", status="2xx") == 0
