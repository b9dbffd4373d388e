"""Taking over an index of OpenSearch that was made by hand: everything arrives or is told, and the index stays as it was."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator

import orjson
import pytest

from searchapi.exceptions import Conflict, Invalid, NotFound
from searchapi.moving import adopting, foreign
from searchapi.moving.dateformats import rfc3339
from searchapi.moving.inferring import Plan
from tests.opensearch import server

MAPPING = {
    "properties": {
        "title": {"type": "text", "analyzer": "english", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}},
        "blurb": {"type": "text"},
        "firstName": {"type": "keyword"},
        "published": {"type": "date"},
        "day": {"type": "date", "format": "dd/MM/yyyy||epoch_second"},
        "stock": {"type": "integer"},
        "price": {"type": "scaled_float", "scaling_factor": 100},
        "sold": {"type": "boolean"},
        "parts": {"type": "nested", "properties": {"name": {"type": "text"}, "n": {"type": "long"}}},
        "author": {"properties": {"name": {"type": "keyword"}}},
        "tags": {"type": "keyword", "fields": {"text": {"type": "text", "analyzer": "german"}}},
        "place": {"type": "geo_point"},
        "code": {"type": "keyword", "normalizer": "lowercase"},
    }
}
DOCUMENTS = {
    "b-1": {
        "title": "The green doors",
        "stock": 3,
        "price": 1.5,
        "sold": True,
        "published": "2024-05-31T18:30:00Z",
        "day": "31/05/2024",
    },
    "a/2": {"title": "Two doors", "stock": "4", "sold": "false", "published": 1717180200000, "day": 86400, "firstName": "Ann"},
    "é 3": {
        "title": ["A", "B"],
        "parts": [{"name": "x y", "n": 1}, {"name": "z", "n": 2}],
        "author": {"name": "Z"},
        "tags": ["a", "b"],
    },
    "4": {"blurb": "Plain words", "place": {"lat": 1.5, "lon": 2.0}, "extra": {"deep": [1, 2]}, "published": "2024-05"},
    "5": {"title": None, "tags": [], "author.name": "dotted", "code": "AbC", "nested_lists": [[1, 2], [3]]},
}

SECOND = {"id": "a/2", "title": "Two doors", "stock": 4, "sold": False, "published": 1717180200000, "day": 86400000}
EXPECTED = {
    "b-1": DOCUMENTS["b-1"] | {"id": "b-1", "day": "2024-05-31T00:00:00Z"},
    "a/2": SECOND | {"first_name": "Ann"},
    "é 3": DOCUMENTS["é 3"] | {"id": "é 3"},
    "4": DOCUMENTS["4"] | {"id": "4", "published": "2024-05-01"},
    "5": DOCUMENTS["5"] | {"id": "5", "nested_lists": [1, 2, 3]},
}
TYPES = {
    **dict.fromkeys(("id", "first_name", "author.name", "code"), "keyword"),
    **dict.fromkeys(("title", "blurb", "parts.name", "tags"), "text"),
    **dict.fromkeys(("stock", "parts.n", "extra.deep", "nested_lists"), "integer"),
    **dict.fromkeys(("price", "place.lat", "place.lon"), "float"),
    **dict.fromkeys(("published", "day"), "date"),
    "sold": "boolean",
}


class Shop:
    """An index of somebody else."""

    def __init__(self, node: str):
        self.node, self.name = node, f"shop-{uuid.uuid4().hex[:8]}"
        self.url = re.sub("^http", "opensearch", node)
        self.ask("", "PUT", {"mappings": MAPPING, "settings": {"number_of_shards": 2, "number_of_replicas": 0}})
        for id, document in DOCUMENTS.items():
            self.put(id, document)

    def ask(self, path: str, method: str = "GET", body=None):
        return server.ask(self.node, f"/{self.name}{path}", method, body)

    def put(self, id: str, document: dict) -> None:
        from urllib.parse import quote

        self.ask(f"/_doc/{quote(id, safe='')}?refresh=true", "PUT", document)

    def state(self) -> str:
        found = self.ask("/_search?size=1000&version=true&seq_no_primary_term=true")
        return json.dumps([self.ask(""), sorted(found["hits"]["hits"], key=lambda hit: hit["_id"])], sort_keys=True)


@pytest.fixture
def shop(opensearch_node) -> Iterator[Shop]:
    made = Shop(opensearch_node)
    yield made
    made.ask("", "DELETE")


def adopt(lab, shop: Shop, target, **options):
    more = {"overwrite": False, "name": "shop", "primary_key": None, "language": None} | options
    return adopting.adopt(shop.url, more.pop("index", shop.name), target, lab.folder, lambda line: None, **more)


def bodies(target, name: str = "shop") -> dict[str, dict]:
    return {document.id: orjson.loads(document.body) for document in target.engine.scan(name)}


@pytest.mark.parametrize("into", ["embedded", "opensearch"])
def test_everything_arrives_or_is_told(lab, shop, into):
    """Types, dates in any form, numbers and booleans in strings, objects, arrays, names; what is different is told."""
    before, target = shop.state(), getattr(lab, into)()
    report = adopt(lab, shop, target)
    assert report.faults == [] and shop.state() == before
    assert bodies(target) == EXPECTED
    fields = target.engine.index("shop").fields
    assert {name: field.type for name, field in fields.items()} == TYPES
    assert (fields["title"].language, fields["tags"].language, fields["blurb"].language) == ("english", "german", "none")
    assert (fields["title"].keyword, fields["blurb"].keyword) == (True, False)
    told = "\n".join(report.lines)
    for each in (
        "firstName is called first_name",
        "parts is nested",
        "place (geo_point)",
        "normalizer of code",
        "arrays in arrays",
    ):
        assert each in told
    assert 'values of stock are written as integer: "4" as 4' in told and "--language english" in told


def test_again_takes_what_changed(lab, shop):
    """Done again, nothing is written; what was changed, made and deleted in their index since arrives; their versions are ETags."""
    target = lab.embedded()
    adopt(lab, shop, target)
    assert "nothing to write" in " ".join(adopt(lab, shop, target).lines)
    shop.put("b-1", {"title": "Changed", "stock": 2.5})
    shop.put("6", {"title": "New"})
    shop.ask("/_doc/4?refresh=true", "DELETE")
    report = adopt(lab, shop, target)
    found = bodies(target)
    assert report.faults == [] and found["6"] == {"id": "6", "title": "New"} and "4" not in found and found["b-1"]["stock"] == 2.5
    assert target.engine.get("shop", "b-1").version == 2
    assert target.engine.index("shop").fields["stock"].type == "float"
    assert "stock becomes float, for 2.5 is no integer" in "\n".join(report.lines)


def test_an_id_of_their_own(lab, shop):
    """Where documents have a field `id` that is another, the primary key is `_id`, or the one that is asked for."""
    shop.put("7", {"id": "other", "title": "x"})
    first, second = lab.embedded(), lab.embedded()
    assert "the primary key is _id" in "\n".join(adopt(lab, shop, first).lines)
    assert bodies(first)["7"] == {"_id": "7", "id": "other", "title": "x"}
    adopt(lab, shop, second, primary_key="key")
    assert bodies(second)["7"] == {"key": "7", "id": "other", "title": "x"}
    with pytest.raises(Conflict, match="'id' cannot be the primary key"):
        adopt(lab, shop, lab.embedded(), primary_key="id")


def test_values_that_do_not_fit_widen_their_field(lab, shop):
    """OpenSearch keeps what it was told to ignore; here the field becomes one that holds all of its values."""
    shop.ask("/_mapping", "PUT", {"properties": {"loose": {"type": "date", "ignore_malformed": True}, "long": {"type": "keyword"}}})
    shop.put("8", {"loose": "never", "long": "x"})
    shop.put("9", {"loose": "2024-01-01", "long": 5})
    target = lab.embedded()
    report = adopt(lab, shop, target)
    found = bodies(target)
    assert report.faults == [] and (found["8"]["loose"], found["9"]["loose"], found["9"]["long"]) == ("never", "2024-01-01", "5")
    assert 'loose becomes keyword, for "never" is no date' in "\n".join(report.lines)


def test_a_document_that_cannot_be_taken_is_named(lab, shop):
    """Fields that nobody declared and that are of two types: one of them is told, and the move has not succeeded."""
    shop.ask("/_mapping", "PUT", {"dynamic": False, "properties": {}})
    shop.put("8", {"wild": 1})
    shop.put("9", {"wild": "word"})
    target = lab.embedded()
    report = adopt(lab, shop, target)
    assert len(report.faults) == 1 and "document '9' was refused: wild: expected an integer" in report.faults[0]
    assert "8" in bodies(target) and "9" not in bodies(target)
    assert adopt(lab, shop, target).faults == report.faults  # the reason, too


def test_more_than_a_page(lab, shop):
    """Read page by page to the last one."""
    lines = [line for n in range(1300) for line in ({"index": {"_id": f"n{n}"}}, {"title": f"number {n}"})]
    with foreign.connected(shop.url) as cluster:
        cluster.ask("POST", f"/{shop.name}/_bulk", lines, params={"refresh": "true"})
    target = lab.embedded()
    assert adopt(lab, shop, target).faults == [] and len(bodies(target)) == 1305


def test_refused(lab, shop, opensearch_url):
    """No such index, a pattern, an alias of several, one without _source, one of ours, a name that is taken."""
    target = lab.embedded()
    with pytest.raises(NotFound, match="There is no index"):
        adopt(lab, shop, target, index=f"{shop.name}x")
    for pattern in ("shop-*", "a,b", "", "../x"):
        with pytest.raises(Invalid, match="the name of one index"):
            adopt(lab, shop, target, index=pattern)
    ours = lab.filled(lab.open(opensearch_url), 3)
    concrete = next(iter(server.ask(shop.node, f"/{opensearch_url.rpartition('/')[2]}.data.*")))
    with pytest.raises(Conflict, match="is searchapi's own"):
        adopt(lab, shop, target, index=concrete)
    assert ours.names() == ["shelf"] and target.names() == []
    lab.filled(target, 3, "shop")
    with pytest.raises(Conflict, match="already, with 3 documents"):
        adopt(lab, shop, target)
    assert adopt(lab, shop, target, overwrite=True).faults == [] and len(bodies(target)) == len(DOCUMENTS)
    bare = f"{shop.name}-bare"
    server.ask(shop.node, f"/{bare}", "PUT", {"mappings": {"_source": {"enabled": False}}})
    with pytest.raises(Conflict, match="does not keep its documents"):
        adopt(lab, shop, target, index=bare, name="bare")
    server.ask(shop.node, f"/{bare}", "DELETE")


# ----------------------------------------------------------------------------------------------------- without a node


@pytest.mark.parametrize(
    ("value", "formats", "made"),
    [
        ("2024-05-31", ("strict_date_optional_time", "epoch_millis"), "2024-05-31"),
        ("2024", ("strict_date_optional_time",), "2024-01-01"),
        ("2024-05-31T18", ("strict_date_optional_time",), "2024-05-31T18:00"),
        ("2024-05-31T18:30:00.123+0200", ("strict_date_optional_time",), "2024-05-31T18:30:00.123+02:00"),
        ("1717180200000", ("strict_date_optional_time", "epoch_millis"), 1717180200000),
        (1717180200, ("epoch_second",), 1717180200000),
        ("20240531", ("basic_date",), "2024-05-31T00:00:00Z"),
        (20240531, ("basic_date",), "2024-05-31T00:00:00Z"),
        ("2024/05/31 18:30:05", ("yyyy/MM/dd HH:mm:ss",), "2024-05-31T18:30:05Z"),
        ("31 May 2024", ("dd MMM yyyy",), "2024-05-31T00:00:00Z"),
        ("2024-05-31 18:30:05 +0200", ("yyyy-MM-dd HH:mm:ss Z",), "2024-05-31T16:30:05Z"),
        ("2024-05-31T18:30:05", ("date_hour_minute_second",), "2024-05-31T18:30:05"),
    ],
)
def test_dates(value, formats, made):
    """As a mapping says they are written; what we read as it is stays as it is."""
    assert rfc3339(value, formats) == made


@pytest.mark.parametrize("value", ["never", "2024-13-01", True, None, [1], {}, "31/05/2024", "", "99999-01-01", 1e300])
def test_no_dates(value):
    with pytest.raises(ValueError, match="no date"):
        rfc3339(value, ("strict_date_optional_time", "epoch_millis", "yyyy-MM-dd", "GGGG"))


def test_names():
    """Each foreign name gets one of ours, always the same one, and two never get the same."""
    plan = Plan(None, "none")
    names = {key: plan.name(key) for key in ("firstName", "first_name", "FIRST NAME", "@timestamp", "a.B", "A.b", "é", "-x", "ok")}
    assert names["firstName"] == "first_name" and names["@timestamp"] == "_timestamp" and names["ok"] == "ok"
    assert len(set(names.values())) == len(names) and names["a.B"].startswith("a.")
    assert {key: plan.name(key) for key in names} == names
