"""The promise between the engines, on real documents: the same ids, totals, facets and suggestions, and the same order but among
hits whose scores are nearly equal."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from searchapi.demo import SETTINGS
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.engines.embedded.indexer import Indexer
from searchapi.engines.opensearch.engine import OpenSearchEngine
from searchapi.engines.opensearch.target import Target
from searchapi.model import Operation, SearchAnswer, SuggestAnswer
from searchapi.query.limits import Limits
from searchapi.query.params import search_from_args, suggest_from_args
from searchapi.search import SearchService
from tests.opensearch import server
from tests.relevance.measure import known_items, long_questions

INDEX = "python"
NEARLY = 0.01  # of a score: nearer ones may change places
LIMITS = Limits(max_timeout_ms=60_000)


class Side:
    def __init__(self, engine: Any):
        self.engine, self.service = engine, SearchService(engine, LIMITS)

    def load(self, documents: list[dict]) -> None:
        self.engine.create_index(INDEX, SETTINGS)
        for start in range(0, len(documents), 2000):
            batch = [Operation("put", d["id"], d, n) for n, d in enumerate(documents[start : start + 2000])]
            result = self.engine.write(INDEX, batch)
            assert not [o.error for o in result.outcomes if o.error]
        assert self.engine.wait(INDEX, result.seq, 120)

    def search(self, **parameters: Any) -> SearchAnswer:
        info = self.engine.index(INDEX)
        arguments = {name: [str(value)] for name, value in ({"timeout_ms": 60_000, "explain": "true"} | parameters).items()}
        return self.service.search(info, search_from_args(arguments, info, self.engine.capabilities, LIMITS))

    def suggest(self, q: str) -> SuggestAnswer:
        info = self.engine.index(INDEX)
        return self.service.suggest(info, suggest_from_args({"q": [q]}, info, LIMITS))


@pytest.fixture(scope="module")
def sides(tmp_path_factory, opensearch_node, demo_documents) -> Iterator[tuple[Side, Side]]:
    """(embedded, OpenSearch), both with the standard library."""
    folder, stop, prefix = tmp_path_factory.mktemp("parity"), threading.Event(), f"t{secrets.token_hex(6)}"
    embedded = EmbeddedEngine(folder)
    indexer = threading.Thread(target=Indexer(folder).run, args=(stop,))
    indexer.start()
    other = OpenSearchEngine(Target.parse(f"{re.sub('^http', 'opensearch', opensearch_node)}/{prefix}"))
    try:
        both = Side(embedded), Side(other)
        for side in both:
            side.load(demo_documents)
        yield both
    finally:
        stop.set()
        indexer.join()
        embedded.close()
        other.close()
        server.ask(opensearch_node, f"/{prefix}.*?expand_wildcards=all", "DELETE")


def groups(answer: SearchAnswer) -> list[tuple[str, float]]:
    return [(hit.id, hit.explain["score"]) for hit in answer.hits]


def same_order(ours: list[tuple[str, float]], theirs: list[tuple[str, float]]) -> list[str]:
    """What is out of order beyond nearly equal scores, by the scores of the first."""
    scores = dict(ours)
    found = []
    for (id, score), (other, _) in zip(ours, theirs, strict=True):
        if id != other and (other not in scores or abs(scores[other] - score) > NEARLY * abs(score)):
            found.append(f"{id} ({score:.3f}) here, {other} ({scores.get(other)}) there")
    return found


QUESTIONS = [question.q for question in known_items()] + [question.q for question in long_questions()]


@pytest.mark.slow
def test_questions(sides):
    """Every question of the relevance tests, twenty hits deep; the scores of the same hit agree to a hundredth."""
    embedded, other = sides
    wrong, furthest = [], 0.0
    for q in QUESTIONS:
        ours, theirs = embedded.search(q=q, limit=40), other.search(q=q, limit=40)
        if (ours.total, ours.corrections) != (theirs.total, theirs.corrections):
            wrong.append(f"{q!r}: {ours.total} {ours.corrections} / {theirs.total} {theirs.corrections}")
            continue
        differences = same_order(groups(ours)[:20], groups(theirs)[:20])
        both = dict(groups(ours))
        furthest = max([furthest, *(abs(both[id] / score - 1) for id, score in groups(theirs) if id in both and score)])
        wrong += [f"{q!r}: {difference}" for difference in differences]
    print(f"{len(QUESTIONS)} questions; scores differ by {furthest:.2%} at most")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "parameters",
    [
        {"q": "read file", "facets": "kind,module"},
        {"q": "", "facets": "kind", "sort": "-module,name", "limit": 50},
        {"q": "path", "filter": 'kind = "function" AND NOT module STARTS WITH "o"', "facets": "kind(exclude),module"},
        {"q": '"regular expression"', "highlight": "true"},
        {"q": "thread -daemon", "match": "any"},
        {"q": "serialisation of objects", "match": "all"},
        {"filter": 'module IN ["os", "re"] OR name STARTS WITH "json"', "sort": "name"},
        {"q": "dictonary comprehention "},
    ],
    ids=str,
)
def test_parameters(sides, parameters):
    """Filters, facets, sorting, phrases, exclusions: ids, totals, facets, highlights and corrections."""
    embedded, other = sides
    ours, theirs = embedded.search(**parameters), other.search(**parameters)
    assert (ours.total, ours.facets, ours.corrections) == (theirs.total, theirs.facets, theirs.corrections)
    if "sort" in parameters:
        assert [hit.id for hit in ours.hits] == [hit.id for hit in theirs.hits]
    else:
        assert not same_order(groups(ours), groups(theirs))
    marked = {hit.id: hit.highlights for hit in theirs.hits}
    assert all(hit.highlights == marked.get(hit.id, hit.highlights) for hit in ours.hits)


@pytest.mark.parametrize("q", ["re", "pars", "json dec", "exeption", "collectons", "a", "os.pa", "nultiprocesing"])
def test_suggestions(sides, q):
    embedded, other = sides
    assert orjson.dumps(embedded.suggest(q)) == orjson.dumps(other.suggest(q))
