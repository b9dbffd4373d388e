"""Keys over HTTP: their whole life, what is refused, what never leaves, and several workers."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.keystore import SCOPES
from searchapi.keytext import is_key
from tests.keys import bearer

from .conftest import API

LATE = 10.0  # seconds: far more than the one that is promised, for the machine is shared

MEMBERS = {
    "id",
    "description",
    "scopes",
    "indexes",
    "created_at",
    "expires_at",
    "last_used_at",
    "revoked_at",
    "rate_limit",
    "rate_limit_per_ip",
    "max_page_size",
    "previous_until",
    "epoch",
}


def made(api: API, **members) -> dict:
    """A new key: its record and its text."""
    return api.post("/v1/keys", json={"scopes": ["search"], "indexes": ["*"], **members}, status=201)


def using(app, key: str) -> API:
    return API(app.test_client(), key)


def in_time(**delta) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat(timespec="seconds")


def test_the_life_of_a_key(api, app, library):
    """Made, used, changed, rotated, revoked, and still on record."""
    answer = api.raw("POST", "/v1/keys", json={"scopes": ["search"], "indexes": ["library"], "description": "the shop"})
    body = orjson.loads(answer.data)
    assert answer.status_code == 201 and answer.headers["Location"] == f"/v1/keys/{body['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(body) == MEMBERS | {"key"} and is_key(body["key"]) and body["key"][3:15] == body["id"]
    assert (body["epoch"], body["revoked_at"], body["expires_at"], body["last_used_at"]) == (1, None, None, None)

    shop = using(app, body["key"])
    assert shop.get(f"{library}/search?q=parsing")["total"] == 2
    shop.get(f"{library}/documents/a", fails=403, code="missing_scope")
    shop.get("/v1/keys", fails=403, code="missing_scope")

    path = answer.headers["Location"]
    changed = api.patch(path, json={"scopes": ["search", "documents:read"], "max_page_size": 1})
    assert changed == api.get(path) | {"last_used_at": changed["last_used_at"]} and set(changed) == MEMBERS
    assert (changed["scopes"], changed["max_page_size"], changed["description"]) == (["search", "documents:read"], 1, "the shop")
    shop.get(f"{library}/documents/a")

    rotated = api.raw("POST", f"{path}/rotate", json={"overlap": 600})
    assert rotated.headers["Cache-Control"] == "no-store"
    new = orjson.loads(rotated.data)
    assert (
        set(new) == MEMBERS | {"key"} and (new["id"], new["epoch"]) == (body["id"], 2) and new["previous_until"] > new["created_at"]
    )
    for key in (body["key"], new["key"]):
        using(app, key).get(f"{library}/search?q=parsing")
    last = api.post(f"{path}/rotate")
    assert (last["epoch"], last["previous_until"]) == (3, None)
    for key in (body["key"], new["key"]):
        using(app, key).get(f"{library}/search?q=parsing", fails=401, code="invalid_key")
    using(app, last["key"]).get(f"{library}/search?q=parsing")

    api.delete(path, status=204)
    using(app, last["key"]).get(f"{library}/search?q=parsing", fails=401, code="revoked_key")
    api.delete(path, status=204)
    assert api.get(path)["revoked_at"]
    assert body["id"] not in [key["id"] for key in api.get("/v1/keys")["keys"]]
    assert body["id"] in [key["id"] for key in api.get("/v1/keys?all=true")["keys"]]
    api.patch(path, json={"description": "x"}, fails=409, code="already_revoked")
    api.post(f"{path}/rotate", fails=409, code="already_revoked")


def test_no_secret_and_no_digest_leaves(api, system):
    """Lists, records and changes hold neither a key nor what is kept of it; nor do the lines of the log."""
    key = made(api)
    rotated = api.post(f"/v1/keys/{key['id']}/rotate", json={"overlap": 60})
    record = system.keys()[key["id"]]
    secrets = [record.digest, record.previous_digest, *(text["key"].split("_")[2] for text in (key, rotated))]
    for method, path, rest in [
        ("GET", "/v1/keys?all=true", {}),
        ("GET", f"/v1/keys/{key['id']}", {}),
        ("PATCH", f"/v1/keys/{key['id']}", {"json": {"description": "y"}}),
    ]:
        text = api.raw(method, path, **rest).get_data(as_text=True)
        assert key["id"] in text and not any(secret in text for secret in secrets)


def test_the_log_tells_who_did_what(api, capfd, caplog):
    """Made, changed, rotated, revoked: one line each, with both ids and no secret."""
    caplog.set_level("INFO", "searchapi.keys")
    key = made(api)
    path = f"/v1/keys/{key['id']}"
    api.patch(path, json={})
    rotated = api.post(f"{path}/rotate")
    api.delete(path)
    lines = [record for record in caplog.records if record.name == "searchapi.keys"]
    assert [record.action for record in lines] == ["key created", "key changed", "key rotated", "key revoked"]
    assert all(key["id"] in record.getMessage() and record.key == api.key[3:15] for record in lines)
    said = caplog.text + capfd.readouterr().err
    assert not any(text["key"][16:] in said for text in (key, rotated))


def test_left_out_and_null(api):
    """What is left out is as with the key that asks; null takes a limit away."""
    key = made(api, expires_at=in_time(days=1), rate_limit="5/second", max_page_size=5, description="x")
    assert key["rate_limit_per_ip"] is None
    path = f"/v1/keys/{key['id']}"
    after = api.patch(path, json={"expires_at": None, "rate_limit": None, "max_page_size": None, "description": None})
    assert [after[name] for name in ("expires_at", "rate_limit", "max_page_size", "description")] == [None, None, None, ""]
    assert api.patch(path, data=b"{}", content_type="application/merge-patch+json") == after
    assert api.post("/v1/keys", json={"scopes": ["search"]}, status=201)["indexes"] == ["*"]


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"indexes": ["*"]}, "/scopes", "missing_member"),
        ({"scopes": ["search", "serch"]}, "/scopes/1", "unknown_scope"),
        ({"scopes": ["search"], "indexes": ["Books"]}, "/indexes/0", "invalid_pattern"),
        ({"scopes": ["search"], "expires_at": "2020-01-01"}, "/expires_at", "out_of_range"),
        ({"scopes": ["search"], "expires_at": "30d"}, "/expires_at", "wrong_value"),
        ({"scopes": ["search"], "rate_limit": "6"}, "/rate_limit", "wrong_value"),
        ({"scopes": ["search"], "max_page_size": "6"}, "/max_page_size", "out_of_range"),
        ({"scopes": ["search"], "descripton": "x"}, "/descripton", "unknown_member"),
        ({"scopes": ["search"], "digest": "x"}, "/digest", "unknown_member"),
        (["search"], "", "not_an_object"),
    ],
)
def test_bad_input(api, body, pointer, code):
    """Each fault has its place; nothing is made or changed."""
    key = made(api)
    before = api.get("/v1/keys?all=true")["keys"]
    assert [error["pointer"] for error in api.post("/v1/keys", json=body, fails=422, code=code)["errors"]] == [pointer]
    if code != "missing_member":
        api.patch(f"/v1/keys/{key['id']}", json=body, fails=422, code=code)
    assert [one["id"] for one in api.get("/v1/keys?all=true")["keys"]] == [one["id"] for one in before]
    assert api.get(f"/v1/keys/{key['id']}")["scopes"] == ["search"]


@pytest.mark.parametrize("overlap", [-1, 2_592_001, "1h", 1.5, True, None])
def test_bad_overlap(api, app, overlap):
    """The old secret goes on to be valid."""
    key = made(api)
    fault = api.post(f"/v1/keys/{key['id']}/rotate", json={"overlap": overlap}, fails=422)["errors"][0]
    assert fault["pointer"] == "/overlap"
    using(app, key["key"]).get("/v1/indexes")
    api.post(f"/v1/keys/{key['id']}/rotate", data=b"{", content_type="application/json", fails=400)
    api.post(f"/v1/keys/{key['id']}/rotate", json={"overlapp": 1}, fails=422, code="unknown_member")


def test_a_key_that_there_is_not(api):
    """404, whatever is done with it."""
    for call in (api.get, api.delete):
        call("/v1/keys/nosuch", fails=404, code="key_not_found")
    api.patch("/v1/keys/nosuch", json={}, fails=404, code="key_not_found")
    api.post("/v1/keys/nosuch/rotate", fails=404, code="key_not_found")
    api.get("/v1/keys?al=true", fails=422, code="unknown_parameter")


# ---------------------------------------------------------------------------------------------------- escalation


def test_nobody_gives_more_than_they_have(api, app):
    """A key that administers keys sees and makes those within its own; the others are not there."""
    bounded = made(
        api,
        scopes=["search", "keys:admin"],
        indexes=["mine-*"],
        expires_at=in_time(hours=1),
        rate_limit="60/minute",
        max_page_size=10,
    )
    mine = using(app, bounded["key"])
    other = made(api, scopes=["search"], indexes=["*"], description="secret plans")

    assert [key["id"] for key in mine.get("/v1/keys?all=true")["keys"]] == [bounded["id"]]
    for method, path in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")]:
        answers = []
        for id in (other["id"], "x" * 12):
            rest = {"json": {}} if method == "PATCH" else {}
            problem = mine.call(method, f"/v1/keys/{id}{path}", fails=404, code="key_not_found", **rest)
            answers.append({name: str(value).replace(id, "ID") for name, value in problem.items() if name != "request_id"})
        assert answers[0] == answers[1]

    problem = mine.post(
        "/v1/keys",
        json={
            "scopes": ["search", "metrics"],
            "indexes": ["mine-1", "*"],
            "expires_at": None,
            "rate_limit": "off",
            "max_page_size": 11,
        },
        fails=403,
        code="forbidden_grant",
    )
    pointers = ["/scopes/1", "/indexes/1", "/expires_at", "/rate_limit", "/max_page_size"]
    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert "secret plans" not in str(problem)

    child = mine.post("/v1/keys", json={"scopes": ["search"], "indexes": ["mine-1"]}, status=201)
    assert [child[name] for name in ("expires_at", "rate_limit", "max_page_size")] == [bounded["expires_at"], "60/minute", 10]
    mine.patch(f"/v1/keys/{child['id']}", json={"scopes": list(SCOPES)}, fails=403, code="forbidden_grant")
    mine.patch(f"/v1/keys/{bounded['id']}", json={"expires_at": in_time(days=9)}, fails=403, code="forbidden_grant")
    mine.patch(f"/v1/keys/{child['id']}", json={"scopes": ["search"], "max_page_size": 3})
    mine.delete(f"/v1/keys/{child['id']}", status=204)

    api.patch(f"/v1/keys/{other['id']}", json={"indexes": ["mine-2"]})  # to be seen, but without any limit of its own
    mine.post(f"/v1/keys/{other['id']}/rotate", fails=403, code="forbidden_grant")
    using(app, other["key"]).get("/v1/indexes")


def test_a_key_may_end_itself(api, app):
    """Who holds a leaked key can end it with nothing else, and rotate it."""
    key = made(api, scopes=["keys:admin"])
    own = using(app, key["key"])
    new = own.post(f"/v1/keys/{key['id']}/rotate")["key"]
    own.get("/v1/keys", fails=401)
    own = using(app, new)
    own.delete(f"/v1/keys/{key['id']}", status=204)
    own.get("/v1/keys", fails=401, code="revoked_key")


# ------------------------------------------------------------------------------------------------ several workers


class Worker:
    """An application on the same folder, with an engine and a thread of its own, as another worker process has it."""

    def __init__(self, settings: Settings):
        self.app = create_app(settings)
        self.statuses: dict[str, int] = {}
        self._asked, self._answered, self._key = threading.Semaphore(0), threading.Semaphore(0), ""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        client = self.app.test_client()
        while self._asked.acquire() and self._key:
            self.status = client.get("/v1/keys", headers=bearer(self._key)).status_code
            self._answered.release()

    def ask(self, key: str) -> int:
        """The status of one request, answered by the thread."""
        self._key = key
        self._asked.release()
        assert self._answered.acquire(timeout=60)
        return self.status

    def close(self) -> None:
        self._key = ""
        self._asked.release()
        self._thread.join()
        self.app.extensions["searchapi"].engine.close()


@pytest.fixture
def workers(settings):
    started = [Worker(settings), Worker(settings)]
    yield started
    for worker in started:
        worker.close()


def test_every_worker_knows_at_once(api, workers, engine_name):
    """Made, changed, rotated, revoked by one application, a key is so for the next request to another one; from another host within
    a second, which is what OpenSearch has to keep."""
    key = made(api, scopes=["keys:admin"])
    path, waited = f"/v1/keys/{key['id']}", []

    def expect(text: str, status: int) -> None:
        start = time.monotonic()
        while engine_name == "opensearch" and time.monotonic() - start < LATE and [w.ask(text) for w in workers] != [status] * 2:
            time.sleep(0.02)
        assert [worker.ask(text) for worker in workers] == [status, status]
        waited.append(time.monotonic() - start)

    expect(key["key"], 200)
    api.patch(path, json={"scopes": ["search"]})
    expect(key["key"], 403)
    api.patch(path, json={"scopes": ["keys:admin"]})
    expect(key["key"], 200)
    new = api.post(f"{path}/rotate")["key"]
    expect(key["key"], 401)
    expect(new, 200)
    api.delete(path)
    expect(new, 401)
    print(f"two workers knew within {max(waited) * 1000:.1f} ms")


def test_last_use_is_told(api, app, library):
    """Once it has been written, by a thread or at a worker's end."""
    key = made(api)
    using(app, key["key"]).get(f"{library}/search?q=parsing")
    app.extensions["searchapi"].keys.close()
    used = api.get(f"/v1/keys/{key['id']}")["last_used_at"]
    assert used >= key["created_at"]


def test_what_cannot_be_written_fails_no_request(api, app, library, monkeypatch):
    """A full disk at the moment when last uses are written."""
    keys = app.extensions["searchapi"].keys

    def full(used):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys._uses, "_write", full)
    for _ in range(3):
        api.get(f"{library}/search?q=parsing")
        keys.close()
    monkeypatch.undo()
    keys.close()
    assert api.get(f"/v1/keys/{api.key[3:15]}")["last_used_at"]
