"""Secrets taken out of what leaves the process by the side: lines of the log, events for Sentry, problems.

A key stays recognisable by its id: `sk_4fJ0aZ71Qw2x_[redacted]`. What is looked for: API keys, JWTs, the values of Authorization
and Cookie headers, passwords in URLs, and the values of the secret settings themselves. It is done on bytes of JSON, once, at the
last moment, so that nothing goes around it; where there is nothing to find, it costs 2 µs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import orjson

from .config import SETTINGS, Settings
from .engines.opensearch.target import Target

REDACTED = b"[redacted]"
SHORTEST = 8  # letters of a value that is looked for: a shorter one would be found in words
UNGUESSABLE = 20  # letters of one that is looked for in answers

# Wider than keytext.PATTERN: a key may be cut off or percent-encoded, and stand right before or behind something, as another key.
_KEY = re.compile(rb"sk(?:_|%5[Ff])([0-9A-Za-z]{12})(?:_|%5[Ff])(?:(?!sk[_%])[0-9A-Za-z]){6,}+")
# Words with dots between. Possessive, and only from the beginning of one: a long line must not take quadratic time.
_DOTTED = re.compile(rb"(?<![\w-])[\w-]++(?:\.[\w-]*+)++")
_JWT_HEADER = 15  # letters at least
_USER = re.compile(rb"://([^/\s\"'\\:@]*+)(:?)[^/\s\"'\\@]*+@")
_BEARER = re.compile(rb"(?i)(bearer\s+)(?!sk_)[\w.~+/=-]{8,}")
# The value of a header, however it is written down: a member of JSON, or in a text to the end of its quotes, else of its line.
# Escaped letters are taken in pairs, so that JSON stays JSON. What our own sentences say of the header is not one.
_HEADER = re.compile(
    rb"""(?i)(authorization|cookie)(?:
        (?P<member>":")(?:\\.|[^"\\\n])*+
      | (?P<text>(?:\\"\s*[:=,]|'\s*[:=,]|\s*[:=])\s*+)(?!Bearer\ sk_\xe2)
        (?: (?P<escaped>b?\\")(?:\\\\\\"|\\[^"]|[^"\\\n])*+ | (?P<single>b?')(?:\\.|[^'"\\\n])*+ | (?:\\[^n]|[^"\\\n])++ )
    )""",
    re.VERBOSE,
)


class Scrubber:
    """values: texts that are secret as they stand."""

    def __init__(self, values: Iterable[str] = ()):
        forms = {form for value in values if len(value) >= SHORTEST for form in _written(value)}
        self._values = sorted(forms, key=len, reverse=True)

    def answer(self, line: bytes) -> bytes:
        """JSON that goes to a client, who may have written what is in it: a password that is a word stays there, or its absence
        would tell the client what it had guessed."""
        return self.line(line, UNGUESSABLE)

    def line(self, line: bytes, shortest: int = 0) -> bytes:
        """JSON without its secrets. It is JSON still."""
        for value in self._values:
            if len(value) >= shortest and value in line:
                line = line.replace(value, REDACTED)
        # One letter is looked for several times as fast as several.
        if b"sk_" in line or (b"%" in line and b"sk%5" in line):
            line = _KEY.sub(rb"sk_\1_" + REDACTED, line)
        if b"J" in line and b"eyJ" in line:
            line = _DOTTED.sub(_without_jwt, line)
        if b"@" in line and b"://" in line:
            line = _USER.sub(_without_password, line)
        if b"earer" in line:
            line = _BEARER.sub(rb"\1" + REDACTED, line)
        if b"ookie" in line or b"uthoriz" in line or b"OOKIE" in line or b"UTHORIZ" in line:
            line = _HEADER.sub(_without_value, line)
        return line

    def tree(self, value: Any) -> Any:
        """The same of anything that can be written as JSON, names of members too."""
        return json.loads(self.line(encoded(value)))

    def text(self, text: str) -> str:
        return self.tree(text)


def encoded(value: Any) -> bytes:
    """Anything as JSON on one line; what JSON has not, by its str."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # half a surrogate pair, an integer of more than 64 bits: that it is written matters more than how
        return json.dumps(value, default=str, skipkeys=True).encode()


def secrets_of(settings: Settings) -> list[str]:
    """What must not be seen of the settings that are marked secret: their values; of URLs, the keys and passwords in them. Of
    ENGINE_URL the password, and what HTTP makes of user and password."""
    found = []
    if "@" in settings.engine_url:
        target = Target.parse(settings.engine_url)
        found += [target.password, target.authorization.removeprefix("Basic ")]
    for value in (getattr(settings, setting.name.lower()) for setting in SETTINGS if setting.secret):
        if "://" not in value:
            found.append(value)
            continue
        url = urlsplit(value)
        user, _, password = url.netloc.rpartition("@")[0].partition(":")
        found += [password, *parse_qs(url.query).get("password", ())]  # that of Redis on a unix socket is a parameter
        if value.startswith("http"):  # a DSN's user is its key; that of Redis is a name
            found.append(user)
    return [value for value in found if value]


def _written(value: str) -> set[bytes]:
    """A text as it may stand in a line: as it is, in JSON, in a URL, and taken out of one."""
    plain = {value, unquote(value)}
    forms = {*plain, *(quote(text, safe="") for text in plain), *(json.dumps(text)[1:-1] for text in plain)}
    return {form.encode(errors="surrogatepass") for form in forms} | {orjson.dumps(text)[1:-1] for text in plain}


def _without_jwt(match: re.Match[bytes]) -> bytes:
    """From the first part on that begins as a JWT does: `{"` in base64, and at least an `alg`."""
    start = 0
    for part in match[0].split(b".")[:-1]:
        at = part.find(b"eyJ")
        if 0 <= at <= len(part) - _JWT_HEADER:
            return match[0][: start + at] + REDACTED
        start += len(part) + 1
    return match[0]


def _without_password(match: re.Match[bytes]) -> bytes:
    return b"://%b:%b@" % (match[1], REDACTED) if match[2] else b"://%b@" % REDACTED  # pragma: allowlist secret


def _without_value(match: re.Match[bytes]) -> bytes:
    before = match["member"] or match["text"] + (match["escaped"] or match["single"] or b"")
    return match[1] + before + REDACTED
