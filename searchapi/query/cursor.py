"""Cursors: where a page ended, as opaque text. base64url(checksum + JSON [fingerprint, plan, values]).

values:      the sort values of the last hit, ending with its id; in relevance order the engine's name of the moment that all pages
             are cut from, the score, and the id.
plan:        the decision of the first page (see search.py), so that every page is cut from the same query.
fingerprint: of the index, q, filter, sort, match and typo, so that a cursor cannot go on with another search.

The checksum finds accidents, not forgers: what a cursor says is checked like any other input, and it grants nothing.
"""

from __future__ import annotations

import base64
import re
from hashlib import blake2b
from typing import Any

import orjson

from ..documents import MAX_ID
from ..exceptions import Invalid
from ..model import IndexInfo, SearchRequest
from .fields import INTEGERS

START = "*"  # instead of a cursor: the first page of a walk in any order that the engine has cursors for
MAX_LENGTH = 200_000  # characters: five keywords as long as they may be, in base64
_CHECKSUM = 4  # bytes
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "keyword": (str,),
    "integer": (int,),
    "float": (int, float),
    "boolean": (bool, int),
    "date": (int,),
}


def encode(values: tuple[Any, ...], request: SearchRequest, info: IndexInfo, plan: str | None = None) -> str:
    """The cursor that goes on after the hit with these sort values (str, int, float, bool, None; the id last)."""
    payload = orjson.dumps([_fingerprint(request, info), plan, values])
    return base64.urlsafe_b64encode(_checksum(payload) + payload).rstrip(b"=").decode()


def decode(token: str, request: SearchRequest, info: IndexInfo) -> tuple[tuple[Any, ...], str | None]:
    """(values, plan) of a cursor made by `encode` for the same search. Raises Invalid at `cursor`: invalid_cursor where it was cut
    or changed, cursor_mismatch where it belongs to another search; never anything else."""
    if len(token) > MAX_LENGTH or not _ALPHABET.fullmatch(token):
        raise _damaged()
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        payload = raw[_CHECKSUM:]
        if _checksum(payload) != raw[:_CHECKSUM]:
            raise _damaged()
        fingerprint, plan, values = orjson.loads(payload)
    except (ValueError, TypeError):  # not base64 (binascii.Error), not JSON (orjson.JSONDecodeError), not a list of three
        raise _damaged() from None
    if fingerprint != _fingerprint(request, info):
        detail = "cursor: it belongs to another search; q, filter, sort, match and typo must stay as they were on the first page"
        raise Invalid.at("cursor", "cursor_mismatch", detail)
    if not (plan is None or isinstance(plan, str)) or not isinstance(values, list) or not _fit(values, request, info):
        raise _damaged()
    return tuple(values), plan


def _damaged() -> Invalid:
    return Invalid.at("cursor", "invalid_cursor", "cursor: expected the cursor of an earlier answer, unchanged and whole")


def _checksum(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=_CHECKSUM).digest()


def _fingerprint(request: SearchRequest, info: IndexInfo) -> str:
    # The nodes of a filter are frozen dataclasses of plain values: their repr is the same in every process.
    searched = (info.uid, request.q, request.filter, request.sort, request.match, request.typo)
    return blake2b(repr(searched).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _fit(values: list, request: SearchRequest, info: IndexInfo) -> bool:
    """Whether these can be the sort values of a hit: one a sort field and the id; in relevance order, scalars and the id."""
    if not values or not isinstance(values[-1], str) or not 0 < len(values[-1].encode()) <= MAX_ID:
        return False
    others = values[:-1]
    if not all(v is None or isinstance(v, str | float) or (isinstance(v, int) and v in INTEGERS) for v in others):
        return False
    if not request.sort:
        return len(others) == 0 or (bool(request.text.wanted) and _is_moment(others))
    if len(others) != len(request.sort):
        return False
    types = [_TYPES[info.fields[sort.field].type] if sort.field in info.fields else () for sort in request.sort]
    return all(v is None or type(v) in allowed for v, allowed in zip(others, types, strict=True))


def _is_moment(values: list) -> bool:
    return len(values) == 2 and isinstance(values[0], str) and isinstance(values[1], int | float)
