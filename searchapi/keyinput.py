"""What a key is told to be, as JSON: checked, each fault with its place.

{"description": "the shop's search box", "scopes": ["search"], "indexes": ["products", "help-*"],
 "expires_at": "2027-01-31T00:00:00Z", "rate_limit": "600/minute", "rate_limit_per_ip": "60/minute", "max_page_size": 50}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .config import rate
from .dates import parse_date
from .exceptions import Fault, Invalid
from .keystore import SCOPES, moment
from .schema import check_name
from .wording import nearest, pointer, shown

MAX_DESCRIPTION = 200  # characters
MAX_INDEXES = 100  # patterns: each request may be compared with all of them
MAX_PAGE_SIZE = 10_000  # what the setting of this name can be at most


def parse_key(body: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The members of a Key that are given, as it keeps them. `null` stands for none: no expiry, no limit of its own. `now`: as in
    KeyStore. Raises Invalid with every fault."""
    reader = _Reader(now)
    members = {name: reader.read(name, value) for name, value in body.items()}
    if reader.faults:
        raise Invalid.of(reader.faults)
    return members


class _Reader:
    """Gathers what is wrong. A method that finds a fault answers None."""

    def __init__(self, now: str):
        self.now, self.faults = now, []

    def read(self, name: str, value: Any) -> Any:
        return _MEMBERS[name](self, pointer(name), value)

    def fault(self, at: str, code: str, detail: str) -> None:
        self.faults.append(Fault(at, code, detail))

    def description(self, at: str, value: Any) -> str | None:
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > MAX_DESCRIPTION or not value.isprintable():
            self.fault(at, "wrong_value", f"A description is one line of at most {MAX_DESCRIPTION} characters; got {shown(value)}.")
            return None
        return value.strip()

    def several(self, at: str, value: Any, most: int, example: str, one: Callable[[str, Any], None]) -> tuple[str, ...]:
        """A list of at least one string, without what is repeated in it. `one` looks at each."""
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            got = f"one of {len(value)}" if isinstance(value, list) else shown(value)
            self.fault(at, "wrong_type", f"{at[1:]} must be a list of 1 to {most}, as {example}, not {got}.")
            return ()
        for i, item in enumerate(value):
            one(f"{at}/{i}", item)
        return tuple(dict.fromkeys(item for item in value if isinstance(item, str)))

    def scopes(self, at: str, value: Any) -> tuple[str, ...]:
        def one(at: str, scope: Any) -> None:
            if not isinstance(scope, str) or scope not in SCOPES:
                near = nearest(scope, SCOPES)
                hint = f"did you mean {near!r}?" if near else f"there are {', '.join(SCOPES)}."
                self.fault(at, "unknown_scope", f"There is no scope {shown(scope).removeprefix('the string ')}; {hint}")

        return self.several(at, value, 100, '["search"]', one)

    def indexes(self, at: str, value: Any) -> tuple[str, ...]:
        def one(at: str, pattern: Any) -> None:
            try:
                if pattern != "*":
                    check_name(pattern.removesuffix("*") if isinstance(pattern, str) else pattern)
            except Invalid:
                rule = "the name of an index or alias (lowercase letters, digits, _, -), or its beginning and a *"
                self.fault(at, "invalid_pattern", f"Expected {rule}: books, books-*, *; got {shown(pattern)}.")

        return self.several(at, value, MAX_INDEXES, '["books", "films-*"]', one)

    def expires_at(self, at: str, value: Any) -> str | None:
        if value is None:
            return None
        try:
            if not isinstance(value, str):
                raise ValueError
            found = moment(parse_date(value))
        except ValueError:
            self.fault(at, "wrong_value", f"expires_at must be an RFC 3339 time, as 2027-01-31T00:00:00Z, not {shown(value)}.")
            return None
        if found <= self.now:
            self.fault(at, "out_of_range", f"expires_at, {value}, has passed: it is {self.now} now.")
        return found

    def rate(self, at: str, value: Any) -> str | None:
        if value is None:
            return None
        try:
            return rate(value if isinstance(value, str) else "")
        except ValueError as error:
            self.fault(at, "wrong_value", f"{at[1:]} must be {error}, not {shown(value)}.")

    def max_page_size(self, at: str, value: Any) -> int | None:
        if value is not None and (type(value) is not int or not 1 <= value <= MAX_PAGE_SIZE):
            self.fault(at, "out_of_range", f"max_page_size must be a whole number from 1 to {MAX_PAGE_SIZE}, not {shown(value)}.")
        return value


_MEMBERS: dict[str, Callable[[_Reader, str, Any], Any]] = {
    "description": _Reader.description,
    "scopes": _Reader.scopes,
    "indexes": _Reader.indexes,
    "expires_at": _Reader.expires_at,
    "rate_limit": _Reader.rate,
    "rate_limit_per_ip": _Reader.rate,
    "max_page_size": _Reader.max_page_size,
}
MEMBERS = tuple(_MEMBERS)
