"""Dates: RFC 3339 (https://www.rfc-editor.org/rfc/rfc3339) to milliseconds since 1970 UTC and back."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from .wording import shown

EXPECTED_DATE = 'a date such as "2024-05-31" or "2024-05-31T18:30:00Z", or integer milliseconds since 1970'

_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
_EPOCH = date(1970, 1, 1).toordinal()
_EARLIEST = (date.min.toordinal() - _EPOCH) * 86_400_000
_LATEST = (date.max.toordinal() - _EPOCH + 1) * 86_400_000 - 1


def parse_date(value: str | int) -> int:
    """Milliseconds since 1970 UTC of an RFC 3339 date or date-time (seconds may be left out; without an offset it is UTC; digits
    beyond milliseconds are cut), or of an integer that is such milliseconds already. Years 1 to 9999. Raises ValueError."""
    if value.__class__ is int:
        ms = value
    else:
        match = _DATE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"expected {EXPECTED_DATE}, got {shown(value)}")
        ms = _milliseconds(match, value)
    if not _EARLIEST <= ms <= _LATEST:
        raise ValueError(f"expected a date in the years 1 to 9999, got {shown(value)}")
    return ms


def _milliseconds(match: re.Match, text: str) -> int:
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError as error:
        raise ValueError(f"there is no such date as {text!r}: {error}") from None
    if hour is None:
        return days * 86_400_000
    hours, minutes, seconds = int(hour), int(minute), int(second or 0)
    shift = 0
    if offset and offset not in "Zz":
        east, west = int(offset[1:3]), int(offset[4:])
        shift = (east * 60 + west) * (-1 if offset[0] == "-" else 1)
        if east > 23 or west > 59:
            raise ValueError(f"there is no such offset as {offset} in {text!r}")
    if hours > 23 or minutes > 59 or seconds > 60:  # 60: a leap second, which counts as the next one
        raise ValueError(f"there is no such time of day as in {text!r}")
    milliseconds = int((fraction or "0")[:3].ljust(3, "0"))
    return ((days * 24 + hours) * 60 + minutes - shift) * 60_000 + seconds * 1000 + milliseconds


def now() -> str:
    """RFC 3339, UTC, always with milliseconds: such times compare as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_date(ms: int) -> str:
    """RFC 3339 in UTC, with milliseconds only where they are not zero: `2024-05-31T18:30:00Z`."""
    moment = datetime(1970, 1, 1) + timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds") + "Z"
