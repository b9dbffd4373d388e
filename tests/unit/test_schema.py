"""Settings as JSON and back, differences, and names of indexes."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapi import analysis
from searchapi.exceptions import Invalid
from searchapi.model import FIELD_TYPES, Field, IndexInfo, IndexSettings, Synonyms, TypoRules
from searchapi.schema import check_name, differences, index_to_json, parse_settings, settings_to_json

FULL = {
    "primary_key": "sku",
    "language": "english",
    "dynamic": False,
    "stop_words": ["a", "the"],
    "synonyms": [["js", "javascript"], {"from": ["phone"], "to": ["iphone", "mobile phone"]}],
    "typo": {"enabled": True, "one_from": 4, "two_from": 8, "exact_words": ["acme"]},
    "fields": {"title": {"type": "text", "boost": 2, "language": "german", "keyword": False}, "year": "integer"},
}
PARSED = IndexSettings(
    primary_key="sku",
    dynamic=False,
    stop_words=("a", "the"),
    synonyms=(Synonyms(("js", "javascript"), ("js", "javascript")), Synonyms(("phone",), ("iphone", "mobile phone"))),
    typo=TypoRules(True, 4, 8, ("acme",)),
    fields={"title": Field("title", "text", boost=2.0, language="german", keyword=False), "year": Field("year", "integer")},
)


def faults(body, base=None):
    """Everything that is wrong with a body, as (pointer, code)."""
    with pytest.raises(Invalid) as caught:
        parse_settings(body, base)
    assert orjson.dumps([fault.detail for fault in caught.value.errors])
    return [(fault.pointer, fault.code) for fault in caught.value.errors]


def detail(body):
    """The sentence of the one thing that is wrong."""
    with pytest.raises(Invalid) as caught:
        parse_settings(body)
    (fault,) = caught.value.errors
    return fault.detail


# --------------------------------------------------------------------------------------------------------------- reading


def test_everything_set():
    """The whole body, in its short and long forms."""
    assert parse_settings(FULL) == PARSED


def test_nothing_set():
    """Keys left out have their defaults."""
    assert parse_settings({}) == IndexSettings()


@pytest.mark.parametrize("key", FULL)
def test_only_given_keys_replace(key):
    """With a base, a key replaces its setting whole and leaves the others."""
    other = IndexSettings(language="german", fields={"old": Field("old", "date")}, stop_words=("old",))
    result = parse_settings({key: FULL[key]}, other)
    assert getattr(result, key) == getattr(PARSED, key)
    assert {name for name in FULL if getattr(result, name) != getattr(other, name)} == {key}


def test_null_stop_words_mean_the_languages_own():
    """null and [] differ: the language's list, and none."""
    assert parse_settings({"stop_words": None}, PARSED).stop_words is None
    assert parse_settings({"stop_words": []}, PARSED).stop_words == ()


def test_what_is_left_of_a_text_field():
    """A patch that only changes a text field's type leaves its defaults beside it; they do no harm."""
    left = {"type": "integer", "boost": 1.0, "language": None, "keyword": True}
    assert parse_settings({"fields": {"x": left}}).fields == {"x": Field("x", "integer")}


def test_repeated_words_count_once():
    """Words and phrases given twice are kept once, in order."""
    assert parse_settings({"stop_words": ["b", "a", "b"]}).stop_words == ("b", "a")
    assert parse_settings({"synonyms": [["x", "y", "x"]]}).synonyms == (Synonyms(("x", "y"), ("x", "y")),)


def test_the_primary_key_needs_no_declaring():
    """Declaring the primary key as the keyword that it is anyway changes nothing."""
    assert parse_settings({"fields": {"id": "keyword"}}) == IndexSettings()


@pytest.mark.parametrize("language", analysis.LANGUAGES)
def test_every_language(language):
    """Each language of the analysis is accepted, for the index and for a field."""
    settings = parse_settings({"language": language, "fields": {"t": {"type": "text", "language": language}}})
    assert settings.language == settings.fields["t"].language == language


# ---------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ([], "", "wrong_type"),
        (None, "", "wrong_type"),
        ("x", "", "wrong_type"),
        ({"langauge": "english"}, "/langauge", "unknown_setting"),
        ({"x/y": 1}, "/x~1y", "unknown_setting"),
        ({"\ud800": 1}, "/\\ud800", "unknown_setting"),
        ({"primary_key": 5}, "/primary_key", "wrong_type"),
        ({"primary_key": ""}, "/primary_key", "field_name"),
        ({"primary_key": "ID"}, "/primary_key", "field_name"),
        ({"primary_key": "meta.id"}, "/primary_key", "field_name"),
        ({"language": "klingon"}, "/language", "unknown_language"),
        ({"language": None}, "/language", "unknown_language"),
        ({"language": ["english"]}, "/language", "unknown_language"),
        ({"dynamic": 1}, "/dynamic", "wrong_type"),
        ({"dynamic": "true"}, "/dynamic", "wrong_type"),
        ({"stop_words": "a"}, "/stop_words", "wrong_type"),
        ({"stop_words": ["a", 1]}, "/stop_words/1", "wrong_type"),
        ({"stop_words": ["a b"]}, "/stop_words/0", "invalid_phrase"),
        ({"stop_words": ["--"]}, "/stop_words/0", "invalid_phrase"),
        ({"stop_words": ["x" * 101]}, "/stop_words/0", "invalid_phrase"),
        ({"stop_words": ["\ud800a"]}, "/stop_words/0", "invalid_phrase"),
        ({"stop_words": [f"w{i}" for i in range(2001)]}, "/stop_words", "too_many"),
        ({"synonyms": {}}, "/synonyms", "wrong_type"),
        ({"synonyms": ["x"]}, "/synonyms/0", "wrong_type"),
        ({"synonyms": [[]]}, "/synonyms/0", "invalid_synonyms"),
        ({"synonyms": [["a"]]}, "/synonyms/0", "invalid_synonyms"),
        ({"synonyms": [["a", "a"]]}, "/synonyms/0", "invalid_synonyms"),
        ({"synonyms": [["a", "!"]]}, "/synonyms/0/1", "invalid_phrase"),
        ({"synonyms": [["a", None]]}, "/synonyms/0/1", "wrong_type"),
        ({"synonyms": [{"from": ["a"]}]}, "/synonyms/0", "invalid_synonyms"),
        ({"synonyms": [{"from": ["a"], "to": []}]}, "/synonyms/0/to", "invalid_synonyms"),
        ({"synonyms": [{"from": ["a"], "to": "b"}]}, "/synonyms/0/to", "wrong_type"),
        ({"synonyms": [{"from": ["a"], "to": ["b"], "both": True}]}, "/synonyms/0/both", "unknown_setting"),
        ({"synonyms": [{"from": ["a"], "to": ["a"]}]}, "/synonyms/0", "invalid_synonyms"),
        ({"synonyms": [[f"a{i}", f"b{i}"] for i in range(5001)]}, "/synonyms", "too_many"),
        ({"synonyms": [[f"a{i}" for i in range(10_001)]]}, "/synonyms/0", "too_many"),
        ({"synonyms": [5] * 10_001}, "/synonyms", "too_many"),
        ({"typo": False}, "/typo", "wrong_type"),
        ({"typo": {"enabled": 0}}, "/typo/enabled", "wrong_type"),
        ({"typo": {"one_from": 0}}, "/typo/one_from", "wrong_type"),
        ({"typo": {"one_from": True}}, "/typo/one_from", "wrong_type"),
        ({"typo": {"two_from": 5.0}}, "/typo/two_from", "wrong_type"),
        ({"typo": {"two_from": 1000}}, "/typo/two_from", "wrong_type"),
        ({"typo": {"one_from": 9, "two_from": 8}}, "/typo/two_from", "invalid_typo_rules"),
        ({"typo": {"one_from": 10}}, "/typo/two_from", "invalid_typo_rules"),
        ({"typo": {"exact_words": ["two words"]}}, "/typo/exact_words/0", "invalid_phrase"),
        ({"typo": {"enabeld": True}}, "/typo/enabeld", "unknown_setting"),
        ({"fields": []}, "/fields", "wrong_type"),
        ({"fields": {"Title": "text"}}, "/fields/Title", "field_name"),
        ({"fields": {"x": "txt"}}, "/fields/x", "unknown_type"),
        ({"fields": {"x": 5}}, "/fields/x", "wrong_type"),
        ({"fields": {"x": None}}, "/fields/x", "wrong_type"),
        ({"fields": {"x": {}}}, "/fields/x", "missing_type"),
        ({"fields": {"x": {"type": "string"}}}, "/fields/x/type", "unknown_type"),
        ({"fields": {"x": {"type": ["text"]}}}, "/fields/x/type", "unknown_type"),
        ({"fields": {"x": {"type": "text", "bost": 2}}}, "/fields/x/bost", "unknown_setting"),
        ({"fields": {"x": {"type": "text", "boost": 0}}}, "/fields/x/boost", "wrong_type"),
        ({"fields": {"x": {"type": "text", "boost": -1}}}, "/fields/x/boost", "wrong_type"),
        ({"fields": {"x": {"type": "text", "boost": 100.5}}}, "/fields/x/boost", "wrong_type"),
        ({"fields": {"x": {"type": "text", "boost": True}}}, "/fields/x/boost", "wrong_type"),
        ({"fields": {"x": {"type": "text", "boost": float("nan")}}}, "/fields/x/boost", "wrong_type"),
        ({"fields": {"x": {"type": "text", "language": "englich"}}}, "/fields/x/language", "unknown_language"),
        ({"fields": {"x": {"type": "text", "keyword": "no"}}}, "/fields/x/keyword", "wrong_type"),
        ({"fields": {"x": {"type": "integer", "boost": 2}}}, "/fields/x/boost", "not_for_this_type"),
        ({"fields": {"x": {"type": "keyword", "language": "german"}}}, "/fields/x/language", "not_for_this_type"),
        ({"fields": {"x": "text", "x.y": "text"}}, "/fields/x.y", "field_conflict"),
        ({"fields": {"x.y": "text", "x": "text"}}, "/fields/x", "field_conflict"),
        ({"fields": {"id": {"type": "text", "keyword": False}}}, "/fields/id", "primary_key_type"),
        ({"primary_key": "sku", "fields": {"sku": {"type": "integer"}}}, "/fields/sku", "primary_key_type"),
        ({"fields": {"id.x": "text"}}, "/fields/id.x", "field_conflict"),
        ({"fields": {f"f{i}": "text" for i in range(500)}}, "/fields", "too_many_fields"),
        ({"fields": {f"f{i}": "text" for i in range(501)}}, "/fields", "too_many_fields"),
    ],
)
def test_one_thing_wrong(body, pointer, code):
    """Each fault has its place and its code."""
    assert faults(body) == [(pointer, code)]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"langauge": 1}, "There is no setting 'langauge'; did you mean 'language'?"),
        ({"zzz": 1}, "known are primary_key, language"),
        ({"language": "English"}, "did you mean 'english'?"),
        ({"language": "klingon"}, "known are none, arabic"),
        ({"fields": {"x": "Integer"}}, "did you mean 'integer'?"),
        ({"fields": {"x": "zzz"}}, "known are text, keyword, integer, float, boolean, date."),
        ({"fields": {"createdAt": "date"}}, "try 'created_at'"),
        ({"stop_words": ["don't"]}, "which is 2: don, t."),
        ({"typo": {"one_from": 10}}, "Expected two_from to be at least one_from, which is 10, got 9."),
        ({"fields": {"id": "integer"}}, "the primary key is a keyword, or text"),
        ({"x" * 100_000: 1}, "xxx…'; known are"),
    ],
)
def test_what_a_fault_says(body, says):
    """The sentence names what was expected, what came, and the nearest known name."""
    assert says in detail(body)


def test_all_faults_at_once():
    """A body with several faults tells all of them, in the order of the body."""
    body = {"dynamic": 2, "fields": {"a": "x", "b": {"type": "text", "boost": 0}}, "nope": 1}
    assert {pointer for pointer, _ in faults(body)} == {"/dynamic", "/fields/a", "/fields/b/boost", "/nope"}


def test_faults_have_an_end():
    """A body of nonsense is not answered with all of it."""
    assert len(faults({f"x{i}": 1 for i in range(5000)})) == 100


def test_the_base_is_part_of_the_check():
    """A new primary key must fit the fields that stay."""
    base = IndexSettings(fields={"sku": Field("sku", "integer")})
    assert faults({"primary_key": "sku"}, base) == [("/fields/sku", "primary_key_type")]


# --------------------------------------------------------------------------------------------------------------- writing


def test_settings_to_json():
    """Every key is there, in its long form, and can be sent."""
    body = settings_to_json(PARSED)
    assert body == {**FULL, "fields": {"title": FULL["fields"]["title"], "year": {"type": "integer"}}}
    assert orjson.loads(orjson.dumps(body)) == body


WORDS = st.from_regex(r"[a-zäé0-9]{1,12}", fullmatch=True)
PHRASES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
TEXT = st.builds(
    lambda boost, language, keyword: {"type": "text", "boost": boost, "language": language, "keyword": keyword},
    st.floats(0.001, 100),
    st.none() | st.sampled_from(analysis.LANGUAGES),
    st.booleans(),
)
RULES = st.lists(PHRASES, min_size=2, max_size=4, unique=True) | st.builds(
    lambda phrases, cut: {"from": phrases[:cut], "to": phrases[cut:]},
    st.lists(PHRASES, min_size=3, max_size=5, unique=True),
    st.integers(1, 2),
)
FIELDS = st.dictionaries(st.from_regex(r"[xyz]_[a-z0-9_-]{0,5}", fullmatch=True), TEXT | st.sampled_from(FIELD_TYPES), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3),
    max_leaves=6,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "primary_key": st.sampled_from(["id", "sku"]),
        "language": st.sampled_from(analysis.LANGUAGES),
        "dynamic": st.booleans(),
        "stop_words": st.none() | st.lists(WORDS, max_size=3),
        "synonyms": st.lists(RULES, max_size=3),
        "typo": st.builds(
            lambda on, one, two, exact: {"enabled": on, "one_from": one, "two_from": one + two, "exact_words": exact},
            st.booleans(),
            st.integers(1, 20),
            st.integers(0, 20),
            st.lists(WORDS, max_size=2),
        ),
        "fields": st.dictionaries(
            st.from_regex(r"[xyz]_[a-z0-9_-]{0,5}", fullmatch=True), TEXT | st.sampled_from(FIELD_TYPES), max_size=4
        ),
    },
)


@given(BODIES)
@settings(max_examples=50)
def test_settings_round_trip(body):
    """What is written reads back as the same settings, also through JSON, and onto any base."""
    settings = parse_settings(body)
    written = orjson.loads(orjson.dumps(settings_to_json(settings)))
    assert parse_settings(written) == settings
    assert parse_settings(written, PARSED) == settings
    assert settings_to_json(parse_settings(written)) == written
    assert differences(settings, parse_settings(written)) == ()


@given(JSON)
@settings(max_examples=50)
def test_any_json_is_good_or_invalid(value):
    """No JSON raises anything but Invalid, wherever it stands."""
    for body in (
        value,
        *({key: value} for key in FULL),
        {"fields": {"x": value}},
        {"synonyms": [value]},
        {"typo": {"one_from": value}},
    ):
        try:
            assert isinstance(parse_settings(body), IndexSettings)
        except Invalid as error:
            assert all(fault.detail and fault.code for fault in error.errors)


def test_index_to_json():
    """An index shows its settings as they are set, and all its fields with where they came from."""
    fields = {
        "id": Field("id", "keyword"),
        "n": Field("n", "integer", array=True, inferred=True),
        "t": Field("t", "text", boost=3.0),
    }
    body = index_to_json(IndexInfo("shop", "u1", "2024-01-01T00:00:00Z", PARSED, fields, 7))
    assert body["name"] == "shop"
    assert body["created_at"] == "2024-01-01T00:00:00Z"
    assert body["settings"] == settings_to_json(PARSED)
    assert body["fields"] == {
        "id": {"type": "keyword", "array": False, "inferred": False},
        "n": {"type": "integer", "array": True, "inferred": True},
        "t": {"type": "text", "boost": 3.0, "language": None, "keyword": True, "array": False, "inferred": False},
    }
    assert orjson.dumps(body)


# ------------------------------------------------------------------------------------------------------------ differences


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ()),
        ({"primary_key": "id"}, ("primary_key",)),
        ({"language": "german"}, ("language",)),
        ({"dynamic": True}, ("dynamic",)),
        ({"stop_words": None}, ("stop_words",)),
        ({"stop_words": []}, ("stop_words",)),
        ({"synonyms": []}, ("synonyms",)),
        ({"typo": {"enabled": False}}, ("typo.enabled", "typo.exact_words", "typo.one_from", "typo.two_from")),
        ({"typo": {**FULL["typo"], "one_from": 5}}, ("typo.one_from",)),
        ({"fields": {}}, ("fields.title", "fields.year")),
        ({"fields": {**FULL["fields"], "new": "date"}}, ("fields.new",)),
        ({"fields": {**FULL["fields"], "year": "float"}}, ("fields.year.type",)),
        ({"fields": {**FULL["fields"], "title": "keyword"}}, ("fields.title.type",)),
        ({"fields": {**FULL["fields"], "title": "text"}}, ("fields.title.boost", "fields.title.keyword", "fields.title.language")),
        ({"language": "none", "dynamic": True}, ("dynamic", "language")),
    ],
)
def test_differences(change, expected):
    """What differs, by name, either way round."""
    other = parse_settings(change, PARSED)
    assert differences(PARSED, other) == expected
    assert differences(other, PARSED) == expected


# ------------------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["a", "0", "python", "my-index_2", "a" * 100])
def test_good_names(name):
    """Lowercase letters, digits, _ and -, starting with a letter or digit."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", 'got the string ""'),
        ("a" * 101, "1 to 100"),
        ("-a", "Try 'a'."),
        ("_a", "Try 'a'."),
        ("My Index", "Try 'my-index'."),
        ("a.b", "Try 'a-b'."),
        ("a/b", "Try 'a-b'."),
        ("../x", "Try 'x'."),
        ("ä", "lowercase letters"),
        ("a\n", "Try 'a'."),
        ("\ud800", "lowercase letters"),
        (5, "got the integer 5"),
        (None, "got null"),
    ],
)
def test_bad_names(name, says):
    """Anything else is refused, where possible with a name that would do."""
    with pytest.raises(Invalid) as caught:
        check_name(name, "alias")
    (fault,) = caught.value.errors
    assert (fault.pointer, fault.code) == ("/name", "invalid_name")
    assert fault.detail.startswith("The name of an alias holds")
    assert says in fault.detail
    assert orjson.dumps(fault.detail)
