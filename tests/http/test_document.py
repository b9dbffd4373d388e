"""One document: every id, versions, conditions."""

from __future__ import annotations

from urllib.parse import quote

import pytest

IDS = [
    "a/b",
    "a//b",
    "/",
    "a%2Fb",
    "%",
    "%zz",
    "a b",
    "a+b",
    "a?b",
    "a#b",
    "é",
    "日本",
    "🙂",
    "'",
    '"',
    "<x>",
    "a&b=c",
    "a;b",
    "..",
    ".",
    "x/similar",
]
IDS += ["~", "a\\b", "\t", "\n", "\u0000", "search", "documents", "x" * 512, ":", "@", "[", "*", "\u202e", "e\u0301"]


@pytest.mark.parametrize("id", IDS)
def test_any_id(api, shelf, id):
    """Every id can be written, read, found in a page and deleted by its encoded path."""
    path = f"{shelf}/documents/{quote(id, safe='')}"
    response = api.raw("PUT", path, json={"title": "x"})
    assert response.status_code == 201 and response.get_json()["id"] == id
    assert api.get(response.headers["Location"]) == {"id": id, "title": "x"}
    assert id in [d["id"] for d in api.get(f"{shelf}/documents?limit=1000")["documents"]]
    api.delete(path, status=204)
    api.get(path, fails=404, code="document_not_found")


def test_encodings_of_one_path(api, shelf):
    """Small or capital hex digits, and needless encoding, name the same document."""
    api.put(f"{shelf}/documents/a%2Fb", json={"title": "x"})
    for path in ("documents/a%2fb", "documents/%61%2Fb", "%64ocuments/a%2Fb"):
        assert api.get(f"{shelf}/{path}")["id"] == "a/b"
    api.get(f"{shelf}/documents/a/b", fails=404, code="no_such_address")
    api.get(f"{shelf}/documents/%ff", fails=400, code="unreadable")
    api.get(f"{shelf}/documents/", fails=404, code="no_such_address")


def test_ids_that_cannot_be(api, shelf):
    """An id has 1 to 512 bytes."""
    api.put(f"{shelf}/documents/{'x' * 513}", json={}, fails=422, code="invalid_id")
    api.put(f"{shelf}/documents/{quote('é' * 257)}", json={}, fails=422, code="invalid_id")


def test_put(api, books):
    """PUT makes a document or replaces it whole."""
    response = api.raw("PUT", f"{books}/documents/a", json={"title": "New"})
    assert response.status_code == 200 and "Location" not in response.headers
    body = response.get_json()
    assert body["id"] == "a" and response.headers["ETag"] == f'"{body["version"]}"'
    response = api.raw("GET", f"{books}/documents/a")
    assert response.get_json() == {"id": "a", "title": "New"} and response.headers["ETag"] == f'"{body["version"]}"'


def test_id_of_the_path_wins(api, books):
    """The body may leave the id out or repeat it, not contradict it."""
    api.put(f"{books}/documents/a", json={"id": "a"})
    api.put(f"{books}/documents/5", json={"id": 5})
    body = api.put(f"{books}/documents/a", json={"id": "b"}, fails=422, code="other_id")
    assert body["errors"][0]["pointer"] == "/id"
    api.patch(f"{books}/documents/a", json={"id": "b"}, fails=422, code="other_id")
    api.patch(f"{books}/documents/a", json={"id": None}, fails=422)


def test_patch(api, books):
    """PATCH merges (RFC 7396)."""
    api.patch(f"{books}/documents/a", json={"year": None, "kind": "book"}, content_type="application/merge-patch+json")
    found = api.get(f"{books}/documents/a")
    assert "year" not in found and found["kind"] == "book" and found["title"] == "The art of parsing"
    api.patch(f"{books}/documents/nope", json={"year": 1}, fails=404, code="document_not_found")


def test_wrong_documents(api, books):
    """One document is all or nothing; its error points to the field."""
    body = api.put(f"{books}/documents/a", json={"title": "new", "year": "soon"}, fails=422)
    assert body["errors"][0]["pointer"] == "/year"
    assert api.get(f"{books}/documents/a")["title"] == "The art of parsing"
    api.put(f"{books}/documents/a", json=[1], fails=422, code="not_an_object")
    api.put(f"{books}/documents/a", data="{", content_type="application/json", fails=400, code="unreadable")
    api.put(f"{books}/documents/a", data="{}", fails=415, code="unsupported_media_type")
    api.put(f"{books}/documents/a", json={"title": "x" * 10_001}, fails=413, code="document_too_large")
    api.put("/v1/indexes/nope/documents/a", json={}, fails=404, code="index_not_found")


def test_delete(api, books):
    """DELETE is 204, then there is nothing to delete."""
    api.delete(f"{books}/documents/a", status=204)
    api.delete(f"{books}/documents/a", fails=404, code="document_not_found")


def test_versions(api, books):
    """A write with the current version succeeds and moves it; the same again fails, and changes nothing."""
    path = f"{books}/documents/a"
    first = api.raw("GET", path).headers["ETag"]
    response = api.raw("PUT", path, json={"title": "second"}, headers={"If-Match": first})
    assert response.status_code == 200 and response.headers["ETag"] != first
    for method in ("PUT", "PATCH"):
        api.call(method, path, json={"title": "third"}, headers={"If-Match": first}, fails=412, code="version_conflict")
    api.delete(path, headers={"If-Match": first}, fails=412, code="version_conflict")
    assert api.get(path)["title"] == "second"
    second = response.headers["ETag"]
    api.patch(path, json={"title": "third"}, headers={"If-Match": f"W/{second}"})
    api.delete(path, headers={"If-Match": api.raw("GET", path).headers["ETag"]}, status=204)


def test_versions_never_come_back(api, books):
    """A document deleted and made again has another version."""
    path = f"{books}/documents/a"
    first = api.raw("GET", path).headers["ETag"]
    api.delete(path)
    assert api.raw("PUT", path, json={}).headers["ETag"] != first
    api.put(path, json={}, headers={"If-Match": first}, fails=412)


def test_if_match_that_names_no_version(api, books):
    """What is no version of ours matches nothing; `*` needs the document."""
    api.put(f"{books}/documents/a", json={}, headers={"If-Match": '"abc"'}, fails=412, code="version_conflict")
    api.put(f"{books}/documents/a", json={}, headers={"If-Match": "*"})
    for method in ("PUT", "PATCH"):
        api.call(method, f"{books}/documents/nope", json={}, headers={"If-Match": "*"}, fails=412)
    api.put(f"{books}/documents/nope", json={}, headers={"If-Match": '"1"'}, fails=412, code="version_conflict")
    api.get(f"{books}/documents/nope", fails=404)


def test_only_if_new(api, books):
    """`If-None-Match: *` writes only what is not there."""
    api.put(f"{books}/documents/a", json={}, headers={"If-None-Match": "*"}, fails=412, code="version_conflict")
    api.put(f"{books}/documents/new", json={}, headers={"If-None-Match": "*"}, status=201)
    api.put(f"{books}/documents/new", json={}, headers={"If-None-Match": '"1"'}, fails=422, code="wrong_value")


def test_not_modified(api, books):
    """A GET with the version it has is 304, without a body."""
    tag = api.raw("GET", f"{books}/documents/a").headers["ETag"]
    for given in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        response = api.raw("GET", f"{books}/documents/a", headers={"If-None-Match": given})
        assert response.status_code == 304 and response.data == b"" and response.headers["ETag"] == tag
    assert api.raw("GET", f"{books}/documents/a", headers={"If-None-Match": '"0"'}).status_code == 200
