"""API keys: made, checked, changed, rotated and revoked. No Flask: `auth.py` asks it who is at the door.

The secret of a key is kept only as a keyed hash, HMAC-SHA256 under SECRET_KEY: whoever reads the database cannot use what is in
it. `keytext.py` says how a key is written, `keyinput.py` what its members may hold, `secretkey.py` where SECRET_KEY comes from.

Nobody gives more than they have: with `keys:admin` one sees the keys whose scopes and indexes are within one's own, and grants no
scope, index, life, rate or page size beyond one's own (`beyond`).
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from .dates import parse_date
from .engines.base import SystemStore
from .exceptions import Conflict, Fault, Invalid, KeyNotFound, NotAuthenticated, NotPermitted
from .keytext import PATTERN, checksum, new_id, new_secret, written
from .lastuse import LastUse
from .model import Key
from .secretkey import derived, fingerprint
from .wording import shown

log = logging.getLogger("searchapi.keys")

SCOPES: dict[str, str] = {
    "search": "search and suggest; the names and fields of indexes",
    "documents:read": "read documents by id, by page, all of them",
    "documents:write": "write and delete documents",
    "indexes:admin": "make, change and delete indexes and aliases; read tasks",
    "keys:admin": "make, change and revoke keys, none with more than its own has",
    "metrics": "figures for those who operate it",
}
EVERY_INDEX = ("*",)
MAX_OVERLAP = 30 * 86_400  # seconds

_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_INHERITED = ("indexes", "expires_at", "rate_limit", "rate_limit_per_ip", "max_page_size")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do: that of its key, or of nobody (`key_id` None). Secrets and times are behind it: it was checked."""

    key_id: str | None
    scopes: frozenset[str]
    indexes: tuple[str, ...]
    rate_limit: str | None = None
    rate_limit_per_ip: str | None = None
    max_page_size: int | None = None
    expires_at: str | None = None

    def sees(self, name: str) -> bool:
        """Whether it may know of the index or alias with this name, or of all that a pattern takes in."""
        return any(covers(pattern, name) for pattern in self.indexes)


def covers(pattern: str, name: str) -> bool:
    """Whether a pattern, a name or `prefix*`, takes in a name, or all that another pattern does."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


NOBODY = Grant(None, frozenset(("search",)), EVERY_INDEX)  # who searches without a key, in development
OWNER = Grant(None, frozenset(SCOPES), EVERY_INDEX)  # who can run the command line on the data folder


def beyond(given: Mapping[str, Any], by: Grant) -> list[Fault]:
    """What among these members of a key is more than `by` has itself, each with its place."""
    faults = []

    def more(pointer: str, detail: str) -> None:
        faults.append(Fault(pointer, "more_than_own", f"{detail}; a key cannot give more than it has."))

    for i, scope in enumerate(given.get("scopes", ())):
        if scope not in by.scopes:
            more(f"/scopes/{i}", f"Your own key has not the scope {scope}")
    for i, pattern in enumerate(given.get("indexes", ())):
        if not by.sees(pattern):
            more(f"/indexes/{i}", f"{shown(pattern)} is beyond the indexes of your own key, {', '.join(by.indexes)}")
    if by.expires_at and "expires_at" in given and (given["expires_at"] or "~") > by.expires_at:
        more("/expires_at", f"Your own key expires at {by.expires_at}")
    for name in ("rate_limit", "rate_limit_per_ip"):
        own = getattr(by, name)
        if own and name in given and not _within(given[name], own):
            more(f"/{name}", f"The {name} of your own key is {own}")
    if by.max_page_size and "max_page_size" in given and (given["max_page_size"] or by.max_page_size + 1) > by.max_page_size:
        more("/max_page_size", f"The max_page_size of your own key is {by.max_page_size}")
    return faults


def _within(rate: str | None, own: str) -> bool:
    """Whether a rate allows no more than another does, neither at once nor in the long run."""
    if own == "off":
        return True
    if rate is None or rate == "off":
        return False
    (number, period), (most, within) = ((int(n), _PERIODS[unit]) for n, _, unit in (text.partition("/") for text in (rate, own)))
    return number * max(period, within) <= most * period


def moment(ms: int) -> str:
    """Milliseconds since 1970 as this module writes times: all of one length, so that they compare as text."""
    return (datetime(1970, 1, 1) + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds") + "Z"


# --------------------------------------------------------------------------------------------------------- store


class KeyStore:
    """The keys of one installation. `by`: who asks. `now`: as `moment` writes it."""

    def __init__(self, key: bytes, system: SystemStore):
        self._key, self._system, self._fingerprint = key, system, fingerprint(key)
        self._grants: dict[str, tuple[Key, Grant]] = {}
        self._uses = LastUse(system.touch_keys)
        self._told: set[str] = set()

    def close(self) -> None:
        """Write what is only in memory: when keys were last used."""
        self._uses.flush()

    def digest(self, id: str, secret: str) -> str:
        return derived(self._key, "key", f"{id}:{secret}").hex()

    def verify(self, text: str, now: str, stale: bool = False) -> Grant:
        """What the key that a request brought may do. Raises NotAuthenticated; that a key is revoked or has expired is told only
        to who knows its secret. stale: as `SystemStore.keys`."""
        match = PATTERN.fullmatch(text)
        key = self._system.keys(stale).get(match[1]) if match else None
        if match is None or key is None or not self._matches(key, match[2], now) or checksum(text[: match.start(3)]) != match[3]:
            if key is not None and self._foreign(key):
                self._tell_foreign(key)
            raise NotAuthenticated("This key is not valid.", code="invalid_key")
        if key.revoked_at:
            raise NotAuthenticated("This key was revoked.", code="revoked_key")
        if key.expires_at and key.expires_at <= now:
            raise NotAuthenticated(f"This key expired at {key.expires_at}.", code="expired_key")
        self._uses.note(key.id, now)
        known = self._grants.get(key.id)
        if known is None or known[0] is not key:
            known = self._grants[key.id] = key, _grant(key)
        return known[1]

    def _matches(self, key: Key, secret: str, now: str) -> bool:
        digest = self.digest(key.id, secret)
        if hmac.compare_digest(digest, key.digest):
            return True
        return key.previous_digest is not None and _overlaps(key, now) and hmac.compare_digest(digest, key.previous_digest)

    def foreign(self) -> list[Key]:
        """Those that are of no use here and were not revoked: they were made with another SECRET_KEY."""
        return [key for key in self._system.keys().values() if self._foreign(key) and not key.revoked_at]

    def _foreign(self, key: Key) -> bool:
        return key.made_with not in ("", self._fingerprint)

    def _tell_foreign(self, key: Key) -> None:
        """Once for each key: whoever knows its id could fill the log."""
        if key.id not in self._told:
            self._told.add(key.id)
            log.warning("key %s is refused: it was made with another SECRET_KEY than is set here", key.id, extra={"key": key.id})

    # what keys:admin does

    def list(self, by: Grant = OWNER) -> list[Key]:
        """Those that `by` may see, in the order they were made, the revoked ones too."""
        return [key for key in self._system.keys().values() if _sees(by, key)]

    def get(self, id: str, by: Grant = OWNER) -> Key:
        """Raises KeyNotFound, also for one that `by` may not see."""
        return _visible(self._system.keys().get(id), id, by)

    def create(
        self, scopes: Iterable[str], indexes: Iterable[str] | None, now: str, by: Grant = OWNER, **more: Any
    ) -> tuple[Key, str]:
        """A new key, and its text, which cannot be had again. What is left out is as in the key of `by`: without this, a key of
        few rights would have to repeat them. Raises NotPermitted where it would have more than that has."""
        members = {name: getattr(by, name) for name in _INHERITED} | more | {"scopes": tuple(scopes)}
        if indexes is not None:
            members["indexes"] = tuple(indexes)
        _no_more(members, by)
        id, secret = new_id(), new_secret()
        key = Key(id=id, digest=self.digest(id, secret), created_at=now, made_with=self._fingerprint, **members)
        self._system.add_key(key)
        _tell("created", key, by)
        return key, written(id, secret)

    def change(self, id: str, members: Mapping[str, Any], by: Grant = OWNER) -> Key:
        """Raises KeyNotFound, NotPermitted, and Conflict where it was revoked."""

        def changed(key: Key) -> Key:
            _no_more(members, by)
            return replace(_living(_visible(key, id, by)), **members)

        return self._update("changed", id, changed, by)

    def rotate(self, id: str, overlap: int, now: str, by: Grant = OWNER) -> tuple[Key, str]:
        """The key with a new secret, and its text. The old secret is valid for `overlap` seconds more. Raises as `change` does, and
        Conflict where the key has expired, or where the secret before this one is still valid and would be cut off."""
        if not 0 <= overlap <= MAX_OVERLAP:
            most = f"overlap must be from 0 to {MAX_OVERLAP} seconds (30 days), not {overlap}."
            raise Invalid.at("/overlap", "out_of_range", most)
        secret = new_secret()

        def rotated(key: Key) -> Key:
            _living(_visible(key, id, by))
            _no_more({name: getattr(key, name) for name in _INHERITED}, by)  # the new secret is handed out
            if key.expires_at and key.expires_at <= now:
                raise Conflict(f"This key expired at {key.expires_at}: change expires_at first.", code="already_expired")
            if overlap and _overlaps(key, now):
                still = f"The secret before this one is valid until {key.previous_until}, and only one old secret can be."
                raise Conflict(f"{still} Wait, or rotate with an overlap of 0 to end both.", code="still_rotating")
            old = (key.digest, moment(parse_date(now) + overlap * 1000)) if overlap else (None, None)
            new = {"digest": self.digest(id, secret), "made_with": self._fingerprint}
            return replace(key, **new, previous_digest=old[0], previous_until=old[1], epoch=key.epoch + 1)

        return self._update("rotated", id, rotated, by), written(id, secret)

    def revoke(self, id: str, now: str, by: Grant = OWNER) -> Key:
        """It is refused from now on, and kept. Revoked again, it stays as it is; a key may revoke itself. Raises KeyNotFound."""

        def revoked(key: Key) -> Key:
            return replace(_visible(key, id, by), revoked_at=key.revoked_at or now)

        return self._update("revoked", id, revoked, by)

    def _update(self, done: str, id: str, change: Callable[[Key], Key], by: Grant) -> Key:
        key = self._system.update_key(id, change)
        _tell(done, key, by)
        return key


def _grant(key: Key) -> Grant:
    limits = key.rate_limit, key.rate_limit_per_ip, key.max_page_size
    return Grant(key.id, frozenset(key.scopes), key.indexes, *limits, key.expires_at)


def _sees(by: Grant, key: Key) -> bool:
    if by is OWNER:  # a newer release's scopes, too
        return True
    return by.scopes.issuperset(key.scopes) and all(map(by.sees, key.indexes))


def _visible(key: Key | None, id: str, by: Grant) -> Key:
    if key is None or not _sees(by, key):
        raise KeyNotFound(id)
    return key


def _living(key: Key) -> Key:
    if key.revoked_at:
        raise Conflict(f"This key was revoked at {key.revoked_at}; make a new one.", code="already_revoked")
    return key


def _no_more(members: Mapping[str, Any], by: Grant) -> None:
    if faults := beyond(members, by):
        detail = faults[0].detail if len(faults) == 1 else f"{len(faults)} things are more than your own key has."
        raise NotPermitted(detail, code="forbidden_grant", errors=tuple(faults))


def _overlaps(key: Key, now: str) -> bool:
    return (key.previous_until or "") > now


def _tell(done: str, key: Key, by: Grant) -> None:
    log.info("key %s was %s", key.id, done, extra={"key": by.key_id, "action": f"key {done}"})
