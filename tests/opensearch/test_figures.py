"""What operators look at: figures of many indexes cost little, and one that is ill does not hide the others."""

from __future__ import annotations

import time
from typing import Any

import pytest

from searchapi.engines.opensearch.engine import OpenSearchEngine
from searchapi.engines.opensearch.target import Target
from searchapi.metrics import of_indexes
from searchapi.model import IndexSettings, Operation
from tests.opensearch import server

MANY = 25


@pytest.fixture(scope="module")
def engine(opensearch_node):
    """With MANY indexes, the n-th of n documents, one of which was deleted again where there were any."""
    with server.prefixed(opensearch_node) as url:
        engine = OpenSearchEngine(Target.parse(url))
        for n in range(MANY):
            engine.create_index(f"i{n:02}", IndexSettings())
            if n:
                engine.write(f"i{n:02}", [Operation("put", str(m), {"id": str(m)}, m) for m in range(n)])
                engine.write(f"i{n:02}", [Operation("delete", "0", None, 0)])
                engine.wait(f"i{n:02}", 0, 30)
        yield engine
        engine.close()


@pytest.fixture
def asked(engine, monkeypatch) -> list[str]:
    """The paths that are asked for from here on."""
    paths: list[str] = []
    real = engine.cluster.ask

    def ask(method: str, path: str, *arguments: Any, **rest: Any) -> Any:
        paths.append(path)
        return real(method, path, *arguments, **rest)

    monkeypatch.setattr(engine.cluster, "ask", ask)
    return paths


def test_a_scrape_is_one_request(engine, asked):
    """However many indexes there are."""
    began = time.perf_counter()
    found = {
        metric.name: {s.labels.get("index"): s.value for s in metric.samples} for metric in of_indexes(engine, lambda name: name)
    }
    took = time.perf_counter() - began
    assert found["searchapi_index_documents"] == {f"i{n:02}": max(n - 1, 0) for n in range(MANY)}
    assert set(found["searchapi_index_lag_documents"].values()) == {0}
    assert [path for path in asked if ".system" not in path] == ["/_msearch"]
    print(f"figures of {MANY} indexes in {took * 1000:.1f} ms")


def test_the_same_as_one_by_one(engine):
    """Documents and the newest write, also of an index without any."""
    names = ["i00", "i01", "i07", "nothing"]
    assert engine.progresses(names) == {name: engine.progress(name) for name in names[:-1]}
    assert engine.progresses([]) == {}


def test_an_index_that_is_gone_does_not_hide_the_others(engine, opensearch_node):
    """Somebody has deleted it from the cluster by hand."""
    engine.create_index("lost", IndexSettings())
    server.ask(opensearch_node, f"/{engine.registry.concrete(engine.registry.get('lost'))}", "DELETE")
    assert set(engine.progresses(["lost", "i01"])) == {"i01"}
    engine.delete_index("lost")
    assert engine.health().detail["documents"] == sum(range(MANY - 1))
