"""A document as it is sent to OpenSearch: what `mapping.py` describes, made by the analysis that both engines share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ...analysis import composed, identifier_forms, stem
from ...analysis import words as words_of
from ...documents import values
from ...model import Field
from ..values import keyword_value
from .mapping import MARK, has_float, stems, value_name, vocabulary, words

LONGEST = 32_000  # bytes of a keyword kept as it stands; Lucene takes 32,766


class Encoder:
    """Documents for one concrete index. fields: those that it holds."""

    def __init__(self, fields: Mapping[str, Field]):
        self._fields = dict(fields)
        self._adders = {name: _adder(field) for name, field in fields.items()}
        self._marks = [name for field in fields.values() if field.is_text for name in (words(field), stems(field)) if name]

    def document(self, id: str, version: int, body: bytes, at: int) -> dict[str, Any]:
        """at: when it was written, milliseconds since 1970."""
        made: dict[str, Any] = {"id": id, "version": version, "at": at, "body": body.decode()}
        found = values(orjson.loads(body), self._fields)
        has = []
        for name, given in found.items():
            if self._adders[name](made, given):
                has.append(name)
        made["has"] = has
        for name in self._marks:
            texts = made.setdefault(name, [])
            if texts:
                texts[0] = MARK + texts[0]
            else:
                texts.append(MARK)
        return made


def tombstone(id: str, version: int, at: int) -> dict[str, Any]:
    """What a deleted document leaves, so that who follows the writes sees it go."""
    return {"id": id, "version": version, "at": at, "gone": True}


def exact_value(field: Field, value: Any) -> Any:
    """A value as whole values are compared."""
    if field.type == "text":
        return keyword_value(value)
    if field.type == "keyword":
        return value if len(value.encode()) <= LONGEST else keyword_value(value)
    return float(value) if field.type == "float" else int(value)


Adder = Callable[[dict[str, Any], list[Any]], bool]


def _adder(field: Field) -> Adder:
    """How a field's values join a document. False, and nothing joins, where this index holds another type."""
    if field.is_text:
        return _text_adder(field)
    return _keyword_adder(field) if field.type == "keyword" else _number_adder(field)


def _text_adder(field: Field) -> Adder:
    word_name, stem_name, column, language = words(field), stems(field), vocabulary(field), field.language or "none"
    keyword = _keyword_adder(field) if field.keyword else None

    def add(made: dict[str, Any], given: list[Any]) -> bool:
        if not all(isinstance(value, str) for value in given):
            return False
        found = [found for value in given for text in _texts(value) if (found := words_of(text))]
        made[word_name] = [" ".join(each) for each in found]
        made[column] = list(dict.fromkeys(word for each in found for word in each))
        if stem_name is not None:
            made[stem_name] = [" ".join([stem(word, language) for word in each]) for each in found]
        return keyword is None or keyword(made, given)

    return add


def _texts(value: str) -> list[str]:
    value = composed(value)
    forms = identifier_forms(value)
    return [value, forms] if forms else [value]


def _keyword_adder(field: Field) -> Adder:
    name = value_name(field)

    def add(made: dict[str, Any], given: list[Any]) -> bool:
        if not all(isinstance(value, str) for value in given):
            return False
        made[name] = [exact_value(field, value) for value in dict.fromkeys(given)]
        return True

    return add


def _number_adder(field: Field) -> Adder:
    name, float_name = value_name(field), value_name(field).replace("i/", "f/", 1) if has_float(field) else None

    def add(made: dict[str, Any], given: list[Any]) -> bool:
        if not all(isinstance(value, (int, float)) for value in given):
            return False
        distinct = list(dict.fromkeys(given))
        if field.type != "float":
            made[name] = [int(value) for value in distinct]
        if float_name is not None:
            made[float_name] = [float(value) for value in distinct]
        return True

    return add
