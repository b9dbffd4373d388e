"""Where a document's text fields hold the words that found it, as ranges or as HTML-safe marked text.

It takes the resolved match, so that corrected words, completed prefixes and synonyms are marked like the words typed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from . import analysis
from .documents import text_values
from .model import AllOf, AnyOf, Field, Highlight, Marked, Match, Near, Node, Term

Span = tuple[int, int]  # [start, end) in code points
Mark = tuple[int, int, str]  # a span and the word there

_ELLIPSIS = "…"
_SPACE = re.compile(r"\s+")
_LONGEST_OVERHANG = 40  # by how much a snippet may grow rather than cut a word
_RUN = re.compile(r"[^\W_]+")  # letters and digits: what `analysis` splits at, but for some combining marks


def highlight(
    document: Mapping[str, Any], match: Match, fields: Mapping[str, Field], language: str, options: Highlight
) -> dict[str, Marked | tuple[Marked, ...]]:
    """The marked values of each text field in `options.fields` (() means all) that holds a match. A field with several values gives
    a tuple with all of them in order, those without a match unmarked. `language` is the index's."""
    names = options.fields or tuple(name for name, known in fields.items() if known.type == "text")
    found: dict[str, Marked | tuple[Marked, ...]] = {}
    for name, wanted in _wanted(match.clauses, names, fields, language).items():
        texts = text_values(document, name)
        marks = [wanted.marks(text) for text in texts]
        if not any(marks):
            continue
        marked = tuple(_marked(text, inside, options) for text, inside in zip(texts, marks, strict=True))
        single = isinstance(document.get(name), str) or (len(marked) == 1 and not fields[name].array)
        found[name] = marked[0] if single else marked
    return found


# --------------------------------------------------------------------------------------------------- what is looked for


@dataclass(slots=True)
class _Wanted:
    """What one field is searched for. stems: of the words that also match by their stem. phrases: (words, stemmed)."""

    language: str
    words: set[str] = field(default_factory=set)
    stems: set[str] = field(default_factory=set)
    phrases: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)

    def add(self, node: Term | Near) -> None:
        if isinstance(node, Near) and len(node.words) > 1:
            words = tuple(analysis.stem(word, self.language) for word in node.words) if node.stem else node.words
            self.phrases.append((words, node.stem))
            return
        for word in (node.word,) if isinstance(node, Term) else node.words:
            self.words.add(word)
            if node.stem:
                self.stems.add(analysis.stem(word, self.language))

    def choose(self, words: set[str], phrases: bool) -> set[str]:
        """Those of `words` that match on their own or, with `phrases`, could be part of one."""
        exact, stems = self.words, self.stems
        if phrases:
            exact = exact.union(*(parts for parts, stemmed in self.phrases if not stemmed))
            stems = stems.union(*(parts for parts, stemmed in self.phrases if stemmed))
        chosen = words & exact
        if stems:
            chosen |= {word for word in words if analysis.stem(word, self.language) in stems}
        return chosen

    def marks(self, text: str) -> list[Mark]:
        """Every match, ordered by start; they may overlap."""
        plain = analysis.words(text)
        words = set(plain)
        hits = self.choose(words, True)
        forms = self.choose(set(analysis.words(analysis.identifier_forms(text))), True)
        if not hits and not forms:
            return []
        marks = (None if forms else _aligned(text, plain, hits)) or _found(text, hits | forms)
        alone = self.choose(hits | forms, False)
        found = {mark for mark in marks if mark[2] in alone}
        for parts, stemmed in self.phrases:
            found.update(_phrase(text, marks, parts, self.language if stemmed else "none"))
        return sorted((start, end, analysis.stem(word, self.language)) for start, end, word in found)


def _wanted(nodes: Iterable[Node], names: Iterable[str], fields: Mapping[str, Field], language: str) -> dict[str, _Wanted]:
    wanted = {name: _Wanted(fields[name].language or language) for name in names if name in fields}
    work = list(nodes)
    while work:
        node = work.pop()
        if isinstance(node, (AnyOf, AllOf)):
            work += node.nodes
        elif isinstance(node, Term) or node.slop == 0:  # a Near with slop is about closeness, not about what is there
            for name in node.fields:
                if name in wanted:
                    wanted[name].add(node)
    return {name: one for name, one in wanted.items() if one.words or one.phrases}


# -------------------------------------------------------------------------------------------------------- where it is


def _found(text: str, hits: set[str]) -> list[Mark]:
    return [(token.start, token.end, token.word) for token in analysis.tokens(text) if token.word in hits]


def _aligned(text: str, words: list[str], hits: set[str]) -> list[Mark] | None:
    """What `_found` gives where no identifier form is a hit, several times as fast: `words` laid onto the runs of letters and
    digits. None where the two do not agree: words too long to be indexed, some combining marks."""
    try:
        found = [(*run.span(), word) for run, word in zip(_RUN.finditer(text), words, strict=True) if word in hits]
    except ValueError:  # one of the two is longer
        return None
    return found if all(analysis.words(text[start:end]) == [word] for start, end, word in found) else None


def _phrase(text: str, hits: list[Mark], words: tuple[str, ...], language: str) -> list[Mark]:
    """The words of each run of `hits` that follows `words` (stems in `language`), one right after the other in the text."""
    at: dict[int, list[Mark]] = {}
    for mark in hits:
        at.setdefault(mark[0], []).append(mark)
    runs = [[mark] for mark in hits if analysis.stem(mark[2], language) == words[0]]
    for word in words[1:]:
        longer = []
        for run in runs:
            following = _RUN.search(text, run[-1][1])
            candidates = at.get(following.start(), ()) if following else ()
            longer += [[*run, mark] for mark in candidates if analysis.stem(mark[2], language) == word]
        runs = longer
    return [mark for run in runs for mark in run]


# ---------------------------------------------------------------------------------------------------------- as answered


def _marked(text: str, marks: list[Mark], options: Highlight) -> Marked:
    before = after = ""
    start, end = 0, len(text)
    if 0 < options.snippet_length < len(text):
        start, end = _window(text, marks, options.snippet_length)
        before = _ELLIPSIS if text[:start].strip() else ""
        after = _ELLIPSIS if text[end:].strip() else ""
    shift = len(before) - start
    inside = [mark for mark in marks if start <= mark[0] and mark[1] <= end]
    ranges = tuple((low + shift, high + shift) for low, high in _merged(inside))
    shown = before + text[start:end] + after
    return Marked(shown, ranges, _html(shown, ranges, options.tags) if options.tags else None)


def _merged(marks: list[Mark]) -> list[Span]:
    """Ranges that overlap as one; those that only touch stay two."""
    merged: list[Span] = []
    for start, end, _ in marks:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _window(text: str, marks: list[Mark], length: int) -> Span:
    """The part of a text, about `length` long, with the most different words marked; of equals the one with most marks, then the
    first. It is centred on its marks and cut between words."""
    best, chosen, right = (0, 0), (0, 0), 0
    inside: Counter[str] = Counter()
    for left, (start, end, word) in enumerate(marks):
        while right < len(marks) and marks[right][1] <= max(start + length, end):
            inside[marks[right][2]] += 1
            right += 1
        if (len(inside), right - left) > best:
            best, chosen = (len(inside), right - left), (left, right)
        inside[word] -= 1
        if not inside[word]:
            del inside[word]
    within = marks[slice(*chosen)] or [(0, 0, "")]
    first, last = within[0][0], max(mark[1] for mark in within)
    start = max(0, min(first, first - (length - (last - first)) // 2, len(text) - length))
    end = max(last, min(len(text), start + length))
    start, end = _cut_start(text, start, first), _cut_end(text, end, last)
    while start < first and text[start].isspace():
        start += 1
    while end > last and text[end - 1].isspace():
        end -= 1
    return start, end


def _cut_start(text: str, start: int, first: int) -> int:
    """Near `start`, at the beginning of a word and not behind `first`, where the marks begin."""
    if start > 0:
        gap = _SPACE.search(text, start - 1, first)
        if gap:
            return gap.end()
        least, start = max(0, start - _LONGEST_OVERHANG), first
        while start > least and text[start - 1].isalnum():
            start -= 1
    return start


def _cut_end(text: str, end: int, last: int) -> int:
    """Near `end`, at the end of a word and not before `last`, where the marks end."""
    if end < len(text):
        gap = next((at for at in range(end, last - 1, -1) if text[at].isspace()), None)
        if gap is not None:
            return gap
        most, end = min(len(text), end + _LONGEST_OVERHANG), last
        while end < most and text[end].isalnum():
            end += 1
    return end


def _html(text: str, ranges: tuple[Span, ...], tags: tuple[str, str]) -> str:
    opening, closing = tags
    pieces, done = [], 0
    for start, end in ranges:
        pieces += escape(text[done:start]), opening, escape(text[start:end]), closing
        done = end
    pieces.append(escape(text[done:]))
    return "".join(pieces)
