"""The q language: what people type into a search box, read forgivingly.

    q      = { part }                       parts stand between blanks, and a quote always begins one
    part   = [ "-" ] [ field ":" ] ( word | '"' phrase '"' )

    json decoder           two wanted words
    "parse a string"       words in this order, next to each other
    -deprecated  -"in C"   excluded; only at the beginning of a part, so that `re-use` and `--verbose` are words
    name:open              only in the text field `name`
    std::vector  a:b       where no field is named so: the words, since people paste code and addresses

Nothing that is typed on the way to something else is an error: a quote left open runs to the end, and `-`, `"`, `name:` alone
are nothing. Only a cap, or `field:word` for a field that is not text, raises Invalid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .. import analysis
from ..exceptions import Invalid
from ..model import IndexInfo, Phrase, TextQuery, Word
from .fields import clean, shown
from .limits import DEFAULT_LIMITS, Limits

# Telephones and word processors type curly quotes.
_CURLY = str.maketrans("“”„‟", '""""')
_PART = re.compile(r'(?P<blank>\s+)|"(?P<phrase>[^"]*)(?:"|\Z)|(?P<chunk>[^\s"]+)')


@dataclass(frozen=True, slots=True)
class _Part:
    """One part as typed. text: of the word(s) or phrase; position: of that text in q."""

    text: str
    position: int
    quoted: bool
    excluded: bool
    field: str | None


def parse_text(q: str, info: IndexInfo, limits: Limits = DEFAULT_LIMITS) -> TextQuery:
    """Read q for an index. Raises Invalid at `q` (codes query_too_long, too_many_clauses, not_a_text_field), for any string
    nothing else."""
    if len(q) > limits.max_query_length:
        raise Invalid.at(
            "q", "query_too_long", f"q: expected at most {limits.max_query_length} characters (MAX_QUERY_LENGTH), found {len(q)}"
        )
    q = clean(q).translate(_CURLY)
    wanted: list[Word | Phrase] = []
    excluded: list[Word | Phrase] = []
    for part in _parts(q, info):
        (excluded if part.excluded else wanted).extend(_meaning(part, len(q)))
    count = len(wanted) + len(excluded)
    if count > limits.max_clauses:
        raise Invalid.at(
            "q", "too_many_clauses", f"q: expected at most {limits.max_clauses} words and phrases (MAX_CLAUSES), found {count}"
        )
    return TextQuery(tuple(wanted), tuple(excluded))


def _parts(q: str, info: IndexInfo) -> Iterator[_Part]:
    excluded, field, fresh = False, None, True  # of the part being read: a `-` and a `field:` may stand before a quote
    for match in _PART.finditer(q):
        if match["blank"] is not None:
            excluded, field, fresh = False, None, True
            continue
        if match["phrase"] is not None:
            yield _Part(match["phrase"], match.start("phrase"), True, excluded, field)
            excluded, field, fresh = False, None, False
            continue
        text, position = match["chunk"], match.start()
        excluded = fresh and text.startswith("-") and not text.startswith("--")
        if excluded:
            text, position = text[1:], position + 1
        before_quote = match.end() < len(q) and q[match.end()] == '"'
        field = _field_of(text, info, before_quote)
        if field is not None:
            text, position = text[len(field) + 1 :], position + len(field) + 1
        if text:
            yield _Part(text, position, False, excluded, field)
            excluded, field = False, None
        fresh = False


def _field_of(text: str, info: IndexInfo, before_quote: bool) -> str | None:
    """The text field that `text` begins with, as in `name:open`. Raises Invalid for one of another type."""
    name, colon, rest = text.partition(":")
    if not colon or name not in info.fields:
        return None
    field = info.fields[name]
    if field.is_text:
        return name
    if rest or before_quote:
        example = shown(rest) if rest and '"' not in rest else "…"
        raise Invalid.at(
            "q",
            "not_a_text_field",
            f'q: "{name}" is a field of type {field.type}, which q does not search; use the parameter filter: {name} = {example}',
        )
    return None


def _meaning(part: _Part, end: int) -> list[Word | Phrase]:
    """The words of a part, or its phrase; nothing where it holds no letter or digit. `end`: length of q."""
    if part.quoted:
        return [Phrase(part.text, part.field, part.position)] if analysis.words(part.text) else []
    placed = _placed(part.text)
    if part.excluded and len(placed) > 1:  # -os.path leaves out "os path", not everything with "os"
        return [Phrase(part.text, part.field, part.position)]
    return [
        Word(word, part.field, not part.excluded and part.position + stop == end, part.position + start)
        for word, start, stop in placed
    ]


def _placed(chunk: str) -> list[tuple[str, int, int]]:
    """The words of a chunk with [start, end). `tokens` also holds forms of identifiers, which begin where a word does and are
    passed over."""
    words = analysis.words(chunk)
    if len(words) == 1 and chunk.isalnum():
        return [(words[0], 0, len(chunk))]
    placed: list[tuple[str, int, int]] = []
    tokens = iter(analysis.tokens(chunk)) if words else iter(())
    for word in words:
        after = placed[-1][2] if placed else 0
        token = next(t for t in tokens if t.word == word and t.start >= after)
        placed.append((word, token.start, token.end))
    return placed
