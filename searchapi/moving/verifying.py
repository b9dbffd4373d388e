"""Whether both sides hold the same documents: counts, and a checksum over (id, version, body) in the order of ids.

While the source is written, both sides are seldom the same at one moment. What differs is looked at again, after catching up, and
is a difference only where it stays one.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from ..model import Document
from .copying import Copy

TRIES = 6
SAMPLED = 12  # documents from which searches are made
SHOWN = 20  # differences that are told one by one


class Checksum:
    """SHA-256 over the documents of an index in the order of their ids. Equal documents and versions, equal checksums."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.documents = 0

    def add(self, document: Document) -> None:
        self._digest.update(orjson.dumps([document.id, document.version]) + document.body + b"\n")
        self.documents += 1

    def __str__(self) -> str:
        return self._digest.hexdigest()[:32]


@dataclass(slots=True)
class Verdict:
    """differences: told, up to SHOWN of `different`. sample: documents of both, chosen by chance."""

    source: Checksum = field(default_factory=Checksum)
    target: Checksum = field(default_factory=Checksum)
    different: int = 0
    differences: list[str] = field(default_factory=list)
    sample: list[Document] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.different

    def differs(self, id: str, here: Document | None, there: Document | None, refused: str | None) -> None:
        self.different += 1
        if len(self.differences) < SHOWN:
            self.differences.append(f"document {id!r} {_difference(here, there, refused)}")


def compare(copy: Copy) -> Verdict:
    """Raises PositionLost."""
    verdict, chance = Verdict(), random.Random(0)
    for rows, others, _ in copy.pairs():
        here, there = {row.id: row for row in rows}, {row.id: row for row in others}
        wrong = {id for id in here.keys() | there.keys() if here.get(id) != there.get(id)}
        if wrong and copy.source.live:
            wrong = _settle(copy, wrong, here, there)
        for id in sorted(wrong):
            verdict.differs(id, here.get(id), there.get(id), copy.refused.get(id))
        for documents, checksum in ((here, verdict.source), (there, verdict.target)):
            for id in sorted(documents):
                checksum.add(documents[id])
        _choose(verdict, [here[id] for id in here.keys() - wrong], chance)
    return verdict


def _settle(copy: Copy, wrong: Iterable[str], here: dict[str, Document], there: dict[str, Document]) -> set[str]:
    """Look again at what differed, and put in `here` and `there` what was found. What still differs."""
    left = set(wrong)
    for attempt in range(TRIES):
        time.sleep(0.1 * attempt)
        before = {id: copy.patiently(lambda id=id: copy.source.get(copy.name, id)) for id in left}
        copy.follow()
        for id in sorted(left):
            now = copy.patiently(lambda id=id: copy.target.get(copy.into, id))
            after = copy.patiently(lambda id=id: copy.source.get(copy.name, id))
            _put(there, id, now)
            _put(here, id, now if now in (before[id], after) else after)
        left = {id for id in left if here.get(id) != there.get(id)}
        if not left:
            break
    return left


def _put(documents: dict[str, Document], id: str, document: Document | None) -> None:
    if document is None:
        documents.pop(id, None)
    else:
        documents[id] = document


def _choose(verdict: Verdict, documents: list[Document], chance: random.Random) -> None:
    """Each document equally likely, however many there are (reservoir sampling)."""
    seen = verdict.source.documents - len(documents)
    for document in sorted(documents, key=lambda document: document.id):
        seen += 1
        if len(verdict.sample) < SAMPLED:
            verdict.sample.append(document)
        elif (place := chance.randrange(seen)) < SAMPLED:
            verdict.sample[place] = document


def _difference(here: Document | None, there: Document | None, refused: str | None) -> str:
    if refused is not None:
        return f"was refused: {refused}"
    if there is None:
        return "is missing in the target"
    if here is None:
        return "is only in the target"
    if here.version != there.version:
        return f"has version {here.version} in the source and {there.version} in the target"
    return "has another body in the target"
