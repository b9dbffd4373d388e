"""What all tests share: how Hypothesis runs, and the demonstration's documents."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from searchapi import demo

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What a hostile test printed can be sent from one process of the tests to another: half a surrogate pair cannot."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
