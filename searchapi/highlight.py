"""Where a document's text fields hold the words that found it, as ranges or as HTML-safe marked text.

It takes the resolved match, so that corrected words, completed prefixes and synonyms are marked like the words typed.
"""

from __future__ import annotations

import re
from bisect import bisect_left
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
        tokens = (None if forms else _align(text, plain, hits)) or _tokens(text, hits | forms)
        alone = self.choose(hits | forms, False)
        found = {mark for mark in tokens.hits if mark[2] in alone}
        for parts, stemmed in self.phrases:
            found.update(tokens.phrase(parts, self.language if stemmed else "none"))
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


@dataclass(frozen=True, slots=True)
class _Tokens:
    """starts: of every word of the text, sorted. hits: the words that matter."""

    starts: list[int]
    hits: list[Mark]

    def phrase(self, words: tuple[str, ...], language: str) -> list[Mark]:
        """The words of each run that follows `words`, one right after the other."""
        at: dict[int, list[Mark]] = {}
        for mark in self.hits:
            at.setdefault(mark[0], []).append(mark)
        runs = [[mark] for mark in self.hits if analysis.stem(mark[2], language) == words[0]]
        for word in words[1:]:
            longer = []
            for run in runs:
                index = bisect_left(self.starts, run[-1][1])
                following = at.get(self.starts[index], ()) if index < len(self.starts) else ()
                longer += [[*run, mark] for mark in following if analysis.stem(mark[2], language) == word]
            runs = longer
        return [mark for run in runs for mark in run]


def _tokens(text: str, hits: set[str]) -> _Tokens:
    every = analysis.tokens(text)
    return _Tokens(sorted({token.start for token in every}), [(t.start, t.end, t.word) for t in every if t.word in hits])


def _align(text: str, words: list[str], hits: set[str]) -> _Tokens | None:
    """What `_tokens` gives for a text of which no identifier form is a hit, several times as fast: `words` laid onto the runs of
    letters and digits. None where the two do not agree: words too long to be indexed, some combining marks."""
    spans = [run.span() for run in _RUN.finditer(text)]
    if len(spans) != len(words):
        return None
    found = [(start, end, word) for (start, end), word in zip(spans, words, strict=True) if word in hits]
    if any(analysis.words(text[start:end]) != [word] for start, end, word in found):
        return None
    return _Tokens([start for start, _ in spans], found)


# ---------------------------------------------------------------------------------------------------------- as answered


def _marked(text: str, marks: list[Mark], options: Highlight) -> Marked:
    before = after = ""
    start, end = 0, len(text)
    if 0 < options.snippet_length < len(text):
        start, end = _window(text, marks, options.snippet_length)
        before = _ELLIPSIS if text[:start].strip() else ""
        after = _ELLIPSIS if text[end:].strip() else ""
    shift = len(before) - start
    ranges = tuple((low + shift, high + shift) for low, high in _merged(marks) if start <= low and high <= end)
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
    first = last = right = 0
    best, inside = (0, 0), Counter()
    for left, (start, end, word) in enumerate(marks):
        while right < len(marks) and marks[right][1] <= max(start + length, end):
            inside[marks[right][2]] += 1
            right += 1
        if (len(inside), right - left) > best:
            best, first, last = (len(inside), right - left), start, max(end, marks[right - 1][1])
        inside[word] -= 1
        if not inside[word]:
            del inside[word]
    start = max(0, min(first - (length - last + first) // 2, first, len(text) - length))
    end = max(last, min(len(text), start + length))
    return _cut_start(text, start, first), _cut_end(text, end, last)


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
