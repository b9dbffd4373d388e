"""The generated corpus, Debian's stanzas, and the queries drawn from documents."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from urllib.parse import parse_qs

import pytest

from bench import zipf
from bench.corpora import PACKAGES, package, stanzas
from bench.queries import KINDS, SHORTEST, Words, draw, misspelt, pairs, paths
from searchapi.checking import check, initial_fields
from searchapi.query.params import search_from_args
from tests.naive import distance
from tests.unit.query_index import INFO

STANZAS = b"""\
Package: vim
Version: 2:9.0
Maintainer: Debian Vim Maintainers <team+vim@tracker.debian.org>
Architecture: amd64
Depends: vim-common (= 2:9.0), libc6 (>= 2.34) | libc6.1, libtinfo6, libc6
Description: Vi IMproved - enhanced vi editor
 A long text
 .
 of two paragraphs: with a colon.
Tag: devel::editor, implemented-in::c,
 interface::text-mode
Section: editors
Size: 1567756

Package: tiny
Architecture: all
"""


@pytest.fixture(scope="module")
def generated() -> list[dict]:
    return list(zipf.documents(3_000))


@pytest.fixture(scope="module")
def corpus(generated) -> Words:
    return Words.of(generated, zipf.SETTINGS)


def test_generated_documents_are_the_same_in_a_corpus_of_any_size(generated):
    assert list(zipf.documents(5)) == generated[:5]
    assert zipf.document(2_999) == generated[-1]


def test_generated_documents_are_streamed():
    assert next(iter(zipf.documents(10**9)))["id"] == "00000000"
    assert len(list(itertools.islice(zipf.documents(10**9), 3))) == 3


def test_generated_documents_fit_their_settings(generated):
    """Every one passes the check that a write makes, and adds no field."""
    fields = initial_fields(zipf.SETTINGS)
    assert all(check(document, zipf.SETTINGS, fields) == {} for document in generated)
    assert len({document["id"] for document in generated}) == len(generated)


def test_generated_words_follow_zipf(generated):
    """The first word is about ten times as frequent as the tenth; most words of the corpus are rare."""
    counts = Counter(word for d in generated for word in f"{d['title']} {d['body']}".split())
    first, tenth = (counts[zipf.vocabulary()[n]] for n in (0, 9))
    assert 6 < first / tenth < 15
    assert sum(n <= 2 for n in counts.values()) > len(counts) / 2
    assert len(set(zipf.vocabulary())) == zipf.WORDS


def test_stanzas_become_documents():
    """Folded fields are joined, alternatives and versions left out, what is missing is absent."""
    vim, tiny = map(package, stanzas(STANZAS.splitlines(keepends=True)))
    assert vim == {
        "id": "vim",
        "name": "vim",
        "summary": "Vi IMproved - enhanced vi editor",
        "description": "A long text\n\nof two paragraphs: with a colon.",
        "maintainer": "Debian Vim Maintainers",
        "section": "editors",
        "depends": ["vim-common", "libc6", "libtinfo6"],
        "tags": ["devel::editor", "implemented-in::c", "interface::text-mode"],
        "version": "2:9.0",
        "size": 1567756,
    }
    assert tiny == {"id": "tiny", "name": "tiny"}
    assert check(vim, PACKAGES, initial_fields(PACKAGES)) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_queries(corpus, kind):
    drawn = draw(corpus, kind, 20)
    assert drawn == draw(corpus, kind, 20)
    assert len(set(drawn)) == len(drawn) > 0
    assert drawn != draw(corpus, kind, 20, seed=2)


def test_exact_queries_are_words_that_stand_together_and_no_prefix(corpus):
    for q in draw(corpus, "exact", 30):
        first, second = q.split()
        assert q.endswith(" ") and corpus.together(first, second) >= 10


def test_prefixes_end_within_a_word(corpus):
    whole = draw(corpus, "exact", 30)
    for q, full in zip(draw(corpus, "prefixes", 30), whole, strict=True):
        assert full.startswith(q) and len(q) < len(full) - 1


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "typos"), [("one_typo", 1), ("two_typos", 2)])
def test_every_word_of_a_query_with_typos_is_wrong(corpus, kind, typos):
    """By no more letters than may be wrong, long enough to be corrected, and no word of the corpus."""
    for q in draw(corpus, kind, 5):
        for word in q.split():
            assert word not in corpus.holding and len(word) >= SHORTEST[typos]
            near = min(distance(word, known) for known in corpus.holding if abs(len(known) - len(word)) <= 2)
            assert 1 <= near <= typos


def test_misspelt_makes_as_many_typos_as_asked():
    chosen = random.Random(1)
    for word, typos in [("house", 1), ("directory", 2), ("implementation", 2)] * 50:
        wrong = misspelt(word, typos, {word}, chosen)
        assert 1 <= distance(word, wrong) <= typos


def test_a_corpus_without_such_words_says_so(corpus):
    with pytest.raises(ValueError, match="no two words of 40 letters"):
        pairs(corpus, 5, "seed", letters=40)


def test_addresses_are_what_the_query_side_reads():
    """The blank at the end of q survives, so that the last word is whole."""
    (path,) = paths("python", ["json decoder "], timeout_ms="5000")
    args = parse_qs(path.partition("?")[2], keep_blank_values=True)
    request = search_from_args(args, INFO, None)
    assert path.startswith("/v1/indexes/python/search?") and request.page.limit == 10 and request.timeout_ms == 5000
    assert [word.last for word in request.text.wanted] == [False, False]
