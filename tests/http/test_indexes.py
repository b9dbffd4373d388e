"""Indexes, settings, figures, aliases, tasks."""

from __future__ import annotations

import pytest


def test_create_read_delete(api, name):
    """An index is made, listed, read at its Location, deleted, and gone."""
    response = api.raw("POST", "/v1/indexes", json={"name": name, "settings": {"language": "german"}})
    assert response.status_code == 201 and response.headers["Location"] == f"/v1/indexes/{name}"
    made = api.get(response.headers["Location"])
    assert made["name"] == name and made["settings"]["language"] == "german" and made["settings"]["primary_key"] == "id"
    assert name in [index["name"] for index in api.get("/v1/indexes")["indexes"]]
    api.delete(f"/v1/indexes/{name}", status=204)
    for path in ("", "/settings", "/stats", "/documents", "/documents/x", "/export", "/search?q=a", "/suggest?q=a"):
        api.get(f"/v1/indexes/{name}{path}", fails=404, code="index_not_found")
    api.delete(f"/v1/indexes/{name}", fails=404, code="index_not_found")


def test_create_twice(api, name):
    """A name is given once."""
    api.post("/v1/indexes", json={"name": name})
    api.post("/v1/indexes", json={"name": name}, fails=409, code="index_exists")


@pytest.mark.parametrize("bad", ["", "Books", "a b", "a/b", "-x", "é", "a" * 101, None, 5, ["x"]])
def test_bad_names(api, bad):
    """A bad name is refused with what a name holds."""
    body = api.post("/v1/indexes", json={"name": bad}, fails=422, code="invalid_name")
    assert body["errors"][0]["pointer"] == "/name"


def test_bad_bodies(api, name):
    """Each way a body can be wrong has its own answer."""
    api.post("/v1/indexes", json={}, fails=422, code="missing_member")
    api.post("/v1/indexes", json=["x"], fails=422, code="not_an_object")
    assert "settings" in api.post("/v1/indexes", json={"name": name, "setings": {}}, fails=422, code="unknown_member")["detail"]
    api.post("/v1/indexes", data="{", content_type="application/json", fails=400, code="unreadable")
    api.post("/v1/indexes", data="", content_type="application/json", fails=400, code="unreadable")
    api.post("/v1/indexes", data=b'{"name": "\xff"}', content_type="application/json", fails=400, code="unreadable")
    api.post("/v1/indexes", data='{"name": "x"}', fails=415, code="unsupported_media_type")
    body = api.post("/v1/indexes", data="name=x", content_type="application/x-www-form-urlencoded", fails=415)
    assert "application/json" in body["detail"]
    api.post("/v1/indexes", json={"name": name}, headers={"Content-Encoding": "br"}, fails=415)
    api.post("/v1/indexes", data=b" " * 200_001, content_type="application/json", fails=413, code="too_large")


def test_bad_settings_point_into_the_body(api, name):
    """The pointer of a bad setting leads from the body's root."""
    body = api.post("/v1/indexes", json={"name": name, "settings": {"language": "klingon"}}, fails=422)
    assert body["errors"][0]["pointer"] == "/settings/language"
    api.get(f"/v1/indexes/{name}", fails=404)


def test_settings_replace_and_change(api, books):
    """PUT brings defaults back, PATCH keeps what it leaves out, null brings one default back."""
    before = api.get(f"{books}/settings")
    assert api.patch(f"{books}/settings", json={"synonyms": [["fire", "flame"]]})["changed"] == ["synonyms"]
    after = api.get(f"{books}/settings")
    assert after["synonyms"] == [["fire", "flame"]] and after["fields"] == before["fields"]
    api.patch(f"{books}/settings", json={"typo": {"one_from": 4}}, content_type="application/merge-patch+json")
    assert api.get(f"{books}/settings")["typo"]["two_from"] == 9
    assert api.patch(f"{books}/settings", json={"synonyms": None})["changed"] == ["synonyms"]
    assert api.put(f"{books}/settings", json={"fields": before["fields"]})["changed"] == ["typo.one_from"]
    assert api.get(f"{books}/settings") == before


def test_settings_dry_run(api, library):
    """A dry run says what would happen, and nothing happens."""
    before = api.get(f"{library}/settings")
    change = api.patch(f"{library}/settings?dry_run=true", json={"language": "german"})
    assert change["changed"] == ["language"] and change["rebuild"] is True and change["documents"] == 3
    assert api.get(f"{library}/settings") == before
    assert api.patch(f"{library}/settings?dry_run=true", json={"stop_words": ["the"]})["rebuild"] is False
    assert api.patch(f"{library}/settings?dry_run=true", json={})["changed"] == []
    api.patch(f"{library}/settings?dry_run=perhaps", json={}, fails=422, code="wrong_type")


def test_settings_that_are_wrong(api, library):
    """Unknown settings, and those that documents do not fit, change nothing."""
    before = api.get(f"{library}/settings")
    api.patch(f"{library}/settings", json={"languag": "german"}, fails=422)
    api.patch(f"{library}/settings", json={"fields": {"title": {"type": "integer"}}}, fails=422, code="settings_conflict")
    api.patch(f"{library}/settings", json={"primary_key": "title"}, fails=422, code="primary_key_fixed")
    assert api.get(f"{library}/settings") == before


def test_stats(api, library):
    """Figures of an index whose every write is seen."""
    figures = api.get(f"{library}/stats")
    assert figures["documents"] == 3 and figures["lag"] == 0 and figures["size_bytes"] > 0
    assert figures["seq"] == figures["indexed_seq"]


def test_alias_swap(api, books, name):
    """An alias stands for its index on every route, and is swapped in one request."""
    alias, other = f"alias-{name}", f"other-{name}"
    api.put(f"/v1/aliases/{alias}", json={"index": name})
    assert api.get(f"/v1/aliases/{alias}") == {"name": alias, "index": name}
    assert {"name": alias, "index": name} in api.get("/v1/aliases")["aliases"]
    assert api.get(f"/v1/indexes/{alias}")["name"] == name
    assert api.get(f"/v1/indexes/{alias}/documents/a")["title"] == "The art of parsing"
    assert api.get(f"/v1/indexes/{alias}/search?q=parsing")["total"] == 2
    api.post(f"/v1/indexes/{other}/documents?refresh=wait_for", json=[{"id": "z", "title": "parsing anew"}])
    api.put(f"/v1/aliases/{alias}", json={"index": other})
    assert [hit["id"] for hit in api.get(f"/v1/indexes/{alias}/search?q=parsing")["hits"]] == ["z"]
    assert api.post(f"/v1/indexes/{alias}/documents", json={"id": "y"})["accepted"] == 1
    assert api.get(f"/v1/indexes/{other}/documents/y") == {"id": "y"}
    api.delete(f"/v1/indexes/{alias}", fails=404)
    api.delete(f"/v1/aliases/{alias}", status=204)
    api.get(f"/v1/indexes/{alias}", fails=404, code="index_not_found")


def test_bad_aliases(api, books, name):
    """An alias needs a name of its own and an index that is there."""
    api.get("/v1/aliases/nope", fails=404, code="alias_not_found")
    api.delete("/v1/aliases/nope", fails=404, code="alias_not_found")
    api.put("/v1/aliases/new", json={"index": "nope"}, fails=404, code="index_not_found")
    api.put(f"/v1/aliases/{name}", json={"index": name}, fails=409, code="index_exists")
    api.put("/v1/aliases/Bad%20Name", json={"index": name}, fails=422, code="invalid_name")
    api.put("/v1/aliases/new", json={}, fails=422, code="missing_member")
    api.put("/v1/aliases/new", json={"index": 5}, fails=422, code="wrong_type")


def test_tasks(api, books, name):
    """Tasks are listed, newest first, of one index or all, and read by id."""
    first = api.delete(f"{books}/documents?filter=year=1&refresh=wait_for")
    second = api.delete(f"{books}/documents?filter=year=2&refresh=wait_for")
    assert [task["id"] for task in api.get(f"/v1/tasks?index={name}")["tasks"]] == [second["id"], first["id"]]
    assert len(api.get("/v1/tasks?limit=1")["tasks"]) == 1
    assert api.get(f"/v1/tasks/{first['id']}") == first
    api.get("/v1/tasks/nope", fails=404, code="task_not_found")
    api.get("/v1/tasks?limit=0", fails=422, code="out_of_range")
