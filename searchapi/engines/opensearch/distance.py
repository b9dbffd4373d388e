"""Typos between two words, and patterns for words that are near."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[^\w]")


def distance(a: str, b: str, most: int) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours, one each, no part of a word changed twice (optimal string
    alignment, a restricted Damerau-Levenshtein distance). `most` + 1 stands for all that is more."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        before, row, last = row, [i], before
        for j, other in enumerate(b, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                best = min(best, last[j - 2] + 1)
            row.append(best)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


def quoted(word: str) -> str:
    """A word in one of Lucene's regular expressions."""
    return _SPECIAL.sub(r"\\\g<0>", word)


def other_first_letter(word: str) -> str:
    """A pattern for the words within two typos, one of which is at the first letter: it is left out, another, put before, or
    exchanged with the second. Words have letters and digits alone."""
    rest, after = _one_typo(word[1:]), _one_typo(word[2:])
    exchanged = f"|{word[1]}{word[0]}({'|'.join(after)})" if len(word) > 1 else ""
    return f".?({'|'.join(rest)})|.({'|'.join(_one_typo(word))}){exchanged}"


def _one_typo(word: str) -> list[str]:
    """The word, and patterns for all that is one typo from it."""
    found = {word}
    for n in range(len(word)):
        found |= {word[:n] + word[n + 1 :], f"{word[:n]}.{word[n + 1 :]}"}
        if n + 1 < len(word):
            found.add(word[:n] + word[n + 1] + word[n] + word[n + 2 :])
    return sorted(found | {f"{word[:n]}.{word[n:]}" for n in range(len(word) + 1)})
