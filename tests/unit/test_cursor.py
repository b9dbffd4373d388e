"""Cursors: what goes in comes out, for the same search only, and nothing else gets through."""

from __future__ import annotations

import base64
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi.exceptions import Invalid
from searchapi.model import Compare, Page, Phrase, SearchRequest, Sort, TextQuery, Word
from searchapi.query import cursor
from tests.unit.query_index import INFO

BY_ID = SearchRequest()
SORTED = SearchRequest(
    q="json",
    text=TextQuery((Word("json", last=True),)),
    filter=Compare("year", ">", 2000),
    sort=(Sort("year", True), Sort("name")),
)
RELEVANCE = SearchRequest(q='"a b"', text=TextQuery((Phrase("a b"),)))
VALUES = (2020, "Größe", "id-1")


def forged(*payload) -> str:
    """A cursor with a right checksum around anything."""
    raw = orjson.dumps(payload[0] if len(payload) == 1 else list(payload))
    return base64.urlsafe_b64encode(cursor._checksum(raw) + raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("request_", "values", "plan"),
    [
        (BY_ID, ("id-1",), None),
        (SORTED, VALUES, "relaxed"),
        (SORTED, (None, None, "ü/?&"), None),
        (replace(SORTED, sort=(Sort("price"), Sort("deprecated"), Sort("published"))), (1.5, True, -1, "x"), None),
        (RELEVANCE, ("a moment", 3.25, "id-1"), "p"),
    ],
)
def test_round_trip(request_, values, plan):
    """The values and the plan come back, from text that needs no escaping in an address."""
    token = cursor.encode(values, request_, INFO, plan)
    assert token.isascii() and token.replace("-", "").replace("_", "").isalnum()
    assert cursor.decode(token, request_, INFO) == (values, plan)


@pytest.mark.parametrize(
    "other",
    [
        replace(SORTED, q="jsom"),
        replace(SORTED, filter=Compare("year", ">", 2001)),
        replace(SORTED, filter=None),
        replace(SORTED, sort=(Sort("year"), Sort("name"))),
        replace(SORTED, match="any"),
        replace(SORTED, typo=False),
    ],
    ids=["q", "filter", "no filter", "sort", "match", "typo"],
)
def test_another_search(other):
    """A cursor is refused by a search with another q, filter, sort, match or typo."""
    with pytest.raises(Invalid) as caught:
        cursor.decode(cursor.encode(VALUES, SORTED, INFO), other, INFO)
    (fault,) = caught.value.errors
    assert (fault.pointer, fault.code) == ("cursor", "cursor_mismatch")
    assert "q, filter, sort, match and typo must stay" in fault.detail


def test_another_index():
    """A cursor is refused by another index, even of the same name."""
    with pytest.raises(Invalid, match="another search"):
        cursor.decode(cursor.encode(VALUES, SORTED, INFO), SORTED, replace(INFO, uid="books-2"))


def test_what_may_change():
    """Page size, fields and highlighting may differ from page to page, and the index's settings may have moved."""
    token = cursor.encode(VALUES, SORTED, INFO)
    other = replace(SORTED, page=Page(limit=3), fields=("name",), timeout_ms=5)
    assert cursor.decode(token, other, replace(INFO, version=9))[0] == VALUES


TOKEN = cursor.encode(VALUES, SORTED, INFO, "plan")
PRINT = cursor._fingerprint(SORTED, INFO)
DAMAGED = [
    "",
    "abc",
    "!!!!",
    "ü",
    "\ud800",
    "a" * 300_000,
    TOKEN + "=",
    TOKEN + "A",
    TOKEN[:-1],
    TOKEN[1:],
    TOKEN.swapcase(),
    forged(PRINT, None),
    forged(3),
    forged({"a": 1, "b": 2}),
    forged(PRINT, 3, list(VALUES)),
    forged(PRINT, None, "abc"),
    forged(PRINT, None, []),
    forged(PRINT, None, ["id-1"]),
    forged(PRINT, None, [2020, "a", 3]),
    forged(PRINT, None, [2020, "a", ""]),
    forged(PRINT, None, [2020, "a", "x" * 513]),
    forged(PRINT, None, ["2020", "a", "id-1"]),
    forged(PRINT, None, [True, "a", "id-1"]),
    forged(PRINT, None, [2.5, "a", "id-1"]),
    forged(PRINT, None, [2**63, "a", "id-1"]),
    forged(PRINT, None, [[1], "a", "id-1"]),
    forged(PRINT, None, [2020, {"a": 1}, "id-1"]),
    forged(PRINT, None, [2020, "a", "b", "id-1"]),
]


@pytest.mark.parametrize("token", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged(token):
    """Cut, changed or forged text is an error at `cursor`."""
    with pytest.raises(Invalid) as caught:
        cursor.decode(token, SORTED, INFO)
    (fault,) = caught.value.errors
    assert (fault.pointer, fault.code) == ("cursor", "invalid_cursor")
    assert fault.detail == "cursor: expected the cursor of an earlier answer, unchanged and whole"


def test_id_order_takes_the_id_alone():
    """Without q and sort a cursor holds the id and nothing more."""
    token = forged(cursor._fingerprint(BY_ID, INFO), None, [1.5, "id-1"])
    with pytest.raises(Invalid, match="unchanged and whole"):
        cursor.decode(token, BY_ID, INFO)


@pytest.mark.parametrize("position", range(len(TOKEN)))
def test_one_letter_changed(position):
    """Whichever letter changes, it is noticed."""
    changed = TOKEN[:position] + ("A" if TOKEN[position] != "A" else "B") + TOKEN[position + 1 :]
    with pytest.raises(Invalid, match="unchanged and whole"):
        cursor.decode(changed, SORTED, INFO)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text())
JSON = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=3)))


FORGED = st.one_of(JSON.map(forged), JSON.map(lambda values: forged(PRINT, None, values)))


@given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True), FORGED))
def test_any_string(token):
    """Any string decodes to values of the sort fields' types or raises Invalid."""
    try:
        values, plan = cursor.decode(token, SORTED, INFO)
    except Invalid as error:
        assert error.errors[0].pointer == "cursor"
        return
    year, name, id = values
    assert isinstance(year, int | None) and isinstance(name, str | None) and isinstance(id, str) and plan is None


@given(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), st.one_of(st.none(), st.text()), st.text(min_size=1, max_size=100))
def test_any_values(year, name, id):
    """All sort values of the fields' types come back as they were."""
    assert cursor.decode(cursor.encode((year, name, id), SORTED, INFO, None), SORTED, INFO) == ((year, name, id), None)
