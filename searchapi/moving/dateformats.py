"""Dates as an OpenSearch mapping says they are written, to those of ours (dates.py).

https://docs.opensearch.org/latest/mappings/supported-field-types/date/#formats
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from ..dates import format_date, parse_date

DEFAULT = ("strict_date_optional_time", "epoch_millis")
NAMED = {
    "basic_date": "yyyyMMdd",
    "basic_date_time": "yyyyMMdd'T'HHmmss.SSSX",
    "basic_date_time_no_millis": "yyyyMMdd'T'HHmmssX",
    "date_hour_minute_second": "yyyy-MM-dd'T'HH:mm:ss",
    "year": "yyyy",
    "year_month": "yyyy-MM",
    "year_month_day": "yyyy-MM-dd",
    "date": "yyyy-MM-dd",
}
_ISO = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?(?:[Tt](\d{1,2})?(?::?(\d{2})(.*))?)?")
_OFFSET = re.compile(r"([+-]\d{2}):?(\d{2})?$")
_TOKENS = {
    **dict.fromkeys(("yyyy", "uuuu"), "%Y"),
    **dict.fromkeys(("yy", "uu"), "%y"),
    **dict.fromkeys(("MM", "M"), "%m"),
    "MMM": "%b",
    "MMMM": "%B",
    **dict.fromkeys(("dd", "d"), "%d"),
    **dict.fromkeys(("HH", "H"), "%H"),
    **dict.fromkeys(("hh", "h"), "%I"),
    "a": "%p",
    "mm": "%M",
    "ss": "%S",
    **dict.fromkeys(("S", "SS", "SSS", "SSSSSS"), "%f"),
    **dict.fromkeys(("X", "XX", "XXX", "x", "xx", "xxx", "Z", "ZZ"), "%z"),
    **dict.fromkeys(("EEE", "E"), "%a"),
    "EEEE": "%A",
}


def rfc3339(value: Any, formats: tuple[str, ...]) -> str | int:
    """The value itself where we read it as it is. Raises ValueError where none of the formats fits."""
    for form in formats:
        try:
            return _read(value, form.strip())
        except (ValueError, OverflowError):
            continue
    raise ValueError(f"no date: {value!r}")


def _read(value: Any, form: str) -> str | int:
    if isinstance(value, bool):
        raise ValueError("no date")
    if form in ("epoch_millis", "epoch_second"):
        return _epoch(value, 1000 if form == "epoch_second" else 1)
    if not isinstance(value, (str, int)):
        raise ValueError("no date")
    text = str(value)
    if "optional_time" in form or form in ("date_time", "strict_date_time", "strict_date", "iso8601", "rfc3339_lenient"):
        return _iso(text)
    pattern = NAMED.get(form.removeprefix("strict_"), form)
    found = datetime.strptime(text, _strptime(pattern))
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    made = format_date(int(found.timestamp() * 1000))
    return value if isinstance(value, str) and _same(value, made) else made


def _epoch(value: Any, factor: int) -> int:
    number = float(value) if isinstance(value, str) else value
    if not isinstance(number, (int, float)):
        raise ValueError("no number")
    made = int(number * factor)
    parse_date(made)
    return made


def _iso(text: str) -> str:
    """Parts may be left out, and offsets written without a colon."""
    try:
        parse_date(text)
        return text
    except ValueError:
        match = _ISO.fullmatch(text)
        if match is None:
            raise
    year, month, day, hour, minute, rest = match.groups()
    made = f"{year}-{int(month or 1):02}-{int(day or 1):02}"
    if hour:
        offset = _OFFSET.search(rest or "")
        seconds = (rest or "")[: offset.start()] if offset else rest or ""
        made += f"T{int(hour):02}:{minute or '00'}{seconds}" + (f"{offset[1]}:{offset[2] or '00'}" if offset else "")
    parse_date(made)
    return made


def _same(text: str, made: str) -> bool:
    try:
        return parse_date(text) == parse_date(made)
    except ValueError:
        return False


def _strptime(pattern: str) -> str:
    """Java's pattern as Python's. Raises ValueError for letters that it has no form for."""
    made = []
    for literal, letters, other in _parts(pattern):
        if letters:
            if letters not in _TOKENS:
                raise ValueError(f"no form for {letters}")
            made.append(_TOKENS[letters])
        else:
            made.append((literal or other).replace("%", "%%"))
    return "".join(made)


def _parts(pattern: str) -> list[tuple[str, str, str]]:
    """(what stands in quotes, a run of one letter, any other character), one of the three each."""
    return [(m[1] or "", m[2] or "", m[4] or "") for m in re.finditer(r"'([^']*)'|(([A-Za-z])\3*)|([^A-Za-z'])", pattern)]
