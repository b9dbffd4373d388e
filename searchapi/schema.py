"""An index's settings as JSON and back, and the rules for names.

The body of `PUT /v1/indexes/{index}/settings`; every key may be left out:

    {"primary_key": "id", "language": "english", "dynamic": true, "stop_words": null,
     "synonyms": [["js", "javascript"], {"from": ["phone"], "to": ["iphone", "mobile phone"]}],
     "typo": {"enabled": true, "one_from": 5, "two_from": 9, "exact_words": []},
     "fields": {"title": {"type": "text", "boost": 2, "language": "german", "keyword": false}, "year": "integer"}}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from math import isfinite
from typing import Any

from . import analysis
from .checking import MAX_FIELDS, name_problem, overlapping
from .exceptions import Fault, Invalid
from .model import FIELD_TYPES, Field, IndexInfo, IndexSettings, Synonyms, TypoRules
from .wording import abridged, nearest, pointer, printable, shown

MAX_FAULTS = 100  # after so many, unknown keys are no longer reported one by one
MAX_PHRASES = 10_000  # of all synonyms together
MAX_STOP_WORDS = 2_000
MAX_EXACT_WORDS = 10_000
MAX_PHRASE = 100  # characters of a synonym, stop word or exact word
MAX_BOOST = 100.0
MAX_TYPO_LENGTH = 255  # letters

_INDEX_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_KEYS = ("primary_key", "language", "dynamic", "stop_words", "synonyms", "typo", "fields")
_TYPO_KEYS = ("enabled", "one_from", "two_from", "exact_words")
_FIELD_KEYS = ("type", "boost", "language", "keyword")
_TEXT_ONLY = {"boost": 1.0, "language": None, "keyword": True}


def check_name(name: Any, kind: str = "index") -> str:
    """The name of an index or alias, as it was given. Raises Invalid at `/name` (`invalid_name`)."""
    if isinstance(name, str) and _INDEX_NAME.fullmatch(name):
        return name
    rule = "1 to 100 lowercase letters, digits, _ and -, and starts with a letter or digit"
    detail = f"The name of an {kind} holds {rule}; got {shown(name)}."
    if isinstance(name, str):
        better = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:100]
        detail += f" Try {better!r}." if better and better != name else ""
    raise Invalid.at("/name", "invalid_name", detail)


# ----------------------------------------------------------------------------------------------------- JSON -> settings


def parse_settings(body: Any, base: IndexSettings | None = None, max_fields: int = MAX_FIELDS) -> IndexSettings:
    """Settings from decoded JSON. Keys left out keep their value in `base`, or the default without one. Raises Invalid with every
    fault, each with its JSON Pointer."""
    reader = _Reader(max_fields)
    if not isinstance(body, Mapping):
        raise Invalid.at("", "wrong_type", f"Expected an object of settings, got {shown(body)}.")
    given = dict(reader.keys("", body, _KEYS))
    parsers: dict[str, Callable[[str, Any], Any]] = {
        "primary_key": reader.primary_key,
        "language": reader.language,
        "dynamic": reader.boolean,
        "stop_words": reader.stop_words,
        "synonyms": reader.synonyms,
        "typo": reader.typo,
        "fields": reader.fields,
    }
    changes = {key: parsers[key](pointer(key), value) for key, value in given.items()}
    if not reader.faults:
        settings = replace(base or IndexSettings(), **changes)
        reader.primary_key_field(settings)
    if reader.faults:
        raise Invalid.of(reader.faults)
    # The primary key is a keyword where nothing is said: leaving that out keeps equal settings equal.
    key = settings.primary_key
    declared = {name: field for name, field in settings.fields.items() if name != key or field.type != "keyword"}
    return replace(settings, fields=declared)


class _Reader:
    """Reads settings and gathers what is wrong with them. A method that finds a fault answers something harmless."""

    def __init__(self, max_fields: int) -> None:
        self.faults: list[Fault] = []
        self.max_fields = max_fields

    def fault(self, at: str, code: str, detail: str) -> None:
        self.faults.append(Fault(at, code, detail))

    def expected(self, at: str, what: str, value: Any) -> None:
        self.fault(at, "wrong_type", f"Expected {what}, got {shown(value)}.")

    def keys(self, at: str, body: Mapping, known: tuple[str, ...]) -> Iterable[tuple[str, Any]]:
        """The members with known names; each other is a fault that suggests the nearest."""
        for key, value in body.items():
            if key in known:
                yield key, value
                continue
            if len(self.faults) >= MAX_FAULTS:
                break
            near = nearest(key, known)
            hint = f"did you mean {near!r}?" if near else f"known are {', '.join(known)}."
            self.fault(at + pointer(key), "unknown_setting", f"There is no setting {abridged(key)!r}; {hint}")

    def boolean(self, at: str, value: Any) -> bool:
        if not isinstance(value, bool):
            self.expected(at, "true or false", value)
        return value

    def integer(self, at: str, value: Any, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.expected(at, f"an integer from {low} to {high}", value)
            return low
        return value

    def language(self, at: str, value: Any) -> str:
        if not isinstance(value, str) or value not in analysis.LANGUAGES:
            near = nearest(value, analysis.LANGUAGES)
            hint = f"did you mean {near!r}?" if near else f"known are {', '.join(analysis.LANGUAGES)}."
            self.fault(at, "unknown_language", f"Expected a language, got {shown(value)}; {hint}")
        return value

    def primary_key(self, at: str, value: Any) -> str:
        problem = name_problem(value) if isinstance(value, str) else None
        if not isinstance(value, str):
            self.expected(at, "the name of a field", value)
        elif problem:
            self.fault(at, "field_name", f"{abridged(value)}: {problem}.")
        elif "." in value:
            self.fault(at, "field_name", f"{value}: the primary key must be at the top of a document, not inside an object.")
        return value

    def phrases(self, at: str, value: Any, single: bool = False, most: int = MAX_PHRASES) -> tuple[str, ...]:
        """An array of phrases (or of single words), each of which holds a word, each once."""
        if not isinstance(value, list):
            self.expected(at, "an array of words" if single else "an array of words or phrases", value)
            return ()
        if len(value) > most:
            self.fault(at, "too_many", f"Expected at most {most} of them, got {len(value)}.")
            return ()
        for position, phrase in enumerate(value):
            self.phrase(f"{at}/{position}", phrase, single)
        return tuple(dict.fromkeys(phrase for phrase in value if isinstance(phrase, str)))

    def phrase(self, at: str, phrase: Any, single: bool) -> None:
        if not isinstance(phrase, str):
            self.expected(at, "a string", phrase)
        elif len(phrase) > MAX_PHRASE or printable(phrase) != phrase:
            self.fault(at, "invalid_phrase", f"Expected at most {MAX_PHRASE} characters of valid Unicode, got {shown(phrase)}.")
        else:
            found = analysis.words(phrase)
            if not found:
                self.fault(at, "invalid_phrase", f"Expected at least one letter or digit, got {shown(phrase)}.")
            elif single and len(found) > 1:
                self.fault(
                    at, "invalid_phrase", f"Expected a single word, got {shown(phrase)}, which is {len(found)}: {', '.join(found)}."
                )

    def stop_words(self, at: str, value: Any) -> tuple[str, ...] | None:
        return None if value is None else self.phrases(at, value, single=True, most=MAX_STOP_WORDS)

    def synonyms(self, at: str, value: Any) -> tuple[Synonyms, ...]:
        if not isinstance(value, list):
            self.expected(at, "an array of synonym rules", value)
            return ()
        if len(value) > MAX_PHRASES:
            self.fault(at, "too_many", f"Expected at most {MAX_PHRASES} rules, got {len(value)}.")
            return ()
        read = [self.synonym(f"{at}/{position}", rule) for position, rule in enumerate(value)]
        rules = tuple(rule for rule in read if rule is not None)
        total = sum(len(rule.sources) + (0 if rule.sources == rule.targets else len(rule.targets)) for rule in rules)
        if total > MAX_PHRASES:
            self.fault(at, "too_many", f"Expected at most {MAX_PHRASES} phrases in all synonyms, got {total}.")
        return rules

    def synonym(self, at: str, rule: Any) -> Synonyms | None:
        if isinstance(rule, list):
            faults = len(self.faults)
            phrases = self.phrases(at, rule)
            if len(phrases) < 2 and len(self.faults) == faults:
                self.fault(at, "invalid_synonyms", f"Expected at least two different phrases, got {len(phrases)}.")
            return Synonyms(phrases, phrases)
        if not isinstance(rule, Mapping):
            self.expected(at, 'an array of phrases, or {"from": […], "to": […]}', rule)
            return None
        sides = {key: self.phrases(f"{at}/{key}", value) for key, value in self.keys(at, rule, ("from", "to"))}
        for key in ("from", "to"):
            if key not in rule:
                self.fault(at, "invalid_synonyms", f"A one-way rule needs {key!r}, an array of phrases.")
            elif rule[key] == []:
                self.fault(f"{at}/{key}", "invalid_synonyms", "Expected at least one phrase, got none.")
        sources, targets = sides.get("from", ()), sides.get("to", ())
        if len(sources) == 1 and sources == targets:
            self.fault(at, "invalid_synonyms", f"Expected two different phrases, got {shown(sources[0])} on both sides.")
        return Synonyms(sources, targets)

    def typo(self, at: str, value: Any) -> TypoRules:
        if not isinstance(value, Mapping):
            self.expected(at, "an object of typo rules", value)
            return TypoRules()
        given = dict(self.keys(at, value, _TYPO_KEYS))
        parsers: dict[str, Callable[[str, Any], Any]] = {
            "enabled": self.boolean,
            "one_from": lambda at, value: self.integer(at, value, 1, MAX_TYPO_LENGTH),
            "two_from": lambda at, value: self.integer(at, value, 1, MAX_TYPO_LENGTH),
            "exact_words": lambda at, value: self.phrases(at, value, single=True, most=MAX_EXACT_WORDS),
        }
        faults = len(self.faults)
        rules = TypoRules(**{key: parsers[key](at + pointer(key), inner) for key, inner in given.items()})
        if len(self.faults) == faults and rules.one_from > rules.two_from:
            detail = f"Expected two_from to be at least one_from, which is {rules.one_from}, got {rules.two_from}."
            self.fault(f"{at}/two_from", "invalid_typo_rules", detail)
        return rules

    def fields(self, at: str, value: Any) -> dict[str, Field]:
        if not isinstance(value, Mapping):
            self.expected(at, "an object of fields", value)
            return {}
        if len(value) > self.max_fields:
            self.fault(at, "too_many_fields", f"An index can have {self.max_fields} fields (MAX_FIELDS), got {len(value)}.")
            return {}
        found: dict[str, Field] = {}
        for name, body in value.items():
            here = at + pointer(name)
            if problem := name_problem(name):
                self.fault(here, "field_name", f"{abridged(name)}: {problem}.")
            elif other := overlapping(name, found):
                self.fault(
                    here, "field_conflict", f"{name}: {other!r} is a field already; a field cannot be both a value and an object."
                )
            elif field := self.field(here, name, body):
                found[name] = field
        return found

    def field(self, at: str, name: str, body: Any) -> Field | None:
        """`"integer"` or `{"type": "text", "boost": 2, …}`."""
        if isinstance(body, str):
            return self.type(at, body) and Field(name, body)
        if not isinstance(body, Mapping):
            self.expected(at, f"a type ({', '.join(FIELD_TYPES)}) or an object with one", body)
            return None
        given = dict(self.keys(at, body, _FIELD_KEYS))
        if "type" not in given:
            self.fault(at, "missing_type", f"{name}: a field needs a type, one of {', '.join(FIELD_TYPES)}.")
            return None
        if not self.type(f"{at}/type", given["type"]):
            return None
        if given["type"] != "text":
            for key, default in _TEXT_ONLY.items():
                if given.get(key, default) != default:  # the default is harmless, and left over where a patch changes the type
                    self.fault(
                        f"{at}/{key}", "not_for_this_type", f"{name}: {key} is for text fields only, and this is {given['type']}."
                    )
            return Field(name, given["type"])
        parsers = {
            "type": lambda at, value: value,
            "boost": self.boost,
            "language": lambda at, value: None if value is None else self.language(at, value),
            "keyword": self.boolean,
        }
        return Field(name, **{key: parsers[key](at + pointer(key), value) for key, value in given.items()})

    def type(self, at: str, value: Any) -> bool:
        if isinstance(value, str) and value in FIELD_TYPES:
            return True
        near = nearest(value, FIELD_TYPES)
        hint = f"did you mean {near!r}?" if near else f"known are {', '.join(FIELD_TYPES)}."
        self.fault(at, "unknown_type", f"Expected a type of field, got {shown(value)}; {hint}")
        return False

    def boost(self, at: str, value: Any) -> float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and 0 < value <= MAX_BOOST
        if not good:
            self.expected(at, f"a number above 0, at most {MAX_BOOST:g}", value)
            return 1.0
        return float(value)

    def primary_key_field(self, settings: IndexSettings) -> None:
        """The primary key against the declared fields, which may both come from different requests."""
        key = settings.primary_key
        field = settings.fields.get(key)
        if field is not None and (field.type not in ("keyword", "text") or not field.keyword):
            detail = f"{key}: the primary key is a keyword, or text with keyword on where its words are to be searched too."
            self.fault(pointer("fields", key), "primary_key_type", detail)
        elif other := overlapping(key, settings.fields):
            self.fault(pointer("fields", other), "field_conflict", f"{other}: the primary key {key!r} cannot also hold an object.")
        elif len(settings.fields.keys() - {key}) >= self.max_fields:
            most = f"An index can have {self.max_fields} fields (MAX_FIELDS), the primary key included."
            self.fault("/fields", "too_many_fields", most)


# ----------------------------------------------------------------------------------------------------- settings -> JSON


def settings_to_json(settings: IndexSettings) -> dict[str, Any]:
    """What `parse_settings` reads, every key given."""
    return {
        "primary_key": settings.primary_key,
        "language": settings.language,
        "dynamic": settings.dynamic,
        "stop_words": None if settings.stop_words is None else list(settings.stop_words),
        "synonyms": [
            list(rule.sources) if rule.sources == rule.targets else {"from": list(rule.sources), "to": list(rule.targets)}
            for rule in settings.synonyms
        ],
        "typo": {**asdict(settings.typo), "exact_words": list(settings.typo.exact_words)},
        "fields": {name: field_to_json(field) for name, field in settings.fields.items()},
    }


def field_to_json(field: Field) -> dict[str, Any]:
    """A field as it is declared."""
    if field.type != "text":
        return {"type": field.type}
    return {"type": "text", "boost": field.boost, "language": field.language, "keyword": field.keyword}


def index_to_json(info: IndexInfo) -> dict[str, Any]:
    """An index as `GET /v1/indexes/{index}` answers it; `fields` holds the inferred ones too."""
    return {
        "name": info.name,
        "created_at": info.created_at,
        "settings": settings_to_json(info.settings),
        "fields": {
            name: {**field_to_json(field), "array": field.array, "inferred": field.inferred} for name, field in info.fields.items()
        },
    }


def differences(old: IndexSettings, new: IndexSettings) -> tuple[str, ...]:
    """The names of the settings that differ, sorted: `fields.title.language`, `fields.year` (only one has it), `typo.one_from`."""
    found = [
        key for key in ("primary_key", "language", "dynamic", "stop_words", "synonyms") if getattr(old, key) != getattr(new, key)
    ]
    found += [f"typo.{key}" for key in _TYPO_KEYS if getattr(old.typo, key) != getattr(new.typo, key)]
    for name in old.fields.keys() | new.fields.keys():
        before, after = old.fields.get(name), new.fields.get(name)
        if before is None or after is None:
            found.append(f"fields.{name}")
        elif before.type != after.type:
            found.append(f"fields.{name}.type")
        else:
            found += [f"fields.{name}.{key}" for key in _TEXT_ONLY if getattr(before, key) != getattr(after, key)]
    return tuple(sorted(found))
