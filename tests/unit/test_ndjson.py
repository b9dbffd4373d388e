"""Bodies of documents: JSON arrays, single objects and NDJSON streams."""

from __future__ import annotations

import io
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi import ndjson
from searchapi.exceptions import Fault, Invalid, TooLarge, Unreadable
from searchapi.ndjson import ReadLimits, media_type, read_document, read_documents

JSON, LINES = "application/json", "application/x-ndjson"


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a network may, and counts them."""

    def __init__(self, data: bytes, step: int):
        self.data, self.step, self.given = data, step, 0

    def readable(self):
        return True

    def read(self, size=-1):
        piece = self.data[self.given : self.given + self.step]
        self.given += len(piece)
        return piece


def read(body, kind=LINES, limits=ReadLimits()):
    """All that comes of a body."""
    return list(read_documents(io.BytesIO(body), kind, limits))


def brief(body, kind=LINES, limits=ReadLimits()):
    """The same with each Fault as (pointer, code)."""
    found = read(body, kind, limits)
    return [(at, (one.pointer, one.code) if isinstance(one, Fault) else one) for at, one in found]


@pytest.mark.parametrize(
    "kind",
    [LINES, "application/jsonl", "application/ndjson", "application/x-jsonlines", "Application/X-NDJSON; charset=utf-8"],
)
def test_types_of_lines(kind):
    """NDJSON has several names, and parameters do not matter."""
    assert read(b'{"a":1}\n{"a":2}\n', kind) == [(0, {"a": 1}), (1, {"a": 2})]


@pytest.mark.parametrize("kind", ["", "text/csv", "text/plain", "application/xml"])
def test_other_types_are_refused(kind):
    """The error names the types that are read, before the body is."""
    with pytest.raises(Invalid, match="application/json, application/x-ndjson, application/jsonl") as caught:
        read_documents(io.BytesIO(b""), kind)
    assert caught.value.errors[0].code == "unsupported_media_type"
    assert media_type("Text/CSV ; header=present") == "text/csv"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"\n\r\n  \n\t\n", []),
        (b'{"a":1}', [(0, {"a": 1})]),
        (b'{"a":1}\r\n{"a":2}\r\n', [(0, {"a": 1}), (1, {"a": 2})]),
        (b'\n\n{"a":1}\n\n{"a":2}', [(0, {"a": 1}), (1, {"a": 2})]),
        (b'\xef\xbb\xbf{"a":1}\n', [(0, {"a": 1})]),
        (b'\xef\xbb\xbf\n{"a":1}\n', [(0, {"a": 1})]),
        (b"{}\n", [(0, {})]),
        (b'{"a":1,"a":2}\n', [(0, {"a": 2})]),
        (b'{bad}\n{"a":2}', [(0, ("/0", "unreadable_line")), (1, {"a": 2})]),
        (b'{"a":1}\n[1]\n"x"\nnull\n7', [(0, {"a": 1}), *((i, (f"/{i}", "not_an_object")) for i in range(1, 5))]),
        (b'{"a":"\xff"}\n{"a":"\\ud800"}\n', [(0, ("/0", "unreadable_line")), (1, ("/1", "unreadable_line"))]),
        (b'{"a":NaN}\n{"a":1e999}', [(0, ("/0", "unreadable_line")), (1, ("/1", "unreadable_line"))]),
        (b'{"a":1}{"a":2}\n', [(0, ("/0", "unreadable_line"))]),
        (b"[" * 2000 + b"\n", [(0, ("/0", "unreadable_line"))]),
    ],
)
def test_lines(body, expected):
    """Blank lines and a byte order mark are skipped; bad lines are Faults at their position, and reading goes on."""
    assert brief(body) == expected


def test_blank_lines_are_counted():
    """As many as documents are let through; more are no way to keep a processor busy for nothing."""
    limits = ReadLimits(max_documents=3)
    assert brief(b'\n\n{"a":1}\n\n{"a":2}\n', limits=limits) == [(0, {"a": 1}), (1, {"a": 2})]
    for body in (b"\n" * 4, b'{"a":1}\n' + b" \r\n" * 4):
        with pytest.raises(TooLarge, match=r"3 blank lines \(MAX_DOCUMENTS\)"):
            read(body, limits=limits)


def test_a_bad_line_says_where_and_why():
    """The line's number counts blank lines; the reason is the decoder's."""
    (_, fault) = read(b'\n{"a":1}\n{"a":}\n')[1]
    assert fault.pointer == "/1"
    assert fault.detail == "Line 3 is not JSON: unexpected character, expected a JSON value (column 6)."


def test_an_array_sent_as_lines_is_recognised():
    """The commonest mix-up gets its cure."""
    (_, fault) = read(b'[{"a":1},\n{"a":2}]')[0]
    assert fault.detail.endswith("This looks like a JSON array: send it as application/json.")
    with pytest.raises(Unreadable, match=r"send it as application/x-ndjson\.$"):
        read(b'{"a":1}\n{"a":2}\n', JSON)


@pytest.mark.parametrize(
    ("number", "good"),
    [
        (b"18446744073709551615", True),
        (b"18446744073709551616", False),
        (b"-9223372036854775808", True),
        (b"-9223372036854775809", False),
        (b"1" * 300, False),
        (b"0.12345678901234567890123", True),
        (b"12345678901234567890123.5", True),
        (b"1e300", True),
        (b'"18446744073709551616"', True),
        (b'"12345678901234567890 \\" 1"', True),
    ],
)
def test_integers_beyond_64_bits_are_refused(number, good):
    """They would silently become other numbers; long fractions and digits in strings are as they were."""
    for body, kind in ((b'{"a":{"b":[0,%s]}}' % number, LINES), (b'[{"a":{"b":[0,%s]}}]' % number, JSON)):
        ((_, found),) = read(body, kind)
        if good:
            assert found == {"a": {"b": [0, orjson.loads(number)]}}
        else:
            assert (found.pointer, found.code) == ("/0/a/b/1", "number_range")
            assert "a.b: expected a number of 64 bits" in found.detail


def test_one_bad_integer_does_not_spoil_an_array():
    """Only the element that holds it is refused."""
    found = brief(b'[{"a":1},{"a":99999999999999999999},{"a":3}]', JSON)
    assert found == [(0, {"a": 1}), (1, ("/1/a", "number_range")), (2, {"a": 3})]


def test_digits_in_deep_nesting():
    """The careful decoder limits depth in Python 3.11 and 3.12, with an error like any other; `check` refuses such depth anyway."""
    body = b'{"a":' * 1000 + b"12345678901234567890" + b"}" * 1000
    assert brief(body) in ([(0, ("/0", "unreadable_line"))], [(0, orjson.loads(body))])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", []),
        (b'{"a":1}', [(0, {"a": 1})]),
        (b'\xef\xbb\xbf [{"a":1}, {"a":2}]\n', [(0, {"a": 1}), (1, {"a": 2})]),
        (b'[{"a":1}, 5, null, []]', [(0, {"a": 1}), *((i, (f"/{i}", "not_an_object")) for i in (1, 2, 3))]),
    ],
)
def test_json(body, expected):
    """An array of documents, or one document alone."""
    assert brief(body, JSON) == expected


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b"", Unreadable, "got nothing"),
        (b" \n", Unreadable, "got nothing"),
        (b'[{"a":1},', Unreadable, r"unexpected end of data \(column 10\)"),
        (b'[{"a":1},\n{"a" 2}]', Unreadable, r"\(line 2, column 6\)"),
        (b"\xff\xfe[\x00]\x00", Unreadable, "UTF-8"),
        (b'"x"', Invalid, 'got the string "x"'),
        (b"5", Invalid, "got the integer 5"),
        (b"null", Invalid, "got null"),
    ],
)
def test_bad_json(body, error, says):
    """What cannot be decoded is Unreadable; what can but holds no documents is Invalid."""
    with pytest.raises(error, match=says):
        read(body, JSON)


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b"", Unreadable, "column 1"),
        (b'{"a":', Unreadable, r"unexpected end of data \(column 6\)"),
        (b"[]", Invalid, "Expected an object, got an array"),
        (b'{"a":99999999999999999999}', Invalid, "a: expected a number of 64 bits"),
    ],
)
def test_one_document_alone(body, error, says):
    """The body of a PUT is one object; the pointer is inside it."""
    assert read_document(b'\xef\xbb\xbf{"a":1}') == {"a": 1}
    with pytest.raises(error, match=says) as caught:
        read_document(body)
    assert [fault.pointer for fault in caught.value.errors] in ([], [""], ["/a"])


# ----------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_a_line_too_long(step, monkeypatch):
    """It is a Fault at its position, wherever the pieces of the stream end, and the lines around it are read."""
    monkeypatch.setattr(ndjson, "_CHUNK", step)
    long = b'{"a":"%s"}' % (b"x" * 100)
    body = b'{"a":1}\n' + long + b'\n{"a":2}\n' + long
    found = list(read_documents(Trickle(body, step), LINES, ReadLimits(max_document_bytes=20)))
    assert [at for at, _ in found] == [0, 1, 2, 3]
    assert [found[0][1], found[2][1]] == [{"a": 1}, {"a": 2}]
    assert {(one.pointer, one.code) for _, one in found[1::2]} == {("/1", "document_too_large"), ("/3", "document_too_large")}
    assert found[1][1].detail == "Line 2 is longer than the 20 bytes (MAX_DOCUMENT_BYTES) that a document can have."


def test_a_line_of_just_the_limit():
    """The limit itself is good, one byte more is not."""
    line = b'{"a":1}'
    assert brief(line, limits=ReadLimits(len(line))) == [(0, {"a": 1})]
    assert brief(line + b"\n", limits=ReadLimits(len(line))) == [(0, {"a": 1})]
    assert brief(line, limits=ReadLimits(len(line) - 1)) == [(0, ("/0", "document_too_large"))]


def test_an_endless_line_takes_little_memory():
    """A line without end is dropped as it comes, not gathered."""

    class Endless(io.RawIOBase):
        left = 64

        def read(self, size=-1):
            self.left -= 1
            return b"x" * size if self.left >= 0 else b""

    tracemalloc.start()
    try:
        assert [one.code for _, one in read_documents(Endless(), LINES, ReadLimits())] == ["document_too_large"]
        assert tracemalloc.get_traced_memory()[1] < 6 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_lines_are_read_as_they_are_consumed():
    """The first document is there before the rest of the body was read."""
    stream = Trickle(b'{"a":1}\n' * 1000, 80)
    assert next(read_documents(stream, LINES)) == (0, {"a": 1})
    assert stream.given < 200


def test_too_many_documents():
    """NDJSON stops at the cap, after the documents before it; an array is refused whole."""
    limits = ReadLimits(max_documents=2)
    assert len(read(b'{"a":1}\n\n{"a":2}\n\n', limits=limits)) == 2
    reader = read_documents(io.BytesIO(b'{"a":1}\n{"a":2}\n{"a":3}\n'), LINES, limits)
    assert [next(reader)[0], next(reader)[0]] == [0, 1]
    with pytest.raises(TooLarge, match="A request can hold 2 documents"):
        next(reader)
    assert len(read(b"[{},{}]", JSON, limits)) == 2
    with pytest.raises(TooLarge, match="A request can hold 2 documents"):
        read(b"[{},{},{}]", JSON, limits)


def test_a_large_array():
    """A JSON body has a cap of its own, and each document in it the same one as a line."""
    assert read(b"[{}, {}]", JSON, ReadLimits(max_json_bytes=8)) == [(0, {}), (1, {})]
    with pytest.raises(TooLarge, match="application/x-ndjson"):
        read(b"[{}, {} ]", JSON, ReadLimits(max_json_bytes=8))
    body = orjson.dumps([{"a": 1}, {"a": "x" * 100}])
    assert brief(body, JSON, ReadLimits(max_document_bytes=50)) == [(0, {"a": 1}), (1, ("/1", "document_too_large"))]


# --------------------------------------------------------------------------------------------------------------- property

VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DOCUMENTS = st.lists(st.dictionaries(st.text(), VALUES | st.lists(VALUES), max_size=3), max_size=5)


@given(DOCUMENTS, st.integers(1, 20))
def test_what_was_sent_is_read(documents, step):
    """Documents come back the same as an array and as lines, in whatever pieces they arrive."""
    expected = list(enumerate(documents))
    assert read(orjson.dumps(documents), JSON) == expected
    lines = b"\n".join(map(orjson.dumps, documents))
    assert list(read_documents(Trickle(lines, step), LINES)) == expected


@given(st.binary(max_size=60), st.integers(1, 20))
def test_any_bytes(data, step):
    """No bytes raise anything but the errors that are promised; positions count up."""
    found = list(read_documents(Trickle(data, step), LINES, ReadLimits(max_document_bytes=10)))
    assert [at for at, _ in found] == list(range(len(found)))
    assert all(isinstance(one, (dict, Fault)) for _, one in found)
    try:
        list(read_documents(Trickle(data, step), JSON))
    except (Unreadable, Invalid):
        pass
