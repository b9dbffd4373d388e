"""Lists of queries drawn from a corpus, with a seed: words that stand together in documents, as people would type them.

exact       two words that at least `FULL` documents hold together, and a blank after them: nothing is a prefix
prefixes    the same, the last word cut short
one_typo    the same, of words of 5 letters and more, with one letter wrong in each
two_typos   the same, of words of 9 letters and more, with two letters wrong in each
facets      as exact, with two facets
any         two words of one document, whatever else holds them: mostly fewer than 10 hits, so typos and then any word are tried
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from searchapi.analysis import is_stop_word, words
from searchapi.model import IndexSettings

FULL = 10  # documents that hold both words: a page of hits
SHORTEST = {1: 5, 2: 9}  # letters of a word, as typed, that may hold so many typos
LETTERS = "abcdefghijklmnopqrstuvwxyz"
KINDS = {
    "exact": "exact words",
    "prefixes": "prefixes",
    "one_typo": "one typo in every word",
    "two_typos": "two typos in every word",
}
KINDS |= {"facets": "two facets", "any": "two words of one document"}


@dataclass(frozen=True, slots=True)
class Words:
    """A corpus as words: those of each document, and the documents of each word."""

    documents: list[tuple[str, ...]]
    holding: Mapping[str, set[int]]

    @classmethod
    def of(cls, documents: Iterable[Mapping[str, Any]], settings: IndexSettings) -> Words:
        fields = [f.name for f in settings.fields.values() if f.is_text]
        rows, holding = [], defaultdict(set)
        for n, document in enumerate(documents):
            found = dict.fromkeys(w for f in fields for w in words(document.get(f) or "") if _is_plain(w, settings.language))
            rows.append(tuple(found))
            for word in found:
                holding[word].add(n)
        return cls(rows, dict(holding))

    def together(self, first: str, second: str) -> int:
        """Documents that hold both."""
        return len(self.holding[first] & self.holding[second])


def _is_plain(word: str, language: str) -> bool:
    return len(word) >= 3 and word.isascii() and word.isalpha() and not is_stop_word(word, language)


def pairs(corpus: Words, count: int, seed: str, *, letters: int = 3, together: int = FULL) -> list[tuple[str, str]]:
    """`count` different pairs of words of at least so many letters which at least `together` documents hold, fewer where the corpus
    has not got them. Raises ValueError where it has none."""
    chosen = random.Random(seed)
    found: dict[tuple[str, str], None] = {}
    for _ in range(200 * count):
        row = corpus.documents[chosen.randrange(len(corpus.documents))]
        usable = [w for w in row if len(w) >= letters and len(corpus.holding[w]) >= together]
        if len(usable) < 2:
            continue
        pair = tuple(chosen.sample(usable, 2))
        if together <= 1 or corpus.together(*pair) >= together:
            found[pair] = None
        if len(found) == count:
            break
    if not found:
        raise ValueError(f"no two words of {letters} letters stand together in {together} documents of this corpus")
    return list(found)


def draw(corpus: Words, kind: str, count: int, seed: int = 1) -> list[str]:
    """`count` values for `q` of one kind."""
    chosen = random.Random(f"{kind}/{seed}")
    if kind == "any":
        return [f"{a} {b} " for a, b in pairs(corpus, count, f"any/{seed}", together=1)]
    if kind in ("one_typo", "two_typos"):
        typos = 1 if kind == "one_typo" else 2
        found = pairs(corpus, count, f"{kind}/{seed}", letters=SHORTEST[typos])
        return [" ".join(misspelt(word, typos, corpus.holding, chosen) for word in pair) + " " for pair in found]
    found = pairs(corpus, count, f"exact/{seed}")
    if kind == "prefixes":
        return [f"{a} {b[: max(2, round(len(b) * 0.6))]}" for a, b in found]
    return [f"{a} {b} " for a, b in found]


def misspelt(word: str, typos: int, known: Mapping[str, Any], chosen: random.Random) -> str:
    """The word with so many letters wrong, added, left out or swapped, each in another place, so that it is no known word and
    still long enough to be corrected."""
    while True:
        wrong = word
        # From the end, so that one change does not move the place of the next; places are 3 apart, so that none undoes another.
        for place in sorted(_places(len(word), typos, chosen), reverse=True):
            wrong = _change(wrong, place, chosen)
        if wrong not in known and len(wrong) >= SHORTEST[typos]:
            return wrong


def _places(length: int, typos: int, chosen: random.Random) -> list[int]:
    first = chosen.randrange(length - 1 - 3 * (typos - 1))
    return [first] if typos == 1 else [first, chosen.randrange(first + 3, length - 1)]


def _change(word: str, place: int, chosen: random.Random) -> str:
    before, letter, after = word[:place], word[place], word[place + 1 :]
    kind = chosen.choice(("wrong", "added", "left out", "swapped"))
    if kind == "swapped" and letter != after[0]:
        return before + after[0] + letter + after[1:]
    if kind == "added":
        return before + letter + chosen.choice(LETTERS) + after
    if kind == "left out":
        return before + after
    return before + chosen.choice(LETTERS.replace(letter, "")) + after


def paths(index: str, queries: Sequence[str], **parameters: str) -> list[str]:
    """The addresses of searches with 10 hits a page."""
    return [f"/v1/indexes/{index}/search?" + urlencode({"q": q, "limit": 10} | parameters) for q in queries]
