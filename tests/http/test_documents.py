"""Documents: batches, pages, export, delete by filter."""

from __future__ import annotations

import orjson
import pytest

from .conftest import chunked


def ids(body: dict) -> list[str]:
    return [document["id"] for document in body["documents"]]


def test_first_documents_make_the_index(api, name):
    """An index comes with its first documents, its types inferred."""
    path = f"/v1/indexes/{name}"
    answer = api.post(f"{path}/documents", json=[{"id": 1, "title": "x", "price": 2}, {"id": 2, "price": 2.5}])
    assert answer["accepted"] == 2 and answer["errors"] == [] and answer["seq"] > 0
    fields = api.get(path)["fields"]
    assert fields["title"]["type"] == "text" and fields["price"]["type"] == "float" and fields["price"]["inferred"]
    assert api.get(f"{path}/documents/1")["title"] == "x"


def test_primary_key(api, name):
    """The primary key of a new index can be named, and then stays."""
    path = f"/v1/indexes/{name}"
    api.post(f"{path}/documents?primary_key=sku", json=[{"sku": "a-1"}])
    assert api.get(f"{path}/documents/a-1") == {"sku": "a-1"}
    api.post(f"{path}/documents?primary_key=sku", json=[{"sku": "a-2"}])
    api.post(f"{path}/documents?primary_key=id", json=[{"id": "a-3"}], fails=422, code="other_primary_key")
    api.post(f"/v1/indexes/other-{name}/documents?primary_key=Sku%20", json=[{"id": 1}], fails=422)


def test_refused_documents_make_no_index(api, name):
    """Where nothing is accepted, no index is left behind."""
    body = api.post(f"/v1/indexes/{name}/documents", json=[{"title": "x"}, 5], fails=422, code="nothing_accepted")
    assert [error["position"] for error in body["errors"]] == [0, 1]
    assert [error["code"] for error in body["errors"]] == ["missing_id", "not_an_object"]
    assert body["detail"] == "None of the 2 documents was accepted."
    alone = api.post(f"/v1/indexes/{name}/documents", json={"title": "x"}, fails=422, code="nothing_accepted")
    assert alone["detail"] == "The document was not accepted."
    api.get(f"/v1/indexes/{name}", fails=404)
    api.post("/v1/indexes/Bad%20Name/documents", json=[{"id": 1}], fails=422, code="invalid_name")
    api.patch(f"/v1/indexes/{name}/documents", json=[{"id": 1}], fails=404, code="index_not_found")


def test_batch_errors(api, books):
    """A bad document names its place, its field, what was expected and what came; the others are kept."""
    body = [{"id": "d", "year": 1999}, {"id": "e", "year": "soon"}, {"year": 3}, {"id": "f", "year": 2000}, "g"]
    answer = api.post(f"{books}/documents", json=body)
    assert answer["accepted"] == 2
    assert [(e["position"], e["id"], e["pointer"]) for e in answer["errors"]] == [
        (1, "e", "/1/year"),
        (2, None, "/2/id"),
        (4, None, "/4"),
    ]
    assert "integer" in answer["errors"][0]["detail"] and "soon" in answer["errors"][0]["detail"]
    assert ids(api.get(f"{books}/documents")) == ["a", "b", "c", "d", "f"]


def test_one_object(api, books):
    """One object is a batch of one."""
    assert api.post(f"{books}/documents", json={"id": "d", "title": "one"})["accepted"] == 1
    assert api.get(f"{books}/documents/d")["title"] == "one"


def test_empty_batch(api, library):
    """Nothing to write is no error."""
    assert api.post(f"{library}/documents?refresh=wait_for", json=[]) == {"accepted": 0, "errors": [], "seq": None}


def test_ndjson(api, books):
    """A document a line; a bad line leaves the others; blank lines do not count."""
    answer = api.lines(f"{books}/documents", '{"id": "d"}\n\n{bad\r\n{"id": "e"}\n[1]\n{"id": "f"}')
    assert answer["accepted"] == 3
    assert [(e["position"], e["code"]) for e in answer["errors"]] == [(1, "unreadable_line"), (3, "not_an_object")]


def test_ndjson_is_read_as_a_stream(api, name):
    """A generator without a length is read to its end, in chunks."""
    lines = (orjson.dumps({"id": n, "text": "x" * 2000}) + b"\n" for n in range(40))
    answer = api.post(f"/v1/indexes/{name}/documents", content_type="application/x-ndjson", **chunked(lines))
    assert answer["accepted"] == 40


def test_caps(api, books):
    """A long document is refused alone; too many, or too long a body, as a whole."""
    answer = api.post(f"{books}/documents", json=[{"id": "big", "title": "x" * 10_001}, {"id": "d"}])
    assert answer["accepted"] == 1 and answer["errors"][0]["code"] == "document_too_large"
    answer = api.lines(f"{books}/documents", orjson.dumps({"id": "big", "title": "x" * 10_001}) + b'\n{"id": "d"}')
    assert answer["accepted"] == 1 and answer["errors"][0]["code"] == "document_too_large"
    api.post(f"{books}/documents", json=[{"id": n} for n in range(51)], fails=413, code="too_large")
    api.post(f"{books}/documents", data=b"[" + b" " * 200_000 + b"]", content_type="application/json", fails=413, code="too_large")
    endless = (b" " * 10_000 + b"\n" for _ in range(1000))
    api.post(f"{books}/documents", content_type="application/x-ndjson", fails=413, **chunked(endless))


def test_bodies_that_are_no_documents(api, library):
    """Each way a body can be wrong has its own answer."""
    api.post(f"{library}/documents", data="{", content_type="application/json", fails=400, code="unreadable")
    api.post(f"{library}/documents", data="", content_type="application/json", fails=400, code="unreadable")
    api.post(f"{library}/documents", json="x", fails=422)
    body = api.post(f"{library}/documents", data='[{"id": 1}]', content_type="application/x-www-form-urlencoded", fails=415)
    assert "application/json" in body["detail"] and "application/x-ndjson" in body["detail"]
    api.post(f"{library}/documents", json=[], headers={"Content-Encoding": "br"}, fails=415)
    api.post(f"{library}/documents?refresh=yes", json=[], fails=422, code="wrong_value")


def test_partial_batch(api, books):
    """PATCH merges: given fields replace, null removes, the others stay; the version moves."""
    answer = api.patch(f"{books}/documents", json=[{"id": "a", "year": 2002, "kind": None}, {"id": "zzz", "year": 1}])
    assert answer["accepted"] == 1 and [e["code"] for e in answer["errors"]] == ["document_not_found"]
    found = api.get(f"{books}/documents/a")
    assert found["year"] == 2002 and "kind" not in found and found["title"] == "The art of parsing"


def test_pages_by_id(api, books):
    """Links lead through every document once, in the order of ids."""
    api.post(f"{books}/documents", json=[{"id": id} for id in ("B", "b/1", "é", "%2F", "b&c=d", "+")])
    seen, path = [], f"{books}/documents?limit=2"
    while path:
        page = api.get(path)
        assert len(page["documents"]) <= 2
        seen += ids(page)
        path = page.get("next")
    assert seen == sorted(["a", "b", "c", "B", "b/1", "é", "%2F", "b&c=d", "+"])
    for bad in ("0", "-1", "x", "1001", "", "1.5", "１"):
        api.get(f"{books}/documents", query_string={"limit": bad}, fails=422, code="out_of_range")


def test_export(api, library):
    """All documents, a line each, as they were sent."""
    response = api.raw("GET", f"{library}/export")
    assert response.mimetype == "application/x-ndjson"
    lines = [orjson.loads(line) for line in response.data.splitlines()]
    assert [line["id"] for line in lines] == ["a", "b", "c"] and lines[2]["title"] == "Cooking with fire"


def test_export_of_nothing(api, name):
    """An empty index exports nothing."""
    api.post("/v1/indexes", json={"name": name})
    assert api.raw("GET", f"/v1/indexes/{name}/export").data == b""


def test_export_goes_in_again(api, books, name):
    """What was exported makes the same index."""
    lines = api.get(f"{books}/export")
    api.lines(f"/v1/indexes/copy-{name}/documents", lines)
    assert api.get(f"/v1/indexes/copy-{name}/export") == lines


def test_wait_for(api, books):
    """After `refresh=wait_for` a search sees the write."""
    answer = api.post(f"{books}/documents?refresh=wait_for", json=[{"id": "n", "title": "brandnew"}])
    assert answer["refreshed"] is True
    assert [hit["id"] for hit in api.get(f"{books}/search?q=brandnew")["hits"]] == ["n"]
    assert api.put(f"{books}/documents/o?refresh=wait_for", json={"title": "otherword"})["refreshed"] is True
    assert api.get(f"{books}/search?q=otherword")["total"] == 1
    api.delete(f"{books}/documents/o?refresh=wait_for", status=204)
    assert api.get(f"{books}/search?q=otherword")["total"] == 0


def test_delete_by_filter(api, books):
    """Deleting by filter is a task; it deletes what matches and nothing else."""
    response = api.raw("DELETE", f"{books}/documents", query_string={"filter": 'kind = "guide"', "refresh": "wait_for"})
    task = response.get_json()
    assert response.status_code == 200 and task["status"] == "succeeded" and task["kind"] == "delete_where"
    assert response.headers["Location"] == f"/v1/tasks/{task['id']}"
    assert ids(api.get(f"{books}/documents")) == ["c"]


def test_delete_by_filter_at_leisure(api, books):
    """Without waiting, the answer is 202 and where the task can be followed."""
    response = api.raw("DELETE", f"{books}/documents", query_string={"filter": "year < 1000"})
    assert response.status_code == 202
    assert api.get(response.headers["Location"])["kind"] == "delete_where"


@pytest.mark.parametrize("filter", [None, "", "  ", "year <", "nope = 1", "year = soon"])
def test_delete_needs_a_filter(api, library, filter):
    """Without a filter that can be read, nothing is deleted."""
    api.delete(f"{library}/documents", query_string={} if filter is None else {"filter": filter}, fails=422)
    assert ids(api.get(f"{library}/documents")) == ["a", "b", "c"]
