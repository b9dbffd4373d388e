"""Who gets in where: every route with a key of every scope, with none, and with keys for other indexes."""

from __future__ import annotations

import re
import statistics
import time

import pytest

from searchapi.keystore import SCOPES
from tests.keys import CREATED, bearer

from .conftest import API, filled

WITHOUT_ADMIN = tuple(scope for scope in SCOPES if scope != "indexes:admin")


def key_for(app, scopes, indexes=("*",)) -> API:
    """A client whose key has these scopes on these indexes."""
    store = app.extensions["searchapi"].keys
    return API(app.test_client(), store.create(scopes, indexes, CREATED)[1])


def addresses(app):
    """(method, rule, guard) of every route and method."""
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            yield method, rule, app.view_functions[rule.endpoint].guard


def path_of(rule, index="no-such-index") -> str:
    return re.sub(r"<(?:segment:)?(\w+)>", lambda name: index if name[1] == "index" else "nothing", rule.rule)


def call(api: API, method: str, path: str):
    return api.raw(method, path, json={} if method in ("POST", "PUT", "PATCH") else None)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_what_it_names(app, scope):
    """403 `missing_scope` exactly where a route does not name the scope; and never 401 with a valid key."""
    client = key_for(app, (scope,))
    for method, rule, guard in addresses(app):
        answer = call(client, method, path_of(rule))
        allowed = not guard.scopes or scope in guard.scopes
        assert answer.status_code != 401, (method, rule.rule)
        assert (answer.status_code == 403) == (not allowed), (method, rule.rule, answer.get_data(as_text=True))
        if not allowed:
            body = answer.get_json()
            assert body["code"] == "missing_scope" and all(needed in body["detail"] for needed in guard.scopes)


def test_without_a_valid_key(app):
    """401 everywhere but at health: without a key where none may be left out, and with a wrong, truncated or foreign one."""
    good = key_for(app, SCOPES).key
    wrong = [
        good[:-1] + ("a" if good[-1] != "a" else "b"),
        good[:-3],
        good + "x",
        "sk_" + "a" * 12 + "_" + "b" * 38,
        "x" * 5000,
        "ключ",
    ]
    for method, rule, guard in addresses(app):
        for text in (None, *wrong):
            if text is None and "search" in guard.scopes:
                continue  # keyless searching in development; test_access has it
            answer = call(API(app.test_client(), text.encode().decode("latin-1") if text else None), method, path_of(rule))
            assert (answer.status_code == 401) == bool(guard.scopes), (method, rule.rule, text)
            if guard.scopes:
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert answer.get_json()["code"] == ("invalid_key" if text else "unauthorized")


def test_no_hidden_twins(app, library):
    """HEAD needs what GET needs; another spelling of an address is another address; no header changes the method or the address."""
    nobody, client = API(app.test_client()), key_for(app, ("metrics",))
    for method, rule, guard in addresses(app):
        if method == "GET" and guard.scopes:
            for api in (client, *([] if "search" in guard.scopes else [nobody])):
                assert api.raw("HEAD", path_of(rule)).status_code == api.raw("GET", path_of(rule)).status_code, rule.rule
    for path in (
        "/v1//indexes",
        "/v1/indexes/",
        "/V1/indexes",
        "/v1/./indexes",
        "/v1/x/../indexes",
        "/v1%2Findexes",
        "/v1/indexes;a",
    ):
        nobody.get(path, fails=404, code="no_such_address")
    moved = {
        "X-HTTP-Method-Override": "GET",
        "X-Original-URL": "/health",
        "X-Rewrite-URL": "/health",
        "X-Forwarded-Prefix": "/health",
    }
    nobody.call("DELETE", library, headers=moved, fails=401, code="unauthorized")


def test_addresses_that_are_not_there(app):
    """404 and 405 need no key: the documentation is public, and a scanner learns nothing."""
    nobody = API(app.test_client())
    nobody.get("/v2/indexes", fails=404, code="no_such_address")
    nobody.call("TRACE", "/v1/indexes", fails=405, code="method_not_allowed")
    nobody.call("DELETE", "/health", fails=405, code="method_not_allowed")


# ------------------------------------------------------------------------------------------------- keys for one index


@pytest.fixture(scope="module")
def hidden(app):
    """An index that the keys below are not for, with an alias, a task and documents that nothing else holds."""
    admin = API(app.test_client(), app.config["ADMIN_KEY"])
    admin.post("/v1/indexes", json={"name": "hidden"})
    documents = [{"id": "zyx", "title": "xylophone", "secretfield": "quagga", "year": 1717}]  # pragma: allowlist secret
    admin.post("/v1/indexes/hidden/documents?refresh=wait_for", json=documents)
    admin.put("/v1/aliases/curtain", json={"index": "hidden"})
    admin.delete("/v1/indexes/hidden/documents?filter=year=3000")
    return "hidden"


WORDS = ("hidden", "curtain", "xylophone", "secretfield", "quagga", "zyx", "1717")


@pytest.fixture(scope="module")
def only_library(app, library, hidden):
    """A key that may do everything, but with `library` alone."""
    return key_for(app, tuple(scope for scope in SCOPES if scope != "metrics"), ("library",))


def comparable(answer, *names: str) -> tuple:
    """Status, body and headers of an answer without what belongs to the request itself."""
    body = answer.get_data(as_text=True)
    for name in names:
        body = body.replace(name, "NAME")
    body = re.sub(r'"request_id":"[^"]*"', "", body)
    headers = {name: value for name, value in answer.headers if name not in ("X-Request-ID", "Content-Length", "RateLimit")}
    return answer.status_code, body, headers


def test_another_index_is_as_one_that_is_not_there(app, only_library, hidden):
    """Every route with an index in its path answers the same for an index that the key is not for and for none."""
    for method, rule, _ in addresses(app):
        if "index" in rule.arguments:
            there, nowhere = (call(only_library, method, path_of(rule, name)) for name in (hidden, "nosuch"))
            assert comparable(there, hidden) == comparable(nowhere, "nosuch"), (method, rule.rule)
            assert there.status_code == 404
            by_alias = call(only_library, method, path_of(rule, "curtain"))
            assert comparable(by_alias, "curtain") == comparable(nowhere, "nosuch"), (method, rule.rule)


def test_nothing_else_names_it(only_library, hidden):
    """Lists, aliases, tasks, errors, suggestions and facets of a key's own index hold no word of another one."""
    api, own = only_library, "/v1/indexes/library"
    answers = [
        api.raw("GET", "/v1/indexes"),
        api.raw("GET", "/v1/aliases"),
        api.raw("GET", "/v1/aliases/curtai"),
        api.raw("GET", "/v1/tasks?limit=1000"),
        api.raw("GET", "/v1/keys"),
        api.raw("GET", f"{own}/suggest?q=xyl"),
        api.raw("GET", f"{own}/search?q=xylophon&highlight=title"),
        api.raw("GET", f"{own}/search?q=quag&facets=kind"),
        api.raw("GET", f"{own}/search?filter=secretfiel=1"),
        api.raw("GET", f"{own}/search?facets=secretfiel"),
        api.raw("GET", f"{own}/search?sort=secretfiel"),
        api.raw("GET", f"{own}/documents/zy"),
        api.raw("GET", "/v1/indexes/hidde/search"),
    ]
    for answer in answers:
        text = answer.get_data(as_text=True)
        assert not [word for word in WORDS if word in text], text


def test_names_that_a_body_holds(only_library, app, hidden):
    """Making an index elsewhere is refused before anything is looked up; pointing an alias there finds nothing."""
    for name in (hidden, "nosuch", "curtain"):
        assert "library" in only_library.post("/v1/indexes", json={"name": name}, fails=403, code="forbidden_name")["detail"]
        only_library.put("/v1/aliases/library-2", json={"index": name}, fails=404)
    both = key_for(app, ("indexes:admin",), ("library*",))
    for name in (hidden, "nosuch"):
        assert both.put("/v1/aliases/library-2", json={"index": name}, fails=404)["code"] == "index_not_found"
    for name in (hidden, "nosuch"):
        assert both.get(f"/v1/tasks?index={name}", fails=404)["code"] == "index_not_found"


def test_tasks_of_others(api, only_library, hidden):
    """A task of another index is as one that is not there, by list and by id."""
    [task] = [one for one in api.get("/v1/tasks?limit=1000")["tasks"] if one["index"] == hidden][:1]
    only_library.get(f"/v1/tasks/{task['id']}", fails=404, code="task_not_found")
    assert all(one["index"] == "library" for one in only_library.get("/v1/tasks?limit=1000")["tasks"])


def test_an_index_by_its_alias(app, api, name):
    """A key for an alias searches what it points at, and never learns that index's own name."""
    filled(api, name)
    api.put("/v1/aliases/shopfront", json={"index": name})
    client = key_for(app, tuple(SCOPES), ("shopfront",))
    assert client.get("/v1/indexes/shopfront/search?q=parsing")["total"] == 2
    assert client.get("/v1/indexes/shopfront")["name"] == "shopfront"
    assert [one["name"] for one in client.get("/v1/indexes")["indexes"]] == ["shopfront"]
    assert client.get("/v1/aliases") == {"aliases": [{"name": "shopfront", "index": None}]}
    assert client.get("/v1/aliases/shopfront") == {"name": "shopfront", "index": None}
    deleted = client.raw("DELETE", "/v1/indexes/shopfront/documents?filter=year=1&refresh=wait_for")
    task = deleted.get_json()
    assert task["index"] == "shopfront"
    answers = [
        deleted,
        client.raw("DELETE", "/v1/indexes/shopfront/documents?filter=year=1"),
        client.raw("GET", f"/v1/tasks/{task['id']}"),
        client.raw("GET", "/v1/tasks"),
        client.raw("POST", "/v1/indexes/shopfront/documents?primary_key=other", json=[{"other": "1"}]),
        client.raw("GET", "/v1/indexes/shopfront/stats"),
        client.raw("PUT", "/v1/indexes/shopfront/documents/new", json={"title": "x"}),
        client.raw("GET", f"/v1/indexes/{name}x"),
        client.raw("DELETE", "/v1/indexes/shopfront"),
    ]
    for answer in answers:
        text = answer.get_data(as_text=True).replace(f"{name}x", "") + str(answer.headers)
        assert f'"{name}"' not in text and f"'{name}'" not in text and f"/{name}/" not in text, text
    client.get(f"/v1/indexes/{name}/search", fails=404, code="index_not_found")


def test_an_alias_whose_index_goes(app, api, name, monkeypatch):
    """An index that is deleted while a request is under way is called by the name that the request has for it."""
    engine = app.extensions["searchapi"].engine
    client = key_for(app, tuple(SCOPES), ("stall",))
    found = engine.index

    def then_gone(asked):
        info = found(asked)
        engine.delete_index(asked)
        return info

    for method, path, body in [
        ("GET", "search?q=a", None),
        ("GET", "documents/a", None),
        ("GET", "stats", None),
        ("PUT", "documents/a", {"title": "x"}),
        ("POST", "documents", [{"id": "a"}]),
        ("PATCH", "settings", {"stop_words": ["a"]}),
    ]:
        api.post("/v1/indexes", json={"name": name})
        api.put("/v1/aliases/stall", json={"index": name})
        with monkeypatch.context() as patch:
            patch.setattr(engine, "index", then_gone)
            problem = client.call(method, f"/v1/indexes/stall/{path}", json=body, fails=404, code="index_not_found")
        assert problem["detail"] == "There is no index named 'stall'.", path


@pytest.mark.parametrize("scope", ["search", "documents:read", "documents:write"])
def test_settings_need_their_scope(app, library, scope):
    """Who may search knows an index's fields; its settings, as synonyms, are for indexes:admin, by whichever address."""
    client = key_for(app, (scope,))
    client.get(f"{library}/settings", fails=403, code="missing_scope")
    for one in (client.get(library), *client.get("/v1/indexes")["indexes"]):
        assert set(one) == {"name", "created_at", "fields"}
    admin = key_for(app, ("indexes:admin",))
    assert admin.get(library)["settings"] == admin.get(f"{library}/settings")


def test_patterns(app, api):
    """`prefix*` takes in what begins so; a plain name takes in itself alone."""
    for one in ("shop-de", "shop-en", "shopping"):
        api.post("/v1/indexes", json={"name": one})
    client = key_for(app, ("indexes:admin",), ("shop-*", "blog"))
    assert [one["name"] for one in client.get("/v1/indexes")["indexes"]] == ["shop-de", "shop-en"]
    client.post("/v1/indexes", json={"name": "shop-fr"})
    client.post("/v1/indexes", json={"name": "blog"})
    client.post("/v1/indexes", json={"name": "blog-2"}, fails=403, code="forbidden_name")
    client.get("/v1/indexes/shopping", fails=404)
    client.get("/v1/indexes/shop-nl", fails=404)


def test_making_an_index_by_its_first_documents(app, name):
    """That needs indexes:admin too; without it the index is simply not there."""
    writer = key_for(app, WITHOUT_ADMIN)
    writer.post(f"/v1/indexes/{name}/documents", json=[{"id": "1"}], fails=404, code="index_not_found")
    key_for(app, ("documents:write", "indexes:admin")).post(f"/v1/indexes/{name}/documents", json=[{"id": "1"}])
    assert writer.post(f"/v1/indexes/{name}/documents", json=[{"id": "2"}])["accepted"] == 1


def test_timing_tells_nothing(only_library, hidden):
    """An index that the key is not for takes as long as none: the medians are of one class (they differ by a lookup at most)."""
    times: dict[str, list[float]] = {hidden: [], "nosuch": []}
    for _ in range(300):
        for name, taken in times.items():
            started = time.perf_counter()
            only_library.client.get(f"/v1/indexes/{name}/search?q=xylophone", headers=bearer(only_library.key))
            taken.append(time.perf_counter() - started)
    there, nowhere = (statistics.median(taken) for taken in times.values())
    print(f"404 for a hidden index {there * 1e6:.0f} µs, for none {nowhere * 1e6:.0f} µs")
    assert 0.5 < there / nowhere < 2
