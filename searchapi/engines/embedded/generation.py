"""A generation: one tantivy index built with one layout of slots, and where everything in it stands.

A tantivy schema is fixed when an index is made, fields of documents are not. So a generation has typed *slots*, spare ones
among them (128 unused ones did not slow commits), and a *mapping* gives each field its slots. A new field takes spare slots, and
nothing is rebuilt; when they run out, the next generation has twice as many, so rebuilds stay logarithmic in the fields.

    text      t<n> words as they stand, s<n> stemmed by the slot's language; a keyword slot as well for its keyword twin
    keyword   k<n> the whole value; that of a text's twin is shortened by `keyword_value`
    integer   i<n>; an inferred one has a float slot as well, so that widening it needs no rebuild
    float     f<n>
    boolean   i<n> as 0 or 1
    date      i<n> as milliseconds since 1970 UTC (tantivy's dates drop below a second)
    _id _seq _body _fields   the id, the write it is as of, its JSON, and the names of the fields it holds (for EXISTS)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import tantivy

from ...analysis import build_analyzer
from ...model import Field
from ..values import keyword_value

FORMAT = "t27a1"  # tantivy's index format and ours: another release's generations are built beside, never touched

SPARE = {"text": 12, "keyword": 24, "integer": 12, "float": 12}

REACHED = "reached.json"
WORDS = "words"
COLUMNS = 200  # sets of fields whose places are kept


@dataclass(frozen=True, slots=True)
class Layout:
    """How many slots of each kind, and the language of each text slot. `epoch` moves when the same slots must be filled anew."""

    text: tuple[str, ...] = ()
    keyword: int = 0
    integer: int = 0
    float: int = 0
    epoch: int = 0

    @property
    def name(self) -> str:
        digest = hashlib.blake2b(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS), digest_size=6)
        return f"{FORMAT}-{digest.hexdigest()}"

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: bytes | str) -> Layout:
        data = orjson.loads(raw)
        return cls(**{**data, "text": tuple(data["text"])})


@dataclass(frozen=True, slots=True)
class Slots:
    """Where one field lies. `field` is the field as this generation holds it."""

    field: Field
    text: int | None = None
    keyword: int | None = None
    integer: int | None = None
    float: int | None = None

    @property
    def value_name(self) -> str:
        """The tantivy field with whole values, of the type to filter, facet and sort by."""
        kind = self.field.type
        if kind in ("text", "keyword"):
            return f"k{self.keyword}"
        return f"f{self.float}" if kind == "float" else f"i{self.integer}"


class Column(NamedTuple):
    """One text field: the tantivy fields of its words and stems (None for language "none"), and the weight of a match there."""

    words: str
    stems: str | None
    language: str
    weight: float


@dataclass(frozen=True)
class Placement:
    """A generation's fields and their slots, by field name."""

    layout: Layout
    slots: Mapping[str, Slots] = field(default_factory=dict)
    _columns: dict[tuple, tuple[Column, ...]] = field(default_factory=dict, repr=False, compare=False)

    def columns(self, fields: tuple[str, ...], boost_power: float) -> tuple[Column, ...]:
        """Where the words of these text fields are; those that this generation does not hold yet have nothing to match.
        The same tuple for the same question, as long as the placement lives."""
        known = self._columns.get((fields, boost_power))
        if known is None:
            if len(self._columns) >= COLUMNS:
                self._columns.clear()
            found = ((self.slots[name].text, self.slots[name].field.boost) for name in fields if name in self.slots)
            known = self._columns[fields, boost_power] = tuple(
                Column(f"t{slot}", f"s{slot}" if language != "none" else None, language, boost**boost_power)
                for slot, boost in found
                if slot is not None
                for language in (self.layout.text[slot],)
            )
        return known

    def place(self, fields: Iterable[Field]) -> Placement | None:
        """With these fields added or updated; None where no spare slot of the right kind is left or a slot would have to be
        filled anew (another type or language), so that only a new generation can hold them."""
        slots, used = dict(self.slots), self._used()
        for new in fields:
            old = slots.get(new.name)
            placed = _updated(old, new, self.layout) if old is not None else _placed(new, self.layout, used)
            if placed is None:
                return None
            slots[new.name] = placed
        return Placement(self.layout, slots)

    def _used(self) -> dict[str, set[int]]:
        kinds = ("text", "keyword", "integer", "float")
        return {kind: {n for s in self.slots.values() if (n := getattr(s, kind)) is not None} for kind in kinds}

    def to_json(self) -> bytes:
        return orjson.dumps([asdict(s) for s in self.slots.values()])

    @classmethod
    def from_json(cls, layout: Layout, raw: bytes | str) -> Placement:
        rows = [Slots(**{**row, "field": Field(**row["field"])}) for row in orjson.loads(raw)]
        return cls(layout, {row.field.name: row for row in rows})


def _needs(wanted: Field) -> dict[str, int]:
    kind = wanted.type
    if kind == "text":
        return {"text": 1, "keyword": 1} if wanted.keyword else {"text": 1}
    if kind == "integer" and wanted.inferred:
        return {"integer": 1, "float": 1}
    return {{"keyword": "keyword", "float": "float"}.get(kind, "integer"): 1}


def _placed(new: Field, layout: Layout, used: dict[str, set[int]]) -> Slots | None:
    found: dict[str, int] = {}
    for kind in _needs(new):
        if kind == "text":
            free = (n for n, language in enumerate(layout.text) if language == new.language)
        else:
            free = iter(range(getattr(layout, kind)))
        slot = next((n for n in free if n not in used[kind]), None)
        if slot is None:
            return None
        found[kind] = slot
        used[kind].add(slot)
    return Slots(new, **found)


def _updated(old: Slots, new: Field, layout: Layout) -> Slots | None:
    """The same slots with a changed field, where what they hold already fits it."""
    widened = old.field.type == "integer" and new.type == "float" and old.float is not None
    if new.type != old.field.type and not widened:
        return None
    if new.type == "text" and (layout.text[old.text] != new.language or (new.keyword and old.keyword is None)):
        return None
    return replace(old, field=new)


def lay_out(fields: Iterable[Field], language: str, epoch: int = 0) -> Placement:
    """A fresh placement with room to grow: for each kind as many spare slots as are used, and at least SPARE."""
    fields = list(fields)
    need = {kind: sum(_needs(f).get(kind, 0) for f in fields) for kind in SPARE}
    spare = {kind: max(SPARE[kind], need[kind]) for kind in SPARE}
    layout = Layout(
        text=tuple(f.language or language for f in fields if f.type == "text") + (language,) * spare["text"],
        keyword=need["keyword"] + spare["keyword"],
        integer=need["integer"] + spare["integer"],
        float=need["float"] + spare["float"],
        epoch=epoch,
    )
    placement = Placement(layout).place(fields)
    if placement is None:
        raise AssertionError("a layout made for these fields must hold them")
    return placement


# --------------------------------------------------------------------------------------------------------- tantivy


def build_schema(layout: Layout) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("_id", stored=True, fast=True, tokenizer_name="raw", index_option="basic")
    builder.add_integer_field("_seq", indexed=True, fast=True)
    builder.add_bytes_field("_body", stored=True)
    builder.add_text_field("_fields", tokenizer_name="raw", index_option="basic")
    for n, language in enumerate(layout.text):
        builder.add_text_field(f"t{n}", tokenizer_name="words")
        if language != "none":
            builder.add_text_field(f"s{n}", tokenizer_name=f"stems_{language}")
    for n in range(layout.keyword):
        builder.add_text_field(f"k{n}", tokenizer_name="raw", fast=True, index_option="basic")
    for n in range(layout.integer):
        builder.add_integer_field(f"i{n}", indexed=True, fast=True)
    for n in range(layout.float):
        builder.add_float_field(f"f{n}", indexed=True, fast=True)
    return builder.build()


def open_index(path: Path, layout: Layout, *, create: bool = False) -> tantivy.Index:
    """The generation's index, its tokenizers registered. Raises what tantivy raises (ValueError, OSError) where it cannot."""
    if create:
        path.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(build_schema(layout), str(path))
    else:
        index = tantivy.Index.open(str(path))
    index.register_tokenizer("words", build_analyzer())
    for language in set(layout.text) - {"none"}:
        index.register_tokenizer(f"stems_{language}", build_analyzer(language))
    return index


def words_schema() -> tantivy.Schema:
    """The vocabulary, a small index of its own beside the documents': typos are looked up in it. n: documents that hold the
    word, when the vocabulary was last counted."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("word", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_integer_field("n", fast=True)
    return builder.build()


def open_words(path: Path, *, create: bool = False) -> tantivy.Index:
    if create:
        (path / WORDS).mkdir(parents=True, exist_ok=True)
        return tantivy.Index(words_schema(), str(path / WORDS))
    return tantivy.Index.open(str(path / WORDS))


def indexed_value(slots: Slots, value: Any) -> Any:
    """A value as its slot holds it."""
    kind = slots.field.type
    if kind == "keyword":
        return value
    if kind == "text":
        return keyword_value(value)
    return float(value) if kind == "float" else int(value)


# ------------------------------------------------------------------------------------------------- how far it reached


@dataclass(frozen=True, slots=True)
class Reached:
    """uuid: of the store that the generation was built from. seq: every write up to it is in the committed index. written_ms: when
    the store says that this seq was written, so that an older copy of the store is told even after it was written to; None where
    no document has this seq."""

    uuid: str
    seq: int
    written_ms: int | None = None


def read_reached(path: Path) -> Reached | None:
    """None where there is none that can be read: the generation is not to be trusted."""
    try:
        data: Any = orjson.loads((path / REACHED).read_bytes())
        return Reached(str(data["uuid"]), int(data["seq"]), data.get("written_ms"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_reached(path: Path, reached: Reached) -> None:
    """After the commit it speaks of, so that it never promises more than the index holds; a crash between replays a little."""
    temporary = path / (REACHED + ".new")
    temporary.write_bytes(orjson.dumps(asdict(reached)))
    temporary.replace(path / REACHED)
