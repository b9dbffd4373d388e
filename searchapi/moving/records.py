"""Aliases and keys on their way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..config import Settings, SettingsError
from ..exceptions import Conflict, KeyNotFound
from ..model import Key
from ..secretkey import fingerprint, secret_key
from .ends import End, Source


def refuse_taken(source: Source, target: End, moved: Mapping[str, str], *, overwrite: bool) -> None:
    """moved: {name in the source: name in the target}. Raises Conflict where an alias of one of them means something else in the
    target."""
    there, names = target.aliases(), target.names()
    for alias, index in source.aliases().items():
        if index not in moved:
            continue
        if alias in names:
            raise Conflict(f"{alias!r} is an alias of {index!r}, but the target has an index of that name.")
        if not overwrite and there.get(alias, moved[index]) != moved[index]:
            raise Conflict(
                f"The alias {alias!r} points to {there[alias]!r} in the target; --overwrite points it to {moved[index]!r}."
            )


def move_aliases(source: Source, target: End, moved: Mapping[str, str]) -> list[str]:
    """The aliases of what was moved are those of the source. What still differs then, for a person."""
    wanted = {alias: moved[index] for alias, index in source.aliases().items() if index in moved}
    there = target.aliases()
    for alias, index in wanted.items():
        if there.get(alias) != index:
            target.system.set_alias(alias, index)
    for alias in _of(there, moved.values()) - wanted.keys():
        target.system.delete_alias(alias)
    now = {alias: index for alias, index in target.aliases().items() if alias in wanted or index in moved.values()}
    names = sorted(name for name in now.keys() | wanted.keys() if now.get(name) != wanted.get(name))
    return [f"the alias {alias!r} points to {now.get(alias)!r}, not to {wanted.get(alias)!r}" for alias in names]


def _of(aliases: Mapping[str, str], indexes: Collection[str]) -> set[str]:
    return {alias for alias, index in aliases.items() if index in indexes}


def move_keys(source: Source, target: End) -> list[str]:
    """Keys come with their digests, so nobody needs a new one. One that is revoked on either side is revoked in the target. What
    still differs then, for a person."""
    for id, key in source.keys().items():
        known = target.keys().get(id)
        if known is None:
            target.system.add_key(key)
        elif _joined(known, key) != known:
            try:
                target.system.update_key(id, lambda found, key=key: _joined(found, key))
            except KeyNotFound:
                target.system.add_key(key)
    there = target.keys()
    return [f"the key {id} differs" for id, key in source.keys().items() if id not in there or _joined(there[id], key) != there[id]]


def _joined(there: Key, key: Key) -> Key:
    """last_used_at is not compared: a server that answers moves it all the time."""
    used = max(there.last_used_at or "", key.last_used_at or "") or None
    if there.epoch > key.epoch:  # rotated in the target since
        return replace(there, last_used_at=there.last_used_at, revoked_at=there.revoked_at or key.revoked_at)
    revoked = there.revoked_at or key.revoked_at
    wanted = replace(key, revoked_at=revoked, last_used_at=used)
    return there if replace(wanted, last_used_at=None) == replace(there, last_used_at=None) else wanted


def foreign(source: Source, settings: Settings) -> str | None:
    """What to say of SECRET_KEY: keys are hashed with it, and one who serves the target needs the same."""
    keys = [key for key in source.keys().values() if not key.revoked_at]
    if not keys:
        return None
    try:
        ours = fingerprint(secret_key(settings))
    except SettingsError:
        return "SECRET_KEY is not set here; the keys are of use only with the SECRET_KEY of the source"
    others = sum(key.made_with not in ("", ours) for key in keys)
    unknown = sum(not key.made_with for key in keys)
    if others:
        return f"{others} of {len(keys)} keys were made with another SECRET_KEY than is set here; serve the target with theirs"
    return "the target has to be served with the same SECRET_KEY" + (" as the source" if unknown else ", the one that is set here")
