"""Random documents and requests: the engine agrees with the naive evaluation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from searchapi.model import (
    And,
    Between,
    Compare,
    Exists,
    Facet,
    Field,
    In,
    IndexSettings,
    Not,
    Operation,
    Or,
    Page,
    Query,
    SearchRequest,
    Sort,
    StartsWith,
)
from searchapi.query.filters import format_filter

from .. import naive
from .conftest import Harness, ids

FIELDS = {
    f.name: f
    for f in (
        Field("k", "keyword"),
        Field("ks", "keyword", array=True),
        Field("i", "integer"),
        Field("is", "integer", array=True),
        Field("f", "float"),
        Field("fs", "float", array=True),
        Field("b", "boolean"),
        Field("d", "date"),
        Field("ds", "date", array=True),
        Field("t", "text"),
        Field("o.k", "keyword"),
        Field("o.i", "integer"),
    )
}
# Each example makes an index, so a failure is not shrunk: its message has the very request, and Hypothesis prints how to repeat it.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Few different values, so that documents share them; some that are awkward.
strings = st.sampled_from(
    [
        "a",
        "ab",
        "abc",
        "b",
        "A",
        "ä",
        "",
        " ",
        'q"uote',
        "back\\slash",
        "new\nline",
        "x.*",
        "[a-z]",
        "日本",
        "😀",
        "\u0000",
        "a\u0000b",
    ]
)
integers = st.sampled_from([0, 1, 2, -1, 7, 2**31, -(2**63), 2**63 - 1, 2**53 + 1])
floats = st.sampled_from([0.0, 1.0, -1.5, 0.1, 2.5, 1e300, -1e-300, 3.0])
moments = st.sampled_from([0, 1, -1, 999, 1_600_000_000_000, 1_600_000_000_001, -62_135_596_800_000])
dates = moments.map(lambda ms: (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds"))
prose = st.lists(
    st.sampled_from("stone stones river rivers running run the fox JSONDecoder snake_case 747".split()), max_size=5
).map(" ".join)
SCALARS = {
    "keyword": strings,
    "integer": integers,
    "float": st.one_of(floats, st.sampled_from([0, 1, 7])),
    "boolean": st.booleans(),
    "date": dates,
}
VALUES = {**SCALARS, "date": moments, "float": floats, "text": prose}  # as a filter holds them


def _field(field: Field) -> st.SearchStrategy:
    one = prose if field.type == "text" else SCALARS[field.type]
    return st.none() | (st.lists(one | st.none(), max_size=3) if field.array else one)


bodies = st.fixed_dictionaries(
    {},
    optional={name: _field(field) for name, field in FIELDS.items() if "." not in name}
    | {"o": st.none() | st.fixed_dictionaries({}, optional={"k": _field(FIELDS["o.k"]), "i": _field(FIELDS["o.i"])})},
)
documents = st.lists(bodies, max_size=14).map(lambda found: [{**body, "id": f"d{n:02d}"} for n, body in enumerate(found)])


@st.composite
def leaves(draw):
    field = FIELDS[draw(st.sampled_from(sorted(FIELDS)))]
    value = VALUES[field.type]
    ordered = field.type in ("integer", "float", "date")
    kinds = [
        "=",
        "!=",
        "in",
        "exists",
        *(["<", "<=", ">", ">=", "to"] if ordered else []),
        *(["starts"] if field.type in ("text", "keyword") else []),
    ]
    kind = draw(st.sampled_from(kinds))
    if kind == "in":
        return In(field.name, tuple(draw(st.lists(value, min_size=1, max_size=3))))
    if kind == "exists":
        return Exists(field.name)
    if kind == "to":
        return Between(field.name, *sorted((draw(value), draw(value))))
    if kind == "starts":
        return StartsWith(field.name, draw(value.filter(bool)))
    return Compare(field.name, kind, draw(value))


filters = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda nodes: And(tuple(nodes))),
        st.lists(inner, min_size=2, max_size=3).map(lambda nodes: Or(tuple(nodes))),
    ),
    max_leaves=6,
)
sorts = st.lists(
    st.sampled_from([name for name, field in FIELDS.items() if not field.array]), min_size=1, max_size=4, unique=True
).flatmap(lambda names: st.tuples(*(st.booleans().map(lambda down, name=name: Sort(name, down)) for name in names)))


def loaded(harness: Harness, found: list[dict]) -> str:
    """A fresh index with these documents, written in two parts with a rewrite and a delete in the second, so that there are
    segments and tombstones."""
    name = harness.new_index(IndexSettings(fields=FIELDS))
    half = len(found) // 2
    harness.put(name, [{"id": "d00", "k": "before"}, {"id": "gone", "k": "a", "i": 1}, *found[:half]])
    gone = [Operation("delete", id) for id in ("gone", *(["d00"] if not found else []))]
    puts = [Operation("put", d["id"], d) for d in found[half:] + found[:1]]
    assert [outcome.error for outcome in harness.write(name, *gone, *puts).outcomes if outcome.error] == []
    return name


@settings(max_examples=25, phases=UNSHRUNK)
@given(
    found=documents,
    nodes=st.lists(filters, min_size=4, max_size=20),
    facets=st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True),
)
def test_filters_and_facets(harness, found, nodes, facets):
    """Ids, totals and terms facets of random filters, through the port and as typed."""
    name = loaded(harness, found)
    wanted = tuple(Facet(field, limit=3) for field in facets)
    for node in nodes:
        passing = [d for d in found if naive.matches(node, d, FIELDS)]
        result = harness.engine.search(name, Query(filter=node, facets=wanted, page=Page(100)))
        assert [hit.id for hit in result.hits] == [d["id"] for d in passing], node
        assert result.total == len(passing)
        for field in facets:
            counted = result.facets[field]
            assert (list(counted.values), counted.other, counted.missing) == naive.terms(passing, field, 3, FIELDS[field].type), (
                node,
                field,
            )
        info = harness.engine.index(name)
        typed = harness.ask(name, filter=format_filter(node, info), limit="100")
        assert ids(typed) == [d["id"] for d in passing], format_filter(node, info)
    harness.engine.delete_index(name)


@settings(max_examples=20, phases=UNSHRUNK)
@given(found=documents, orders=st.lists(sorts, min_size=2, max_size=6), size=st.integers(1, 5))
def test_sorts_and_cursors(harness, found, orders, size):
    """Random sorts, at once and page by page."""
    name = loaded(harness, found)
    info = harness.engine.index(name)
    for order in orders:
        expected = naive.order(found, order, FIELDS)
        assert ids(harness.service.search(info, SearchRequest(sort=order, page=Page(100)))) == expected, order
        by = ",".join(("-" if sort.descending else "") + sort.field for sort in order)
        answer = harness.ask(name, sort=by, limit=str(size))
        paged = ids(answer)
        while answer.cursor is not None and len(paged) <= len(expected):
            answer = harness.ask(name, sort=by, limit=str(size), cursor=answer.cursor)
            paged += ids(answer)
        assert paged == expected, by
    harness.engine.delete_index(name)


queries = st.lists(
    st.sampled_from("stone stones river running run runs fox JSONDecoder decoder snake case snakecase 747 nothing".split()),
    min_size=1,
    max_size=3,
)


@settings(max_examples=12, phases=UNSHRUNK)
@given(found=documents, wanted=st.lists(queries, min_size=4, max_size=16))
def test_words(harness, found, wanted):
    """Which documents hold all words, as they stand or stemmed."""
    name = loaded(harness, found)
    for words in wanted:
        expected = [d["id"] for d in found if all(naive.holds(d, word.lower(), [FIELDS["t"]], "english") for word in words)]
        answer = harness.ask(name, q=" ".join(words) + " ", match="all", typo="false", limit="100")
        assert sorted(ids(answer)) == expected, words
        assert answer.total == len(expected)
    harness.engine.delete_index(name)
