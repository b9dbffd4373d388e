"""Engines to move between, opened as the commands open them, and what is asked of them again and again."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from searchapi import config
from searchapi.config import Settings
from searchapi.keystore import KeyStore, moment
from searchapi.model import Field, IndexSettings, Operation, Synonyms
from searchapi.moving import ends, moves
from searchapi.moving.ends import End
from searchapi.secretkey import secret_key

SETTINGS = IndexSettings(
    fields={"title": Field("title", "text", boost=2.0), "kind": Field("kind", "keyword"), "born": Field("born", "date")},
    synonyms=(Synonyms(("fast", "quick"), ("fast", "quick")),),
)
WORDS = "river mountain lantern copper window garden silver thread candle market harbour winter".split()


def document(n: int) -> dict:
    """Every type of field, arrays and objects; some of them missing."""
    found = {
        "id": f"d{n * 7919 % 100_003:06}",
        "title": f"{WORDS[n % 12]} {WORDS[n * 5 % 11]} of the {WORDS[n * 7 % 12]}",
        "kind": ["book", "film", "song"][n % 3],
        "year": 1950 + n % 70,
        "price": n / 7 if n % 4 else n,
        "born": f"19{n % 90 + 10}-05-{n % 28 + 1:02}",
        "tags": [f"t{n % 5}", f"é{n % 3}"],
        "author": {"name": f"Person {n % 40}"},
    }
    return {name: value for place, (name, value) in enumerate(found.items()) if place < 3 or (n + place) % 9}


def put(n: int, **more) -> Operation:
    made = document(n) | more
    return Operation("put", made["id"], made)


@dataclass
class Lab:
    """Makes ends: `embedded()` in a folder of its own, `opensearch()` under a prefix of its own."""

    folder: Path
    settings: Settings
    node: Callable[[], str]
    stack: ExitStack
    _numbers: Iterator[int]

    def embedded(self) -> End:
        return self.open(f"embedded:{self.folder / f'data{next(self._numbers)}'}")

    def opensearch(self) -> End:
        return self.open(self.node())

    def open(self, url: str) -> End:
        return self.stack.enter_context(ends.opened(ends.settings_of(url, self.settings, "--to"), receives=True))

    def filled(self, end: End, documents: int = 1200, name: str = "shelf") -> End:
        end.engine.create_index(name, SETTINGS)
        for start in range(0, documents, 500):
            result = end.engine.write(name, [put(n) for n in range(start, min(documents, start + 500))])
            assert not any(outcome.error for outcome in result.outcomes)
        return end

    def move(self, source, target: End, names: dict[str, str] | None = None, **options) -> moves.Report:
        chosen = names or {name: name for name in source.names()}
        return moves.move(source, target, chosen, self.folder, lambda line: None, **options)

    def key(self, end: End, *scopes: str) -> str:
        """A key's text."""
        return KeyStore(secret_key(self.settings), end.system).create(scopes or ("search",), ("*",), moment(0))[1]


@contextmanager
def lab_in(folder: Path, node: Callable[[], str]) -> Iterator[Lab]:
    settings = replace(config.load(Path("/dev/null")), data_dir=folder / "own", secret_key=secrets.token_urlsafe(48))
    with ExitStack() as stack:
        yield Lab(folder, settings, node, stack, itertools.count())


@pytest.fixture
def lab(tmp_path, request) -> Iterator[Lab]:
    """OpenSearch is only brought up where a test asks for it."""
    made: list[str] = []

    def node() -> str:
        url = request.getfixturevalue("opensearch_url")
        made.append(url)
        return f"{url}{len(made)}"

    with lab_in(tmp_path, node) as lab:
        yield lab


def stored(end: End, name: str = "shelf") -> dict[str, tuple[int, dict]]:
    return {d.id: (d.version, orjson.loads(d.body)) for d in end.engine.scan(name)}
