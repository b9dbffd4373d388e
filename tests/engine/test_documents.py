"""The write side of the port: documents, versions, batches, types, indexes, settings, aliases and tasks."""

from __future__ import annotations

import threading
import time

import orjson
import pytest

from searchapi.exceptions import (
    AliasNotFound,
    DocumentNotFound,
    IndexExists,
    IndexNotFound,
    Invalid,
    TaskNotFound,
    VersionConflict,
)
from searchapi.model import Compare, Exists, Field, IndexSettings, Not, Operation, Query, Synonyms

from .conftest import PATIENCE, ids


def put(id: str, position: int = 0, /, **document) -> Operation:
    return Operation("put", id, {"id": id, **document}, position)


@pytest.fixture
def index(harness) -> str:
    return harness.new_index()


def body(harness, name: str, id: str) -> dict:
    return orjson.loads(harness.engine.get(name, id).body)


def stored(harness, name: str) -> list[str]:
    return [document.id for document in harness.engine.scan(name)]


# ------------------------------------------------------------------------------------------------- single documents


def test_put_get_and_search(harness, index):
    """A document is there by id at once, and to searches once its seq is reached."""
    result = harness.engine.write(index, [put("1", title="Hello")])
    (outcome,) = result.outcomes
    assert (outcome.position, outcome.id, outcome.created, outcome.error) == (0, "1", True, None)
    document = harness.engine.get(index, "1")
    assert (document.id, document.version, orjson.loads(document.body)) == ("1", outcome.version, {"id": "1", "title": "Hello"})
    assert harness.engine.wait(index, result.seq, PATIENCE)
    assert ids(harness.ask(index, q="hello")) == ["1"]


def test_put_replaces(harness, index):
    """A second put replaces the whole document, with a higher version; searches forget the old words."""
    first = harness.write(index, put("1", title="Hello", extra=1)).outcomes[0]
    second = harness.write(index, put("1", title="Goodbye")).outcomes[0]
    assert (second.created, second.version > first.version) == (False, True)
    assert body(harness, index, "1") == {"id": "1", "title": "Goodbye"}
    assert [ids(harness.ask(index, q=q, typo="false")) for q in ("hello ", "goodbye ")] == [[], ["1"]]
    assert ids(harness.ask(index, filter="EXISTS extra")) == []


def test_delete(harness, index):
    """A deleted document is gone for reads at once, and for searches; deleting it again says that it is not there."""
    harness.write(index, put("1", title="Hello"), put("2", title="Hello", n=1))
    harness.engine.write(index, [Operation("delete", "1")])
    with pytest.raises(DocumentNotFound):
        harness.engine.get(index, "1")
    again = harness.write(index, Operation("delete", "1")).outcomes[0]
    assert isinstance(again.error, DocumentNotFound)
    assert ids(harness.ask(index, q="hello")) == ["2"]
    assert harness.engine.stats(index).documents == 1


def test_a_version_never_comes_back(harness, index):
    """Put after delete is created anew, with a version above all earlier ones."""
    first = harness.write(index, put("1", n=1)).outcomes[0]
    harness.write(index, Operation("delete", "1"))
    again = harness.write(index, put("1", n=2)).outcomes[0]
    assert again.created
    assert again.version > first.version
    assert harness.engine.get(index, "1").version == again.version


def test_patch_merges(harness, index):
    """A patch changes what it names, removes what is null, goes into objects and leaves the rest."""
    harness.write(index, put("1", title="Old words", n=1, gone="x", author={"name": "Ada", "country": "DE"}, tags=["a"]))
    change = {"title": "New words", "gone": None, "author": {"country": "FR"}, "tags": ["b", "c"]}
    outcome = harness.write(index, Operation("patch", "1", change)).outcomes[0]
    assert (outcome.error, outcome.created) == (None, False)
    assert body(harness, index, "1") == {
        "id": "1",
        "title": "New words",
        "n": 1,
        "author": {"name": "Ada", "country": "FR"},
        "tags": ["b", "c"],
    }
    assert ids(harness.ask(index, q="new ", filter='author.country = "FR" AND tags = "c" AND n = 1')) == ["1"]
    assert ids(harness.ask(index, filter='tags = "a" OR EXISTS gone OR author.country = "DE"')) == []


def test_patch_of_nothing(harness, index):
    """There is nothing to patch where there is no document, and an id cannot be patched away."""
    harness.write(index, put("1", n=1))
    missing, renamed, removed = harness.write(
        index,
        Operation("patch", "2", {"n": 2}, 0),
        Operation("patch", "1", {"id": "9"}, 1),
        Operation("patch", "1", {"id": None}, 2),
    ).outcomes
    assert isinstance(missing.error, DocumentNotFound)
    assert isinstance(renamed.error, Invalid)
    assert isinstance(removed.error, Invalid)
    assert stored(harness, index) == ["1"]


@pytest.mark.parametrize("id", ["a/b", "ü", "x y", "%2F", "..", "'", '"', "\\", "\t", "日本", "😀", "a" * 512, "-1", "0"])
def test_any_id(harness, index, id):
    """Ids hold any character, and a document is found, changed and deleted by them."""
    harness.put(index, [{"id": id, "title": "odd"}, {"id": "other", "title": "odd"}])
    assert harness.engine.get(index, id).id == id
    assert sorted(ids(harness.ask(index, q="odd "))) == sorted([id, "other"])
    harness.write(index, Operation("patch", id, {"title": "even"}))
    assert ids(harness.ask(index, q="even ")) == [id]
    harness.write(index, Operation("delete", id))
    assert ids(harness.ask(index)) == ["other"]


def test_conditions(harness, index):
    """If-Match holds only for the current version, If-None-Match only where nothing is; what does not hold changes nothing."""
    version = harness.write(index, put("1", n=1)).outcomes[0].version
    operations = [
        Operation("put", "1", {"id": "1", "n": 2}, 0, if_none_match=True),
        Operation("put", "1", {"id": "1", "n": 3}, 1, if_match=version + 1000),
        Operation("put", "2", {"id": "2", "n": 4}, 2, if_match=version),
        Operation("delete", "1", None, 3, if_match=version + 1000),
        Operation("patch", "1", {"n": 5}, 4, if_match=version + 1000),
    ]
    assert [type(outcome.error) for outcome in harness.write(index, *operations).outcomes] == [VersionConflict] * 5
    assert (body(harness, index, "1"), stored(harness, index)) == ({"id": "1", "n": 1}, ["1"])

    changed = harness.write(index, Operation("put", "1", {"id": "1", "n": 6}, if_match=version)).outcomes[0]
    assert changed.error is None
    created = harness.write(index, Operation("put", "2", {"id": "2", "n": 7}, if_none_match=True)).outcomes[0]
    assert (created.error, created.created) == (None, True)
    stale = harness.write(index, Operation("delete", "1", if_match=version)).outcomes[0]
    assert isinstance(stale.error, VersionConflict)
    deleted = harness.write(index, Operation("delete", "1", if_match=changed.version)).outcomes[0]
    assert deleted.error is None
    anew = harness.write(index, Operation("put", "1", {"id": "1", "n": 8}, if_none_match=True)).outcomes[0]
    assert (anew.error, anew.created) == (None, True)


def test_only_one_of_many_conditional_writers_wins(harness, index):
    """Of writers that saw the same version exactly one is let through."""
    version = harness.write(index, put("1", n=0)).outcomes[0].version
    won = []

    def attempt(n: int) -> None:
        (outcome,) = harness.engine.write(index, [Operation("put", "1", {"id": "1", "n": n}, if_match=version)]).outcomes
        if outcome.error is None:
            won.append(n)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert body(harness, index, "1")["n"] == won[0]


def test_a_given_version_is_kept(harness, index):
    """A restored document keeps its version, and a later write goes above it."""
    restored = harness.write(index, Operation("put", "1", {"id": "1", "n": 1}, version=5000)).outcomes[0]
    assert restored.version == harness.engine.get(index, "1").version == 5000
    assert harness.write(index, put("1", n=2)).outcomes[0].version > 5000


# ------------------------------------------------------------------------------------------------------------ batches


def test_a_batch_keeps_what_is_good(harness, index):
    """Each operation is applied or not by itself, in order, and its outcome says where it stood and why it failed."""
    harness.write(index, put("first", n=1))
    result = harness.write(
        index,
        put("a", 0, n=1),
        put("b", 1, n="two"),
        Operation("delete", "nothing", None, 2),
        put("c", 3, n=3),
        Operation("patch", "a", {"n": 10}, 4),
        Operation("delete", "c", None, 5),
        put("d", 6, n=[4, "five"]),
    )
    assert [(o.position, o.id, o.error is None) for o in result.outcomes] == [
        (0, "a", True),
        (1, "b", False),
        (2, "nothing", False),
        (3, "c", True),
        (4, "a", True),
        (5, "c", True),
        (6, "d", False),
    ]
    assert stored(harness, index) == ["a", "first"]
    assert body(harness, index, "a") == {"id": "a", "n": 10}
    fault = result.outcomes[1].error.errors[0]
    assert (fault.pointer, fault.code) == ("/n", "field_type")
    assert "integer" in fault.detail
    assert "two" in fault.detail
    assert result.outcomes[6].error.errors[0].pointer == "/n/1"
    assert harness.ask(index).total == 2


def test_the_last_of_one_id_wins(harness, index):
    """Several writes of one document in a batch apply in their order; it is there once."""
    result = harness.write(index, put("1", 0, n=1), put("1", 1, n=2), put("1", 2, n=3))
    versions = [outcome.version for outcome in result.outcomes]
    assert versions == sorted(set(versions))
    assert [outcome.created for outcome in result.outcomes] == [True, False, False]
    assert body(harness, index, "1")["n"] == 3
    assert (ids(harness.ask(index)), ids(harness.ask(index, filter="n < 3"))) == (["1"], [])


def test_a_replayed_batch_changes_nothing_that_is_seen(harness, index):
    """Sending the same documents again leaves each there once, with the same content."""
    documents = [{"id": f"{n}", "title": f"words {n}"} for n in range(30)]
    harness.put(index, documents)
    before = [(d.id, d.body) for d in harness.engine.scan(index)]
    harness.put(index, documents)
    assert [(d.id, d.body) for d in harness.engine.scan(index)] == before
    assert harness.ask(index, q="words ").total == harness.ask(index).total == 30


def test_the_empty_batch(harness, index):
    """No operations: nothing happens, and its seq is reached already."""
    harness.write(index, put("1"))
    result = harness.write(index)
    assert (result.outcomes, stored(harness, index)) == ((), ["1"])


def test_writers_side_by_side(harness, index):
    """Threads that write at once lose nothing."""

    def write(part: int) -> None:
        for n in range(10):
            harness.engine.write(index, [put(f"{part}-{n}", n=n)])

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    harness.write(index)
    assert len(stored(harness, index)) == 40
    assert harness.engine.wait(index, harness.engine.stats(index).seq, PATIENCE)
    assert harness.ask(index).total == 40


# ------------------------------------------------------------------------------------------------------------- types


def types(harness, name: str) -> dict[str, str]:
    return {field.name: field.type for field in harness.engine.index(name).fields.values()}


def test_inference(harness, index):
    """A field gets its type from the first document that holds it; null and [] say nothing."""
    harness.write(
        index,
        put("1", s="text", i=1, f=1.5, b=True, l=["x"], o={"n": 1, "deep": {"s": "y"}}, nothing=None, empty=[]),
        put("2", 1, nothing=5, empty=["x"]),
    )
    assert types(harness, index) == {
        "id": "keyword",
        "s": "text",
        "i": "integer",
        "f": "float",
        "b": "boolean",
        "l": "text",
        "o.n": "integer",
        "o.deep.s": "text",
        "nothing": "integer",
        "empty": "text",
    }
    fields = harness.engine.index(index).fields
    assert {name for name, field in fields.items() if field.array} == {"l", "empty"}
    assert all(field.inferred for name, field in fields.items() if name != "id")


CONFLICTS = [
    (5, "five", "/v"),
    (5, True, "/v"),
    (True, 1, "/v"),
    (True, "true", "/v"),
    ("five", 5, "/v"),
    ("five", ["a", 5], "/v/1"),
    (1.5, "1.5", "/v"),
    (5, {"a": 1}, "/v"),
    ({"a": 1}, 5, "/v"),
    ({"a": 1}, {"a": {"b": 1}}, "/v/a"),
    ("x", [["nested"]], "/v/0"),
    (5, 2**70, "/v"),
]


@pytest.mark.parametrize(("first", "second", "pointer"), CONFLICTS)
def test_a_conflict_names_its_place(harness, index, first, second, pointer):
    """A value that does not fit the field's type is refused at its place, and the other documents are kept."""
    harness.write(index, put("1", v=first))
    refused, kept = harness.write(index, put("2", 0, v=second), put("3", 1, v=first)).outcomes
    assert [fault.pointer for fault in refused.error.errors] == [pointer]
    assert kept.error is None
    assert stored(harness, index) == ["1", "3"]


def test_a_conflict_within_the_first_batch(harness, index):
    """Types settle in the order of the batch: the first document decides."""
    outcomes = harness.write(index, put("1", 0, v="text"), put("2", 1, v=2), put("3", 2, v="more")).outcomes
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert ids(harness.ask(index, q="more ")) == ["3"]


def test_a_refused_document_infers_nothing(harness, index):
    """Fields of a document that was refused do not become fields of the index."""
    harness.write(index, put("1", n=1))
    harness.write(index, put("2", n="wrong", fresh="text"), put("3", 1, n=3))
    assert "fresh" not in types(harness, index)
    assert harness.write(index, put("4", fresh=5)).outcomes[0].error is None


def test_an_inferred_integer_widens(harness, index):
    """A float widens an inferred integer field; what was there before is found by the new type."""
    harness.write(index, put("1", n=1), put("2", 1, n=3))
    assert types(harness, index)["n"] == "integer"
    harness.write(index, put("3", n=2.5), put("4", 1, n=4))
    deadline = time.monotonic() + PATIENCE
    while types(harness, index)["n"] != "float":
        assert time.monotonic() < deadline, "the field did not widen"
        time.sleep(0.02)
    harness.write(index, put("5", n=0.5))
    assert ids(harness.ask(index, sort="n")) == ["5", "1", "3", "2", "4"]
    assert ids(harness.ask(index, filter="n > 2.4")) == ["2", "3", "4"]
    assert ids(harness.ask(index, filter="n = 3")) == ["2"]
    assert harness.ask(index, facets="n").facets["n"].values == ((0.5, 1), (1.0, 1), (2.5, 1), (3.0, 1), (4.0, 1))


def test_a_declared_integer_does_not_widen(harness):
    """A declared type stands."""
    name = harness.new_index(IndexSettings(fields={"n": Field("n", "integer")}))
    outcomes = harness.write(name, put("1", n=1), put("2", 1, n=2.5), put("3", 2, n=3.0)).outcomes
    assert outcomes[0].error is None
    assert outcomes[1].error.errors[0].pointer == "/n"


def test_undeclared_fields_can_be_refused(harness):
    """With dynamic=False only declared fields are taken; the error suggests the nearest."""
    name = harness.new_index(IndexSettings(fields={"title": Field("title", "text")}, dynamic=False))
    good, bad = harness.write(name, put("1", title="x"), put("2", 1, tilte="x")).outcomes
    assert good.error is None
    assert (bad.error.errors[0].pointer, bad.error.errors[0].code) == ("/tilte", "unknown_field")
    assert "'title'" in bad.error.errors[0].detail


def test_declared_types_are_held_to(harness):
    """Each declared type takes what is of it and refuses the rest."""
    kinds = ("text", "keyword", "integer", "float", "boolean", "date")
    name = harness.new_index(IndexSettings(fields={kind: Field(kind, kind) for kind in kinds}))
    good = [
        {"text": "a"},
        {"keyword": "a"},
        {"integer": -(2**63)},
        {"integer": 2**63 - 1},
        {"float": 1},
        {"float": 1.5},
        {"boolean": False},
        {"date": "2024-02-29"},
        {"date": "2024-02-29T10:00:00+01:00"},
        {"date": 1_700_000_000_000},
    ]
    bad = [
        {"text": 1},
        {"keyword": True},
        {"integer": 1.5},
        {"integer": "1"},
        {"float": "1"},
        {"boolean": 0},
        {"date": "2023-02-29"},
    ]
    bad += [{"date": "today"}, {"integer": 2**63}]
    outcomes = harness.write(name, *(put(str(n), n, **document) for n, document in enumerate(good + bad))).outcomes
    assert [outcome.error is None for outcome in outcomes] == [True] * len(good) + [False] * len(bad)
    assert ids(harness.ask(name, filter="integer = 9223372036854775807")) == ["3"]
    assert ids(harness.ask(name, filter="integer < 9223372036854775807")) == ["2"]
    assert ids(harness.ask(name, sort="-integer", filter="EXISTS integer")) == ["3", "2"]
    assert ids(harness.ask(name, filter='date "2023-01-01" TO "2024-02-29"')) == ["7", "9"]


def test_many_fields_join_one_after_another(harness, index):
    """Fields that come with later documents are searched, filtered and sorted like the first ones."""
    for n in range(12):
        harness.write(index, put(str(n), **{f"text-{n}": f"word{chr(97 + n)}", f"number-{n}": n}))
    for n in (0, 5, 11):
        assert ids(harness.ask(index, q=f"word{chr(97 + n)} ", typo="false")) == [str(n)]
        assert ids(harness.ask(index, filter=f"number-{n} = {n}")) == [str(n)]
        assert ids(harness.ask(index, sort=f"-number-{n}", limit="1")) == [str(n)]


# ------------------------------------------------------------------------------------------------- scanning, deleting


def test_scan_goes_by_id(harness, index):
    """All documents by code point of their ids, from any place on, in any number."""
    names = ["b", "a", "A", "10", "9", "ä", "z", "\U0001f600", "\uffee", "a b", "a-b"]
    harness.put(index, [{"id": name} for name in names])
    assert stored(harness, index) == sorted(names)
    assert [d.id for d in harness.engine.scan(index, after="a")] == [name for name in sorted(names) if name > "a"]
    assert [d.id for d in harness.engine.scan(index, after="nn", limit=2)] == ["z", "ä"]
    assert ids(harness.ask(index)) == sorted(names)


def test_scan_in_long(harness, index):
    """More documents than one read holds come each once, though others are written meanwhile."""
    harness.put(index, [{"id": f"{n:05d}"} for n in range(1200)])
    seen = []
    for document in harness.engine.scan(index):
        seen.append(document.id)
        if len(seen) == 600:
            harness.engine.write(index, [Operation("delete", "00001"), put("00000-new"), put("01199", n=1)])
    assert seen == sorted(set(seen))
    assert set(seen) == {f"{n:05d}" for n in range(1200)}


def test_delete_where(harness, index):
    """What matches is deleted, also what was written just before; the rest stays."""
    harness.put(index, [{"id": f"{n:03d}", "n": n} for n in range(100)])
    harness.engine.write(index, [put("late", n=7)])
    done = []
    deleted = harness.engine.delete_where(index, Compare("n", "<", 50), done.append)
    assert deleted == 51
    assert done[-1] == 51
    assert stored(harness, index) == [f"{n:03d}" for n in range(50, 100)]
    harness.write(index)
    assert harness.engine.wait(index, harness.engine.stats(index).seq, PATIENCE)
    assert harness.ask(index).total == 50
    assert harness.engine.delete_where(index, Not(Exists("n"))) == 0


# ------------------------------------------------------------------------------------------------------------ indexes


def test_create_read_list_delete(harness):
    """An index is listed from its creation to its deletion, and its name is taken in between."""
    info = harness.engine.create_index("made", IndexSettings(language="german"))
    assert (info.name, info.settings.language) == ("made", "german")
    assert harness.engine.index("made") == info
    assert "made" in [i.name for i in harness.engine.indexes()]
    with pytest.raises(IndexExists):
        harness.engine.create_index("made", IndexSettings())
    harness.engine.delete_index("made")
    assert "made" not in [i.name for i in harness.engine.indexes()]


def test_what_is_not_there(harness):
    """Every method that names an index says so where there is none."""
    engine = harness.engine
    calls = [
        lambda: engine.index("absent"),
        lambda: engine.delete_index("absent"),
        lambda: engine.update_settings("absent", IndexSettings()),
        lambda: engine.stats("absent"),
        lambda: engine.rebuild("absent"),
        lambda: engine.write("absent", [put("1")]),
        lambda: engine.get("absent", "1"),
        lambda: list(engine.scan("absent")),
        lambda: engine.delete_where("absent", Exists("id")),
        lambda: engine.wait("absent", 1, 0),
        lambda: engine.search("absent", Query()),
        lambda: engine.expand("absent", "word", ["title"], "typo"),
        lambda: engine.frequency("absent", "word", ["title"]),
    ]
    for call in calls:
        with pytest.raises(IndexNotFound):
            call()


def test_a_new_index_is_empty_to_every_request(harness, index):
    """Before its first document an index answers searches with nothing, and is no error."""
    answer = harness.ask(index, q="word", facets="id")
    assert (ids(answer), answer.total, answer.facets["id"].values) == ([], 0, ())
    assert (ids(harness.ask(index)), stored(harness, index)) == ([], [])
    stats = harness.engine.stats(index)
    assert (stats.documents, stats.lag) == (0, 0)
    with pytest.raises(DocumentNotFound):
        harness.engine.get(index, "1")


def test_an_index_made_anew_never_shows_the_old_documents(harness):
    """Deleted and created again under its name, an index is empty, and takes other types."""
    for round in range(3):
        harness.engine.create_index("again", IndexSettings())
        assert (ids(harness.ask("again")), stored(harness, "again")) == ([], [])
        harness.put("again", [{"id": f"{round}-{n}", "word": "same" if round % 2 else n} for n in range(20)])
        assert {id[0] for id in ids(harness.ask("again"))} == {str(round)}
        with pytest.raises(DocumentNotFound):
            harness.engine.get("again", f"{round - 1}-0")
        harness.engine.delete_index("again")
        with pytest.raises(IndexNotFound):
            harness.ask("again")


def test_stats(harness, index):
    """Documents, seqs, and how many documents hold a field."""
    harness.put(index, [{"id": str(n), "n": n, **({"odd": True} if n % 2 else {})} for n in range(9)])
    harness.write(index, Operation("delete", "8"))
    harness.put(index, [{"id": "0", "n": 0}, {"id": "1", "n": 1}])  # written again, one without what it had
    stats = harness.engine.stats(index)
    assert (stats.documents, stats.lag, stats.seq == stats.indexed_seq, stats.size_bytes > 0) == (8, 0, True, True)
    assert (stats.fields.get("odd", 3), stats.fields.get("n", 8)) == (3, 8)


def test_health(harness):
    """A running engine can search."""
    assert harness.engine.health().ok


# ----------------------------------------------------------------------------------------------------------- settings

OLD = IndexSettings(fields={"title": Field("title", "text"), "n": Field("n", "integer")})


def settled(harness, name: str) -> None:
    """Wait until no rebuild is under way."""
    deadline = time.monotonic() + PATIENCE
    while harness.engine.stats(name).rebuilding:
        assert time.monotonic() < deadline, "the rebuild did not end"
        time.sleep(0.02)


def test_settings_without_a_rebuild(harness):
    """Synonyms and stop words are a matter of queries: they count at once."""
    name = harness.new_index(OLD)
    harness.put(name, [{"id": "1", "title": "couch"}, {"id": "2", "title": "lamp"}])
    assert ids(harness.ask(name, q="sofa ", typo="false")) == []
    new = IndexSettings(fields=OLD.fields, synonyms=(Synonyms(("sofa", "couch"), ("sofa", "couch")),), stop_words=("lamp",))
    change = harness.engine.update_settings(name, new)
    assert set(change.changed) == {"synonyms", "stop_words"}
    assert not change.rebuild
    assert ids(harness.ask(name, q="sofa ", typo="false")) == ["1"]
    assert ids(harness.ask(name, q="couch lamp ", match="all", typo="false")) == ["1"]


def test_boosts_count_at_once(harness):
    """A boost is a factor of queries."""
    fields = {"a": Field("a", "text", boost=5.0), "b": Field("b", "text")}
    name = harness.new_index(IndexSettings(fields=fields))
    harness.put(name, [{"id": "1", "a": "word", "b": "other"}, {"id": "2", "a": "other", "b": "word"}])
    assert ids(harness.ask(name, q="word ")) == ["1", "2"]
    swapped = {"a": Field("a", "text"), "b": Field("b", "text", boost=5.0)}
    assert not harness.engine.update_settings(name, IndexSettings(fields=swapped)).rebuild
    assert ids(harness.ask(name, q="word ")) == ["2", "1"]


def test_a_dry_run_changes_nothing(harness):
    """It says what a change would do, and does nothing of it."""
    name = harness.new_index(OLD)
    harness.put(name, [{"id": "1", "title": "running"}])
    before = harness.engine.index(name)
    german = IndexSettings(language="german", fields=OLD.fields)
    change = harness.engine.update_settings(name, german, dry_run=True)
    assert (change.rebuild, change.documents, "language" in change.changed) == (True, 1, True)
    assert harness.engine.index(name) == before
    assert not harness.engine.stats(name).rebuilding
    nothing = harness.engine.update_settings(name, OLD, dry_run=True)
    assert (nothing.changed, nothing.rebuild) == ((), False)


def test_a_change_of_language_rebuilds(harness):
    """Other stems need another index; it answers from the old one until the new one is ready."""
    name = harness.new_index(OLD)
    harness.put(name, [{"id": "1", "title": "Häuser"}])
    assert ids(harness.ask(name, q="haus ", typo="false")) == []
    assert harness.engine.update_settings(name, IndexSettings(language="german", fields=OLD.fields)).rebuild
    settled(harness, name)
    assert ids(harness.ask(name, q="haus ", typo="false")) == ["1"]


def test_a_type_that_documents_do_not_fit_is_refused(harness):
    """A field cannot become what its documents are not; nothing changes."""
    name = harness.new_index(OLD)
    harness.put(name, [{"id": "1", "title": "words", "n": 5}])
    before = harness.engine.index(name).settings
    with pytest.raises(Invalid) as caught:
        harness.engine.update_settings(name, IndexSettings(fields={"title": Field("title", "integer"), "n": Field("n", "integer")}))
    assert caught.value.errors[0].pointer.startswith("/fields")
    assert "title" in caught.value.errors[0].detail
    assert harness.engine.index(name).settings == before


def test_a_type_that_documents_fit_is_taken(harness, index):
    """An inferred text field may be declared a keyword: whole values only, and no words."""
    harness.put(index, [{"id": "1", "tag": "two words", "n": 1}, {"id": "2", "tag": "words"}])
    assert harness.ask(index, q="words ").total == 2
    fields = {"tag": Field("tag", "keyword"), "n": Field("n", "float")}
    assert set(harness.engine.update_settings(index, IndexSettings(fields=fields)).changed) == {"fields.tag", "fields.n"}
    settled(harness, index)
    assert ids(harness.ask(index, filter='tag = "two words"')) == ["1"]
    assert harness.ask(index, q="words ", typo="false").total == 0
    assert ids(harness.ask(index, filter="n = 1.0")) == ["1"]


def test_searches_and_writes_go_on_through_rebuilds(harness, index):
    """While an index is rebuilt again and again, every search answers whole and every write arrives."""
    harness.put(index, [{"id": f"{n:04d}", "title": "steady words", "n": n} for n in range(400)])
    stop, wrong, written = threading.Event(), [], []

    def search() -> None:
        while not stop.is_set():
            answer = harness.ask(index, q="steady words ", filter="n < 400", limit="1")
            if answer.total != 400:
                wrong.append(answer.total)

    def write() -> None:
        while not stop.is_set():
            id = f"new-{len(written):05d}"
            harness.engine.write(index, [put(id, title="fresh", n=1000)])
            written.append(id)
            time.sleep(0.01)

    threads = [threading.Thread(target=search), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            harness.engine.rebuild(index)
            settled(harness, index)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert written
    assert harness.engine.wait(index, harness.engine.stats(index).seq, PATIENCE)
    assert harness.ask(index, q="fresh ").total == len(written)
    assert len(stored(harness, index)) == 400 + len(written)


# ------------------------------------------------------------------------------------------------- aliases and tasks


def test_aliases(harness):
    """An alias stands for an index, moves at once, and shares the names of indexes."""
    system, one, two = harness.system, harness.new_index(), harness.new_index()
    assert system.resolve(one) == one
    system.set_alias("current", one)
    assert (system.resolve("current"), system.aliases()["current"]) == (one, one)
    system.set_alias("current", two)
    assert system.resolve("current") == two
    with pytest.raises(IndexExists):
        system.set_alias(one, two)
    with pytest.raises(IndexNotFound):
        system.set_alias("other", "absent")
    with pytest.raises(IndexExists):
        harness.engine.create_index("current", IndexSettings())
    system.delete_alias("current")
    assert "current" not in system.aliases()
    assert system.resolve("current") == "current"
    with pytest.raises(AliasNotFound):
        system.delete_alias("current")


def test_an_alias_goes_with_its_index(harness):
    """Where the index is gone its alias is gone too, and the name is free."""
    name = harness.new_index()
    harness.system.set_alias("going", name)
    harness.engine.delete_index(name)
    assert "going" not in harness.system.aliases()
    harness.engine.create_index("going", IndexSettings())
    harness.engine.delete_index("going")


def test_tasks(harness, index):
    """A task is kept with its progress, listed newest first, and by index."""
    system, other = harness.system, harness.new_index()
    first = system.create_task("other_kind", index, {"note": "x"})
    second = system.create_task("other_kind", index, {})
    elsewhere = system.create_task("other_kind", other, {})
    assert (first.kind, first.index, dict(first.detail)) == ("other_kind", index, {"note": "x"})
    assert {task.id for task in system.tasks(index)} == {first.id, second.id}
    assert elsewhere.id in {task.id for task in system.tasks()}
    assert len(system.tasks(limit=1)) == 1
    system.update_task(first.id, done=5, total=10)
    assert (system.task(first.id).done, system.task(first.id).total) == (5, 10)
    with pytest.raises(TaskNotFound):
        system.task("absent")


def test_integer_ids_become_strings(harness, index):
    """However it is written later, the document shows one and the same id."""
    harness.write(index, Operation("put", "7", {"id": 7, "v": 1}))
    assert orjson.loads(harness.engine.get(index, "7").body) == {"id": "7", "v": 1}
    harness.write(index, Operation("patch", "7", {"id": 7, "v": 2}))
    assert orjson.loads(harness.engine.get(index, "7").body) == {"id": "7", "v": 2}
