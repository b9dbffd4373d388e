"""Highlights: what is marked in the fields of a hit, whichever way its words were found."""

from __future__ import annotations

import pytest

from searchapi.model import Marked

from .conftest import ids
from .corpus import NOTES

# q, the document, its marked fields; [ ] stand around what must be marked, and the text beside them must be the document's own.
MARKED = [
    ("quartz", "w01", {"title": "[Quartz] lantern"}),
    ("quartz", "w03", {"body": "Points north, always; polished [quartz] lens."}),
    ("lantern", "w01", {"title": "Quartz [lantern]", "body": "A heavy [lantern] of brass for the cellar."}),
    ("quartz lantern", "w02", {"title": "[Quartz] clock", "body": "Ticks softly beside the [lantern] shelf."}),
    ("QUARTZ", "w02", {"title": "[Quartz] clock"}),
    ("title:lantern", "w01", {"title": "Quartz [lantern]"}),
    ("body:lantern", "w01", {"body": "A heavy [lantern] of brass for the cellar."}),
    ("quartz -clock", "w01", {"title": "[Quartz] lantern"}),
    # phrases: only where they stand as such
    ('"brass handles"', "w04", {"body": "Four drawers with [brass] [handles]."}),
    ('"quartz lantern"', "w01", {"title": "[Quartz] [lantern]"}),
    ('"walnut grip" kettle', "w06", {"title": "Copper [kettle]", "body": "Whistles. [Walnut] [grip], brass lid."}),
    # stems
    ("run ", "s01", {"title": "[Running] shoes"}),
    ("running ", "s02", {"title": "[Runs] daily"}),
    ("connection ", "s05", {"title": "[Connecting] rooms"}),
    ("happy ", "s06", {"title": "[Happiness] guide"}),
    ("haus ", "g01", {"titel": "Die [Häuser] am Fluss"}),
    ("strasse ", "g05", {"titel": "Lange [Straßen]"}),
    # prefixes
    ("mari", "p01", {"title": "[Marigold] seeds"}),
    ("uberz", "p07", {"body": "[Überzug]"}),
    # typos
    ("saxaphone ", "t01", {"title": "[Saxophone] lessons"}),
    ("saxaphone lesons ", "t01", {"title": "[Saxophone] [lessons]"}),
    ("violin ", "t06", {"title": "[Violine] strings"}),
    # folding: ranges are of the text as it is written
    ("cafe ", "f01", {"title": "[Café] Zürich"}),
    ("zurich ", "f01", {"title": "Café [Zürich]"}),
    ("aeroskobing ", "f02", {"title": "[Ærøskøbing] ferry"}),
    ("москва ", "f04", {"title": "[Москва] вечером"}),
    # synonyms
    ("sofa ", "y02", {"title": "Leather [couch]"}),
    ("nyc ", "y05", {"title": "[New] [York] [City] maps"}),
    ("new york city ", "y04", {"title": "[NYC] guide"}),
    ("laptop ", "y08", {"title": "Paper [notebook]"}),
    # identifiers: the part that was found
    ("decoder ", "i01", {"title": "JSON[Decoder] class"}),
    ("jsondecoder ", "i01", {"title": "[JSONDecoder] class"}),
    ("readtext ", "i02", {"title": "[read_text] method"}),
    ("747 ", "i06", {"title": "Boeing [747] jet"}),
    # astral characters count as one
    ("kangaroo ", "h02", {"title": "😀 [Kangaroo] court"}),
]


def unmarked(text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """`"a [b] c"` -> ("a b c", ((2, 3),))"""
    plain, ranges, start = "", [], 0
    for character in text:
        if character == "[":
            start = len(plain)
        elif character == "]":
            ranges.append((start, len(plain)))
        else:
            plain += character
    return plain, tuple(ranges)


@pytest.mark.parametrize(("q", "id", "expected"), MARKED, ids=[f"{q} in {id}" for q, id, _ in MARKED])
def test_ranges(ask, q, id, expected):
    """Each field with a match comes whole, with the code-point ranges of what matched; the other fields do not come."""
    hit = next(hit for hit in ask(q=q, highlight="true").hits if hit.id == id)
    wanted = {name: unmarked(text) for name, text in expected.items()}
    assert all(plain == NOTES[id][name] for name, (plain, _) in wanted.items()), "the table misquotes the corpus"
    assert {name: (marked.text, tuple(map(tuple, marked.ranges))) for name, marked in hit.highlights.items()} == wanted
    assert all(marked.html is None for marked in hit.highlights.values())


def test_html_is_safe(ask):
    """Marked text is escaped: what was markup in the document is text on the page."""
    (hit,) = [
        hit for hit in ask(q="kangaroo script ", match="all", highlight="true", highlight_format="html").hits if hit.id == "h01"
    ]
    assert hit.highlights["body"].html == (
        "&lt;b&gt;Bold&lt;/b&gt; &amp; &quot;quoted&quot; &lt;<em>script</em>&gt;alert(&#x27;x&#x27;)&lt;/<em>script</em>&gt; "
        "<em>kangaroo</em>"
    )


def test_html_with_tags_of_ones_own(harness):
    """In JSON the tags can be chosen."""
    body = {"q": "quartz clock ", "match": "all", "highlight": {"fields": ["title"], "format": "html", "tags": ["<b>", "</b>"]}}
    (hit,) = harness.post("library", body).hits
    assert {name: marked.html for name, marked in hit.highlights.items()} == {"title": "<b>Quartz</b> <b>clock</b>"}


def test_chosen_fields(ask):
    """Only the named fields are marked, though others match."""
    hit = next(hit for hit in ask(q="lantern", highlight="title").hits if hit.id == "w01")
    assert set(hit.highlights) == {"title"}


def test_several_values(ask):
    """A field with several values comes with all of them, in order, those without a match unmarked."""
    (hit,) = ask(q="heron ", highlight="lines", highlight_format="html", match="all", typo="false").hits
    assert hit.id == "h04"
    assert [marked.text for marked in hit.highlights["lines"]] == NOTES["h04"]["lines"]
    assert [marked.html for marked in hit.highlights["lines"]] == [
        "one <em>heron</em>",
        "no bird",
        "two <em>herons</em> &lt;i&gt;fly off&lt;/i&gt;",
    ]


@pytest.mark.parametrize("length", [20, 50, 120])
def test_snippets(ask, length):
    """A snippet is a window of about the length asked for around a match, cut between words, its ranges true."""
    (hit,) = ask(q="wallaby quietly ", match="all", highlight="true", snippet_length=str(length)).hits
    marked: Marked = hit.highlights["body"]
    assert len(marked.text) <= length + 42
    inner = marked.text.strip("…")
    assert inner.strip() in NOTES["h03"]["body"]
    assert set(inner.split()) <= set(NOTES["h03"]["body"].split()), "a word was cut"
    assert "wallaby" in {marked.text[start:end] for start, end in marked.ranges}
    assert {marked.text[start:end] for start, end in marked.ranges} <= {"wallaby", "quietly"}
    assert marked.text.startswith("…")


def test_a_short_text_is_its_own_snippet(ask):
    """What fits is not cut, and has no ellipsis."""
    hit = next(hit for hit in ask(q="quartz", highlight="true", snippet_length="200").hits if hit.id == "w01")
    assert hit.highlights["title"] == Marked("Quartz lantern", ((0, 6),))


def test_snippets_are_safe_for_html(ask):
    """Cutting comes before escaping, so that no entity is cut."""
    (hit,) = ask(q="kangaroo script ", match="all", highlight="body", highlight_format="html", snippet_length="20").hits
    html = hit.highlights["body"].html
    assert "<em>kangaroo</em>" in html or "<em>script</em>" in html
    bare = html.replace("<em>", "").replace("</em>", "")
    assert "<" not in bare
    assert all(piece.split(";")[0] in ("lt", "gt", "amp", "quot", "#x27") for piece in bare.split("&")[1:])


def test_no_highlights_unless_asked(ask):
    """Hits have highlights only on request; a request without words has nothing to mark."""
    assert all(hit.highlights is None for hit in ask(q="quartz").hits)
    assert all(not hit.highlights for hit in ask(filter='id = "w01"', highlight="true").hits)


def test_highlights_do_not_depend_on_the_fields_answered(ask):
    """Fields that are not answered can be marked."""
    hit = next(hit for hit in ask(q="lantern", highlight="body", fields="id").hits if hit.id == "w01")
    assert hit.highlights["body"].text == NOTES["w01"]["body"]


def test_highlighting_changes_nothing_else(ask):
    """The same hits in the same order."""
    assert ids(ask(q="river garden ", highlight="true", limit="50")) == ids(ask(q="river garden ", limit="50"))
