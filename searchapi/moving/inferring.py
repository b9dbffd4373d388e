"""An OpenSearch mapping as our settings, and a document under it as one of ours.

What an index of ours cannot hold as it is, is told (`Plan.notes`): nothing is dropped in silence. A field whose values do not fit
the type of its mapping gets a wider one: integer, float, keyword, text.
https://docs.opensearch.org/latest/mappings/supported-field-types/index/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import orjson

from ..analysis import LANGUAGES
from ..checking import INTEGERS, MAX_KEYWORD, name_problem
from ..exceptions import Conflict
from ..model import IndexSettings
from ..schema import parse_settings
from .dateformats import DEFAULT, rfc3339

TYPES = {
    **dict.fromkeys(("text", "match_only_text", "search_as_you_type", "annotated_text"), "text"),
    **dict.fromkeys(("keyword", "constant_keyword", "wildcard", "ip", "version"), "keyword"),
    **dict.fromkeys(("long", "integer", "short", "byte", "unsigned_long"), "integer"),
    **dict.fromkeys(("double", "float", "half_float", "scaled_float"), "float"),
    "boolean": "boolean",
    **dict.fromkeys(("date", "date_nanos"), "date"),
}
WIDER = {"integer": "float", "float": "keyword", "boolean": "keyword", "date": "keyword", "keyword": "text"}
PLAIN_ANALYZERS = (None, "standard", "simple", "whitespace", "stop", "default")
SHOWN = 60  # characters of a value


@dataclass(slots=True)
class Taken:
    """A leaf of the mapping. type: of our field. formats: of a date."""

    name: str
    type: str
    keyword: bool = True
    language: str | None = None
    formats: tuple[str, ...] = ()


class Misfit(Exception):
    """A value that its field cannot hold."""


@dataclass(slots=True)
class Plan:
    """fields: by their path in the foreign documents. notes: what is not as it was, once each, in the order it was found."""

    primary_key: str | None
    language: str
    fields: dict[str, Taken] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    dynamic: bool = True
    _names: dict[str, str] = field(default_factory=dict)
    _used: dict[str, str] = field(default_factory=dict)
    _id_field: bool = False  # whether documents have a field `id` that is not their _id

    # ------------------------------------------------------------------------------------------------------- mapping

    @classmethod
    def of(cls, mapping: Mapping[str, Any], primary_key: str | None, language: str | None) -> Plan:
        plan = cls(primary_key, language or "none")
        plan._properties(mapping.get("properties", {}), "")
        plan._id_field = "properties" in mapping.get("properties", {}).get("id", {})
        source = mapping.get("_source", {})
        if source.get("excludes") or source.get("includes"):
            plan.note("_source", "its _source leaves fields out, which cannot be read and so are not taken")
        if mapping.get("_routing", {}).get("required"):
            plan.note("_routing", "its documents have a routing, which is not taken: here an _id alone names a document")
        if mapping.get("runtime") or mapping.get("derived"):
            plan.note("runtime", "its computed fields are not taken")
        texts = [taken for taken in plan.fields.values() if taken.type == "text"]
        if language is None and any(taken.language is None for taken in texts):
            plan.note(
                "language", "texts without a language of their own get none; --language english finds other forms of their words"
            )
        return plan

    def note(self, about: str, text: str) -> None:
        self.notes.setdefault(about, text)

    def _properties(self, properties: Mapping[str, Any], prefix: str) -> None:
        for key, row in properties.items():
            path, kind = prefix + key, row.get("type", "object")
            if kind in ("object", "nested") and row.get("enabled", True):
                if kind == "nested":
                    self.note(path, f"{path} is nested; here its objects are flattened: a filter may match across two of them")
                self._properties(row.get("properties", {}), f"{path}.")
            elif kind in TYPES:
                self._leaf(path, row, TYPES[kind])
            elif kind == "alias":
                self.note(path, f"{path} is an alias of the field {row.get('path')}, and is not taken")
            else:
                what = kind if row.get("enabled", True) else "not indexed"
                self.note(path, f"{path} ({what}) has no such type here; its values stay in the documents, as what they look like")

    def _leaf(self, path: str, row: Mapping[str, Any], type: str) -> None:
        inner = row.get("fields", {})
        kinds = {name: TYPES.get(sub.get("type"), sub.get("type")) for name, sub in inner.items()}
        if type == "keyword" and "text" in kinds.values():
            type = "text"
            analyzed = next(sub for sub in inner.values() if TYPES.get(sub.get("type")) == "text")
        else:
            analyzed = row
        keyword = row.get("type") != "text" or "keyword" in kinds.values()
        for name, kind in kinds.items():
            if kind not in ("text", "keyword"):
                self.note(f"{path}.{name}", f"{path}.{name} ({kind}) is another form of {path}, and is not taken")
        for option in ("copy_to", "null_value", "normalizer"):
            if option in row:
                self.note(f"{path} {option}", f"{option} of {path} is not taken")
        formats = tuple(row["format"].split("||")) if "format" in row else DEFAULT
        self.fields[path] = Taken(
            self.name(path), type, keyword, self._language(path, analyzed) if type == "text" else None, formats
        )
        if row.get("type") == "ip":
            self.note(path, f"{path} is an ip; here it is a keyword, without ranges of addresses")

    def _language(self, path: str, row: Mapping[str, Any]) -> str | None:
        analyzer = row.get("analyzer")
        if analyzer in LANGUAGES:
            return analyzer
        if analyzer not in PLAIN_ANALYZERS:
            self.note(f"{path} analyzer", f"the analyzer {analyzer!r} of {path} is not taken, nor its synonyms and stop words")
        return None

    # --------------------------------------------------------------------------------------------------------- names

    def name(self, path: str) -> str:
        """What a field is called here: names are of lowercase letters, digits, _ and -."""
        known = self._names.get(path)
        if known is None:
            parent, _, key = path.rpartition(".")
            before = f"{self.name(parent)}." if parent else ""
            wanted = before + (key if name_problem(key) is None else _plain(key))
            known, number = wanted, 2
            while self._used.setdefault(known, path) != path:
                known, number = f"{wanted}_{number}", number + 1
            self._names[path] = known
            if known != path and known.rpartition(".")[2] != key:
                self.note(f"{path} name", f"{path} is called {known} here")
        return known

    # ----------------------------------------------------------------------------------------------------- documents

    def study(self, id: str, source: Mapping[str, Any]) -> None:
        """See whether a document fits, and widen the types of fields that it does not fit."""
        key = self.primary_key or "id"
        if key in source and (isinstance(source[key], bool) or str(source[key]) != id):
            if self.primary_key:
                raise Conflict(f"{key!r} cannot be the primary key: the document with the _id {id!r} holds something else there.")
            self._id_field = True
        self._object(source, "")

    def settings(self) -> IndexSettings:
        """After all documents were studied. Raises Invalid where an index of ours cannot have such fields."""
        key = self.primary_key = self.primary_key or ("_id" if self._id_field else "id")
        if key != "id":
            self.note("primary key", f"the primary key is {key}")
        fields: dict[str, dict[str, Any]] = {}
        for taken in self.fields.values():
            if taken.name == key:
                continue
            fields[taken.name] = {"type": taken.type}
            if taken.type == "text":
                fields[taken.name] |= {"keyword": taken.keyword, "language": taken.language}
        return parse_settings({"primary_key": key, "language": self.language, "fields": fields})

    def document(self, id: str, source: Mapping[str, Any]) -> dict[str, Any]:
        return {self.primary_key: id} | {
            name: value for name, value in self._object(source, "").items() if name != self.primary_key
        }

    def _object(self, source: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in source.items():
            path = prefix + key
            name = self.name(path)
            made[name[len(self.name(prefix[:-1])) + 1 :] if prefix else name] = self._value(path, value)
        return made

    def _value(self, path: str, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, list):
            if any(isinstance(each, list) for each in value):
                self.note(f"{path} arrays", f"arrays in arrays of {path} are flattened, as they were searched")
                value = list(_flat(value))
            return [self._value(path, each) for each in value]
        taken = self.fields.get(path)
        if isinstance(value, Mapping):
            return self._object(value, f"{path}.") if taken is None else self._wider(path, taken, value)
        return value if taken is None else self._wider(path, taken, value)

    def _wider(self, path: str, taken: Taken, value: Any) -> Any:
        """The value as the field's type holds it; the field is widened until it does."""
        while True:
            try:
                made = CASTS[taken.type](value, taken)
            except Misfit:
                wider = WIDER.get(taken.type)
                if wider is None:
                    return value  # the target refuses the document, and says why
                if taken.type == "integer" and not isinstance(_number(value), float):
                    wider = "keyword"
                self.note(f"{path} type", f"{path} becomes {wider}, for {_shown(value)} is no {taken.type}")
                taken.type = wider
                continue
            if (made is not value and made != value) or type(made) is not type(value):
                self.note(f"{path} values", f"values of {path} are written as {taken.type}: {_shown(value)} as {_shown(made)}")
            return made


def _plain(key: str) -> str:
    """`firstName` -> `first_name`, `@timestamp` -> `_timestamp`."""
    text = re.sub(r"[^a-z0-9_-]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower())
    return ("_" + text if text.startswith("-") else text) or "_"


def _flat(values: list) -> Any:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


# -------------------------------------------------------------------------------------- values, as OpenSearch takes them


def _number(value: Any) -> int | float | None:
    """OpenSearch reads numbers in strings too (`coerce`)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value) if re.fullmatch(r"\s*[+-]?\d+\s*", value) else float(value)
        except ValueError:
            return None
    if not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return value


def _integer(value: Any, taken: Taken) -> int:
    number = _number(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or number not in INTEGERS:
        raise Misfit
    return number


def _float(value: Any, taken: Taken) -> int | float:
    number = _number(value)
    if number is None or (isinstance(number, int) and number not in INTEGERS):
        raise Misfit
    return number


def _boolean(value: Any, taken: Taken) -> bool:
    known = {"true": True, "false": False, "": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in known:
        return known[value]
    raise Misfit


def _date(value: Any, taken: Taken) -> str | int:
    try:
        return rfc3339(value, taken.formats)
    except ValueError:
        raise Misfit from None


def _text(value: Any, taken: Taken) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _keyword(value: Any, taken: Taken) -> str:
    text = _text(value, taken)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_KEYWORD:
        raise Misfit
    return text


CASTS = {"integer": _integer, "float": _float, "boolean": _boolean, "date": _date, "keyword": _keyword, "text": _text}
