"""The index that the tests of the query side speak of, with a field of every kind."""

from __future__ import annotations

from searchapi.model import Field, IndexInfo, IndexSettings

FIELDS = (
    Field("id", "keyword"),
    Field("name", "text", boost=3.0),
    Field("summary", "text", keyword=False),
    Field("kind", "keyword"),
    Field("tags", "keyword", array=True),
    Field("year", "integer"),
    Field("price", "float"),
    Field("deprecated", "boolean"),
    Field("published", "date"),
    Field("author.name", "text"),
    Field("author.born", "integer"),
    Field("exists", "boolean"),
    Field("to", "keyword"),
    Field("2nd-hand", "boolean"),
)
INFO = IndexInfo("books", "books-1", "2024-01-01T00:00:00Z", IndexSettings(), {f.name: f for f in FIELDS}, 1)
