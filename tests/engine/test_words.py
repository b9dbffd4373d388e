"""What words find: each row is a query over the notes of the corpus, and the ids that it must find."""

from __future__ import annotations

import pytest

from .. import naive
from .conftest import ids
from .corpus import LIBRARY, SETTINGS

STRICT = {"match": "all", "typo": "false", "limit": "100"}

# One row: q -> the ids, in any order, where all words must be there and nothing is corrected.
# A blank at the end: the last word is whole.
ALL = [
    # words
    ("quartz", "w01 w02 w03"),
    ("lantern", "w01 w02 w05"),
    ("brass", "w01 w03 w04 w06"),
    ("quartz lantern", "w01 w02"),
    ("lantern quartz", "w01 w02"),
    ("QUARTZ Lantern", "w01 w02"),
    ("quartz lantern brass", "w01"),
    ("quartz walnut", ""),
    ("walnut lantern", "w05"),
    ("quartz quartz", "w01 w02 w03"),
    ("quartz,lantern;", "w01 w02"),
    ("  quartz   lantern  ", "w01 w02"),
    ("nosuchword", ""),
    ("quartz nosuchword", ""),
    # fields
    ("title:quartz", "w01 w02"),
    ("body:quartz", "w03"),
    ("title:lantern", "w01 w05"),
    ("body:lantern", "w01 w02"),
    ("title:lantern body:brass", "w01"),
    ("title:walnut lantern", "w05"),
    ("title:clock body:lantern", "w02"),
    ("titel:haus", "g01 g02"),
    ("title:haus", ""),
    ("author.name:edge", "e06"),
    ('title:"quartz clock"', "w02"),
    ('body:"quartz clock"', ""),
    ('body:"lantern of brass"', "w01"),
    # phrases: as they stand, in order, within one value of one field
    ('"quartz lantern"', "w01"),
    ('"lantern quartz"', ""),
    ('"brass handles"', "w04"),
    ('"handles brass"', ""),
    ('"BRASS, handles!"', "w04"),
    ('"lantern of brass"', "w01"),
    ('"lantern brass"', ""),
    ('"lantern a heavy"', ""),
    ('"obsidian basalt"', "w08"),
    ("obsidian basalt", "w07 w08"),
    ('"walnut"', "w04 w05 w06"),
    ('"walnut grip" brass', "w06"),
    ('"walnut grip" "brass lid"', "w06"),
    ('"walnut grip" "brass handles"', ""),
    ('"running shoe"', ""),
    ('"running shoes"', "s01"),
    ('"run shoes"', ""),
    ('"over yonder"', "o02"),
    ('"mari"', ""),
    # exclusion
    ("quartz -lantern", "w03"),
    ("-lantern quartz", "w03"),
    ("lantern -quartz", "w05"),
    ("quartz -title:lantern", "w02 w03"),
    ("brass -quartz -kettle", "w04"),
    ("brass -quartz -walnut", ""),
    ('brass -"brass lid"', "w01 w03 w04"),
    ('lantern -"walnut lantern"', "w01 w02"),
    ('brass -body:"brass handles"', "w01 w03 w06"),
    ("quartz -quartz", ""),
    ("quartz -nosuchword", "w01 w02 w03"),
    ("shoes -run", "s03"),
    ("shoes -running", "s03"),
    ("shoes -runner", "s01"),
    ("leather -sofa", "y02"),
    ("mari -marimba", ""),
    # prefixes: the last word only, and only where nothing follows it
    ("mari", "p01 p02 p03"),
    ("mari ", ""),
    ("marim", "p02"),
    ("MARI", "p01 p02 p03"),
    ("jar mari", "p03"),
    ("mari jar", ""),
    ("title:mari", "p01 p02 p03"),
    ("body:mari", ""),
    ("marz", "p04"),
    ("marzipan pi", "p04"),
    ("übergr", "p07"),
    ("uberz", "p07"),
    ("bolt", "p05 p06"),
    ("bolt ", "p05"),
    ("saxoph", "t01"),
    ("kx902", "t10"),
    ("4821", "t07"),
    ("74", "i06"),
    # stems, English
    ("run ", "s01 s02"),
    ("runs ", "s01 s02"),
    ("running ", "s01 s02"),
    ("runner ", "s03"),
    ("run", "s01 s02 s03"),
    ("run shoes ", "s01"),
    ("shoe ", "s01 s03"),
    ("connection ", "s04 s05"),
    ("connects ", "s04 s05"),
    ("room ", "s04 s05"),
    ("happy ", "s06"),
    ("battery ", "s07"),
    ("charging ", "s07"),
    ("lanterns ", "w01 w02 w05"),
    ("title:lanterns ", "w01 w05"),
    # stems, German: only in the German field
    ("haus ", "g01 g02"),
    ("häuser ", "g01 g02"),
    ("Hauses ", "g01 g02"),
    ("kind ", "g03 g04"),
    ("kindern ", "g03 g04"),
    ("strasse ", "g05 g06"),
    ("Straße ", "g05 g06"),
    ("STRASSEN ", "g05 g06"),
    ("fluss ", "g01"),
    ("fluß ", "g01"),
    # stop words: optional, unless there is nothing else
    ("the lantern of quartz", "w01 w02"),
    ("the walnut", "w04 w05 w06"),
    ("yonder", "o01 o02 o03"),
    ("yonder ", "o01 o02 o03"),
    ("yonder hills", "o01 o02"),
    ("yonder lantern ", "w01 w02 w05"),
    ("the yonder", ""),
    ("lantern -yonder", "w01 w02 w05"),
    ("hills -yonder", ""),
    # folding
    ("cafe", "f01 f05"),
    ("Café ", "f01 f05"),
    ("CAFÉ ", "f01 f05"),
    ("zurich", "f01"),
    ("Zürich ", "f01"),
    ("aeroskobing", "f02"),
    ("ÆRØSKØBING ", "f02"),
    ("angstrom", "f03"),
    ("ångström ", "f03"),
    ("москва", "f04"),
    ("МОСКВА ", "f04"),
    ("ubergrosse ", "p07"),
    ('"cafe zurich"', "f01"),
    # synonyms, two-way
    ("sofa ", "y01 y02 y03"),
    ("couch ", "y01 y02 y03"),
    ("settee", "y01 y02 y03"),
    ("velvet couch ", "y01"),
    ("title:sofa ", "y01 y02 y03"),
    ("body:sofa ", ""),
    ('"velvet couch"', ""),
    ('"velvet sofa"', "y01"),
    # synonyms of several words
    ("nyc ", "y04 y05"),
    ("new york city ", "y04 y05 y06"),
    ("New York City ", "y04 y05 y06"),
    ("nyc maps ", "y05"),
    ("new york city guide ", "y04"),
    ("new york ", "y05 y06"),
    # synonyms, one-way
    ("laptop ", "y07 y08"),
    ("gaming laptop ", "y07"),
    ("paper laptop ", "y08"),
    ("notebook ", "y08"),
    ("ultrabook ", ""),
    ("tv ", "y09 y10"),
    ("tv repair ", "y09"),
    ("television set ", "y09"),
    ("red wine ", "y11 y12"),
    ("red wine bottle ", "y12"),
    ("merlot ", "y12"),
    ("wine ", "y11 y13"),
    ("wine red ", "y11"),
    # identifiers, numbers, signs
    ("jsondecoder ", "i01"),
    ("JSONDecoder", "i01"),
    ("decoder ", "i01"),
    ("json ", "i01"),
    ("json decoder ", "i01"),
    ("jsonDec", "i01"),
    ("read_text ", "i02"),
    ("readtext ", "i02"),
    ("read text ", "i02"),
    ("read_te", "i02"),
    ("html page ", "i03"),
    ("parsehtmlpage ", "i03"),
    ("http request ", "i04"),
    ("snake_case_name ", "i05"),
    ("snakecasename ", "i05"),
    ("snake name ", "i05"),
    ("747 ", "i06"),
    ("boeing 747 ", "i06"),
    ("3.14159 ", "i07"),
    ("14159 ", "i07"),
    ("c++ ", "i08"),
    ("serial 48213 ", "t07"),
]


@pytest.mark.parametrize(("q", "expected"), ALL, ids=[q for q, _ in ALL])
def test_all_words(ask, q, expected):
    """With match=all and typo=false, a query finds these documents and no other, each once."""
    answer = ask(q=q, **STRICT)
    assert sorted(ids(answer)) == expected.split()
    assert (answer.total, answer.total_exact, answer.corrections) == (len(expected.split()), True, ())


ANY = [
    ("quartz lantern", "w01 w02 w03 w05"),
    ("quartz compass", "w01 w02 w03"),
    ("kettle clock", "w02 w06"),
    ("kettle nosuchword", "w06"),
    ("nosuchword otherword", ""),
    ("title:quartz body:handles", "w01 w02 w04"),
    ('"brass handles" kettle', "w04 w06"),
    ('kettle "handles brass"', "w06"),
    ("quartz lantern -brass", "w02 w05"),
    ("yonder lantern", "w01 w02 w05"),
    ("the yonder", "h03 o01 o02 o03 w01 w02"),
    ("kettle mari", "p01 p02 p03 w06"),
    ("kettle sofa ", "w06 y01 y02 y03"),
    ("kettle merlot ", "w06 y12"),
    ("kettle haus ", "g01 g02 w06"),
]


@pytest.mark.parametrize(("q", "expected"), ANY, ids=[q for q, _ in ANY])
def test_any_word(ask, q, expected):
    """With match=any, one of the words is enough, and excluded ones still exclude."""
    assert sorted(ids(ask(q=q, match="any", typo="false", limit="100"))) == expected.split()


# q -> groups of ids: each group wholly above the next.
RELAX = [
    ("quartz lantern", "w01 w02 | w03 w05"),
    ("quartz lantern brass", "w01 | w02 w03 w04 w05 w06"),
    ("quartz walnut", "w01 w02 w03 w04 w05 w06"),
    ("kettle nosuchword", "w06"),
    ("nosuchword kettle ", "w06"),
    ('"quartz lantern" kettle', "w01 w06"),
    ("quartz lantern -brass", "w02 | w05"),
    ("yonder hills", "o01 o02"),
    ("new york city guide ", "y04 | y05 y06 s06"),
    ("lantern kettle walnut", "w01 w02 w04 w05 w06"),
    ("walnut lantern carved", "w05 | w01 w02 w04 w06"),
    ("how quartz", "w01 w02 w03"),
]


@pytest.mark.parametrize(("q", "expected"), RELAX, ids=[q for q, _ in RELAX])
def test_relax_finds_more_below_what_holds_all_words(ask, q, expected):
    """The default: below 10 documents with all words any word may match, and those with all words stay on top."""
    groups = [sorted(group.split()) for group in expected.split("|")]
    found = ids(ask(q=q, typo="false", limit="100"))
    assert sorted(found) == sorted(id for group in groups for id in group)
    for group in groups:
        assert sorted(found[: len(group)]) == group
        found = found[len(group) :]


def _with(*words: str) -> set[str]:
    """The documents that hold all of these words, by the naive reading."""
    fields = [f for f in SETTINGS.fields.values() if f.is_text]
    return {str(d["id"]) for d in LIBRARY if all(naive.holds(d, word, fields, SETTINGS.language) for word in words)}


def test_relax_stays_strict_where_enough_documents_hold_all_words(ask):
    """With 10 or more documents that hold all words, documents with only some of them are not added."""
    expected = _with("river", "garden")
    assert len(expected) >= 10
    assert set(ids(ask(q="river garden ", limit="300"))) == expected


def test_relax_decides_by_documents_not_by_the_page(ask):
    """The limit asked for does not change what matches."""
    assert ask(q="river garden ", limit="1").total == ask(q="river garden ", limit="100").total
    assert ask(q="quartz lantern", limit="1").total == ask(q="quartz lantern", limit="100").total == 4


def test_relax_falls_back_to_any_word_in_the_catalogue(ask):
    """Below 10 with all words, every document with any of them is found, those with all first."""
    words = next(
        (a, b, c)
        for a, b, c in [("river", "garden", "market"), ("window", "bridge", "forest"), ("golden", "ancient", "modern")]
        if 0 < len(_with(a, b, c)) < 10
    )
    every, some = _with(*words), set().union(*(_with(word) for word in words))
    found = ids(ask(q=" ".join(words) + " ", typo="false", limit="300"))
    assert set(found) == some
    assert set(found[: len(every)]) == every


# q -> the ids in this very order.
ORDERED = [
    ("falcon", "b01 b02", "a match in the title counts three times"),
    ("tundra ", "b03 b04", "more often in the same length"),
    ("amber resin ", "b06 b05", "words close together"),
    ("running ", "s01 s02", "the word as it stands above its stem"),
    ("runs ", "s02 s01", "the word as it stands above its stem"),
    ("bolt", "p05 p06", "the whole word above one that it begins"),
    ("violin ", "t05 t06", "exact above corrected"),
    ("violine ", "t06 t05", "exact above corrected"),
]


@pytest.mark.parametrize(("q", "expected", "why"), ORDERED, ids=[f"{q}: {why}" for q, _, why in ORDERED])
def test_order(ask, q, expected, why):
    """The better match comes first."""
    assert ids(ask(q=q)) == expected.split(), why


def test_scores_that_tie_are_ordered_by_id(ask):
    """Two titles of the same length that hold the word once: equal scores come by id."""
    assert ids(ask(q="rooms ", match="all")) == ["s04", "s05"]


def test_many_equal_scores_page_by_id(harness):
    """However many documents rank alike, their pages go by id, each document once."""
    name = harness.new_index()
    for part in range(3):  # in several commits and not in the order of their ids
        harness.put(name, [{"id": f"{(n * 37) % 90:02d}", "title": "alike"} for n in range(30 * part, 30 * part + 30)])
    expected = [f"{n:02d}" for n in range(90)]
    assert ids(harness.ask(name, q="alike ", limit="100")) == expected
    for limit in (1, 7, 20):
        pages = [ids(harness.ask(name, q="alike ", limit=str(limit), offset=str(offset))) for offset in range(0, 90, limit)]
        assert [id for page in pages for id in page] == expected


def test_only_excluded_words(ask):
    """A query of excluded words alone is everything else, by id."""
    every = sorted(str(d["id"]) for d in LIBRARY)
    answer = ask(q="-quartz", limit="400")
    assert ids(answer) == [id for id in every if id not in ("w01", "w02", "w03")]
    assert answer.total == len(every) - 3


@pytest.mark.parametrize("q", ["", "   ", None])
def test_no_words_find_everything_by_id(ask, q):
    """Without words all documents are found, in the order of their ids."""
    answer = ask(limit="400") if q is None else ask(q=q, limit="400")
    assert ids(answer) == sorted(str(d["id"]) for d in LIBRARY)
    assert answer.total == len(LIBRARY)


def test_the_languages_own_stop_words(harness):
    """Where no stop words are set, the language's own are optional; a query made only of them still finds."""
    assert ids(harness.ask("plain", q="the fox ", match="all", typo="false")) == ["1", "2"]
    assert ids(harness.ask("plain", q="how do I ", match="all", typo="false")) == ["3"]
    assert ids(harness.ask("plain", q="how do I start a fox ", match="all", typo="false")) == []


def test_inferred_text_is_searched(harness):
    """Strings of undeclared fields, also nested ones, are words with stems."""
    assert ids(harness.ask("plain", q="burrow ", match="all", typo="false")) == ["3", "4"]
    assert ids(harness.ask("plain", q="nested.deep.word:burrows ", match="all", typo="false")) == ["4", "3"]


COUNTED = ["river", "garden", "river garden", "river garden market", "silver", "golden morning", "doctor", "kitchen library"]


@pytest.mark.parametrize("words", COUNTED)
def test_catalogue_words_agree_with_the_naive_reading(ask, words):
    """Words that stand in many generated documents: every one is found, and counted right."""
    expected = _with(*words.split())
    answer = ask(q=words + " ", match="all", typo="false", limit="300")
    assert set(ids(answer)) == expected
    assert answer.total == len(expected) == len(ids(answer))


def test_a_query_without_words_is_no_query(ask):
    """Where nothing typed is a letter or digit, everything is found, as without q."""
    assert ask(q="???", limit="400").total == ask(limit="400").total == len(LIBRARY)


def test_sorted_by_fields_one_word_of_several_is_not_enough(harness):
    """Sorted, nothing comes first for holding all words: any word will do only where no document holds them all."""
    name = harness.new_index()
    harness.put(name, [{"id": "1", "title": "red shoes"}, {"id": "2", "title": "red hat"}, {"id": "3", "title": "green shoes"}])
    assert ids(harness.ask(name, q="red shoes ")) == ["1", "2", "3"]
    assert ids(harness.ask(name, q="red shoes ", sort="-title")) == ["1"]
    assert ids(harness.ask(name, q="green hat ", sort="title")) == ["3", "2"]
