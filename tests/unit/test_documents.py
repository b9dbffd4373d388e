"""Documents: ids, checking, inference, flattening, patches, narrowing and dates."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi import documents
from searchapi.checking import MAX_FAULTS, MAX_KEYWORD
from searchapi.documents import check, document_id, format_date, merge_patch, parse_date, select, text_values, values
from searchapi.exceptions import Invalid
from searchapi.model import Field, IndexSettings

SETTINGS = IndexSettings()
KNOWN = {
    name: Field(name, kind)
    for name, kind in {
        "id": "keyword",
        "title": "text",
        "kind": "keyword",
        "year": "integer",
        "price": "float",
        "ok": "boolean",
        "at": "date",
        "author.name": "text",
    }.items()
}
SCALARS = st.one_of(
    st.text(max_size=5), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
NAMES = st.sampled_from(["a", "b", "c-d", "e_f", "0", "a.b", "c-d.x.y"])
JSON = st.recursive(
    st.none() | SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=10
)


def faults(document, fields=KNOWN, settings=SETTINGS):
    """(pointer, code) of everything that is wrong, with the details."""
    with pytest.raises(Invalid) as caught:
        check(document, settings, fields)
    return caught.value.errors


def changed(document, fields=KNOWN, settings=SETTINGS):
    """name -> (type, array, inferred) of what a document adds or changes."""
    return {name: (f.type, f.array, f.inferred) for name, f in check({"id": "1", **document}, settings, fields).items()}


# ------------------------------------------------------------------------------------------------------------------ ids


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "a"),
        (" ", " "),
        ("a/b?c#d", "a/b?c#d"),
        ("ü", "ü"),
        ("x" * 512, "x" * 512),
        ("é" * 256, "é" * 256),
        ("\0", "\0"),
        (0, "0"),
        (-7, "-7"),
        (2**64 - 1, "18446744073709551615"),
    ],
)
def test_good_ids(value, expected):
    """A string is its own id; an integer becomes its digits."""
    assert document_id({"key": value}, "key") == expected


@pytest.mark.parametrize(
    ("document", "code", "says"),
    [
        ({}, "missing_id", "the document has no id"),
        ({"key": None}, "missing_id", "expected a string or an integer"),
        ({"key": ""}, "invalid_id", "cannot be empty"),
        ({"key": "x" * 513}, "invalid_id", "at most 512 bytes of UTF-8, got 513"),
        ({"key": "é" * 257}, "invalid_id", "got 514"),
        ({"key": True}, "invalid_id", "got true"),
        ({"key": 1.0}, "invalid_id", "got the number 1.0"),
        ({"key": ["a"]}, "invalid_id", "got an array"),
        ({"key": {"a": 1}}, "invalid_id", "got an object"),
        ({"key": "a\ud800"}, "invalid_id", "surrogate"),
        ({"key": 10**5000}, "invalid_id", "an integer of more than 64 bits"),
    ],
)
def test_bad_ids(document, code, says):
    """A missing or unusable id is an error at the primary key, that can be sent as JSON."""
    with pytest.raises(Invalid) as caught:
        document_id(document, "key")
    (fault,) = caught.value.errors
    assert (fault.pointer, fault.code) == ("/key", code)
    assert says in fault.detail
    assert orjson.dumps(fault.detail)


def test_the_id_is_checked_with_the_document():
    """`check` reports the id beside the other faults, and adds the primary key where it is not known yet."""
    assert [(f.pointer, f.code) for f in faults({"year": "x"})] == [("/id", "missing_id"), ("/year", "field_type")]
    assert check({"sku": 5}, IndexSettings(primary_key="sku"), {}) == {"sku": Field("sku", "keyword")}
    assert documents.initial_fields(IndexSettings(fields={"a": Field("a", "date")})) == {
        "id": Field("id", "keyword"),
        "a": Field("a", "date"),
    }


# ------------------------------------------------------------------------------------------------------------- inference


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, {}),
        ({"n": None}, {}),
        ({"n": []}, {}),
        ({"n": [None, None]}, {}),
        ({"n": {}}, {}),
        ({"n": {"m": None}}, {}),
        ({"n": "x"}, {"n": ("text", False, True)}),
        ({"n": "2024-01-01"}, {"n": ("text", False, True)}),
        ({"n": True}, {"n": ("boolean", False, True)}),
        ({"n": 1}, {"n": ("integer", False, True)}),
        ({"n": 1.0}, {"n": ("float", False, True)}),
        ({"n": ["x"]}, {"n": ("text", True, True)}),
        ({"n": [None, True]}, {"n": ("boolean", True, True)}),
        ({"n": [1, 2.5]}, {"n": ("float", True, True)}),
        ({"n": [2.5, 1]}, {"n": ("float", True, True)}),
        ({"n": {"m": {"o": 1}}}, {"n.m.o": ("integer", False, True)}),
        ({"n.m": 1}, {"n.m": ("integer", False, True)}),
        ({"n": {"m.o": 1}}, {"n.m.o": ("integer", False, True)}),
        ({"n": [{"m": 1}, {"m": 2.5}, {"o": "x"}]}, {"n.m": ("float", True, True), "n.o": ("text", True, True)}),
        ({"n": [{"m": [1]}]}, {"n.m": ("integer", True, True)}),
        ({"n": {"m": [1]}}, {"n.m": ("integer", True, True)}),
        ({"title": ["x", "y"]}, {"title": ("text", True, False)}),
        ({"author": [{"name": "x"}]}, {"author.name": ("text", True, False)}),
        ({"year": 1, "price": 2, "ok": False, "at": "2024-01-01", "kind": "k", "title": "é", "author": {"name": "x"}}, {}),
        ({"author.name": "x"}, {}),
    ],
)
def test_what_a_document_adds(document, expected):
    """Fields are inferred from values, once, and only what is new or changed is answered."""
    assert changed(document) == expected


def test_what_was_added_is_then_known():
    """A second document like the first changes nothing."""
    document = {"id": "1", "tags": ["a"], "n": [{"m": 1.5}], "s": "é"}
    fields = {**KNOWN, **check(document, SETTINGS, KNOWN)}
    assert check(document, SETTINGS, fields) == {}


def test_only_an_inferred_integer_widens():
    """An inferred integer that meets a float becomes float and keeps its other marks; a declared one refuses it."""
    inferred = {**KNOWN, "n": Field("n", "integer", array=True, inferred=True)}
    assert check({"id": "1", "n": 2.5}, SETTINGS, inferred) == {"n": Field("n", "float", array=True, inferred=True)}
    assert check({"id": "1", "n": [1, 2.5]}, SETTINGS, inferred) == {"n": Field("n", "float", array=True, inferred=True)}
    (fault,) = faults({"id": "1", "year": 2.5})
    assert fault.detail == "year: expected an integer, got the number 2.5."


# ---------------------------------------------------------------------------------------------------------------- faults


def deep(levels):
    value = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("document", "pointer", "code", "says"),
    [
        ({"year": "cheap"}, "/year", "field_type", 'year: expected an integer, got the string "cheap".'),
        ({"year": True}, "/year", "field_type", "got true"),
        ({"year": 2**63}, "/year", "number_range", "64 bits"),
        ({"year": -(2**63) - 1}, "/year", "number_range", "64 bits"),
        ({"new": 2**63}, "/new", "number_range", "64 bits"),
        ({"price": "1.5"}, "/price", "field_type", "expected a number"),
        ({"price": 2**64}, "/price", "number_range", "finite number of 64 bits"),
        ({"price": float("inf")}, "/price", "number_range", "got the number inf"),
        ({"new": float("nan")}, "/new", "number_range", "got the number nan"),
        ({"ok": "true"}, "/ok", "field_type", "expected true or false"),
        ({"ok": 1}, "/ok", "field_type", "expected true or false"),
        ({"title": 5}, "/title", "field_type", 'expected a string, got the integer 5; send it as a string: "5"'),
        ({"kind": 5.5}, "/kind", "field_type", 'send it as a string: "5.5"'),
        ({"kind": False}, "/kind", "field_type", "expected a string, got false"),
        ({"kind": "x" * (MAX_KEYWORD + 1)}, "/kind", "value_too_long", "declare the field as text"),
        ({"kind": "é" * 20_000}, "/kind", "value_too_long", "got 40000"),
        ({"at": "yesterday"}, "/at", "invalid_date", 'got the string "yesterday"'),
        ({"at": 1.5}, "/at", "invalid_date", "got the number 1.5"),
        ({"at": True}, "/at", "invalid_date", "got true"),
        ({"at": "2023-02-29"}, "/at", "invalid_date", "no such date"),
        ({"title": "\ud800"}, "/title", "invalid_text", "surrogate"),
        ({"new": "a\udfffb"}, "/new", "invalid_text", "surrogate"),
        ({"year": [1, "x", "y"]}, "/year/1", "field_type", "got the string"),
        ({"new": ["a", 1]}, "/new/1", "field_type", "expected a string"),
        ({"new": [[1]]}, "/new/0", "nested_array", "cannot hold arrays"),
        ({"new": [[]]}, "/new/0", "nested_array", "cannot hold arrays"),
        ({"year": {"a": 1}}, "/year", "field_conflict", "expected an integer, got an object"),
        ({"year.a": 1}, "/year.a", "field_conflict", "'year' is a field already"),
        ({"author": "x"}, "/author", "field_conflict", "'author.name' is a field already"),
        ({"author": {"name": {"x": 1}}}, "/author/name", "field_conflict", "got an object"),
        ({"a": 1, "a.b": 2}, "/a.b", "field_conflict", "'a' is a field already"),
        ({"a": {"b": 1}, "a.b": 2}, "/a.b", "field_conflict", "given twice, at /a/b and at /a.b"),
        ({"author": {"name": "x"}, "author.name": "y"}, "/author.name", "field_conflict", "given twice"),
        ({"a": {"b.c": 1, "b": {"c": 1}}}, "/a/b/c", "field_conflict", "given twice"),
        ({"a": [{"b": 1}, 5]}, "/a/1", "field_conflict", "'a.b' is a field already"),
        ({"a": [{"b": 1}, {"b": "x"}, {"b": "y"}]}, "/a/1/b", "field_type", "expected an integer"),
        ({"createdAt": "x"}, "/createdAt", "field_name", "try 'created_at'"),
        ({"Bad Name": 1}, "/Bad Name", "field_name", "try 'bad_name'"),
        ({"": 1}, "/", "field_name", "lowercase letters"),
        ({"a": {"": 1}}, "/a/", "field_name", "lowercase letters"),
        ({"a.": 1}, "/a.", "field_name", "lowercase letters"),
        ({"-a": 1}, "/-a", "field_name", "not first"),
        ({"a/b~c": 1}, "/a~1b~0c", "field_name", "try 'a_b_c'"),
        ({"straße": 1}, "/straße", "field_name", "lowercase letters"),
        ({"\ud800": 1}, "/\\ud800", "field_name", "lowercase letters"),
        ({"x" * 256: 1}, "/" + "x" * 256, "field_name", "at most 255 characters, got 256"),
        ({"a": deep(30)}, "/a" * 20, "too_deep", "20 deep"),
        ({"new": object()}, "/new", "field_type", "a Python object"),
        ({"new": (1, 2)}, "/new", "field_type", "got an array"),
    ],
)
def test_one_thing_wrong(document, pointer, code, says):
    """Each fault points at its place, has its code, and says what was expected and what came, in text that can be sent."""
    (fault,) = faults({"id": "1", **document})
    assert (fault.pointer, fault.code) == (pointer, code)
    assert says in fault.detail
    assert orjson.dumps([fault.pointer, fault.detail])


def test_one_fault_for_each_wrong_field():
    """All wrong fields are told at once, each once, and no more than can be read."""
    found = faults({"id": "1", "year": ["x", "y"], "ok": "z", "title": "good", "new": [[1], [2]]})
    assert [f.pointer for f in found] == ["/year/0", "/ok", "/new/0"]
    assert len(faults({"id": "1", **{f"N{i}": 1 for i in range(1000)}})) == MAX_FAULTS


def test_many_unknown_fields_are_soon_refused():
    """Looking for the nearest name ends with the faults that are told."""
    fields = {f"field_{i}": Field(f"field_{i}", "text") for i in range(500)}
    document = {"id": "1", **{f"unknown_{i}": 1 for i in range(20_000)}}
    assert len(faults(document, fields, IndexSettings(dynamic=False))) == MAX_FAULTS


def test_an_inferred_type_is_explained():
    """Where the type came from a document and not from the settings, the message says how to choose it."""
    fields = {**KNOWN, "n": Field("n", "integer", inferred=True)}
    (fault,) = faults({"id": "1", "n": "x"}, fields)
    assert "(the field became integer by an earlier document; declare it in the settings to choose)." in fault.detail


def test_long_values_are_abridged():
    """An error does not repeat a whole document."""
    (fault,) = faults({"id": "1", "year": "x" * 10_000})
    assert len(fault.detail) < 200


def test_a_strict_index_refuses_what_is_not_declared():
    """dynamic false refuses unknown fields, suggesting the nearest; null and [] are no fields."""
    strict = IndexSettings(dynamic=False)
    found = faults({"id": "1", "yeer": 2, "zzz": {"q": 1}, "nothing": None, "empty": []}, settings=strict)
    assert [(f.pointer, f.code) for f in found] == [("/yeer", "unknown_field"), ("/zzz/q", "unknown_field")]
    assert found[0].detail.endswith("did you mean 'year'?")
    assert check({"id": "1", "title": ["x"]}, strict, KNOWN)["title"].array


def test_at_most_500_fields():
    """The 500th field is good, the 501st is refused, the primary key counted."""
    fields = {"id": KNOWN["id"], **{f"f{i}": Field(f"f{i}", "text", inferred=True) for i in range(498)}}
    assert list(check({"id": "1", "last": 1}, SETTINGS, fields)) == ["last"]
    (fault,) = faults({"id": "1", "last": 1, "more": 2, "most": 3}, fields)
    assert (fault.pointer, fault.code) == ("/more", "too_many_fields")
    assert "500" in fault.detail


def test_neither_document_nor_fields_are_changed():
    """Checking has no side effects, whether it succeeds or fails."""
    fields, document = dict(KNOWN), {"id": "1", "new": [1, 2.5], "title": ["x"]}
    before = copy.deepcopy(document)
    check(document, SETTINGS, fields)
    faults({**document, "year": "x"}, fields)
    assert fields == KNOWN
    assert document == before


# ---------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"id": 5}, {"id": ["5"]}),
        ({"title": "x", "kind": "k"}, {"title": ["x"], "kind": ["k"]}),
        ({"title": None, "kind": [], "year": [None]}, {}),
        ({"year": [1, None, 2]}, {"year": [1, 2]}),
        ({"price": 3}, {"price": [3.0]}),
        ({"price": [1, 2.5]}, {"price": [1.0, 2.5]}),
        ({"ok": False}, {"ok": [False]}),
        ({"at": "1970-01-01T00:00:01Z"}, {"at": [1000]}),
        ({"at": [5, "1970-01-02"]}, {"at": [5, 86_400_000]}),
        ({"author": {"name": "x"}}, {"author.name": ["x"]}),
        ({"author.name": "x"}, {"author.name": ["x"]}),
        ({"author": [{"name": "x"}, {"name": ["y", "z"]}, {"age": 3}]}, {"author.name": ["x", "y", "z"]}),
        ({"unknown": "x", "more": {"unknown": 1}, "list": [1]}, {}),
    ],
)
def test_values(document, expected):
    """Values come flat, typed, in order; what is missing or not known is absent."""
    found = values(document, KNOWN)
    assert found == expected
    assert {name: [type(v) for v in vs] for name, vs in found.items()} == {n: [type(v) for v in vs] for n, vs in expected.items()}


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_any_document_is_good_or_invalid(document):
    """No JSON raises anything but Invalid; what passes has values only of its fields' types, and passes again unchanged."""
    document = {"id": "1", **document}
    kinds = {"text": str, "keyword": str, "integer": int, "float": float, "boolean": bool}
    try:
        fields = {**KNOWN, **check(document, SETTINGS, KNOWN)}
    except Invalid as error:
        assert error.errors
        return
    assert check(document, SETTINGS, fields) == {}
    for name, found in values(document, fields).items():
        assert found
        assert all(type(value) is kinds[fields[name].type] for value in found)
        assert len(found) == 1 or fields[name].array


@pytest.mark.parametrize("document", [{"a": [{}, ""]}, {"a": ["", {}]}, {"x": [{"a": {}}, {"a": ""}]}])
def test_an_empty_object_beside_a_value_is_a_conflict(document):
    """It leaves no field behind, and yet the document would not pass again once the value has made one."""
    with pytest.raises(Invalid) as caught:
        check({"id": "1", **document}, SETTINGS, KNOWN)
    assert [fault.code for fault in caught.value.errors] == ["field_conflict"]


# --------------------------------------------------------------------------------------------------- patches, narrowing


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [  # the table in RFC 7396, appendix A, as far as both sides are objects
        ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
        ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
        ('{"a":"b"}', '{"a":null}', "{}"),
        ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
        ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
        ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
        ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
        ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
        ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
        ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
        ('{"a":"text"}', '{"a":{"b":1}}', '{"a":{"b":1}}'),
    ],
)
def test_merge_patch(target, patch, expected):
    """null removes, objects merge, all else replaces; neither side is changed."""
    before, change = json.loads(target), json.loads(patch)
    assert merge_patch(before, change) == json.loads(expected)
    assert before == json.loads(target)
    assert change == json.loads(patch)


def test_a_deep_patch_is_merged():
    """Depth is not bounded by Python's stack."""
    assert merge_patch({}, deep(5000))["a"]["a"]


DOCUMENT = {"id": 1, "title": "t", "author": {"name": "n", "born": {"year": 1}}, "parts": [{"a": 1, "b": 2}, {"b": 3}, 4], "x.y": 5}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], {}),
        (["title"], {"title": "t"}),
        (["missing", "title.sub"], {}),
        (["author"], {"author": DOCUMENT["author"]}),
        (["author.name"], {"author": {"name": "n"}}),
        (["author.born"], {"author": {"born": {"year": 1}}}),
        (["author.born.year", "id"], {"id": 1, "author": {"born": {"year": 1}}}),
        (["author.name", "author"], {"author": DOCUMENT["author"]}),
        (["aut"], {}),
        (["parts.a"], {"parts": [{"a": 1}]}),
        (["parts"], {"parts": DOCUMENT["parts"]}),
        (["x.y"], {"x.y": 5}),
        (["x"], {"x.y": 5}),
    ],
)
def test_select(fields, expected):
    """Dotted names choose parts, nested as they were; a parent chooses its children."""
    assert select(DOCUMENT, fields) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a.b": "x"}, ["x"]),
        ({"a": {"b": "x"}}, ["x"]),
        ({"a": {"b": ["x", None, 5, "y"]}}, ["x", "y"]),
        ({"a": [{"b": "x"}, {"c": "no"}, {"b": ["y"]}]}, ["x", "y"]),
        ({"a": "no"}, []),
        ({"a": {"b": {"c": "no"}}}, []),
        ({}, []),
    ],
)
def test_text_values(document, expected):
    """The strings at a dotted name, in order, through objects and arrays."""
    assert text_values(document, "a.b") == expected


# ----------------------------------------------------------------------------------------------------------------- dates

DAY = 86_400_000


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (-5, -5),
        ("1970-01-01", 0),
        ("1970-01-02", DAY),
        ("1969-12-31", -DAY),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 00:00:01", 1000),
        ("1970-01-01T00:01", 60_000),
        ("1970-01-01T00:00:00.5", 500),
        ("1970-01-01T00:00:00.123999Z", 123),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T18:30:00-05:30", 0),
        ("2024-02-29", 1_709_164_800_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("0001-01-01", -62_135_596_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_good_dates(value, ms):
    """RFC 3339 dates and date-times, and milliseconds."""
    assert parse_date(value) == ms


@pytest.mark.parametrize(
    "value",
    [
        "",
        "today",
        "2024",
        "2024-1-1",
        "20240101",
        "2024-13-01",
        "2023-02-29",
        "0000-01-01",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:61Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+0100",
        "2024-01-01T00:00:00.Z",
        "2024-01-01Z",
        "2024-01-01\n",
        "２０２４-01-01",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        253_402_300_800_000,
        10**400,
        1.5,
        True,
        None,
        [],
    ],
)
def test_bad_dates(value):
    """Everything else is a ValueError that says what was expected."""
    with pytest.raises(ValueError, match=r"expected|there is no such"):
        parse_date(value)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (5, "1970-01-01T00:00:00.005Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00Z"),
    ],
)
def test_format_date(ms, text):
    """UTC, with milliseconds only where there are some."""
    assert format_date(ms) == text


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_dates_round_trip(ms):
    """Every instant is written so that it reads back, and as the standard library writes it."""
    assert parse_date(format_date(ms)) == ms
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    assert parse_date(moment.isoformat()) == ms
