"""The tokens of the filter language, and how its errors name their place."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..exceptions import Invalid
from .fields import has_surrogates, shown

KEYWORDS = frozenset("AND OR NOT EXISTS IN TO STARTS WITH".split())
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\"}

_TOKEN = re.compile(
    r"""(?P<mark>[()\[\],])|(?P<symbol>[=!<>]+)|(?P<bare>[^\s()\[\],"'=!<>]+)"""
    r"""|(?P<string>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')|(?P<open>["'])""",
    re.DOTALL,
)


class Token(NamedTuple):
    """kind: mark, symbol, bare, string or end. text: as meant, a string without its quotes. column: counted from 1."""

    kind: str
    text: str
    column: int

    @property
    def keyword(self) -> str | None:
        upper = self.text.upper()
        return upper if self.kind == "bare" and self.text.isascii() and upper in KEYWORDS else None

    @property
    def is_value(self) -> bool:
        return self.kind == "string" or (self.kind == "bare" and self.keyword is None)

    def __str__(self) -> str:
        return "end of filter" if self.kind == "end" else shown(self.text)


def fault(column: int, detail: str, code: str = "filter_syntax") -> Invalid:
    """What is wrong at a column, counted from 1 in code points."""
    return Invalid.at("filter", code, f"filter, column {column}: {detail}")


def tokenize(text: str) -> list[Token]:
    """The tokens of a filter, the last of kind `end`. Raises Invalid at an open string, an unknown escape, a lone surrogate."""
    if has_surrogates(text):
        column = next(i for i, c in enumerate(text, 1) if has_surrogates(c))
        raise fault(column, "expected Unicode text, found half of a surrogate pair")
    tokens = []
    for match in _TOKEN.finditer(text):
        kind, column = match.lastgroup, match.start() + 1
        if kind == "open":
            raise fault(column, "the string that begins here has no closing quote")
        tokens.append(Token(kind, _unescape(match[0][1:-1], column + 1) if kind == "string" else match[0], column))
    tokens.append(Token("end", "", len(text) + 1))
    return tokens


def _unescape(inner: str, column: int) -> str:
    def replace(match: re.Match) -> str:
        if match[1] not in _ESCAPES:
            raise fault(column + match.start(), f"unknown escape {shown(match[0])}; a backslash itself is written \\\\")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", replace, inner, flags=re.DOTALL) if "\\" in inner else inner
