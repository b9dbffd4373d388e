"""The documents that the conformance tables speak of: the same on every run.

Two kinds live side by side in `LIBRARY`. The *notes* are written by hand, in groups of a few documents that alone hold certain
words, so that the answer to a text query can be read off this page (`w01` to `w06` know quartz, lantern, brass, walnut …). The
*catalogue* (books, products, people) is generated: typed values with gaps, nulls, empty arrays and ties, for filters, facets and
sorting. Its words come from `COMMON` only, of which no note's telling word is within two typos.

`PLAIN` is a second, tiny index without a declared field: all its types are inferred.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from searchapi.model import Field, IndexSettings, Synonyms, TypoRules

STOP_WORDS = ("the", "a", "of", "and", "in", "on", "for", "with", "yonder")

SETTINGS = IndexSettings(
    fields={
        f.name: f
        for f in (
            Field("title", "text", boost=3.0),
            Field("body", "text", keyword=False),
            Field("titel", "text", language="german", keyword=False),
            Field("lines", "text", keyword=False, array=True),
            Field("kind", "keyword"),
            Field("code", "keyword"),
            Field("tags", "keyword", array=True),
            Field("year", "integer"),
            Field("sizes", "integer", array=True),
            Field("price", "float"),
            Field("rating", "float"),
            Field("available", "boolean"),
            Field("published", "date"),
            Field("events", "date", array=True),
            Field("author.name", "text"),
            Field("author.country", "keyword"),
        )
    },
    stop_words=STOP_WORDS,
    synonyms=(
        Synonyms(("sofa", "couch", "settee"), ("sofa", "couch", "settee")),
        Synonyms(("nyc", "new york city"), ("nyc", "new york city")),
        Synonyms(("laptop",), ("notebook", "ultrabook")),
        Synonyms(("tv",), ("television set",)),
        Synonyms(("red wine",), ("merlot",)),
    ),
    typo=TypoRules(exact_words=("drumkit",)),
)

# id -> what the document holds besides; `kind` is always "note".
NOTES: dict[str, dict[str, Any]] = {
    # words: all, any, relax, phrases, exclusion
    "w01": {"title": "Quartz lantern", "body": "A heavy lantern of brass for the cellar."},
    "w02": {"title": "Quartz clock", "body": "Ticks softly beside the lantern shelf."},
    "w03": {"title": "Brass compass", "body": "Points north, always; polished quartz lens."},
    "w04": {"title": "Walnut cabinet", "body": "Four drawers with brass handles."},
    "w05": {"title": "Walnut lantern", "body": "Carved, meant outdoors."},
    "w06": {"title": "Copper kettle", "body": "Whistles. Walnut grip, brass lid."},
    "w07": {"lines": ["ends at obsidian", "basalt begins"], "title": "Two lines"},
    "w08": {"lines": ["obsidian basalt touch"], "title": "One line"},
    # prefixes
    "p01": {"title": "Marigold seeds"},
    "p02": {"title": "Marimba mallets"},
    "p03": {"title": "Marinade jar"},
    "p04": {"title": "Marzipan pig"},
    "p05": {"title": "Bolt"},
    "p06": {"title": "Boltzmann"},
    "p07": {"title": "Übergröße", "body": "Überzug"},
    # typos
    "t01": {"title": "Saxophone lessons"},
    "t02": {"title": "Trumpet valves"},
    "t03": {"title": "Oboe reed"},
    "t04": {"title": "Piano stool"},
    "t05": {"title": "Violin strings"},
    "t06": {"title": "Violine strings"},
    "t07": {"title": "Serial 48213"},
    "t08": {"title": "Rivel"},
    "t09": {"title": "Drumkid toys"},
    "t10": {"title": "Part KX90210Z"},
    # boosts, frequency, proximity: equal lengths, so that only what is tested differs
    "b01": {"title": "Falcon", "body": "Nest"},
    "b02": {"title": "Nest", "body": "Falcon"},
    "b03": {"title": "North", "body": "tundra tundra tundra tundra"},
    "b04": {"title": "South", "body": "tundra moss moss moss"},
    "b05": {"title": "Stone", "body": "amber lies far away from every sort of old resin"},
    "b06": {"title": "Stone", "body": "amber resin lies far away from every sort of old"},
    # stems
    "s01": {"title": "Running shoes"},
    "s02": {"title": "Runs daily"},
    "s03": {"title": "Runner shoes"},
    "s04": {"title": "Connected rooms"},
    "s05": {"title": "Connecting rooms"},
    "s06": {"title": "Happiness guide"},
    "s07": {"title": "Batteries charged"},
    # German (its stemmer would not know English endings)
    "g01": {"titel": "Die Häuser am Fluss"},
    "g02": {"titel": "Das alte Haus"},
    "g03": {"titel": "Viele kleine Kinder"},
    "g04": {"titel": "Ein Kind lauft"},
    "g05": {"titel": "Lange Straßen"},
    "g06": {"titel": "Eine Strasse"},
    # stop words: `yonder` is one here, and stands in three documents
    "o01": {"title": "Yonder hills"},
    "o02": {"title": "Hills", "body": "over yonder"},
    "o03": {"title": "Yonder"},
    # folding
    "f01": {"title": "Café Zürich"},
    "f02": {"title": "Ærøskøbing ferry"},
    "f03": {"title": "Ångström unit"},
    "f04": {"title": "Москва вечером"},
    "f05": {"title": "CAFE MENU"},
    "f06": {"title": "Σίσυφος"},
    # synonyms
    "y01": {"title": "Velvet sofa"},
    "y02": {"title": "Leather couch"},
    "y03": {"title": "Tiny settee"},
    "y04": {"title": "NYC guide"},
    "y05": {"title": "New York City maps"},
    "y06": {"title": "York bridge, city news: new"},
    "y07": {"title": "Gaming laptop"},
    "y08": {"title": "Paper notebook"},
    "y09": {"title": "Television set repair"},
    "y10": {"title": "TV stand"},
    "y11": {"title": "Red wine glass"},
    "y12": {"title": "Merlot bottle"},
    "y13": {"title": "Wine merchant"},
    # identifiers and numbers
    "i01": {"title": "JSONDecoder class"},
    "i02": {"title": "read_text method"},
    "i03": {"title": "parseHTMLPage"},
    "i04": {"title": "XMLHttpRequest"},
    "i05": {"title": "snake_case_name"},
    "i06": {"title": "Boeing 747 jet"},
    "i07": {"title": "Pi is 3.14159 roughly"},
    "i08": {"title": "C++ primer"},
    # markup, astral characters, long texts: highlighting
    "h01": {"title": "Markup", "body": "<b>Bold</b> & \"quoted\" <script>alert('x')</script> kangaroo"},
    "h02": {"title": "😀 Kangaroo court"},
    "h03": {"title": "Long", "body": "filling " * 60 + "here the wallaby sits quietly " + "padding " * 60 + "the end wallaby"},
    "h04": {"title": "Birds", "lines": ["one heron", "no bird", "two herons <i>fly off</i>"]},
    # odd ids
    "a/b": {"title": "Slash id", "code": 'say "hi"'},
    "Zebra": {"title": "Upper id", "code": "back\\slash"},
    "ünï ç": {"title": "Accent id", "code": "line\nbreak"},
    # filters: values at the edges
    "e01": {"title": "Edges", "code": "js-lib", "year": 0, "price": 0.0, "published": "1969-07-20T20:17:40Z", "sizes": []},
    "e02": {"title": "Edges", "code": "JS-lib", "year": -44, "price": -1.5, "published": "2020-02-29", "sizes": [7]},
    "e03": {"title": "Edges", "code": "js", "year": 2**53, "price": 1e15, "published": "2019-12-31T23:59:59.999Z"},
    "e04": {"title": "Edges", "code": "jsx", "year": None, "price": 3, "published": "2021-05-04T10:00:00+02:00"},
    "e05": {"title": "edges", "code": "it's 50 % (off)", "tags": ["dup", "dup", "Ünïcode tag"], "sizes": [1, 50]},
    "e06": {"title": None, "tags": [], "author": {"name": "Jo Edge", "country": None}},
    "e07": {"title": "Edges", "tags": "dup", "author": {}, "events": ["2001-01-01", "2011-11-11T11:11:11Z"]},
    "e08": {"title": "Edges", "events": ["2005-05-05"], "published": None, "available": None},
}

COMMON = (
    "river garden market window bridge forest mountain village harvest summer winter journey silver golden ancient modern "
    "simple hidden broken morning evening kitchen library station teacher doctor captain farmer painter sailor"
).split()
TAGS = ("fiction", "Science Fiction", "history", "sale", "new", "used", "gift", "rare")
COUNTRIES = ("DE", "FR", "JP", "US", "BR")
NAMES = ("Ada Marsh", "Ben Okoro", "Carla Wei", "Dmitri Hall", "Eva Lund", "Farid Noor")


def _maybe(rng: random.Random, missing: float, value: Any) -> Any:
    """The value, or None for a field that is left out."""
    return None if rng.random() < missing else value


def _catalogue(count: int = 210, seed: int = 7) -> Iterator[dict[str, Any]]:
    rng = random.Random(seed)
    for n in range(count):
        kind = ("book", "product", "person")[n % 3]
        document = {
            "id": f"{kind}-{n:03d}",
            "kind": kind,
            "title": " ".join(rng.sample(COMMON, 2)).capitalize(),
            "body": " ".join(rng.choices(COMMON, k=rng.randint(6, 14))) + ".",
            "tags": _maybe(rng, 0.15, rng.sample(TAGS, rng.randint(0, 3))),
            "year": _maybe(rng, 0.1, rng.randint(1990, 2024)),
            "price": _maybe(rng, 0.15, rng.choice([rng.randint(1, 60), round(rng.uniform(1, 60), 2), 9.99, 10, 20.0])),
            "rating": _maybe(rng, 0.4, rng.choice([1.0, 2.5, 3.0, 4.5, 5])),
            "available": _maybe(rng, 0.2, rng.random() < 0.6),
            "published": _maybe(rng, 0.1, f"{rng.randint(2015, 2024)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"),
            "sizes": _maybe(rng, 0.5, sorted(rng.sample(range(30, 48), rng.randint(1, 4)))),
            "author": _maybe(rng, 0.3, {"name": rng.choice(NAMES), "country": _maybe(rng, 0.2, rng.choice(COUNTRIES))}),
        }
        if rng.random() < 0.5:  # half of the gaps are nulls, the others are left out
            document = {name: value for name, value in document.items() if value is not None}
        yield document


LIBRARY: list[dict[str, Any]] = [{"id": id, "kind": "note", **rest} for id, rest in NOTES.items()] + list(_catalogue())
LIBRARY.append({"id": 42, "kind": "note", "title": "Whole number id"})

PLAIN: list[dict[str, Any]] = [
    {"id": "1", "name": "The red fox", "count": 3, "ratio": 0.5, "ok": True, "at": "2024-01-02T03:04:05Z", "labels": ["x", "y"]},
    {"id": "2", "name": "A fox runs", "count": 5, "ratio": 2, "ok": False, "at": "2024-06-01T00:00:00Z", "labels": []},
    {"id": "3", "name": "How do I start", "count": 7.5, "nested": {"deep": {"word": "burrow"}}, "labels": ["y"]},
    {"id": "4", "name": "Badger", "count": None, "ratio": 1.25, "nested": {"deep": {"word": "burrows"}}},
]
