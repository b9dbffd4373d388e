"""What all tests share: how Hypothesis runs, and the demonstration's documents."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from searchapi import demo
from tests.opensearch import server

# No deadline: the machine is shared. No example database: a run leaves nothing behind, and a failure prints how to repeat it.
settings.register_profile(
    "searchapi",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("searchapi")


@pytest.fixture(scope="session")
def demo_documents() -> list[dict]:
    """Collected once for all: it takes some seconds. Nobody changes them."""
    return list(demo.collect())


@pytest.fixture(scope="session")
def opensearch_node(tmp_path_factory) -> Iterator[str]:
    """The URL of an OpenSearch that all tests share: OPENSEARCH_URL, as http://127.0.0.1:9200, else one of our own."""
    if given := os.environ.get("OPENSEARCH_URL"):
        yield given.rstrip("/")
        return
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the folder that all processes of this run have in common
        folder = folder.parent
    with server.shared(folder / "opensearch") as url:
        yield url


@pytest.fixture
def opensearch_url(opensearch_node) -> Iterator[str]:
    """An ENGINE_URL with a prefix of its own; what was made under it is deleted afterwards."""
    with server.prefixed(opensearch_node) as url:
        yield url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What a hostile test printed can be sent from one process of the tests to another: half a surrogate pair cannot."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
