"""A sample of searches, made from documents and asked on both engines.

Ids, totals and facets have to be the same, and the order too, up to groups of nearly equal scores. Scores count how many documents
hold a word, and engines count deleted documents for a while: by as much as scores of the same document differ, an order may.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from .. import analysis, documents
from ..exceptions import Invalid
from ..model import TIER, AnsweredHit, Document, IndexInfo, SearchAnswer
from ..query.params import search_from_args
from ..search import SearchService
from .copying import Copy
from .ends import End

NEAR = 0.01  # of a score
MOST_NEAR = 0.2
LIMIT = 50  # hits that are compared
INDEXED = 3600.0  # seconds that the target's index may take
TRIES = 4
GIVEN_UP = 2  # searches, after which it is clear that there is no moment without a write
SHORTEST, LONGEST = 3, 100  # letters of a word, of a value that is filtered by


@dataclass(slots=True)
class Compared:
    """asked: searches that were compared. moving: those that could not be, because documents were written meanwhile."""

    asked: int = 0
    moving: int = 0
    differences: list[str] = field(default_factory=list)


def compare(copy: Copy, sample: Sequence[Document]) -> Compared:
    """Raises PositionLost."""
    found = Compared()
    if not isinstance(copy.source, End):
        return found
    ends = ((copy.source, copy.name), (copy.target, copy.into))
    with copy.source.indexing(), copy.target.indexing():
        info = copy.source.engine.index(copy.name)
        for arguments in searches(info, sample):
            _compare_one(copy, ends, arguments, found)
    return found


def _compare_one(copy: Copy, ends: Sequence[tuple[End, str]], arguments: dict[str, str], found: Compared) -> None:
    if found.moving >= GIVEN_UP:
        found.moving += 1
        return
    for attempt in range(TRIES):
        time.sleep(0.2 * attempt)
        copy.follow()
        before = copy.memory.position
        for end, name in ends:
            _caught_up(copy, end, name)
        try:
            here, there = (copy.patiently(lambda end=end, name=name: ask(end, name, arguments)) for end, name in ends)
        except Invalid:
            return  # a field or value that the language of searches has no words for
        wrong = differences(here, there)
        if not wrong:
            found.asked += 1
            return
        copy.follow()
        if copy.memory.position == before:
            found.asked += 1
            shown = " ".join(f"{name}={text!r}" for name, text in arguments.items())
            found.differences += [f"search {shown}: {each}" for each in wrong]
            return
    found.moving += 1


def _caught_up(copy: Copy, end: End, name: str) -> None:
    until = time.monotonic() + INDEXED
    while True:
        seq = copy.patiently(lambda: end.engine.progress(name).seq)
        if end.engine.wait(name, seq, 10.0) and not copy.patiently(lambda: end.engine.stats(name).rebuilding):
            return
        if time.monotonic() > until:
            return  # the searches then tell what they do not find
        copy.waiting(end.shown)


def ask(end: End, name: str, arguments: dict[str, str]) -> SearchAnswer:
    info, limits = end.engine.index(name), end.settings.limits
    given = {"limit": str(min(LIMIT, limits.default_page_size)), "timeout_ms": str(limits.max_timeout_ms), "explain": "true"}
    asked = search_from_args({key: [text] for key, text in (given | arguments).items()}, info, end.engine.capabilities, limits)
    return SearchService(end.engine, limits).search(info, asked)


# ------------------------------------------------------------------------------------------------------ making searches


def searches(info: IndexInfo, sample: Sequence[Document]) -> Iterator[dict[str, str]]:
    """Parameters, as a URL has them: words of these documents, filters on their values, facets and sort."""
    chance = random.Random(0)
    facets = [name for name, f in info.fields.items() if f.has_values and f.type in ("keyword", "boolean", "text")][:3]
    sorts = [name for name, f in info.fields.items() if f.has_values and not f.array and name != info.settings.primary_key]
    yield {"facets": ",".join(facets)} if facets else {}
    for number, document in enumerate(sample):
        values = documents.values(orjson.loads(document.body), info.fields)
        words = _words(info, values)
        chosen = chance.sample(words, min(len(words), 1 + number % 2))
        asked = {"q": " ".join(chosen) + " "} if chosen else {}
        if number % 3 == 1 and (filter := _filter(info, values, chance)):
            asked["filter"] = filter
        if number % 3 != 2 and facets:
            asked["facets"] = ",".join(facets)
        yield asked
        yield asked | {
            "sort": chance.choice(["", "-"]) + chance.choice(sorts) if sorts and number % 2 else info.settings.primary_key
        }


def _words(info: IndexInfo, values: dict[str, list]) -> list[str]:
    texts = [text for name, found in values.items() if info.fields[name].is_text for text in found]
    words = {word for text in texts for word in analysis.words(text[:2000]) if len(word) >= SHORTEST and word.isascii()}
    return sorted(words)


def _filter(info: IndexInfo, values: dict[str, list], chance: random.Random) -> str | None:
    made = []
    for name, found in sorted(values.items()):
        field, value = info.fields[name], found[0]
        if field.type == "boolean":
            made.append(f"{name} = {'true' if value else 'false'}")
        elif field.type in ("integer", "float"):
            made.append(f"{name} >= {value!r}")
        elif field.type == "date":
            made.append(f'{name} >= "{documents.format_date(value)}"')
        elif field.type == "keyword" and len(value) <= LONGEST and value.isprintable():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            made.append(f'{name} = "{escaped}"')
    return chance.choice(made) if made else None


# ---------------------------------------------------------------------------------------------------------- comparing


def differences(here: SearchAnswer, there: SearchAnswer) -> list[str]:
    """What differs between the source's answer and the target's, for a person."""
    found = []
    if here.total != there.total:
        found.append(f"total {here.total} in the source, {there.total} in the target")
    for name in here.facets:
        if here.facets[name] != there.facets.get(name):
            found.append(f"facet {name} {_facet(here, name)} in the source, {_facet(there, name)} in the target")
    return found + _hits(here, there)


def _facet(answer: SearchAnswer, name: str) -> str:
    facet = answer.facets[name]
    return str(dict(facet.stats) if facet.stats is not None else dict(facet.values[:5]))


def _hits(here: SearchAnswer, there: SearchAnswer) -> list[str]:
    """Where there are more hits than were asked for, the last may be one or another of nearly equal ones."""
    first, second = _scores(here.hits), _scores(there.hits)
    if None in (*first.values(), *second.values()):
        return [] if list(first) == list(second) else [_order(first, second)]
    both = first.keys() & second.keys()
    off = max((_apart(first[id], second[id]) for id in both), default=0.0)
    near = NEAR + min(off, MOST_NEAR)
    if (alone := first.keys() ^ second.keys()) and here.total <= len(here.hits):
        return [f"ids {sorted(alone)[:10]} are in one answer and not in the other"]
    kept = [id for id in first if id in both]
    place = {id: n for n, id in enumerate(id for id in second if id in both)}
    for n, id in enumerate(kept):
        for other in kept[n + 1 :]:
            if place[other] < place[id] and min(_apart(first[id], first[other]), _apart(second[id], second[other])) > near:
                return [_order(first, second)]
    return []


def _scores(hits: Sequence[AnsweredHit]) -> dict[str, float | None]:
    return {hit.id: hit.explain["score"] for hit in hits}


def _apart(a: float, b: float) -> float:
    """By how much of the larger two scores differ; without bound where they are of different tiers."""
    if a // TIER != b // TIER:
        return 1.0
    a, b = a % TIER, b % TIER
    return 0.0 if abs(a - b) < 1e-3 else abs(a - b) / max(abs(a), abs(b))


def _order(first: dict, second: dict) -> str:
    at = next((n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), 0)
    return (
        f"another order from hit {at + 1} on: {list(first)[at : at + 5]} in the source, {list(second)[at : at + 5]} in the target"
    )
