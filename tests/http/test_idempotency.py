"""Idempotency-Key: each write honours it; what was done is answered again, not done again; what was refused may be tried again."""

from __future__ import annotations

import gzip
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from searchapi import idempotency
from searchapi.engines import once as shared
from searchapi.engines.embedded import once as records
from searchapi.engines.embedded import processes
from searchapi.exceptions import StorageFull
from searchapi.keytext import PATTERN
from tests.keys import admin_key

from .conftest import API, assert_problem

_keys = itertools.count()
REPLAYED = "Idempotency-Replayed"
Request = tuple[str, str, dict[str, Any]]  # method, path, the rest


def new_key() -> str:
    return f"test-{next(_keys)}"


def send(api: API, key: str | None, method: str, path: str, headers: dict[str, str] | None = None, **rest: Any) -> TestResponse:
    return api.raw(method, path, headers={**(headers or {}), **({"Idempotency-Key": key} if key else {})}, **rest)


def seen(response: TestResponse) -> tuple:
    """What a client can compare."""
    body = response.get_json(silent=True)
    if isinstance(body, dict):
        body.pop("request_id", None)
    return response.status_code, body, response.headers.get("ETag"), response.headers.get("Location"), response.content_type


def assert_replayed(first: TestResponse, again: TestResponse, **but: Any) -> None:
    """The same answer; but: members that are others."""
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    expected = seen(first)
    if but:
        expected[1].update(but)
    assert seen(again) == expected


# ------------------------------------------------------------------------------------------------------ every route


def _key_of(api: API) -> str:
    return api.post("/v1/keys", json={"scopes": ["search"], "indexes": ["*"]})["id"]


def _aliased(api: API, path: str, name: str) -> str:
    api.put(f"/v1/aliases/{name}-alias", json={"index": path.rpartition("/")[2]})
    return f"/v1/aliases/{name}-alias"


# endpoint -> a request that succeeds, upon an index that holds BOOKS
EXAMPLES: dict[str, Callable[[API, str, str], Request]] = {
    "indexes.create_index": lambda api, path, name: ("POST", "/v1/indexes", {"json": {"name": f"{name}-2"}}),
    "indexes.delete_index": lambda api, path, name: ("DELETE", path, {}),
    "indexes.replace_settings": lambda api, path, name: ("PUT", f"{path}/settings", {"json": {"stop_words": ["the"]}}),
    "indexes.change_settings": lambda api, path, name: ("PATCH", f"{path}/settings", {"json": {"stop_words": ["the"]}}),
    "documents.put_documents": lambda api, path, name: ("POST", f"{path}/documents", {"json": [{"id": "x"}, {"id": "y"}]}),
    "documents.patch_documents": lambda api, path, name: ("PATCH", f"{path}/documents", {"json": [{"id": "a", "year": 1}]}),
    "documents.delete_documents": lambda api, path, name: ("DELETE", f"{path}/documents?filter=year+<+2005", {}),
    "document.put_document": lambda api, path, name: ("PUT", f"{path}/documents/new", {"json": {"title": "New"}}),
    "document.patch_document": lambda api, path, name: ("PATCH", f"{path}/documents/a", {"json": {"year": 1}}),
    "document.delete_document": lambda api, path, name: ("DELETE", f"{path}/documents/a", {}),
    "aliases.set_alias": lambda api, path, name: ("PUT", f"/v1/aliases/{name}-a", {"json": {"index": path.rpartition("/")[2]}}),
    "aliases.delete_alias": lambda api, path, name: ("DELETE", _aliased(api, path, name), {}),
    "keys.create_key": lambda api, path, name: ("POST", "/v1/keys", {"json": {"scopes": ["search"], "indexes": ["*"]}}),
    "keys.change_key": lambda api, path, name: ("PATCH", f"/v1/keys/{_key_of(api)}", {"json": {"description": "new"}}),
    "keys.revoke_key": lambda api, path, name: ("DELETE", f"/v1/keys/{_key_of(api)}", {}),
    "keys.rotate_key": lambda api, path, name: ("POST", f"/v1/keys/{_key_of(api)}/rotate", {"json": {"overlap": 60}}),
}
SECRETS = {"keys.create_key", "keys.rotate_key"}


def test_every_write_has_an_example(app: Flask):
    """A route with a write turn is one of those below: a new one must join them."""
    assert set(EXAMPLES) == {name for name, declared in app.extensions["guards"].items() if declared.turn == "write"}


@pytest.mark.parametrize("endpoint", EXAMPLES)
def test_every_write(api: API, books: str, name: str, endpoint: str):
    """Sent again it is answered as before and marked; another request under its key is refused; each under its own is done."""
    method, path, rest = EXAMPLES[endpoint](api, books, name)
    key = new_key()
    first = send(api, key, method, path, **rest)
    assert first.status_code < 300, first.get_data(as_text=True)
    again = send(api, key, method, path, **rest)
    if endpoint in SECRETS:
        assert PATTERN.fullmatch(first.get_json()["key"])
        assert_replayed(first, again, key=None)
    else:
        assert_replayed(first, again)
    other = f"{path}{'&' if '?' in path else '?'}refresh=false"
    assert_problem(send(api, key, method, other, **rest), 422, "idempotency_key_reused")
    assert REPLAYED not in send(api, new_key(), method, path, **rest).headers
    assert REPLAYED not in send(api, None, method, path, **rest).headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_reads_ignore_it(api: API, library: str, method: str):
    """A search has nothing to repeat: the header means nothing there, whatever it holds."""
    rest = {"json": {"q": "parsing"}} if method == "POST" else {}
    for key in ("read", "read", ",,,"):
        answer = send(api, key, method, f"{library}/search", **rest)
        assert answer.status_code == 200 and REPLAYED not in answer.headers


# --------------------------------------------------------------------------------------------------------- the key


KEYS = ["a", "x" * 255, "8e03978e-40d5-43dd-bc93-6894a57f9324", "a/b:c;d='e'", '"quoted"', '"a,b"', r'"a\"b\\c"']


@pytest.mark.parametrize("key", KEYS)
def test_keys_that_are(api: API, shelf: str, key: str):
    """Visible ASCII, up to 255 characters, bare or as a string of the draft."""
    path = f"{shelf}/documents/{quote(key, safe='')}"
    first, again = (send(api, key, "PUT", path, json={}) for _ in range(2))
    assert first.status_code == 201
    assert_replayed(first, again)


@pytest.mark.parametrize(
    "key", ["", " ", "x" * 256, "a b", "a\tb", "é", "a,b", '"', '""', '"a', 'a"b', r'"a\b"', r"a\b", '"a" "b"', '"a", "b"', "a\x7f"]
)
@pytest.mark.parametrize("path", ["documents/never", "settings"])
def test_keys_that_are_not(api: API, shelf: str, key: str, path: str):
    """Anything else is refused, two headers too (they are joined by a comma), and nothing is done."""
    answer = api.put(f"{shelf}/{path}", json={}, headers={"Idempotency-Key": key}, fails=422, code="invalid_idempotency_key")
    assert answer["errors"][0]["pointer"] == "Idempotency-Key"
    api.get(f"{shelf}/documents/never", fails=404)


def test_both_forms_are_one_key(api: API, shelf: str):
    """The quotes are not part of it."""
    key = new_key()
    assert_replayed(
        send(api, key, "PUT", f"{shelf}/documents/forms", json={}),
        send(api, f' "{key}" ', "PUT", f"{shelf}/documents/forms", json={}),
    )


def test_two_api_keys_never_meet(app: Flask, api: API, system, settings, name: str):
    """The same Idempotency-Key of another API key is another one, in both kinds of records."""
    other, key = API(app.test_client(), admin_key(settings.data_dir, system)), new_key()
    send(api, key, "POST", "/v1/indexes", json={"name": name})
    send(other, key, "POST", "/v1/indexes", json={"name": f"{name}-other"})
    for client, title in ((api, "One"), (other, "Two")):
        answer = send(client, key, "PUT", f"/v1/indexes/{name}/documents/x", json={"title": title})
        assert answer.status_code < 300 and REPLAYED not in answer.headers
    assert api.get(f"/v1/indexes/{name}/documents/x")["title"] == "Two"
    assert {i["name"] for i in api.get("/v1/indexes")["indexes"]} >= {name, f"{name}-other"}


# -------------------------------------------------------------------------------------------------------- documents


def test_what_came_after_stays(api: API, shelf: str):
    """A replay answers what was, and does not undo what came later."""
    path, key = f"{shelf}/documents/later", new_key()
    first = send(api, key, "PUT", path, json={"n": 1})
    api.put(path, json={"n": 2})
    assert_replayed(first, send(api, key, "PUT", path, json={"n": 1}))
    assert api.get(path)["n"] == 2
    api.delete(path)
    assert_replayed(first, send(api, key, "PUT", path, json={"n": 1}))
    api.get(path, fails=404)


@pytest.mark.parametrize(
    "method, condition, status",
    [
        ("PUT", {"If-None-Match": "*"}, 412),
        ("DELETE", {"If-Match": '"1"'}, 412),
        ("PATCH", {}, 404),
        ("DELETE", {"If-Match": "*"}, 412),
    ],
)
def test_what_was_refused_by_the_document_is_repeated(api: API, name: str, method: str, condition: dict[str, str], status: int):
    """What a condition decided, or that there was no document, is the answer, also when it would be another one now."""
    path, key = f"/v1/indexes/{name}/documents/x", new_key()
    api.post("/v1/indexes", json={"name": name})
    there = status == 412 and condition != {"If-Match": "*"}
    if there:
        api.put(path, json={})
        api.put(path, json={})
    body = {} if method == "DELETE" else {"json": {}}
    first = send(api, key, method, path, condition, **body)
    assert_problem(first, status)
    api.delete(path) if there else api.put(path, json={})
    again = send(api, key, method, path, condition, **body)
    assert_problem(again, status)
    assert_replayed(first, again)


def test_conditions_belong_to_the_request(api: API, shelf: str):
    """The same body with another condition is another request."""
    path, key = f"{shelf}/documents/conditions", new_key()
    send(api, key, "PUT", path, {"If-None-Match": "*"}, json={})
    assert_problem(send(api, key, "PUT", path, json={}), 422, "idempotency_key_reused")


def test_any_version_is_asked_once(api: API, shelf: str):
    """`If-Match: *` on a delete that was done: its retry is answered as done, though the document is gone."""
    path, key = f"{shelf}/documents/any", new_key()
    api.put(path, json={})
    first = send(api, key, "DELETE", path, {"If-Match": "*"})
    assert first.status_code == 204
    assert_replayed(first, send(api, key, "DELETE", path, {"If-Match": "*"}))


def test_how_it_is_sent_does_not_matter(api: API, shelf: str):
    """Spaces, gzip and its level are not part of the request: a client may pack it anew for each try."""
    path, key, document = f"{shelf}/documents/packed", new_key(), {"title": "word " * 300}
    plain = orjson.dumps(document)
    first = send(api, key, "PUT", path, data=plain, content_type="application/json")
    for level in (1, 9):
        packed = gzip.compress(orjson.dumps(document, option=orjson.OPT_INDENT_2), level)
        again = send(api, key, "PUT", path, {"Content-Encoding": "gzip"}, data=packed, content_type="application/json")
        assert_replayed(first, again)


def test_other_requests_may_be_packed_anew_too(api: API, name: str):
    """The same for requests that are claimed."""
    key, plain = new_key(), orjson.dumps({"name": name})
    first = send(api, key, "POST", "/v1/indexes", data=plain, content_type="application/json")
    assert first.status_code == 201
    for level in (1, 9):
        packed = gzip.compress(plain, level)
        headers = {"Content-Encoding": "gzip"}
        assert_replayed(first, send(api, key, "POST", "/v1/indexes", headers, data=packed, content_type="application/json"))


def test_a_batch_that_makes_its_index(api: API, name: str):
    """Sent again it is answered the same, though the index is there now, and searches see what was written then."""
    path, key = f"/v1/indexes/{name}/documents?primary_key=sku&refresh=wait_for", new_key()
    lines = b'{"sku": "a", "n": 1}\n{"sku": "b", "n": "no number"}\nno JSON\n{"sku": "c", "n": 2}\n'
    first, again = (send(api, key, "POST", path, data=lines, content_type="application/x-ndjson") for _ in range(2))
    assert first.get_json()["accepted"] == 2 and first.get_json()["refreshed"] is True
    assert_replayed(first, again)
    assert api.get(f"/v1/indexes/{name}/stats")["seq"] == 2


def test_a_batch_of_which_nothing_was_accepted(api: API, books: str):
    """Refused as a whole, it is refused again, in the same words."""
    key, batch = new_key(), [{"id": "x", "year": "no number"}]
    first, again = (send(api, key, "POST", f"{books}/documents", json=batch) for _ in range(2))
    assert_problem(first, 422, "nothing_accepted")
    assert_problem(again, 422, "nothing_accepted")
    assert_replayed(first, again)


def test_one_document_and_a_batch(api: API, shelf: str):
    """A key that was used for one is not free for the other."""
    key = new_key()
    send(api, key, "PUT", f"{shelf}/documents/one", json={})
    assert_problem(send(api, key, "POST", f"{shelf}/documents", json=[{"id": "one"}]), 422, "idempotency_key_reused")


# ---------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "method, path, wrong, right",
    [
        ("PUT", "documents/free", {"data": b"{", "content_type": "application/json"}, {"json": {}}),
        ("PUT", "documents/free", {"data": b"{}", "content_type": "text/plain"}, {"json": {}}),
        ("PUT", "documents/free", {"json": {"text": "x" * 11_000}}, {"json": {}}),
        ("POST", "documents", {"json": {}}, {"json": {"id": "free"}}),
        ("PUT", "settings", {"data": b"{", "content_type": "application/json"}, {"json": {}}),
        ("PUT", "settings", {"json": {"language": "klingon"}}, {"json": {}}),
        ("PUT", "settings", {"json": {"stop_words": ["x" * 11_000]}}, {"json": {}}),
    ],
)
def test_refusals_that_left_no_trace_free_the_key(api: API, books: str, method, path, wrong, right):
    """What could not be read or was wrong is not remembered: the same key may come with what is right."""
    key = new_key()
    refused = send(api, key, method, f"{books}/{path}", **wrong)
    assert 400 <= refused.status_code < 500 and REPLAYED not in refused.headers
    done = send(api, key, method, f"{books}/{path}", **right)
    assert done.status_code < 300 and REPLAYED not in done.headers


def test_a_full_disk_frees_the_key(api: API, engine, shelf: str, name: str, monkeypatch):
    """503: nothing was written, so the same request is done when there is room."""
    document, index = (new_key(), f"{shelf}/documents/full"), (new_key(), name)

    def full(*arguments, **rest):
        raise StorageFull("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "write", full)
        patch.setattr(engine, "create_index", full)
        assert_problem(send(api, document[0], "PUT", document[1], json={}), 503)
        assert_problem(send(api, index[0], "POST", "/v1/indexes", json={"name": name}), 503)
    assert send(api, document[0], "PUT", document[1], json={}).status_code == 201
    assert send(api, index[0], "POST", "/v1/indexes", json={"name": name}).status_code == 201


def test_a_crash_frees_the_key(api: API, engine, name: str, monkeypatch):
    """500: what a mistake of ours broke off may be tried again."""
    key = new_key()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "create_index", lambda *_: 1 / 0)
        assert_problem(send(api, key, "POST", "/v1/indexes", json={"name": name}), 500)
    assert send(api, key, "POST", "/v1/indexes", json={"name": name}).status_code == 201


# ------------------------------------------------------------------------------------------------------- unfinished


def test_while_the_first_is_being_done(app: Flask, api: API, engine, name: str, monkeypatch):
    """The second is told to come back, and then has the first one's answer."""
    reached, go, answers = threading.Event(), threading.Event(), []
    create, key = engine.create_index, new_key()

    def slow(*arguments):
        reached.set()
        assert go.wait(30)
        return create(*arguments)

    monkeypatch.setattr(engine, "create_index", slow)
    other = API(app.test_client(), api.key)
    first = threading.Thread(target=lambda: answers.append(send(other, key, "POST", "/v1/indexes", json={"name": name})))
    first.start()
    assert reached.wait(30)
    early = send(api, key, "POST", "/v1/indexes", json={"name": name})
    go.set()
    first.join()
    assert_problem(early, 409, "idempotency_unfinished")
    assert int(early.headers["Retry-After"]) >= 1
    assert_replayed(answers[0], send(api, key, "POST", "/v1/indexes", json={"name": name}))


def _lost(*_: object) -> None:
    """The process ends before it can say that it is done."""


def test_a_claim_whose_process_died(api: API, system, name: str, monkeypatch, embedded_only):
    """It is taken over at once, and the request is done anew: here it finds its index made."""
    key = new_key()
    with monkeypatch.context() as patch:
        patch.setattr(system, "finish", _lost)
        patch.setattr(processes, "me", lambda data_dir: "1")  # nobody holds this byte
        assert send(api, key, "POST", "/v1/indexes", json={"name": name}).status_code == 201
    assert_problem(send(api, key, "POST", "/v1/indexes", json={"name": name}), 409, "index_exists")


def test_a_claim_that_was_left(api: API, system, name: str, monkeypatch):
    """Where the process lives on, it is held for a minute."""
    key, path, body = new_key(), f"/v1/aliases/{name}-left", {"index": name}
    api.post("/v1/indexes", json={"name": name})
    with monkeypatch.context() as patch:
        patch.setattr(system, "finish", _lost)
        assert send(api, key, "PUT", path, json=body).status_code == 200
    assert_problem(send(api, key, "PUT", path, json=body), 409, "idempotency_unfinished")
    monkeypatch.setattr(records, "STALE_MS", 0)
    monkeypatch.setattr(shared, "STALE_MS", 0)
    assert send(api, key, "PUT", path, json=body).status_code == 200


def test_an_answer_that_cannot_be_kept(api: API, system, name: str, monkeypatch):
    """What was done is answered as done, whatever becomes of the record."""

    def full(*arguments):
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(system, "finish", full)
    assert send(api, new_key(), "POST", "/v1/indexes", json={"name": name}).status_code == 201


def test_eight_at_once(app: Flask, api: API, shelf: str):
    """The same write in eight threads: it is done once, and all are told the same."""
    path, key, barrier, answers = f"{shelf}/documents/eight", new_key(), threading.Barrier(8), []
    before = api.get(f"{shelf}/stats")["seq"]

    def one() -> None:
        client = API(app.test_client(), api.key)
        barrier.wait()
        answers.append(send(client, key, "PUT", path, json={"n": 1}))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({orjson.dumps(seen(answer)) for answer in answers}) == 1 and answers[0].status_code == 201
    assert sum(REPLAYED in answer.headers for answer in answers) == 7
    assert api.get(f"{shelf}/stats")["seq"] == before + 1


# ---------------------------------------------------------------------------------------------------------- secrets


def test_keys_are_never_kept(api: API, data_dir, embedded_only):
    """The answer that shows a key once is kept without it, made or rotated, and a retry neither makes nor rotates another."""
    body = {"scopes": ["search"], "indexes": ["*"], "description": "of the tests"}
    create, rotate = new_key(), new_key()
    made = send(api, create, "POST", "/v1/keys", json=body).get_json()
    again = send(api, create, "POST", "/v1/keys", json=body)
    assert again.get_json() == made | {"key": None}
    turned = send(api, rotate, "POST", f"/v1/keys/{made['id']}/rotate").get_json()
    assert send(api, rotate, "POST", f"/v1/keys/{made['id']}/rotate").get_json() == turned | {"key": None}
    stored = b"".join(path.read_bytes() for path in data_dir.glob("system.db*"))
    for text in (made["key"], turned["key"]):
        _, _, secret = text.split("_")
        assert secret[:32].encode() not in stored
    assert made["id"].encode() in stored and turned["key"] != made["key"]
    assert API(api.client, turned["key"]).get("/v1/indexes")["indexes"] is not None


def test_it_costs_nothing_to_those_without_it(app: Flask):
    """What a write pays that brings no header: one look. Printed; the bound is generous."""

    def bare() -> None:
        return None

    looking, best = idempotency._claimed(bare), {}
    with app.test_request_context("/v1/aliases/x", method="DELETE"):
        for call in (bare, looking) * 30:
            started = time.perf_counter()
            for _ in range(1000):
                call()
            best[call] = min(best.get(call, 1.0), (time.perf_counter() - started) / 1000)
    cost = (best[looking] - best[bare]) * 1e6
    print(f"without the header: {cost:.2f} µs")
    assert cost < 20
