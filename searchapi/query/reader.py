"""Reading the parameters of one request: types and bounds, whatever they mean.

In a query string every value is text, lists are separated by commas, and a fault points to the parameter (`limit`); in JSON values
are native, and a fault points into the body (`/limit`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..documents import MAX_FIELDS, pointer
from ..exceptions import Fault, Invalid
from .fields import clean, nearest, shown

T = TypeVar("T")
MAX_FAULTS = 20  # of a request
MAX_SHOWN = 100  # code points of an unknown parameter that a pointer repeats
_INTEGER = re.compile(r"-?[0-9]{1,18}")


class Reader:
    """The parameters of one request: gives out checked values, or the default where one is wrong, and notes the faults."""

    def __init__(self, values: Mapping[str, Any], native: bool, prefix: str, faults: list[Fault]):
        self.values = values
        self.native = native  # JSON: values have types, and pointers are JSON Pointers
        self.prefix = prefix
        self.faults = faults

    @classmethod
    def of_args(cls, args: Mapping[str, list[str]], known: Sequence[str]) -> Reader:
        reader = cls({name: given[0] for name, given in args.items() if given}, False, "", [])
        reader.refuse_unknown(known)
        for name, given in args.items():
            if len(given) > 1 and name in known:
                reader.fault(name, "repeated_parameter", f"{name}: expected it once, found {len(given)} times")
        return reader

    @classmethod
    def of_json(cls, body: Any, known: Sequence[str]) -> Reader:
        if not isinstance(body, dict):
            raise Invalid.at("", "wrong_type", f"expected a JSON object with the parameters of a search, found {shown(body)}")
        reader = cls(body, True, "", [])
        reader.refuse_unknown(known)
        return reader

    def inside(self, name: str, known: tuple[str, ...]) -> Reader:
        """A reader of the object at `name`, whose faults are this one's."""
        reader = Reader(self.values[name], True, self.at(name), self.faults)
        reader.refuse_unknown(known)
        return reader

    def refuse_unknown(self, known: Sequence[str]) -> None:
        for name in self.values:
            if name not in known:
                detail = f"there is no parameter {shown(name)}{nearest(name, known)}"
                self.fault(self.at(name), "unknown_parameter", detail)

    def at(self, name: str) -> str:
        name = name[:MAX_SHOWN]
        return self.prefix + pointer(name) if self.native else clean(name)

    def fault(self, at: str, code: str, detail: str) -> None:
        """Note a fault. Raises Invalid with all so far when there are MAX_FAULTS: nobody reads more, and each costs a search for
        the nearest name."""
        self.faults.append(Fault(at, code, detail))
        if len(self.faults) >= MAX_FAULTS:
            self.finish()

    def attempt(self, read: Callable[[], T]) -> T | None:
        """What `read` gives, or None where it raises Invalid, whose faults are noted."""
        try:
            return read()
        except Invalid as error:
            for fault in error.errors:  # the parsers of q, filter and cursor point to the bare parameter
                at = fault.pointer if fault.pointer.startswith("/") else self.at(fault.pointer)
                self.fault(at, fault.code, fault.detail)
            return None

    def finish(self) -> None:
        if self.faults:
            raise Invalid.of(self.faults)

    # values
    def value(self, name: str, default: Any = None) -> Any:
        """The value as it came; the default where it is absent, null, or blank in a query string."""
        value = self.values.get(name)
        blank = value is None or (not self.native and not value.strip())
        return default if blank else value

    def wrong(self, name: str, expected: str, value: Any) -> None:
        self.fault(self.at(name), "wrong_value", f"{name}: expected {expected}, found {shown(value)}")

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.value(name, default)
        if value is not None and not isinstance(value, str):
            self.wrong(name, "a string", value)
            return default
        if value is not None and not value.strip() and name != "q":
            return default
        return value if value is None else clean(value)

    def integer(self, name: str, low: int, high: int | None, default: int, cap: str = "") -> int:
        value = self.value(name)
        if value is None:
            return default
        number = value if self.native else int(value) if _INTEGER.fullmatch(value.strip()) else None
        if type(number) is not int or number < low or (high is not None and number > high):
            bounds = f"from {low}" if high is None else f"from {low} to {high}" + (f" ({cap})" if cap else "")
            self.wrong(name, f"an integer {bounds}", value)
            return default
        return number

    def boolean(self, name: str, default: bool) -> bool:
        value = self.value(name)
        if value is None:
            return default
        read = value if self.native else {"true": True, "false": False}.get(value.strip().lower())
        if not isinstance(read, bool):
            self.wrong(name, "true or false", value)
            return default
        return read

    def choice(self, name: str, choices: tuple[str, ...], default: Any) -> Any:
        value = self.value(name)
        if value is None or value in choices:
            return default if value is None else value
        self.wrong(name, " or ".join((", ".join(choices[:-1]), choices[-1])), value)
        return default

    def names(self, name: str, expected: str = "a list of field names") -> list[tuple[str, str]]:
        """(pointer, name) of each name in a list, or in text with commas."""
        value = self.value(name, "")
        if isinstance(value, str):
            entries = [(self.at(name), part) for part in value.split(",")] if value.strip() else []
        elif isinstance(value, list):
            entries = [(f"{self.at(name)}/{position}", entry) for position, entry in enumerate(value)]
        else:
            self.wrong(name, expected, value)
            return []
        if len(entries) > MAX_FIELDS:
            most = f"{name}: expected at most {MAX_FIELDS} names, as an index has fields, found {len(entries)}"
            self.fault(self.at(name), "too_many_names", most)
            return []
        found = []
        for at, entry in entries:
            if isinstance(entry, str):
                found.append((at, entry.strip()))
            else:
                self.fault(at, "wrong_value", f"{name}: expected a field's name, found {shown(entry)}")
        return found
