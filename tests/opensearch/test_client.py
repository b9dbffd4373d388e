"""What is asked of a real node, and what its errors mean."""

from __future__ import annotations

import pytest

from searchapi.engines.opensearch.client import Cluster
from searchapi.engines.opensearch.target import Target


@pytest.fixture
def cluster(opensearch_url):
    with_pool = Cluster(Target.parse(opensearch_url), threads=4)
    yield with_pool
    with_pool.close()


def test_a_node_answers(cluster):
    assert cluster.ask("GET", "/")["version"]["number"]
