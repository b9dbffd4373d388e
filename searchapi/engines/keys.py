"""How a key is kept, by either engine: as JSON, of which a release reads what it knows and keeps the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model import Key


def key_of(record: Mapping[str, Any]) -> Key:
    """A record without what an older release did not know has its defaults, and what a newer one added is left out."""
    known = {name: value for name, value in record.items() if name in Key.__dataclass_fields__}
    return Key(**known | {"scopes": tuple(record["scopes"]), "indexes": tuple(record["indexes"])})


def age(key: Key) -> tuple[str, str]:
    """By what keys are in order."""
    return key.created_at, key.id
