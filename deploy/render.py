"""The files of a server, from the texts in `deploy/nginx`, `deploy/systemd` and `deploy/certbot`. Pure.

A text holds `@NAME@` where a value belongs. One that is left over, or a value that no text asks
for, is a mistake of ours and raises.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
_PLACE = re.compile(r"@([A-Z][A-Z0-9_]*)@")


def render(name: str, **values: str | int) -> str:
    """`render("nginx/site.conf", DOMAIN="search.example.com")`. Raises KeyError for a value that is missing or not asked for, and
    ValueError for one with a line break: no value of ours has one."""
    text = (HERE / name).read_text()
    asked = set(_PLACE.findall(text))
    if asked != set(values):
        raise KeyError(f"{name}: missing {sorted(asked - set(values))}, not asked for {sorted(set(values) - asked)}")
    for key, value in values.items():
        if any(ord(c) < 32 or ord(c) == 127 for c in str(value)):
            raise ValueError(f"{name}: {key} holds a control character")
    return _PLACE.sub(lambda place: str(values[place[1]]), text)
