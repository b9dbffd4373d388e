"""Input that is made to do harm: never a 500, always a problem that says what is wrong, and the next request is answered."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import orjson
import pytest
from flask import Response
from werkzeug.test import EnvironBuilder, run_wsgi_app

from searchapi import logs
from tests.keys import bearer

from .conftest import API, assert_problem, chunked

JSON, LINES = "application/json", "application/x-ndjson"
REFUSED = (400, 401, 404, 405, 413, 415, 422)


@pytest.fixture
def sent(api, library):
    """`sent(method, path, …)` -> the answer, which is no crash, is a problem where it is an error, and after which others are
    answered."""

    def send(method: str, path: str, **rest):
        response = api.raw(method, path if path.startswith("/") else f"{library}/{path}", **rest)
        assert response.status_code < 500, response.get_data(as_text=True)
        if response.status_code >= 400:
            assert response.status_code in REFUSED
            body = assert_problem(response, response.status_code)
            assert len(response.data) < 50_000
            for fault in body.get("errors", []):
                assert len(fault["pointer"]) < 500 and len(fault["detail"]) < 1500
        assert api.get("/health") == {"status": "ok"}
        return response

    return send


def exactly(app, path: str, query: str = "", method: str = "GET", data: bytes = b"", **environ) -> Response:
    """The answer to exactly these characters, as a server hands them on; test clients make good ones of them."""
    made = EnvironBuilder(path="/", method=method, data=data, content_type=JSON if data else None).get_environ()
    made |= {"PATH_INFO": path, "RAW_URI": f"{path}?{query}" if query else path, "QUERY_STRING": query}
    made |= {"REMOTE_ADDR": "127.0.0.1", "HTTP_AUTHORIZATION": bearer(app.config["ADMIN_KEY"])["Authorization"], **environ}
    chunks, status, headers = run_wsgi_app(app, made, buffered=True)
    return Response(list(chunks), status, headers)


# --------------------------------------------------------------------------------------------------------------- bombs


def bomb(size: int, around: tuple[bytes, bytes] = (b"", b""), fill: bytes = b"\0") -> bytes:
    return gzip.compress(around[0] + fill * size + around[1], 9)


@pytest.mark.parametrize("path", ["documents", "search", "documents/x"])
@pytest.mark.parametrize(
    "data",
    [
        bomb(10_000_000),
        gzip.compress(bomb(10_000_000)),
        bomb(10_000_000, (b'{"id": "', b'"}'), b"x"),
        bomb(10_000_000, (b"[", b"]"), b" "),
        bomb(5_000_000, (b"", b""), b"["),
        bomb(100, (b"", b"")) * 9000,
    ],
    ids=["zeros", "nested", "one string", "blanks", "brackets", "members"],
)
def test_gzip_bombs(sent, path, data):
    """Little is unpacked of one, whatever it unpacks to, and little memory is taken."""
    tracemalloc.start()
    try:
        method = "PUT" if path.endswith("x") else "POST"
        response = sent(method, path, data=data, content_type=JSON, headers={"Content-Encoding": "gzip"})
        assert response.status_code in (400, 413)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_bomb_of_lines(sent):
    """As NDJSON it is one line that is too long, in bounded memory."""
    rest, data = {"content_type": LINES, "headers": {"Content-Encoding": "gzip"}}, bomb(20_000_000)
    tracemalloc.start()
    try:
        assert sent("POST", "documents", data=data, **rest).status_code == 422
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------------------------------- JSON

DEEP = 100_000
BODIES = {
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * 19_000 + b"1" + b"}" * 19_000,
    "deep with long digits": b'{"a":' * 1000 + b"12345678901234567890" + b"}" * 1000,
    "open brackets": b"[" * 190_000,
    "1e999": b'{"id": "x", "year": 1e999}',
    "-1e999": b'{"id": "x", "year": -1e999}',
    "400 digits": b'{"id": "x", "year": %b}' % (b"9" * 400),
    "9,000 digits": b'{"id": "x", "year": %b}' % (b"9" * 9000),
    "400 digits of an id": b'{"id": %b}' % (b"9" * 400),
    "2^63": b'{"id": "x", "year": 9223372036854775808}',
    "2^64": b'{"id": "x", "year": 18446744073709551616}',
    "-2^63-1": b'{"id": "x", "year": -9223372036854775809}',
    "NaN": b'{"id": "x", "year": NaN}',
    "Infinity": b'{"id": "x", "year": -Infinity}',
    "hexadecimal": b'{"id": "x", "year": 0x10}',
    "surrogate": b'{"id": "x", "title": "\\ud800"}',
    "surrogates turned round": b'{"id": "x", "title": "\\udc00\\ud800"}',
    "surrogate in a key": b'{"id": "x", "\\ud800": 1}',
    "surrogate in the id": b'{"id": "\\udfff"}',
    "surrogate as UTF-8": b'{"id": "x", "title": "\xed\xa0\x80"}',
    "NUL in a key": b'{"id": "x", "a\\u0000b": 1}',
    "raw NUL": b'{"id": "x", "title": "a\0b"}',
    "overlong UTF-8": b'{"id": "x", "title": "\xc0\xaf"}',
    "beyond Unicode": b'{"id": "x", "title": "\xf4\x90\x80\x80"}',
    "cut UTF-8": b'{"id": "x", "title": "\xe2\x82"}',
    "UTF-16": '{"id": "x"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"id": "x"}'.encode("utf-16-le"),
    "UTF-32": '{"id": "x"}'.encode("utf-32"),
    "two marks": b'\xef\xbb\xbf\xef\xbb\xbf{"id": "x"}',
    "nothing": b"",
    "only a mark": b"\xef\xbb\xbf",
    "blanks": b" \t\r\n ",
    "NULs": bytes(1000),
    "two values": b'{"id": "x"}{"id": "y"}',
    "a comma too many": b'{"id": "x",}',
    "a comment": b'{"id": "x"} // no',
    "single quotes": b"{'id': 'x'}",
    "a long key": b'{"id": "x", "%b": 1}' % (b"k" * 9000),
    "a long id": b'{"id": "%b"}' % (b"i" * 513),
    "an id of nothing": b'{"id": ""}',
}


@pytest.mark.parametrize("path", ["documents", "documents/x", "search", "lines", "settings", "/v1/indexes"])
@pytest.mark.parametrize("name", BODIES)
def test_bad_json(sent, name, path):
    """Each body, at each place that takes one."""
    kind = JSON
    method = {"documents/x": "PUT", "settings": "PATCH"}.get(path, "POST")
    if path == "lines":
        path, kind = "documents", LINES
    response = sent(method, path, data=BODIES[name], content_type=kind)
    if name not in ("nothing", "only a mark", "blanks") or kind == JSON:
        assert response.status_code in (400, 413, 422), response.data


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (b'{"n": -0}', {"n": 0}),
        (b'{"n": -0.0}', {"n": -0.0}),
        (b'{"f": 1e308}', {"f": 1e308}),
        (b'{"f": 5e-324}', {"f": 5e-324}),
        (b'{"f": 1e-999}', {"f": 0.0}),
        (b'{"n": 9223372036854775807}', {"n": 2**63 - 1}),
        (b'{"n": -9223372036854775808}', {"n": -(2**63)}),
        (b'{"t": "a\\u0000b"}', {"t": "a\0b"}),
        (b'{"t": "\\ud83d\\ude00"}', {"t": "😀"}),
        (b'{"t": "\\u202e\\u2028\\u001b[31m"}', {"t": "\u202e\u2028\x1b[31m"}),
        (b'{"t": 1, "t": "last"}', {"t": "last"}),
        (b'{"__proto__": {"a": 1}, "constructor": 7}', {"__proto__": {"a": 1}, "constructor": 7}),
        (b'\xef\xbb\xbf{"t": "marked"}', {"t": "marked"}),
    ],
)
def test_odd_but_good(api, name, document, found):
    """What JSON allows is kept as it was sent; of equal names the last one counts; found again where it is searched."""
    path = f"/v1/indexes/{name}/documents"
    api.post(path, json=[])
    api.post("/v1/indexes", json={"name": name, "settings": {"fields": {"f": "float"}}})
    api.put(f"{path}/x", data=document, content_type=JSON, status=201)
    assert api.get(f"{path}/x") == {"id": "x", **found}


def test_lines_end_as_on_windows(api, name):
    """CRLF, a mark at the beginning, no newline at the end."""
    answer = api.lines(f"/v1/indexes/{name}/documents", b'\xef\xbb\xbf{"id": 1}\r\n\r\n{"id": 2}\r\n{"id": 3}')
    assert answer["accepted"] == 3


def test_good_lines_beside_bad_ones(api, name):
    """Each bad line is refused alone, with its number."""
    bad = [body for body in BODIES.values() if b"\n" not in body and b"\r" not in body and body.strip() and len(body) < 10_000]
    lines = [line for body in bad[:20] for line in (body, b'{"id": "good"}')]
    answer = api.lines(f"/v1/indexes/{name}/documents", b"\n".join(lines))
    assert answer["accepted"] == 20
    assert {error["position"] for error in answer["errors"]} <= set(range(0, 40, 2))


# ----------------------------------------------------------------------------------------- paths, parameters, headers

TEXTS = {
    "NUL": "a\0b",
    "a newline": "a\r\nSet-Cookie: x=1",
    "an escape": "\x1b[2J\x1b[31m",
    "directions": "\u202eabc\u2066",
    "separators": "a\u2028b\u2029c\x85d",
    "not a character": "\uffff\ufdd0",
    "combining": "e" + "\u0301" * 500,
    "astral": "😀" * 100,
    "quotes": "\"'`\\",
    "SQL": "'; DROP TABLE documents; --",
    "markup": "<script>alert(1)</script>",
    "a template": "{{7*7}}${7*7}%s%n{0}",
    "a path": "../../../../etc/passwd",
    "long": "x" * 7000,
    "many words": "ab " * 300,
    "stars": "*" * 100 + "~" * 50,
    "parentheses": "(" * 500,
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_everywhere(sent, name):
    """As id, index, alias, q, filter, sort, facets, field, cursor, highlight and as the name of a parameter."""
    text = TEXTS[name]
    for method, path, rest in [
        ("GET", "search", {"query_string": {"q": text}}),
        ("POST", "search", {"json": {"q": text, "sort": [text], "fields": [text], "highlight": [text]}}),
        ("POST", "search", {"json": {text: 1}}),
        ("POST", "search", {"json": {"filter": text, "facets": [text, {"field": text}], "cursor": text, "match": text}}),
        ("GET", "search", {"query_string": {"filter": f'kind = "{text}"'}}),
        ("GET", "search", {"query_string": {"facets": text, "sort": text, "cursor": text, "limit": text, "offset": text}}),
        ("GET", "search", {"query_string": {text: "1"}}),
        ("GET", "suggest", {"query_string": {"q": text, "field": text}}),
        ("GET", "documents", {"query_string": {"cursor": text}}),
        ("GET", "documents", {"query_string": {"limit": text}}),
        ("DELETE", "documents", {"query_string": {"filter": text, "refresh": text}}),
        ("POST", "documents", {"json": [{"id": text, text: 1}]}),
        ("POST", "/v1/indexes", {"json": {"name": text, text: 1}}),
        ("PUT", "/v1/aliases/odd", {"json": {"index": text}}),
        ("PATCH", "settings?dry_run=true", {"json": {"synonyms": [[text, "b"]], "stop_words": [text], "fields": {text: text}}}),
        ("GET", "/v1/tasks", {"query_string": {"index": text}}),
    ]:
        sent(method, path, **rest)


@pytest.mark.parametrize(
    "part",
    [
        *"%00 a%00b %c0%af %ed%a0%80 %ff % %zz %2 %e2%82 %252e%252e .. %2e%2e %0d%0aX:1 %1b%5b + %f4%90%80%80 a%2f..%2f..".split(),
        *("%u0041", ";a=b", "%EF%BF%BF", "\xff\xfe", "x" * 3000),
    ],
)
@pytest.mark.parametrize(
    "place", ["/v1/indexes/{}", "/v1/indexes/library/documents/{}", "/v1/aliases/{}", "/v1/tasks/{}", "/{}", "//{}"]
)
def test_paths(app, part, place):
    """Whatever a path is percent-encoded from: refused, or an id as any other that is not there."""
    response = exactly(app, place.format(part))
    assert response.status_code in (400, 404, 405)
    assert_problem(response, response.status_code)


@pytest.mark.parametrize(
    "query", ["q=%ff", "q=%ed%a0%80", "q=%c0%af", "%ff=1", "q=\xff", "q=a%00b", "&" * 500, "q=1&" * 200, "q=%", "=", "q"]
)
@pytest.mark.parametrize("route", ["search", "suggest", "documents"])
def test_query_strings(app, library, query, route):
    """The same for query strings; what is no UTF-8 is 400."""
    response = exactly(app, f"{library}/{route}", query)
    assert response.status_code in (200, 400, 422)
    if response.status_code != 200:
        assert_problem(response, response.status_code)
    if "%ff" in query or "%ed" in query or "%c0" in query or "\xff" in query:
        assert response.status_code == 400


@pytest.mark.parametrize(
    "name",
    "Content-Type Content-Encoding Content-Length If-Match If-None-Match Authorization Accept Idempotency-Key Origin Host "
    "Range Cookie Accept-Encoding Forwarded X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host".split(),
)
@pytest.mark.parametrize(
    "value", ["", "\xff\xfe", "x" * 8000, '"', '"\\"', ",,,,", "a\x7fb", "-1", "9" * 30, "*, *", "%00", ";" * 1000, "=?utf-8?q?x?="]
)
def test_headers(app, library, name, value):
    """Headers that make no sense."""
    key = "CONTENT_TYPE" if name == "Content-Type" else "CONTENT_LENGTH" if name == "Content-Length" else None
    key = key or f"HTTP_{name.upper().replace('-', '_')}"
    for method, path in (("GET", "documents/a"), ("PUT", "documents/hostile"), ("POST", "search")):
        response = exactly(app, f"{library}/{path}", method=method, data=b"{}" if method != "GET" else b"", **{key: value})
        assert response.status_code < 500, (method, response.data)
        if response.status_code >= 400:
            assert_problem(response, response.status_code)


# ------------------------------------------------------------------------------------------------------------ log lines


@pytest.mark.parametrize(
    "given",
    [
        "a\nb" * 5,
        'x" ,"level":"error',
        "\x1b[31mred-alert",
        "x" * 10_000,
        "ünïcödé-id",
        "short",
        "",
        "a b c d e f",
        "\u2028" * 9,
        "%0a" * 9,
        *("<6>forged-line", "$(reboot)x", "../../../x"),
    ],
)
def test_request_ids(app, library, capfd, given):
    """One that could break a line of the log, or a header, is not kept: the request gets one of ours, and its line is one line."""
    capfd.readouterr()
    response = exactly(app, library, HTTP_X_REQUEST_ID=given.encode().decode("latin-1"))
    kept = response.headers["X-Request-ID"]
    assert response.status_code == 200 and kept != given and len(kept) == 24 and kept.isalnum()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and all(32 <= ord(char) < 127 for char in lines[0])


def test_lines_of_odd_requests(app, capfd):
    """Whatever is in a path, its line is one line of printable characters."""
    for part in ("%0a%0d", "%1b%5b31m", "%e2%80%a8", "%c2%85", "%22%2c%22level%22", "x" * 5000, "%e2%80%ae"):
        capfd.readouterr()
        exactly(app, f"/v1/indexes/{part}")
        exactly(app, f"/{part}", f"q={part}")
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 2
        assert all(ord(char) >= 32 and char not in "\x7f\x85\u2028\u2029\u202e" for line in lines for char in line)


# --------------------------------------------------------------------------------------------------------- many at once


def test_many_of_everything(sent):
    """Numbers that are meant to be too many: of members, of faults, of elements, of parameters."""
    sent("POST", "search", json={f"p{n}": n for n in range(500)})
    sent("POST", "search", json={"sort": ["nothing"] * 2000})
    sent("POST", "search", json={"facets": [{"field": "nothing"}] * 400})
    sent("POST", "search", json={"fields": ["id"] * 1500})
    sent("PUT", "documents/x", json={f"F{n}!": n for n in range(700)})
    sent("POST", "documents", data=b"[" + b"{}," * 60_000 + b"{}]", content_type=JSON)
    sent("POST", "documents", data=b"{}\n" * 49, content_type=LINES)
    sent("GET", "search", query_string="&".join(f"p{n}=1" for n in range(99)))


def test_an_endless_body(sent):
    """Without a length and without an end it is cut off."""
    for kind in (JSON, LINES):
        endless = chunked(b"\n" * 5000 for _ in iter(int, 1))
        assert sent("POST", "documents", content_type=kind, **endless).status_code == 413


def test_what_is_said_is_json(api, library):
    """A problem about odd text is good JSON, and tells the text in a form that can be printed."""
    for text in ("\x1b[31m", "a\0b", "\u202e", '"quoted"'):
        body = api.get(f"{library}/search", query_string={text: "1"}, fails=422)
        assert json.loads(orjson.dumps(body)) == body
    assert logs.request_id() is None, "no request is left over"


def test_another_client_is_not_disturbed(app, library):
    """After all of it a plain search finds what it should."""
    found = API(app.test_client(), app.config["ADMIN_KEY"]).get(f"{library}/search?q=parsing")
    assert {hit["id"] for hit in found["hits"]} >= {"a", "b"}
