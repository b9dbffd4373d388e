"""What a client typed -> the Match an engine runs: every word resolved to exact terms, the same for both engines.

A word matches as it stands or by its stem; the last word of a query also as the beginning of longer words; synonyms join as
alternatives, and so do neighbours written as one (`split ext` finds `splitext`). Stop words only add to the score, unless the
query has nothing else. Neighbours in the query score more where they are close in a document, and a short query more where it
stands there as a whole. In a long question the words weigh more than the fields they are found in.

The figures were chosen by tests/relevance, for groups of questions, never for a single one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from . import analysis
from .engines.base import Reading
from .model import AllOf, AnyOf, Expansion, IndexInfo, IndexSettings, Match, Near, Node, Phrase, Term, TextQuery, Word

PREFIX_WEIGHT = 0.7  # of a word that the typed one begins
PREFIXES = 12  # such words at most
SYNONYM_WEIGHT = 0.9
STOP_WEIGHT = 0.3
CORRECTED_WEIGHTS = {0: PREFIX_WEIGHT, 1: 0.5, 2: 0.3}  # by typos; 0 is a word completed
TYPOS = 20  # corrections of a word at most
PROXIMITY_WEIGHT = 1.0
PROXIMITY_SLOP = 6
PROXIMITY_PAIRS = 8
SHORT = 5  # words; a query of so many may be a name or a phrase as a whole
WHOLE_WEIGHT = 3.0  # of a short query written as one word, in the field with the highest boost
PHRASE_WEIGHT = 0.5  # of a short query found word by word as it was typed
JOINED_PREFIX = 4  # letters from which on joined neighbours at the end also begin longer words
FULL_BOOST_WORDS = 2  # up to so many words field boosts count in full; then with the power FULL_BOOST_WORDS / words


@dataclass(frozen=True, slots=True)
class Part:
    """One wanted part of a query: `exact` is its clause without corrections. word: what may be corrected, None for phrases."""

    exact: Node
    word: str | None
    typed: str
    fields: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Interpretation:
    """A text query with its exact clauses; `match` and its kin put them together."""

    parts: tuple[Part, ...]
    excluded: tuple[Node, ...]
    proximity: tuple[Node, ...]

    @property
    def required(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if not part.optional)

    @property
    def extras(self) -> tuple[Node, ...]:
        return tuple(part.exact for part in self.parts if part.optional) + self.proximity

    def exact(self, any_clause: bool) -> Match:
        return self._match(tuple(p.exact for p in self.required), any_clause)

    def corrected(self, corrections: dict[str, list[Expansion]], any_clause: bool) -> Match:
        """With typos allowed: documents that hold more of the words as typed are above those that hold fewer."""
        clauses = tuple(corrected(part, corrections) for part in self.required)
        return self._match(clauses, any_clause, tuple(p.exact for p in self.required if p.word in corrections))

    def relaxed(self, corrections: dict[str, list[Expansion]], known: set[str]) -> Match:
        """Any word will do; a word that the index holds is not corrected. Documents with all words stay above."""
        required = self.required
        clauses = tuple(p.exact if p.word is None or p.word in known else corrected(p, corrections) for p in required)
        tiers = (AllOf(tuple(p.exact for p in required)), AllOf(tuple(corrected(p, corrections) for p in required)))
        return self._match(clauses, True, tiers if corrections else tiers[:1])

    def _match(self, clauses: tuple[Node, ...], any_clause: bool, tiers: tuple[Node, ...] = ()) -> Match:
        power = min(1.0, FULL_BOOST_WORDS / len(clauses))
        return Match(clauses, any_clause, self.excluded, self.extras, tiers, power)


def corrected(part: Part, corrections: dict[str, list[Expansion]]) -> Node:
    found = corrections.get(part.word, ()) if part.word is not None else ()
    terms = tuple(Term(e.word, part.fields, CORRECTED_WEIGHTS[e.distance], stem=False) for e in found)
    return AnyOf((part.exact, *terms)) if terms else part.exact


def interpret(text: TextQuery, info: IndexInfo, vocabulary: Reading) -> Interpretation:
    everywhere = tuple(f.name for f in info.text_fields)
    settled = _settled(info)
    stopping = _stopping(text.wanted, info.settings, settled.stop_words)
    parts: list[Part] = []
    position = 0
    while position < len(text.wanted):
        taken, part = _part(text.wanted, position, everywhere, settled.synonyms, vocabulary)
        if part is not None:
            if taken == 1 and position in stopping:
                exact = part.exact if text.wanted[position].last else Term(part.word, part.fields, STOP_WEIGHT)
                part = Part(exact, None, part.typed, part.fields, optional=True)
            parts.append(part)
        position += taken
    excluded = tuple(node for part in text.excluded if (node := _excluded(part, everywhere)) is not None)
    extras = _proximity(text.wanted, stopping, everywhere) + _whole(text.wanted, info, everywhere)
    return Interpretation(_with_joined(parts, text.wanted, vocabulary), excluded, extras)


def _stopping(wanted: Sequence[Word | Phrase], settings: IndexSettings, own: frozenset[str] | None) -> set[int]:
    """Positions of stop words; none where the query has nothing else. own: the index's list, None for the language's."""
    found = set()
    for n, part in enumerate(wanted):
        if isinstance(part, Word) and part.field is None:
            word = _single(part)
            if word is not None and (word in own if own is not None else analysis.is_stop_word(word, settings.language)):
                found.add(n)
    return found if len(found) < len(wanted) else set()


def _single(part: Word) -> str | None:
    made = _words(part.text)
    return made[0] if len(made) == 1 else None


@lru_cache(maxsize=10_000)
def _words(typed: str) -> tuple[str, ...]:
    """Asked several times for every word of a query."""
    return tuple(analysis.words(typed))


def _part(wanted, position: int, everywhere: tuple[str, ...], rules: SynonymRules, vocabulary: Reading) -> tuple[int, Part | None]:
    """(how many wanted parts it covers, the part); None for what holds no word."""
    part = wanted[position]
    fields = (part.field,) if part.field is not None else everywhere
    if isinstance(part, Phrase):
        node = _phrase(part, fields)
        return 1, Part(node, None, part.text, fields) if node is not None else None
    run = _words_from(wanted, position)
    taken, targets = rules.longest(run)
    if taken > 1:
        nodes = [node for n in range(taken) if (node := _word(wanted[position + n], fields, vocabulary)) is not None]
        alternatives = (AllOf(tuple(nodes)), *(_synonym(words, fields) for words in targets))
        return taken, Part(AnyOf(alternatives), None, " ".join(run[:taken]), fields)
    node = _word(part, fields, vocabulary)
    if node is None:
        return 1, None
    if targets:
        node = AnyOf((node, *(_synonym(words, fields) for words in targets)))
    return 1, Part(node, _single(part), part.text, fields)


def _words_from(wanted: Sequence[Word | Phrase], position: int) -> list[str]:
    """The analysed words of the run of plain words that begins here, for synonyms of several words."""
    first = wanted[position]
    run = []
    for part in wanted[position:]:
        word = _single(part) if isinstance(part, Word) and part.field == first.field else None
        if word is None:
            break
        run.append(word)
    return run


def _word(part: Word, fields: tuple[str, ...], vocabulary: Reading) -> Node | None:
    made = _words(part.text)
    if not made:
        return None
    if len(made) > 1:  # a chunk that analysis splits: its words, next to each other
        return Near(made, fields, stem=True)
    word, term = made[0], Term(made[0], fields)
    if not part.last:
        return term
    longer = _beginning(word, fields, PREFIX_WEIGHT, vocabulary)
    return AnyOf((term, *longer)) if longer else term


def _beginning(word: str, fields: tuple[str, ...], weight: float, vocabulary: Reading) -> list[Node]:
    return [Term(e.word, fields, weight, stem=False) for e in vocabulary.expand(word, fields, "prefix", 0, PREFIXES)]


def _with_joined(parts: list[Part], wanted: Sequence[Word | Phrase], vocabulary: Reading) -> tuple[Part, ...]:
    """Neighbours written as one word stand for both: `split ext` for `splitext`, and `read te` at the end for `readtext`."""
    joined: dict[int, list[Node]] = {}
    for n, (left, right) in enumerate(pairwise(parts)):
        if left.word is None or right.word is None or left.fields != right.fields:
            continue
        # Whether there is such a word need not be asked: one that no document holds changes nothing.
        word = left.word + right.word
        nodes: list[Node] = [Term(word, left.fields, stem=False)]
        if n + 2 == len(parts) and isinstance(wanted[-1], Word) and wanted[-1].last and len(word) >= JOINED_PREFIX:
            nodes += _beginning(word, left.fields, PREFIX_WEIGHT, vocabulary)
        for place in (n, n + 1):
            joined.setdefault(place, []).extend(nodes)
    return tuple(replace(p, exact=AnyOf((p.exact, *joined[n]))) if joined.get(n) else p for n, p in enumerate(parts))


def _phrase(part: Phrase, fields: tuple[str, ...]) -> Node | None:
    made = tuple(analysis.words(part.text))
    if not made:
        return None
    return Near(made, fields) if len(made) > 1 else Term(made[0], fields, stem=False)


def _excluded(part: Word | Phrase, everywhere: tuple[str, ...]) -> Node | None:
    fields = (part.field,) if part.field is not None else everywhere
    if isinstance(part, Phrase):
        return _phrase(part, fields)
    made = analysis.words(part.text)
    if not made:
        return None
    return Term(made[0], fields) if len(made) == 1 else Near(tuple(made), fields, stem=True)


def _proximity(wanted: Sequence[Word | Phrase], stopping: set[int], everywhere: tuple[str, ...]) -> tuple[Node, ...]:
    """Neighbouring words of the query, stop words passed over: more where they are close."""
    plain = [w for n, p in enumerate(wanted) if n not in stopping and isinstance(p, Word) and p.field is None and (w := _single(p))]
    pairs = list(pairwise(plain))[:PROXIMITY_PAIRS]
    return tuple(Near(pair, everywhere, PROXIMITY_SLOP, PROXIMITY_WEIGHT, stem=True) for pair in pairs if pair[0] != pair[1])


def _whole(wanted: Sequence[Word | Phrase], info: IndexInfo, everywhere: tuple[str, ...]) -> tuple[Node, ...]:
    """A short query as a name (written as one word, in the field with the highest boost) and as a phrase."""
    words = [w for p in wanted if isinstance(p, Word) and p.field is None and (w := _single(p))]
    if not words or not everywhere or len(words) != len(wanted) or len(words) > SHORT:
        return ()
    top = (max(info.text_fields, key=lambda f: f.boost).name,)
    name = "".join(words)
    extras: list[Node] = [Term(name, top, WHOLE_WEIGHT, stem=False)]
    if len(words) > 2:  # two are neighbours already
        extras.append(Near(tuple(words), everywhere, 0, PHRASE_WEIGHT))
    return tuple(extras)


# -------------------------------------------------------------------------------------------------------- synonyms


def _synonym(words: tuple[str, ...], fields: tuple[str, ...]) -> Node:
    if len(words) == 1:
        return Term(words[0], fields, SYNONYM_WEIGHT)
    return Near(words, fields, weight=SYNONYM_WEIGHT, stem=True)


class SynonymRules:
    """Rules by their first word, the analysed form of IndexSettings.synonyms."""

    def __init__(self, settings: IndexSettings):
        self._by_first: dict[str, list[tuple[tuple[str, ...], list[tuple[str, ...]]]]] = {}
        for rule in settings.synonyms:
            targets = [tuple(made) for phrase in rule.targets if (made := analysis.words(phrase))]
            for phrase in rule.sources:
                source = tuple(analysis.words(phrase))
                others = [target for target in targets if target != source]
                if source and others:
                    self._by_first.setdefault(source[0], []).append((source, others))

    def longest(self, run: Sequence[str]) -> tuple[int, list[tuple[str, ...]]]:
        """(words covered, targets) of the longest sources that `run` begins with; (1, []) where there is none."""
        best, found = 1, []
        for source, targets in self._by_first.get(run[0], ()) if run else ():
            if tuple(run[: len(source)]) == source:
                if len(source) > best:
                    best, found = len(source), []
                if len(source) == best:
                    found += [target for target in targets if target not in found]
        return best, found


@dataclass(frozen=True, slots=True)
class Settled:
    """What an index's settings say about words, analysed: thousands of entries are not to be read again for every query."""

    synonyms: SynonymRules
    stop_words: frozenset[str] | None


_SETTLED: dict[tuple[str, int], Settled] = {}  # by the index's uid and version
SETTLED = 64


def _settled(info: IndexInfo) -> Settled:
    known = _SETTLED.get((info.uid, info.version))
    if known is None:
        if len(_SETTLED) >= SETTLED:
            _SETTLED.clear()
        listed = info.settings.stop_words
        own = None if listed is None else frozenset(word for entry in listed for word in analysis.words(entry))
        known = _SETTLED[info.uid, info.version] = Settled(SynonymRules(info.settings), own)
    return known
