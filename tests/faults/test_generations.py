"""Generations lost, cut, stale, of another index or version: rebuilt unasked; until then no wrong answer and no strange error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from searchapi.engines.embedded import EmbeddedEngine
from searchapi.engines.embedded.generation import REACHED, WORDS
from searchapi.engines.embedded.indexer import Indexer
from searchapi.exceptions import EngineUnavailable
from searchapi.model import Compare, Facet, IndexSettings, Match, Operation, Page, Query, Sort, Term

pytestmark = pytest.mark.slow  # each is quick, all together are not

DOCUMENTS = 60
ALL = Query(sort=(Sort("n"),), page=Page(limit=1000))
BY_WORD = Query(match=Match(clauses=(Term("common", ("text",)),)), page=Page(limit=1000))


@pytest.fixture
def data(tmp_path) -> Path:
    """A data folder with an index of several segments, closed."""
    engine, indexer = EmbeddedEngine(tmp_path / "data"), Indexer(tmp_path / "data")
    engine.create_index("books", IndexSettings())
    for start in range(0, DOCUMENTS, 20):
        write(engine, range(start, start + 20))
        settle(indexer)
    indexer.close()
    engine.close()
    return tmp_path / "data"


def write(engine: EmbeddedEngine, numbers, index: str = "books", **more) -> None:
    documents = [{"id": f"d{n:03}", "n": n, "text": f"common word{n}", **more} for n in numbers]
    result = engine.write(index, [Operation("put", d["id"], d) for d in documents])
    assert not any(outcome.error for outcome in result.outcomes)


def settle(indexer: Indexer) -> None:
    """Until the indexer has nothing left to do, without its waits."""
    quiet = 0
    for _ in range(200):
        indexer._idle.clear()
        indexer._failed.clear()
        quiet = 0 if indexer.step() else quiet + 1
        if quiet == 3:
            return
    raise AssertionError("the indexer never came to rest")


def live(data: Path) -> Path:
    engine = EmbeddedEngine(data)
    try:
        store = engine._store("books")
        return store.folder / store.state().one("live").name
    finally:
        engine.close()


def expected(engine: EmbeddedEngine) -> dict[str, bytes]:
    return {document.id: document.body for document in engine.scan("books")}


def searched(engine: EmbeddedEngine, query: Query) -> dict[str, bytes]:
    result = engine.search("books", query)
    assert result.total == len(result.hits)
    return {hit.id: hit.body for hit in result.hits}


def right_or_unavailable(engine: EmbeddedEngine, indexer: Indexer) -> int:
    """A search is right or says that the index is away, until it is right for good. How many were refused."""
    refused = 0
    for _ in range(6):
        for query in (ALL, BY_WORD):
            try:
                assert searched(engine, query) == expected(engine)
            except EngineUnavailable as error:
                assert error.code in ("index_broken", "index_rebuilding")
                refused += 1
            assert orjson.loads(engine.get("books", "d007").body)["n"] == 7
        settle(indexer)
    assert searched(engine, ALL) == searched(engine, BY_WORD) == expected(engine)
    assert [e.word for e in engine.expand("books", "comon", ["text"], "typo", 1)] == ["common"]
    assert engine.stats("books").lag == 0
    return refused


def lose(generation: Path) -> None:
    shutil.rmtree(generation)


def lose_meta(generation: Path) -> None:
    (generation / "meta.json").unlink()


def another_version(generation: Path) -> None:
    meta = generation / "meta.json"
    content = orjson.loads(meta.read_bytes())
    content["index_settings"] = {"docstore_compression": "from-the-future"}
    meta.write_bytes(orjson.dumps(content))


def garbage_meta(generation: Path) -> None:
    (generation / "meta.json").write_bytes(b"\x00" * 500)


def empty_reached(generation: Path) -> None:
    (generation / REACHED).write_bytes(b"")


def garbage_reached(generation: Path) -> None:
    (generation / REACHED).write_bytes(b'{"uuid": 7, "seq": "often"}')


def lose_reached(generation: Path) -> None:
    (generation / REACHED).unlink()


def lose_words(generation: Path) -> None:
    shutil.rmtree(generation / WORDS)


DAMAGES = (
    lose, lose_meta, another_version, garbage_meta, empty_reached, garbage_reached, lose_reached, lose_words,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("first", ["a search", "the indexer"])
def test_a_damaged_generation_is_rebuilt(data: Path, damage: Callable[[Path], None], first: str):
    """Damaged while nothing ran: whoever comes first, searches are right or refused, and in the end right."""
    damage(live(data))
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    if first == "the indexer":
        settle(indexer)
    right_or_unavailable(engine, indexer)
    indexer.close()
    engine.close()


@pytest.mark.parametrize("suffix", ["store", "term", "idx", "pos", "fast", "fieldnorm"])
@pytest.mark.parametrize("first", ["a search", "the indexer"])
@pytest.mark.parametrize("how", ["half", "empty", "lost"])
def test_a_damaged_segment_is_rebuilt(data: Path, suffix: str, first: str, how: str):
    """Each kind of file of a segment cut in half, emptied or lost is found when it is opened, without being asked."""
    path = sorted(live(data).glob(f"*.{suffix}"))[0]
    content = path.read_bytes()
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "half" else b"")
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    if first == "the indexer":
        settle(indexer)
        assert searched(engine, ALL) == expected(engine)
    assert right_or_unavailable(engine, indexer) == 0 or first == "a search"
    indexer.close()
    engine.close()


@pytest.mark.parametrize("suffix", ["store", "term", "idx", "pos", "fast", "fieldnorm"])
def test_a_changed_file_raises_nothing_strange(data: Path, suffix: str):
    """Bytes that a disk has changed are found where a search fails on them; then the index is rebuilt. Nothing else is raised."""
    path = sorted(live(data).glob(f"*.{suffix}"))[0]
    content = bytearray(path.read_bytes())
    for n in range(len(content) // 3, min(len(content) // 3 + 8, len(content) - 60)):
        content[n] ^= 0xFF
    path.write_bytes(content)
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    try:
        for query in (ALL, BY_WORD, Query(filter=Compare("text", "=", "common word3"), facets=(Facet("text"),))):
            engine.search("books", query)
        engine.expand("books", "comm", ["text"], "prefix")
    except EngineUnavailable:
        settle(indexer)
        assert searched(engine, ALL) == searched(engine, BY_WORD) == expected(engine)
    indexer.close()
    engine.close()


def test_a_generation_lost_under_a_running_engine(data: Path):
    """rm -rf while readers and the indexer have it open, in two processes' worth of engines: refused, then right again."""
    engines, indexer = [EmbeddedEngine(data), EmbeddedEngine(data)], Indexer(data)
    settle(indexer)
    for engine in engines:
        assert searched(engine, ALL) == expected(engine)
    shutil.rmtree(live(data))
    write(engines[0], [500])
    refused = right_or_unavailable(engines[0], indexer) + right_or_unavailable(engines[1], indexer)
    assert refused > 0
    indexer.close()
    for engine in engines:
        engine.close()


def test_nothing_is_searched_while_the_only_generation_is_built_anew(data: Path):
    """Until the new one is ready a search is refused, whatever was written meanwhile; documents are read and written as ever."""
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    shutil.rmtree(live(data))
    with pytest.raises(EngineUnavailable):
        engine.search("books", ALL)
    write(engine, [900])
    for _ in range(3):
        with pytest.raises(EngineUnavailable) as caught:
            engine.search("books", ALL)
        assert caught.value.code == "index_rebuilding"
    assert not engine.health().ok
    settle(indexer)
    assert searched(engine, ALL) == expected(engine)
    assert engine.health().ok
    indexer.close()
    engine.close()


def test_an_older_copy_of_the_documents(data: Path, tmp_path: Path):
    """documents.db put back as it was: the index follows it, although it had reached further."""
    store = EmbeddedEngine(data)._store("books").path
    for name in ("documents.db", "documents.db-wal"):
        if store.with_name(name).exists():
            shutil.copy(store.with_name(name), tmp_path / name)
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    write(engine, range(100, 130))
    engine.write("books", [Operation("delete", "d003")])
    settle(indexer)
    indexer.close()
    engine.close()
    for path in store.parent.glob("documents.db*"):
        path.unlink()
    for name in ("documents.db", "documents.db-wal"):
        if (tmp_path / name).exists():
            shutil.copy(tmp_path / name, store.with_name(name))
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    settle(indexer)
    assert len(expected(engine)) == DOCUMENTS
    assert searched(engine, ALL) == searched(engine, BY_WORD) == expected(engine)
    indexer.close()
    engine.close()


def test_an_older_copy_that_is_written_to_before_the_indexer_runs(data: Path, tmp_path: Path):
    """Writes may come before the indexer looks at a restored file, and reach the seq that the index had: it is still found out."""
    store = EmbeddedEngine(data)._store("books").path
    shutil.copy(store, tmp_path / "documents.db")
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    write(engine, range(100, 130))
    settle(indexer)
    indexer.close()
    engine.close()
    for path in store.parent.glob("documents.db*"):
        path.unlink()
    shutil.copy(tmp_path / "documents.db", store)
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    write(engine, range(200, 240))
    settle(indexer)
    assert searched(engine, ALL) == searched(engine, BY_WORD) == expected(engine)
    indexer.close()
    engine.close()


def test_a_generation_copied_from_another_index(data: Path):
    """It speaks of another store, so it is not believed, although it is whole."""
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    engine.create_index("others", IndexSettings())
    write(engine, range(1000, 1000 + DOCUMENTS), "others")
    settle(indexer)
    indexer.close()
    store = engine._store("others")
    theirs, ours = store.folder / store.state().one("live").name, live(data)
    engine.close()
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    settle(indexer)
    assert searched(engine, ALL) == searched(engine, BY_WORD) == expected(engine)
    indexer.close()
    engine.close()


def test_a_half_built_generation_is_gone_on_with_or_begun_again(data: Path):
    """Killed while one is built: what is whole is kept, what is damaged is begun again, and the old one answers all the time."""
    for damage in (None, *DAMAGES):
        engine, indexer = EmbeddedEngine(data), Indexer(data)
        engine.rebuild("books")
        store = engine._store("books")
        building = store.state().one("building")
        indexer._checked(indexer._stores.setdefault(store.folder.name, store))
        writer = indexer._writer(store, store.state(), building)
        writer.advance(store, store.state(), building)
        indexer.close()  # before the switch
        if damage:
            damage(store.folder / building.name)
        indexer = Indexer(data)
        assert searched(engine, ALL) == expected(engine)
        for _ in range(8):
            indexer._idle.clear()
            indexer._failed.clear()
            indexer.step()
            assert searched(engine, ALL) == expected(engine), damage
        settle(indexer)
        assert store.state().one("building") is None
        assert searched(engine, BY_WORD) == expected(engine)
        indexer.close()
        engine.close()


def test_a_damaged_store_stops_one_index_alone(data: Path):
    """A documents.db that is no database: its index says so, the indexer goes on with the others."""
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    engine.create_index("others", IndexSettings())
    broken = engine._store("books").path
    engine.close()
    indexer.close()
    broken.write_bytes(b"nothing that SQLite knows " * 400)
    engine, indexer = EmbeddedEngine(data), Indexer(data)
    write(engine, [1], "others")
    settle(indexer)
    assert engine.search("others", ALL).total == 1
    with pytest.raises(EngineUnavailable) as caught:
        engine.get("books", "d001")
    assert caught.value.code == "store_damaged"
    indexer.close()
    engine.close()
