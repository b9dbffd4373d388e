"""Bodies: packed, long, cut short; and each limit of a request, with an error that names its setting."""

from __future__ import annotations

import gzip
import io
import zlib

import orjson
import pytest

from searchapi import body as bodies
from searchapi.app import create_app
from searchapi.body import READ_SO_FAR, Body
from searchapi.config import SETTINGS, Settings
from searchapi.engines import open_engine
from searchapi.exceptions import TooLarge, Unreadable
from searchapi.query.limits import Limits, limits_for
from tests.keys import CREATED, admin_key

from .conftest import API, chunked

PACKED = {"Content-Encoding": "gzip"}
LINES = "application/x-ndjson"


def pack(value) -> bytes:
    return gzip.compress(value if isinstance(value, bytes) else orjson.dumps(value), 6, mtime=0)


class Bombs(io.RawIOBase):
    """Gzip that unpacks to zeros without an end; counts what was read of it."""

    def __init__(self):
        super().__init__()
        self.packer, self.given = zlib.compressobj(9, wbits=31), 0

    def read(self, size=-1):
        data = b""
        while not data:
            data = self.packer.compress(bytes(1 << 20))
        self.given += len(data)
        return data


# ---------------------------------------------------------------------------------------------------------- the stream


def opened(data, encoding="gzip", max_bytes=1 << 30, max_unpacked=1 << 30, length=True) -> Body:
    environ = {"wsgi.input": data if hasattr(data, "read") else io.BytesIO(data), "wsgi.input_terminated": not length}
    if length:
        environ["CONTENT_LENGTH"] = str(len(data))
    return Body(environ, encoding, max_bytes, max_unpacked, "MAX_UNPACKED_BYTES")


def unpacked(body: Body, size: int) -> bytes:
    return b"".join(iter(lambda: body.read(size), b""))


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_unpacking(size, encoding, monkeypatch):
    """What was packed comes out, in whatever pieces it is read and arrives, of one member or of several, also empty ones."""
    text = b"".join(b"%d," % n for n in range(3000)) + bytes(5000)
    packed = gzip.compress(text[:7000]) + gzip.compress(b"") + gzip.compress(text[7000:], 0)
    for piece in (1, 13, 1 << 16):
        monkeypatch.setattr(bodies, "_PACKED", piece)
        body = opened(packed, encoding)
        assert unpacked(body, size) == text
        assert body.read(10) == b"" and body._environ[READ_SO_FAR] == len(text)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "incomplete_body", "before it is complete"),
        (pack(b"x" * 100)[:-1], "incomplete_body", "before it is complete"),
        (pack(b"x" * 100)[:5], "incomplete_body", "before it is complete"),
        (pack(b"x") + pack(b"y")[:10], "incomplete_body", "before it is complete"),
        (pack(b"x") + b"\0\0", "unreadable", "something follows that is not gzip"),
        (pack(b"x") + b"{}", "unreadable", "something follows that is not gzip"),
        (b'{"id": 1}', "unreadable", "it is not gzip"),
        (zlib.compress(b"x"), "unreadable", "it is not gzip"),
        (pack(b"x" * 100)[:-8] + bytes(8), "unreadable", "damaged"),
        (pack(b"") * (bodies.MAX_MEMBERS + 1), "unreadable", "members"),
    ],
)
def test_bad_gzip(data, code, says):
    """Cut short, damaged, followed by something else, or none at all: each is told."""
    with pytest.raises(Unreadable, match=says) as caught:
        unpacked(opened(data), 100)
    assert caught.value.code == code


@pytest.mark.parametrize("encoding", ["gzip", ""])
def test_caps(encoding):
    """A body of just the cap is read; of a longer one what the cap allows, and then the error."""
    text = b"x" * 1000
    data = gzip.compress(text) if encoding else text
    packed = len(data)
    for length in (True, False):
        assert unpacked(opened(data, encoding, packed, 1000, length), 300) == text
    body = opened(data, encoding, max_bytes=packed - 1, length=False)
    with pytest.raises(TooLarge, match="MAX_BODY_BYTES") as caught:
        unpacked(body, 300)
    assert caught.value.code == "too_large"
    with pytest.raises(TooLarge, match="MAX_BODY_BYTES"):
        opened(data, encoding, max_bytes=packed - 1)
    if encoding:
        body = opened(data, max_unpacked=999)
        assert sum(len(body.read(300)) for _ in range(4)) == 999
        with pytest.raises(TooLarge, match="MAX_UNPACKED_BYTES") as caught:
            body.read(300)
        assert caught.value.code == "unpacked_too_large"


def test_a_bomb_is_hardly_read():
    """Of an endless one no more is taken than unpacks to the cap."""
    bomb = Bombs()
    with pytest.raises(TooLarge):
        unpacked(opened(bomb, max_unpacked=50_000_000, length=False), 256 * 1024)
    assert bomb.given < 200_000


def test_a_body_that_ends_early():
    """Less than Content-Length announced, or a stream that breaks, is not taken for the whole."""
    body = opened(b"12345", "")
    body._length = 9
    assert body.read(100) == b"12345"
    with pytest.raises(Unreadable, match="ended after 5 bytes; Content-Length announced 9") as caught:
        body.read(100)
    assert caught.value.code == "incomplete_body"

    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise ConnectionResetError

    with pytest.raises(Unreadable, match="could not be read to its end"):
        opened(Broken(), "", length=False).read(100)


def test_no_length_is_no_body():
    """Where a server does not say where a body ends, nothing is read of it."""
    assert Body({"wsgi.input": io.BytesIO(b"next request")}, "", 100, 100, "").read(100) == b""


# ----------------------------------------------------------------------------------------------------------- over HTTP


def test_every_body_may_be_gzip(api, name):
    """One document, an array, lines, a search, settings."""
    path = f"/v1/indexes/{name}"

    def send(method, where, value, kind="application/json", **rest):
        return api.call(method, path + where, data=pack(value), content_type=kind, headers=PACKED, **rest)

    assert send("POST", "/documents", [{"id": 1}, {"id": 2}])["accepted"] == 2
    assert send("POST", "/documents", b'{"id": 3}\n{"id": 4}\n', LINES)["accepted"] == 2
    assert send("PUT", "/documents/5", {"a": 1}, status=201)["id"] == "5"
    assert send("PATCH", "/documents/5", {"b": 2}, "application/merge-patch+json")["id"] == "5"
    assert api.get(f"{path}/documents/5") == {"id": "5", "a": 1, "b": 2}
    assert send("PATCH", "/settings?dry_run=true", {"dynamic": False})["changed"] == ["dynamic"]
    assert "hits" in send("POST", "/search", {"q": "x"})
    rest = chunked(iter([pack(b'{"id": 6}\n')]))
    rest["headers"] |= {"Content-Encoding": "X-GZIP"}
    assert api.post(f"{path}/documents", content_type=LINES, **rest)["accepted"] == 1


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd", "gzip;q=1", "\xff", "x" * 5000])
def test_other_encodings(api, library, encoding):
    """They are refused with what is read; `identity` is none."""
    for path in ("/documents", "/search"):
        body = api.post(library + path, json={}, headers={"Content-Encoding": encoding}, fails=415, code="unsupported_media_type")
        assert "Content-Encoding: gzip" in body["detail"] and len(body["detail"]) < 300
    api.post(f"{library}/search", json={}, headers={"Content-Encoding": "Identity"})


def test_a_batch_cut_short(api, name):
    """What was accepted before is told, and kept."""
    lines = b"".join(b'{"id": %d, "text": "%b"}\n' % (n, b"x" * 3000) for n in range(3000))
    packed = pack(lines)
    rest = {"content_type": LINES, "headers": PACKED, "fails": 400, "code": "incomplete_body"}
    used = api.client.application.extensions["searchapi"].settings
    settings = Settings(data_dir=used.data_dir, engine_url=used.engine_url)
    engine, system = open_engine(settings)
    try:
        other = API(create_app(settings, engine, system).test_client(), api.key)
        body = other.post(f"/v1/indexes/{name}/documents", data=packed[: len(packed) // 2], **rest)
        accepted = int(body["detail"].split("Before that, ")[1].split(" ")[0].replace(",", ""))
        assert 0 < accepted < 3000 and engine.stats(name).documents == accepted
    finally:
        engine.close()


# -------------------------------------------------------------------------------------------------------------- limits

SMALL = {
    "max_body_bytes": 20_000,
    "max_unpacked_bytes": 40_000,
    "max_document_bytes": 9_000,
    "max_documents": 5,
    "max_nesting": 3,
    "max_array": 4,
    "max_fields": 12,
    "max_page_size": 7,
    "max_page": 10,
    "default_limit": 5,
    "max_query_length": 40,
    "max_clauses": 3,
    "max_filter_length": 300,
    "max_filter_nodes": 4,
    "max_in_values": 3,
    "max_filter_depth": 2,
    "max_facets": 2,
    "max_facet_values": 6,
    "max_facet_ranges": 2,
    "max_sort_fields": 2,
    "max_snippet_length": 50,
    "max_suggestions": 4,
    "max_timeout_ms": 20_000,
    "default_timeout_ms": 10_000,
}


@pytest.fixture(scope="module")
def tight(tmp_path_factory):
    """(an API with small limits, the path of an index), without an indexer."""
    off = {"rate_limit_per_ip": "off", "rate_limit_per_key": "off"}
    settings = Settings(data_dir=tmp_path_factory.mktemp("tight"), **SMALL, **off)
    engine, system = open_engine(settings)
    app = create_app(settings, engine, system)
    made = API(app.test_client(), admin_key(settings.data_dir, system))
    fields = {"kind": "keyword", "year": "integer", "n": "integer", "title": "text", "o.p.s": "integer"}
    made.post("/v1/indexes", json={"name": "tight", "settings": {"fields": fields}})
    yield made, "/v1/indexes/tight"
    engine.close()


def doc(value, kind="application/json", packed=False):
    """A batch that provokes a limit."""
    data = value if isinstance(value, bytes) else orjson.dumps(value)
    headers = PACKED if packed else {}
    return ("POST", "/documents", {"data": pack(data) if packed else data, "content_type": kind, "headers": headers})


def one(value):
    return ("PUT", "/documents/x", {"json": value})


def search(**parameters):
    return ("GET", "/search", {"query_string": parameters})


def posted(**parameters):
    return ("POST", "/search", {"json": parameters})


WIDE = (b" " * 7_000 + b"\n" + b'{"id": 1}' + b" " * 6_000 + b"\n") * 4
REACHED = [
    ("MAX_BODY_BYTES", 413, "too_large", doc(b"[%b]" % (b" " * 20_000))),
    ("MAX_BODY_BYTES", 413, "too_large", doc(b"\n" * 20_001, LINES)),
    ("MAX_BODY_BYTES", 413, "unpacked_too_large", doc(b"[%b]" % (b" " * 20_000), packed=True)),
    ("MAX_UNPACKED_BYTES", 413, "unpacked_too_large", doc(WIDE, LINES, packed=True)),
    ("MAX_DOCUMENT_BYTES", 413, "document_too_large", one({"t": "x" * 9_000})),
    ("MAX_DOCUMENT_BYTES", 413, "document_too_large", ("PATCH", "/documents/x", {"json": {"t": "x" * 9_000}})),
    ("MAX_DOCUMENT_BYTES", 413, "too_large", posted(q="x" * 9_000)),
    ("MAX_DOCUMENT_BYTES", 422, "document_too_large", doc([{"id": "x", "t": "x" * 9_000}])),
    ("MAX_DOCUMENT_BYTES", 422, "document_too_large", doc(b'{"id": "x", "t": "%b"}' % (b"x" * 9_000), LINES)),
    ("MAX_DOCUMENTS", 413, "too_large", doc([{"id": n} for n in range(6)])),
    ("MAX_DOCUMENTS", 413, "too_large", doc(b'{"id": 1}\n' * 6, LINES)),
    ("MAX_NESTING", 422, "too_deep", one({"o": {"p": {"q": {"r": 1}}}})),
    ("MAX_ARRAY", 422, "array_too_long", one({"n": [1, 2, 3, 4, 5]})),
    ("MAX_ARRAY", 422, "array_too_long", one({"deep": {"list": [1, 2, 3, 4, 5]}})),
    ("MAX_ARRAY", 422, "array_too_long", one({"things": [{"a": 1}] * 5})),
    ("MAX_FIELDS", 422, "too_many_fields", one({f"f{n}": 1 for n in range(12)})),
    ("MAX_FIELDS", 422, "too_many_fields", ("PATCH", "/settings", {"json": {"fields": {f"f{n}": "integer" for n in range(12)}}})),
    ("MAX_PAGE_SIZE", 422, "wrong_value", search(limit=8)),
    ("MAX_PAGE_SIZE", 422, "wrong_value", posted(limit=8)),
    ("MAX_PAGE_SIZE", 422, "out_of_range", ("GET", "/documents", {"query_string": {"limit": 8}})),
    ("MAX_PAGE", 422, "page_too_deep", search(limit=7, offset=4)),
    ("MAX_QUERY_LENGTH", 422, "query_too_long", search(q="x" * 41)),
    ("MAX_QUERY_LENGTH", 422, "query_too_long", ("GET", "/suggest", {"query_string": {"q": "x" * 41}})),
    ("MAX_CLAUSES", 422, "too_many_clauses", search(q="a b c d")),
    ("MAX_FILTER_LENGTH", 422, "filter_too_long", search(filter="kind = " + "x" * 300)),
    ("MAX_FILTER_LENGTH", 422, "filter_too_long", ("DELETE", "/documents", {"query_string": {"filter": "kind = " + "x" * 300}})),
    ("MAX_FILTER_NODES", 422, "filter_too_complex", search(filter=" OR ".join(["kind = a"] * 6))),
    ("MAX_IN_VALUES", 422, "filter_too_complex", search(filter="kind IN [a, b, c, d]")),
    ("MAX_FILTER_DEPTH", 422, "filter_too_complex", search(filter="(((kind = a)))")),
    ("MAX_FACETS", 422, "too_many_facets", search(facets="kind,year,n")),
    ("MAX_FACET_VALUES", 422, "out_of_range", search(facets="kind(limit: 7)")),
    ("MAX_FACET_RANGES", 422, "too_many_ranges", search(facets="year(ranges: ..1, 1..2, 2..)")),
    ("MAX_SORT_FIELDS", 422, "too_many_sort_fields", search(sort="kind,year,n")),
    ("MAX_SNIPPET_LENGTH", 422, "wrong_value", search(highlight="true", snippet_length=51)),
    ("MAX_SUGGESTIONS", 422, "wrong_value", ("GET", "/suggest", {"query_string": {"q": "x", "limit": 5}})),
    ("MAX_TIMEOUT_MS", 422, "wrong_value", search(timeout_ms=20_001)),
]


@pytest.mark.parametrize(("setting", "status", "code", "asked"), REACHED, ids=[f"{at}-{row[0]}" for at, row in enumerate(REACHED)])
def test_each_limit_names_its_setting(tight, setting, status, code, asked):
    """Who meets a limit learns which one it was, and what it is."""
    api, path = tight
    method, where, rest = asked
    body = api.call(method, path + where, fails=status, **rest)
    faults = [(body["code"], body["detail"]), *((fault["code"], fault["detail"]) for fault in body.get("errors", []))]
    said = [detail for found, detail in faults if found == code]
    assert said and setting in said[-1], faults
    digits = f"{SMALL[setting.lower()]:,}"
    assert digits in said[-1] or digits.replace(",", "") in said[-1], said


def test_every_limit_is_walked():
    """A limit that is added to the settings needs a row above; these have tests of their own, or limit no request."""
    elsewhere = {"MAX_WAITING", "MAX_WAIT_MS"}
    known = {setting.name for setting in SETTINGS if setting.name.startswith("MAX_")}
    assert known - elsewhere == {row[0] for row in REACHED}


def test_just_within_the_limits(tight):
    """What is as large as it may be is taken."""
    api, path = tight
    api.put(f"{path}/documents/x", json={"n": [1, 2, 3, 4]}, status=201)
    api.put(f"{path}/documents/y", json={"o": {"p": {"r": 1}}}, status=201)
    for where in ("/documents?limit=7", "/search?limit=7&offset=3", "/search?facets=kind,year", "/search?q=a+b+c"):
        api.get(path + where)
    api.get(f"{path}/suggest?q=x")


def test_changes_cannot_grow_a_document_beyond_its_limit(tight):
    """Each change is short, but not what it makes of the document."""
    api, path = tight
    api.put(f"{path}/documents/grown", json={"title": "x" * 5000})
    body = api.patch(f"{path}/documents/grown", json={"kind": "y" * 5000}, fails=413, code="document_too_large")
    assert "MAX_DOCUMENT_BYTES" in body["detail"]
    assert api.get(f"{path}/documents/grown") == {"id": "grown", "title": "x" * 5000}


# ----------------------------------------------------------------------------------------------------- a key's own page


def test_a_key_lowers_the_page(app, library):
    """Its own cap holds for hits and documents, is the default where that is higher, and its error says whose cap it is."""
    keys = app.extensions["searchapi"].keys
    _, text = keys.create(("search", "documents:read"), ("*",), CREATED, max_page_size=2)
    api = API(app.test_client(), text)
    assert len(api.get(f"{library}/search")["hits"]) <= 2 == len(api.get(f"{library}/documents")["documents"])
    assert len(api.get(f"{library}/search?limit=2")["hits"]) == 2
    for path in ("/search?limit=3", "/documents?limit=3"):
        body = api.get(library + path, fails=422)
        assert "max_page_size of this key" in body["detail"] and "MAX_PAGE_SIZE" not in body["detail"]
    _, text = keys.create(("search",), ("*",), CREATED, max_page_size=9999)
    assert "MAX_PAGE" in API(app.test_client(), text).get(f"{library}/search?limit=5000", fails=422)["detail"]


def test_limits_of_a_key():
    """Only lowered, and the same object for the same cap: it is asked for with every request."""
    limits = Limits()
    assert limits_for(limits, 5000) is limits
    assert limits_for(limits, 10) is limits_for(limits, 10)
    assert (limits_for(limits, 10).max_page_size, limits_for(limits, 10).default_page_size) == (10, 10)
    assert limits_for(limits, 100).default_page_size == limits.default_limit
