"""The caps on one request. Every error about a cap names it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Limits:
    """Lengths are in code points, times in milliseconds, pages in hits.

    max_clauses:      words + phrases of q, wanted and excluded together.
    max_filter_depth: parentheses and NOTs inside each other.
    max_filter_nodes: conditions + NOT, AND and OR nodes of a filter.
    max_page:         cap on limit + offset; beyond it a cursor goes on.
    max_page_size:    cap on limit; page_size_cap says whose it is.
    """

    max_query_length: int = 1000
    max_clauses: int = 64
    max_filter_length: int = 8000
    max_filter_depth: int = 20
    max_filter_nodes: int = 200
    max_in_values: int = 1000
    max_facets: int = 20
    max_facet_values: int = 1000
    max_facet_ranges: int = 50
    max_sort_fields: int = 5
    max_page: int = 1000
    max_page_size: int = 1000
    page_size_cap: str = "MAX_PAGE_SIZE"
    default_limit: int = 20
    max_snippet_length: int = 2000
    default_timeout_ms: int = 1000
    max_timeout_ms: int = 10000
    default_suggestions: int = 8
    max_suggestions: int = 50

    @property
    def default_page_size(self) -> int:
        return min(self.default_limit, self.max_page_size, self.max_page)


DEFAULT_LIMITS = Limits()


@lru_cache(maxsize=256)
def limits_for(limits: Limits, max_page_size: int) -> Limits:
    """The limits of a key that has its own `max_page_size`, which can only lower the server's."""
    if max_page_size >= limits.max_page_size:
        return limits
    return replace(limits, max_page_size=max_page_size, page_size_cap="max_page_size of this key")
