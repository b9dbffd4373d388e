"""How words are made: the one definition that both engines, the query side and the highlighter share.

A text, composed to Unicode's NFC, becomes words by splitting at everything that is not a letter or digit, lowercasing, and folding
to ASCII where there is a plain letter for it (é -> e, ß -> ss). Stems are Snowball's (`porter2` for English:
https://snowballstem.org/algorithms/).
Stop words and synonyms belong to queries, not to the index, so that changing them rebuilds nothing.

Identifiers have a second form (`identifier_forms`): `JSONDecoder` is also found by `decoder`, `read_text` by `readtext`. It is
text that an engine indexes behind the field's own, so that neither engine needs a tokenizer of its own for it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

LONGEST_WORD = 100  # bytes; longer runs are encoded data, not words: they would only swell the vocabulary

# The languages tantivy and OpenSearch both stem with Snowball; "none" only splits, lowercases and folds.
LANGUAGES = (
    "none arabic danish dutch english finnish french german greek hungarian italian norwegian portuguese romanian russian "
    "spanish swedish tamil turkish"
).split()


def build_analyzer(language: str | None = None) -> TextAnalyzer:
    """The chain as a tantivy analyzer: words as they stand, or stemmed where a language (not "none") is given."""
    builder = (
        TextAnalyzerBuilder(Tokenizer.simple())
        .filter(Filter.remove_long(LONGEST_WORD))
        .filter(Filter.lowercase())
        .filter(Filter.ascii_fold())
    )
    if language and language != "none":
        builder = builder.filter(Filter.stemmer(language))
    return builder.build()


_exact = build_analyzer()


def words(text: str) -> list[str]:
    """The words of a text as they stand: `"Größe, re-use"` -> `["grosse", "re", "use"]`."""
    return _exact.analyze(composed(text))


def composed(text: str) -> str:
    """Unicode's NFC: an accent typed apart from its letter, as macOS writes file names, would split the word otherwise."""
    return text if text.isascii() or unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


@lru_cache(maxsize=32)
def _stemming(language: str) -> TextAnalyzer:
    return build_analyzer(language)


@lru_cache(maxsize=50_000)
def stem(word: str, language: str) -> str:
    """The stem of one word made by `words`; the word itself for "none"."""
    if language == "none" or _exact.analyze(word) != [word]:  # İ, which is two characters in lower case, would lose one
        return word
    stems = _stemming(language).analyze(word)
    return stems[0] if len(stems) == 1 else word


# Snowball's English list (https://snowballstem.org/algorithms/english/stop.txt): tantivy's own for English is Lucene's 33 words,
# without the "how do I" of a question. The other languages' lists in tantivy are Snowball's.
_ENGLISH = frozenset(
    "i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its itself "
    "they them their theirs themselves what which who whom this that these those am is are was were be been being have has had "
    "having do does did doing would should could ought can will shall may might must a an the and but if or because as until while "
    "of at by for with about against between into through during before after above below to from up down in out on off over under "
    "again further then once here there when where why how all any both each few more most other some such no nor not only own "
    "same so than too very s t d m ll re ve don didn doesn isn aren wasn won".split()
)


@lru_cache(maxsize=32)
def _stopping(language: str) -> TextAnalyzer | None:
    try:
        return TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.stopword(language)).build()
    except ValueError:  # tantivy has no list for it
        return None


@lru_cache(maxsize=50_000)
def is_stop_word(word: str, language: str) -> bool:
    """Whether a word made by `words` is on the language's own list. Always False for "none"."""
    if language == "none":
        return False
    if language == "english":
        return word in _ENGLISH
    analyzer = _stopping(language)
    return analyzer is not None and not analyzer.analyze(word)


# --------------------------------------------------------------------------------------------------- identifiers

_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:_+[A-Za-z0-9]+)*")
_HAS_FORMS = re.compile(r"[a-z0-9][A-Z]|[A-Z]{2}[a-z]|[A-Za-z0-9]_+[A-Za-z0-9]")
_CHUNK = re.compile(r"[A-Za-z0-9]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+")


def identifier_forms(text: str) -> str:
    """The extra words of the identifiers in a text, "" where there are none: the parts of camelCase, and snake_case joined.
    `"JSONDecoder.read_text"` -> `"JSON Decoder readtext"`. Each identifier counts once."""
    if not _HAS_FORMS.search(text):
        return ""
    forms: dict[str, None] = {}
    for identifier in dict.fromkeys(_IDENTIFIER.findall(text)):
        for form, _, _ in _forms(identifier):
            forms[form] = None
    return " ".join(forms)


@lru_cache(maxsize=50_000)
def _forms(identifier: str) -> tuple[tuple[str, int, int], ...]:
    """(form, start, end) in one identifier: each run of camelCase as its parts together, and snake_case joined."""
    if len(identifier) > LONGEST_WORD or not _HAS_FORMS.search(identifier):
        return ()
    found, chunks = [], list(_CHUNK.finditer(identifier))
    for chunk in chunks:
        parts = [(part[0], chunk.start() + part.start(), chunk.start() + part.end()) for part in _PART.finditer(chunk[0])]
        if len(parts) > 1:
            found += parts
    if len(chunks) > 1:
        found.append(("".join(c[0] for c in chunks), 0, len(identifier)))
    return tuple(found)


# -------------------------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True, slots=True)
class Token:
    """A word and where it stands in its text: [start, end) in code points."""

    word: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Every word of a text with its place, those of `identifier_forms` included (they overlap the words they come from).
    Ordered by start, the longer first."""
    if composed(text) != text:
        return _tokens_composed(text)
    found = [Token(t.text, t.char_offset_from, t.char_offset_to) for t in _exact.pre_tokenize(text).tokens]
    if _HAS_FORMS.search(text):
        for match in _IDENTIFIER.finditer(text):
            at = match.start()
            found += [Token(word, at + start, at + end) for form, start, end in _forms(match[0]) for word in words(form)]
        found.sort(key=lambda token: (token.start, -token.end))
    return found


def _tokens_composed(text: str) -> list[Token]:
    """Tokens of the composed text, with places in the text as it is."""
    starts = [n for n, c in enumerate(text) if not n or not unicodedata.combining(c)] + [len(text)]
    parts = [composed(text[start:end]) for start, end in pairwise(starts)]
    places = [start for start, part in zip(starts, parts, strict=False) for _ in part] + [len(text)]
    whole = "".join(parts)
    if composed(whole) != whole:  # rare compositions over several bases: a place for every word is better than none
        return [Token(word, 0, len(text)) for word in words(text)]
    return [Token(token.word, places[token.start], places[token.end]) for token in tokens(whole)]
