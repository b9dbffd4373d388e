"""Generated documents for growth: words by Zipf's law, facets, integers and dates. Document n is the same in every run and in a
corpus of every size, so that one list of queries suits them all.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from searchapi.model import Field, IndexSettings

WORDS = 60_000  # distinct words
EXPONENT = 1.0
START = datetime(2015, 1, 1, tzinfo=UTC)
DAYS = 3_650
CATEGORIES = tuple(f"category-{n:02}" for n in range(40))
BRANDS = tuple(f"brand-{n:04}" for n in range(2_000))

SETTINGS = IndexSettings(
    fields={
        field.name: field
        for field in (
            Field("id", "keyword"),
            Field("title", "text", boost=2.0, keyword=False),
            Field("body", "text", keyword=False),
            Field("category", "keyword"),
            Field("brand", "keyword"),
            Field("price", "integer"),
            Field("published", "date"),
        )
    },
    dynamic=False,
)

_ONSETS = "b br c ch d dr f fl g gr h j k l m n p pl r s st t tr v w z".split()
_VOWELS = "a e i o u ai ea ou".split()
_CODAS = ["", "", "l", "n", "r", "s", "t", "m"]


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """Pronounceable words of 2 to 4 syllables, the most frequent first; the shorter ones come earlier, as in a language."""
    chosen = random.Random("words")
    found: dict[str, None] = {}
    while len(found) < WORDS:
        syllables = 2 if len(found) < 2_000 else chosen.choice((2, 3, 3, 4))
        found["".join(chosen.choice(part) for _ in range(syllables) for part in (_ONSETS, _VOWELS, _CODAS))] = None
    return tuple(found)


@lru_cache(maxsize=2)
def _cumulated(n: int) -> list[float]:
    return list(itertools.accumulate(1 / rank**EXPONENT for rank in range(1, n + 1)))


def _ranked(values: tuple[str, ...], chosen: random.Random) -> str:
    """One of the values, the n-th with a probability of about 1/n."""
    weights = _cumulated(len(values))
    return values[bisect_left(weights, chosen.random() * weights[-1])]


def document(n: int) -> dict[str, Any]:
    chosen = random.Random(n * 2_654_435_761 + 1)
    words = vocabulary()
    text = [_ranked(words, chosen) for _ in range(chosen.randint(15, 45))]
    cut = chosen.randint(3, 8)
    return {
        "id": f"{n:08}",
        "title": " ".join(text[:cut]),
        "body": " ".join(text[cut:]),
        "category": CATEGORIES[int(chosen.random() ** 2 * len(CATEGORIES))],
        "brand": _ranked(BRANDS, chosen),
        "price": int(chosen.paretovariate(1.2) * 10),
        "published": (START + timedelta(days=chosen.randrange(DAYS))).date().isoformat(),
    }


def documents(count: int) -> Iterator[dict[str, Any]]:
    """The first `count` documents, one at a time."""
    return map(document, range(count))
