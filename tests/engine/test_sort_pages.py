"""The order of hits, and pages of it: by offset and by cursor, each document once."""

from __future__ import annotations

import time

import orjson
import pytest

from searchapi.exceptions import DeadlineExceeded, Invalid
from searchapi.model import Field, IndexSettings, Operation, Query, Sort
from searchapi.query import cursor

from .. import naive
from .conftest import ids
from .corpus import LIBRARY, SETTINGS

FIELDS = {**SETTINGS.fields, "id": Field("id", "keyword")}
EVERY = sorted(str(d["id"]) for d in LIBRARY)

SORTS = [
    "title",
    "-title",
    "kind",
    "-kind",
    "code",
    "-code",
    "year",
    "-year",
    "price",
    "-price",
    "rating",
    "-rating",
    "available",
    "-available",
    "published",
    "-published",
    "author.name",
    "-author.country",
    "id",
    "-id",
    "kind,year",
    "-kind,year",
    "kind,-year",
    "-year,-price",
    "year,-title",
    "rating,-price",
    "-rating,price,-year",
    "available,-kind,author.country,-price",
    "kind,-id",
    "-available,published,-rating,title,year",
]


def parsed(text: str) -> tuple[Sort, ...]:
    return tuple(Sort(name.removeprefix("-"), name.startswith("-")) for name in text.split(","))


@pytest.mark.parametrize("sort", SORTS)
def test_sort(ask, sort):
    """By each field in turn, missing values last both ways, ties by id ascending."""
    assert ids(ask(sort=sort, limit="400")) == naive.order(LIBRARY, parsed(sort), FIELDS)


@pytest.mark.parametrize("sort", ["year", "-price", "kind,-published"])
def test_sort_of_what_matches(ask, sort):
    """Sorting orders what words and filters leave, and changes nothing else."""
    found = set(ids(ask(q="river ", filter="NOT available = false", limit="300")))
    answer = ask(q="river ", filter="NOT available = false", sort=sort, limit="300")
    assert ids(answer) == naive.order([d for d in LIBRARY if str(d["id"]) in found], parsed(sort), FIELDS)
    assert answer.total == len(found)


@pytest.mark.parametrize("sort", SORTS)
def test_a_cursor_gives_each_document_once_in_order(ask, sort):
    """Following the cursor to its end gives the whole order, whatever the size of a page."""
    expected = naive.order(LIBRARY, parsed(sort), FIELDS)
    answer = ask(sort=sort, limit="37")
    found = ids(answer)
    while answer.cursor is not None:
        assert len(found) <= len(expected), "the cursor does not end"
        answer = ask(sort=sort, limit="37", cursor=answer.cursor)
        assert answer.total == len(expected)
        found += ids(answer)
    assert found == expected


def test_a_cursor_without_sort_goes_by_id(ask):
    """Without words and sort the order is the id's, and has a cursor too."""
    answer = ask(limit="50", filter='kind != "book"')
    found = ids(answer)
    while answer.cursor is not None:
        answer = ask(limit="50", filter='kind != "book"', cursor=answer.cursor)
        found += ids(answer)
    assert found == [id for id in EVERY if not id.startswith("book-")]


def test_a_cursor_may_change_its_page_size(ask):
    """The limit belongs to the page, not to the cursor."""
    first = ask(sort="-year", limit="3")
    rest = ask(sort="-year", limit="5", cursor=first.cursor)
    assert ids(first) + ids(rest) == naive.order(LIBRARY, parsed("-year"), FIELDS)[:8]


def test_a_cursor_of_words_with_sort(ask):
    """A cursor of a corrected query, sorted by a field, goes on with the same correction."""
    expected = ids(ask(q="kitchne ", sort="year", limit="300"))
    answer = ask(q="kitchne ", sort="year", limit="10")
    corrections, found = answer.corrections, ids(answer)
    assert corrections
    while answer.cursor is not None:
        answer = ask(q="kitchne ", sort="year", limit="10", cursor=answer.cursor)
        assert answer.corrections == corrections
        found += ids(answer)
    assert found == expected


def test_no_cursor_where_there_is_no_more(ask):
    """The last page says so, and so does one that holds everything."""
    assert ask(sort="year", limit="400").cursor is None
    assert ask(q="quartz", sort="year").cursor is None
    exactly = ask(q="quartz", sort="id", limit="3")
    assert (ids(exactly), exactly.cursor, exactly.next_offset) == (["w01", "w02", "w03"], None, None)


def test_relevance_has_a_cursor_only_where_the_engine_can(ask, engine):
    """In order of relevance a cursor is a capability; where it is missing, none is given and none is taken."""
    assert ask(q="river ", limit="5").cursor is None, "it is asked for, as it costs the engine something"
    if engine.capabilities.relevance_cursor:
        assert ask(q="river ", limit="5", cursor="*").cursor is not None
    if not engine.capabilities.relevance_cursor:
        with pytest.raises(Invalid) as caught:
            ask(q="river ", cursor=ask(sort="year", limit="1").cursor)
        assert caught.value.errors[0].pointer == "cursor"


@pytest.mark.parametrize(
    "changed",
    [{"sort": "-year"}, {"sort": "year", "q": "river"}, {"sort": "year", "filter": "available = true"}, {"sort": "year,title"}],
)
def test_a_cursor_belongs_to_its_search(ask, changed):
    """A cursor cannot go on with another search."""
    cursor = ask(sort="year", limit="5").cursor
    with pytest.raises(Invalid) as caught:
        ask(**changed, cursor=cursor)
    assert caught.value.errors[0].code == "cursor_mismatch"


@pytest.mark.parametrize("cursor", ["x", "AAAA", "not a cursor", "é"])
def test_a_damaged_cursor_is_refused(ask, cursor):
    """What is no cursor is an error at `cursor`."""
    with pytest.raises(Invalid) as caught:
        ask(sort="year", cursor=cursor)
    assert caught.value.errors[0].pointer == "cursor"


def test_a_cursor_neither_skips_nor_repeats_while_others_are_written(harness):
    """Documents written and deleted between the pages do not move the untouched ones."""
    name = harness.new_index()
    untouched = [{"id": f"u{n:02d}", "n": n % 7} for n in range(40)]
    moving = [{"id": f"m{n:02d}", "n": n % 7} for n in range(20)]
    harness.put(name, untouched + moving)
    answer, found, page = harness.ask(name, sort="-n", limit="9"), [], 0
    while True:
        found += ids(answer)
        if answer.cursor is None:
            break
        harness.put(name, [{"id": f"m{n:02d}", "n": (n + 3 * page) % 7} for n in range(page, 20, 2)])
        harness.put(name, [{"id": f"x{page}", "n": 6 - page % 7}])
        page += 1
        answer = harness.ask(name, sort="-n", limit="9", cursor=answer.cursor)
    expected = naive.order(untouched, (Sort("n", True),), {"n": harness.engine.index(name).fields["n"]})
    assert [id for id in found if id.startswith("u")] == expected


@pytest.mark.parametrize("parameters", [{}, {"sort": "-year,title"}, {"q": "river "}, {"q": "kitchne "}, {"q": "quartz lantern"}])
@pytest.mark.parametrize("limit", [1, 7])
def test_offset_pages_join_to_the_whole(ask, parameters, limit):
    """Page after page by offset is the same order as at once; `next_offset` leads on and ends."""
    whole = ask(**parameters, limit="400")
    expected, found, offset = ids(whole)[: 5 * limit], [], 0
    while offset is not None and len(found) < 5 * limit:
        answer = ask(**parameters, limit=str(limit), offset=str(offset))
        assert answer.total == whole.total
        assert answer.next_offset == (offset + limit if offset + limit < whole.total else None)
        found += ids(answer)
        offset = answer.next_offset
    assert found == expected


def test_an_offset_beyond_the_end_is_empty(ask):
    """Past the last hit there are none, and the total stays."""
    answer = ask(q="quartz", offset="500")
    assert (ids(answer), answer.total, answer.next_offset) == ([], 3, None)


def test_limit_0_counts_only(ask):
    """No hits, but the total and the facets."""
    answer = ask(q="quartz", limit="0", facets="kind")
    assert (ids(answer), answer.total) == ([], 3)
    assert answer.facets["kind"].values == (("note", 3),)


def test_the_default_page_is_20(ask):
    """Without a limit there are 20 hits."""
    assert ids(ask()) == EVERY[:20]


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({"limit": "1001"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "500", "offset": "501"}, "offset"),
        ({"sort": "tags"}, "sort"),
        ({"sort": "sizes"}, "sort"),
        ({"sort": "body"}, "sort"),
        ({"sort": "yaer"}, "sort"),
        ({"sort": "year,year"}, "sort"),
        ({"fields": "titel,tilte"}, "fields"),
        ({"highlight": "kind"}, "highlight"),
        ({"match": "some"}, "match"),
        ({"typo": "perhaps"}, "typo"),
        ({"timeout_ms": "0"}, "timeout_ms"),
        ({"q": "kind:book"}, "q"),
        ({"fliter": "x"}, "fliter"),
    ],
)
def test_a_wrong_parameter_is_named(ask, parameters, pointer):
    """What cannot be done is refused at its parameter."""
    with pytest.raises(Invalid) as caught:
        ask(**parameters)
    assert [fault.pointer for fault in caught.value.errors] == [pointer]


def test_a_deadline_in_the_past(engine):
    """A search that has no time left raises, and does not answer half."""
    with pytest.raises(DeadlineExceeded):
        engine.search("library", Query(deadline=time.monotonic() - 1))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("title", {"title": "Edges"}),
        ("code,sizes", {"code": "JS-lib", "sizes": [7]}),
        ("author", {}),
        ("id,year", {"id": "e02", "year": -44}),
    ],
)
def test_choice_of_fields(ask, fields, expected):
    """Only the fields asked for are in the documents; the id stands beside them."""
    (hit,) = ask(filter='id = "e02"', fields=fields).hits
    assert (hit.id, orjson.loads(hit.document)) == ("e02", expected)


def test_choice_of_nested_fields(ask):
    """A dotted name chooses inside an object, a parent all of it."""
    (hit,) = ask(filter='id = "e06"', fields="author.name").hits
    assert orjson.loads(hit.document) == {"author": {"name": "Jo Edge"}}
    (hit,) = ask(filter='id = "e06"', fields="author").hits
    assert orjson.loads(hit.document) == {"author": {"name": "Jo Edge", "country": None}}


def test_whole_documents_come_back_as_they_went_in(ask):
    """Without a choice each document is what was put, an integer id as the string that it becomes."""
    found = {hit.id: orjson.loads(hit.document) for hit in ask(limit="400").hits}
    assert found == {str(d["id"]): {**d, "id": str(d["id"])} for d in LIBRARY}


def test_explain_changes_no_order(ask):
    """What is explained is sorted as it is without, and its pages go on alike."""
    asked = {"q": "quartz lantern brass kettle", "match": "any", "sort": "-id", "limit": "3"}
    plain, told = ask(**asked), ask(**asked, explain="true")
    assert ids(told) == ids(plain) == sorted(ids(plain), reverse=True)
    assert told.total > 3
    after = ask(**asked, explain="true", cursor=told.cursor)
    assert ids(after) == ids(ask(**asked, cursor=plain.cursor)) != []


def test_explain(ask):
    """With explain each hit says how its score came about; without, none does."""
    assert all(hit.explain for hit in ask(q="quartz lantern", explain="true").hits)
    assert all(hit.explain is None for hit in ask(q="quartz lantern").hits)


def test_parameters_and_json_agree(ask, harness):
    """The same search in a query string and as JSON has the same answer."""
    text = ask(q="river ", filter="year >= 2000", facets="kind,year(ranges: 2000..2010)", sort="-year", limit="7", match="any")
    body = harness.post(
        "library",
        {
            "q": "river ",
            "filter": "year >= 2000",
            "facets": ["kind", {"field": "year", "ranges": [{"from": 2000, "to": 2010}]}],
            "sort": ["-year"],
            "limit": 7,
            "match": "any",
        },
    )
    assert (ids(body), body.total, body.facets, body.cursor) == (ids(text), text.total, text.facets, text.cursor)


# ------------------------------------------------------------------------------------------------ in relevance order


def test_a_walk_in_relevance_order(harness):
    """All pages are cut from one moment: nothing is skipped or repeated, whatever is written meanwhile."""
    name = harness.new_index()
    harness.put(name, [{"id": f"d{n:03}", "text": "violet " * (1 + n % 7) + "garden " * (n % 5)} for n in range(120)])
    if not harness.engine.capabilities.relevance_cursor:
        with pytest.raises(Invalid) as refused:
            harness.ask(name, q="violet garden", cursor="*")
        assert refused.value.errors[0].code == "unsupported_cursor"
        return
    expected = ids(harness.ask(name, q="violet garden", match="any", limit="200"))
    answer = harness.ask(name, q="violet garden", match="any", limit="17", cursor="*")
    found = ids(answer)
    while answer.cursor is not None:
        harness.put(name, [{"id": f"new-{len(found)}", "text": "violet garden " * 9}])
        harness.write(name, Operation("delete", expected[-1 - len(found) // 17]))
        answer = harness.ask(name, q="violet garden", match="any", limit="17", cursor=answer.cursor)
        found += ids(answer)
    assert found == expected and answer.total == 120


def test_a_walk_is_of_its_index(harness):
    """A cursor of one index opens no other, also where somebody has made it fit."""
    if not harness.engine.capabilities.relevance_cursor:
        pytest.skip("this engine has no such cursor")
    names = [harness.new_index(), harness.new_index()]
    for name in names:
        harness.put(name, [{"id": str(n), "text": "violet"} for n in range(30)])
    first = harness.ask(names[0], q="violet", limit="5", cursor="*")
    _, request = harness.request(names[0], q="violet", cursor=first.cursor)
    other, forged = harness.request(names[1], q="violet")
    made = cursor.encode(request.page.after, forged, other, request.plan)
    with pytest.raises(Invalid) as refused:
        harness.ask(names[1], q="violet", cursor=made)
    assert refused.value.errors[0].code == "invalid_cursor"


@pytest.mark.parametrize("sort", ["n", "-n"])
@pytest.mark.parametrize("limit", ["1", "2", "10"])
def test_the_largest_number_is_not_a_missing_one(harness, sort, limit):
    """Documents without a value come last, also after one with the last number that there is."""
    name = harness.new_index(IndexSettings(fields={"n": Field("n", "integer")}))
    ends = [{"id": "z-most", "n": 2**63 - 1}, {"id": "z-least", "n": -(2**63)}]
    harness.put(name, [*ends, {"id": "a-none"}, {"id": "b-none"}, {"id": "one", "n": 1}])
    answer = harness.ask(name, sort=sort, limit=limit)
    found = ids(answer)
    while answer.cursor is not None:
        answer = harness.ask(name, sort=sort, limit=limit, cursor=answer.cursor)
        found += ids(answer)
    ordered = ["z-least", "one", "z-most"]
    assert found == [*(ordered if sort == "n" else ordered[::-1]), "a-none", "b-none"]
