"""Highlights: what is marked, snippets, HTML."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi import analysis
from searchapi.highlight import _aligned, _found, highlight
from searchapi.model import AllOf, AnyOf, Field, Highlight, Marked, Match, Near, Term

FIELDS = {
    "id": Field("id", "keyword"),
    "title": Field("title", "text"),
    "doc": Field("doc", "text"),
    "de": Field("de", "text", language="german"),
    "plain": Field("plain", "text", language="none"),
    "tags": Field("tags", "text", array=True),
    "author.name": Field("author.name", "text"),
}
TEXT = tuple(name for name, field in FIELDS.items() if field.type == "text")


def term(word, fields=TEXT, stem=True):
    return Term(word, fields, stem=stem)


def marked(document, *nodes, **options):
    """The whole answer for a match of these clauses."""
    return highlight(document, Match(clauses=nodes), FIELDS, "english", Highlight(**options))


def shown(text, *nodes, field="doc"):
    """A text with its marks in brackets; None where it has none."""
    found = marked({field: text}, *nodes, tags=("[", "]"))
    return html.unescape(found[field].html) if found else None


# ------------------------------------------------------------------------------------------------------- what is marked


@pytest.mark.parametrize(
    ("text", "node", "expected"),
    [
        ("Parse JSON now", term("json"), "Parse [JSON] now"),
        ("json, json; JSON", term("json"), "[json], [json]; [JSON]"),
        ("jsonx xjson", term("json"), None),
        ("", term("json"), None),
        ("parsing parsed parser", term("parse"), "[parsing] [parsed] parser"),
        ("parsing parse", term("parsing"), "[parsing] [parse]"),
        ("parsing parse", term("parse", stem=False), "parsing [parse]"),
        ("café Größe", term("cafe"), "[café] Größe"),
        ("café Größe", term("grosse"), "café [Größe]"),
        ("a <b>json</b>", term("json"), "a <b>[json]</b>"),
        ("read_text", term("text"), "read_[text]"),
        ("read_text", term("readtext"), "[read_text]"),
        ("JSONDecoder", term("decoder"), "JSON[Decoder]"),
        ("JSONDecoder", term("jsondecoder"), "[JSONDecoder]"),
        ("JSONDecoders", term("decoder"), "JSON[Decoders]"),
        ("日本 json 語", term("json"), "日本 [json] 語"),
        ("🎉🎉 json", term("json"), "🎉🎉 [json]"),
        ("e\u0301te\u0301 json", term("json"), "e\u0301te\u0301 [json]"),
        ("हिन्दी json", term("json"), "हिन्दी [json]"),
        ("x" * 200 + " json", term("json"), "x" * 200 + " [json]"),
        ("½ json 3.14", term("14"), "½ json 3.[14]"),
    ],
)
def test_words(text, node, expected):
    """Words as they stand or by their stem, folded, in parts of identifiers; offsets are code points whatever the script."""
    assert shown(text, node) == expected


@pytest.mark.parametrize(
    ("field", "text", "word", "expected"),
    [
        ("doc", "houses", "house", "[houses]"),
        ("de", "häuser", "haus", "[häuser]"),
        ("de", "parsing", "parse", None),
        ("plain", "houses house", "house", "houses [house]"),
    ],
)
def test_languages(field, text, word, expected):
    """Stems are of the field's language, or else the index's."""
    assert shown(text, term(word), field=field) == expected


QUICK = Near(("quick", "brown"), TEXT)


@pytest.mark.parametrize(
    ("text", "node", "expected"),
    [
        ("the quick brown fox", QUICK, "the [quick] [brown] fox"),
        ("Quick, brown! brown quick", QUICK, "[Quick], [brown]! brown quick"),
        ("quick red brown", QUICK, None),
        ("brown quick", QUICK, None),
        ("quick quick brown brown", QUICK, "quick [quick] [brown] brown"),
        ("quick browns", QUICK, None),
        ("quick browns", Near(("quick", "brown"), TEXT, stem=True), "[quick] [browns]"),
        ("to be or to be", Near(("to", "be", "or"), TEXT), "[to] [be] [or] to be"),
        ("a a a", Near(("a", "a"), TEXT), "[a] [a] [a]"),
        ("quick brown", Near(("quick",), TEXT), "[quick] brown"),
        ("quick " + "x" * 120 + " brown", QUICK, None),
        ("quick_brown", QUICK, "[quick]_[brown]"),
        ("QuickBrown fox", QUICK, "[Quick][Brown] fox"),
        ("QuickBrown fox", Near(("brown", "fox"), TEXT), "Quick[Brown] [fox]"),
        ("quick brown", Near(("quick", "brown"), TEXT, slop=3), None),
        ("quick brown", Near(("quick", "brown"), ("title",)), None),
    ],
)
def test_phrases(text, node, expected):
    """Phrases are marked only where their words stand in sequence; closeness alone marks nothing."""
    assert shown(text, node) == expected


def test_nested_nodes():
    """Words inside alternatives and combinations are marked: corrections, synonyms, completions."""
    node = AllOf(
        (AnyOf((term("json", stem=False), term("jason", stem=False))), AnyOf((term("phone"), Near(("mobile", "device"), TEXT))))
    )
    assert shown("jason json mobile device phones mobile", node) == "[jason] [json] [mobile] [device] [phones] mobile"


def test_a_word_and_a_phrase_together():
    """Each marks by its own rule."""
    assert shown("brown quick brown", term("brown"), QUICK) == "[brown] [quick] [brown]"
    assert shown("quick fox quick brown", term("fox"), QUICK) == "quick [fox] [quick] [brown]"


def test_only_clauses_are_marked():
    """Excluded words, proximity and tiers say nothing about why a word is there."""
    match = Match(clauses=(term("json"),), excluded=(term("xml"),), extras=(term("fast"),), tiers=(term("first"),))
    found = highlight({"doc": "json xml fast first"}, match, FIELDS, "english", Highlight())
    assert found == {"doc": Marked("json xml fast first", ((0, 4),))}
    assert highlight({"doc": "json"}, Match(), FIELDS, "english", Highlight()) == {}


def test_overlapping_marks_are_one_and_touching_are_two():
    """A whole identifier swallows its marked parts; parts beside each other stay apart."""
    assert shown("JSONDecoder", term("jsondecoder"), term("decoder")) == "[JSONDecoder]"
    assert shown("JSONDecoder", term("json"), term("decoder")) == "[JSON][Decoder]"
    assert shown("read_text", term("readtext"), term("read"), term("text")) == "[read_text]"


# ---------------------------------------------------------------------------------------------------------------- fields


def test_only_fields_with_marks_are_answered():
    """And only those that the word was searched in, and that were asked for."""
    document = {"id": "json", "title": "json", "doc": "json", "tags": ["xml"]}
    one = Marked("json", ((0, 4),))
    assert marked(document, term("json")) == {"title": one, "doc": one}
    assert marked(document, term("json", ("title",))) == {"title": one}
    assert marked(document, term("json"), fields=("doc", "tags")) == {"doc": one}
    assert marked(document, term("json"), fields=("missing",)) == {}
    assert marked({}, term("json")) == {}


def test_several_values():
    """A field with several values answers all of them in order, so that positions agree."""
    found = marked({"tags": ["xml", "json x", 5, None, "a json"]}, term("json"))
    assert found == {"tags": (Marked("xml"), Marked("json x", ((0, 4),)), Marked("a json", ((2, 6),)))}
    assert marked({"tags": ["json"]}, term("json")) == {"tags": (Marked("json", ((0, 4),)),)}
    assert marked({"tags": ["xml", "csv"]}, term("json")) == {}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"author": {"name": "json x"}}, Marked("json x", ((0, 4),))),
        ({"author.name": "json x"}, Marked("json x", ((0, 4),))),
        ({"author": [{"name": "x"}, {"name": "json"}]}, (Marked("x"), Marked("json", ((0, 4),)))),
    ],
)
def test_nested_fields(document, expected):
    """Dotted names reach into objects and arrays of them."""
    assert marked(document, term("json")) == {"author.name": expected}


# ------------------------------------------------------------------------------------------------------------------ html


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("json", "<em>json</em>"),
        ("<script>json</script> & \"x\" 'y'", "&lt;script&gt;<em>json</em>&lt;/script&gt; &amp; &quot;x&quot; &#x27;y&#x27;"),
        ("json&json", "<em>json</em>&amp;<em>json</em>"),
        ("&lt;json&gt;", "&amp;lt;<em>json</em>&amp;gt;"),
    ],
)
def test_html(text, expected):
    """Everything of the document is escaped, the tags are the caller's; text and ranges are there as well."""
    (one,) = marked({"doc": text}, term("json"), tags=("<em>", "</em>")).values()
    assert one.html == expected
    assert one.text == text
    assert all(one.text[start:end] == "json" for start, end in one.ranges)


def test_html_of_values_without_a_mark():
    """They are escaped too."""
    found = marked({"tags": ["<i>", "json"]}, term("json"), tags=("<b>", "</b>"))
    assert [one.html for one in found["tags"]] == ["&lt;i&gt;", "<b>json</b>"]


# -------------------------------------------------------------------------------------------------------------- snippets


def snippet(text, length, *words):
    """A snippet with its marks in brackets."""
    found = marked({"doc": text}, *map(term, words), tags=("[", "]"), snippet_length=length)
    return html.unescape(found["doc"].html)


FILLER = "one two three four five six seven eight nine ten "


@pytest.mark.parametrize(
    ("text", "length", "words", "expected"),
    [
        ("a json b", 100, ["json"], "a [json] b"),
        ("a json b", 8, ["json"], "a [json] b"),
        (FILLER + "json " + FILLER, 20, ["json"], "…ten [json] one two…"),
        ("json " + FILLER, 20, ["json"], "[json] one two three…"),
        (FILLER + "json", 20, ["json"], "…eight nine ten [json]"),
        (FILLER + "json " + FILLER + "json parse " + FILLER, 20, ["json", "parse"], "…ten [json] [parse] one…"),
        (FILLER + "json " + FILLER + "json json " + FILLER, 18, ["json"], "…ten [json] [json] one…"),
        ("json " + FILLER + "json", 12, ["json"], "[json] one two…"),
        ("json " * 3 + FILLER + "parse json", 10, ["json", "parse"], "…[parse] [json]"),
        ("json xxxxxxxxxxxxxxxxxxxxxxxxxxxx", 10, ["json"], "[json]…"),
        ("xxxxxxxxxxxxxxxxxxxxxxxxxxxx json", 10, ["json"], "…[json]"),
        (FILLER + "json", 1, ["json"], "…[json]"),
        (FILLER + "JSONDecoder " + FILLER, 4, ["decoder"], "…JSON[Decoder]…"),
        ("  json   ", 5, ["json"], "[json]"),
        ("a,b;json.c " + FILLER, 6, ["json"], "…[json]…"),
        ("漢字仮名" * 10 + " json " + "漢字仮名" * 10, 20, ["json"], "…[json]…"),
    ],
)
def test_snippets(text, length, words, expected):
    """Most different words, then most marks, then the first; cut between words; … where something is left out."""
    assert snippet(text, length, *words) == expected


def test_forms_of_one_word_are_one_word():
    """`parse` and `parsing` do not outweigh `parse` and `json`."""
    text = "parse parsing parsed " + FILLER + "json parse " + FILLER
    assert snippet(text, 22, "parse", "json") == "…ten [json] [parse] one…"


def test_snippets_of_several_values():
    """Values without a mark are cut too, from their beginning."""
    found = marked({"tags": [FILLER, FILLER + "json"]}, term("json"), snippet_length=20)
    assert [one.text for one in found["tags"]] == ["one two three four…", "…eight nine ten json"]
    assert [one.ranges for one in found["tags"]] == [(), ((16, 20),)]


# ------------------------------------------------------------------------------------------------------------ properties

PIECES = st.lists(
    st.sampled_from(
        ["json", "JSON", "parse", "parsing", "JSONParser", "read_text", "é", "Größe", " ", " ", "\n", ".", "_", "<&>", "日本", "ि"]
    )
    | st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=4),
    max_size=30,
)
TEXTS = PIECES.map("".join) | PIECES.map(" ".join)
NODES = st.lists(
    st.sampled_from(["json", "parse", "parser", "read", "text", "readtext", "e", "grosse"]).map(term)
    | st.sampled_from([Near(("json", "parse"), TEXT), Near(("read", "text"), TEXT, stem=True), Near(("e", "e"), TEXT, slop=2)]),
    min_size=1,
    max_size=4,
)


@given(TEXTS, NODES, st.integers(0, 60))
def test_ranges_and_html_hold(text, nodes, length):
    """Ranges are ordered, apart and not empty; the HTML without tags unescapes to the text, a snippet is part of it."""
    for one in marked({"doc": text}, *nodes, tags=("\ue000", "\ue001"), snippet_length=length).values():
        ends = [0, *(end for _, end in one.ranges)]
        assert one.ranges
        assert all(before <= start < end <= len(one.text) for before, (start, end) in zip(ends, one.ranges, strict=False))
        assert html.unescape(one.html.replace("\ue000", "").replace("\ue001", "")) == one.text
        assert one.text.strip("…") in text
        assert len(one.text) <= max(length, 20) + 250 or not length


@given(TEXTS, NODES)
def test_a_range_holds_what_was_searched(text, nodes):
    """Every marked part is, by the analysis that the engines use, a word that was looked for."""
    wanted = {analysis.stem(word, "english") for node in nodes for word in (node.words if isinstance(node, Near) else (node.word,))}
    for one in marked({"doc": text}, *nodes).values():
        for start, end in one.ranges:
            assert wanted & {analysis.stem(token.word, "english") for token in analysis.tokens(one.text[start:end])}


@given(TEXTS)
def test_the_fast_way_agrees_with_the_analysis(text):
    """Words laid onto runs of letters and digits stand where the tokenizer says, or the slow way is taken."""
    words = analysis.words(text)
    fast = _aligned(text, words, set(words))
    if fast is not None and not analysis.identifier_forms(text):
        assert fast == _found(text, set(words))
