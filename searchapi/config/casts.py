"""Text of a setting -> its value. Each raises ValueError with what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from ..engines.opensearch.target import Target

UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "": 1}  # of bytes, the largest first
_FACTORS = {name.lower(): factor for name, factor in UNITS.items() if name}


def choice(*allowed: str) -> Callable[[str], str]:
    def cast(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text.lower()

    return cast


def integer(low: int, high: int) -> Callable[[str], int]:
    def cast(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return cast


def size(low: int = 1, high: int = 1 << 40) -> Callable[[str], int]:
    """Bytes: `1048576`, or with a binary unit, `1MiB`."""

    def cast(text: str) -> int:
        number, unit = text[:-3].strip(), _FACTORS.get(text[-3:].lower(), 0)
        if not unit:
            number, unit = text, 1
        if not (number.isascii() and number.isdigit() and low <= int(number) * unit <= high):
            raise ValueError(f"a number of bytes from {low} to {high}, as 1048576 or 1MiB")
        return int(number) * unit

    return cast


def folder(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("the path of a folder")
    return Path(text).expanduser()


def host(text: str) -> str:
    if not text or any(c.isspace() or c in "/@" for c in text):
        raise ValueError("an address or host name to listen on, as 127.0.0.1")
    return text


def engine_url(text: str) -> str:
    if text.startswith(("opensearch:", "opensearchs:")):
        try:
            Target.parse(text)
        except ValueError as error:
            raise ValueError(f"as opensearch://user:password@host:9200/prefix: {error}") from None
    elif text.startswith(("http:", "https:")):
        raise ValueError("`embedded:`, or for OpenSearch opensearch://host:9200/prefix, and opensearchs:// where it speaks TLS")
    elif text != "embedded:":
        raise ValueError("`embedded:` or opensearch://host:9200/prefix")
    return text


def engine_shown(text: str) -> str | None:
    """What may be seen of it: a URL without user and password. None where it cannot be told what of it is a password."""
    try:
        return str(Target.parse(text))
    except ValueError:
        return text if re.fullmatch(r"[\w:]*(//)?", text) else None


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError("a fraction from 0 to 1, as 0.1")
    return value


def secret(text: str) -> str:
    if text and (len(text) < 32 or len(set(text)) < 10):
        raise ValueError("at least 32 random characters; `python -m searchapi keys secret` prints some")
    return text


def rate(text: str) -> str:
    """`600/minute`, in units of cost, or `off`."""
    if text.lower() != "off" and not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", text):
        raise ValueError("a number per second, minute, hour or day, as 600/minute, or off")
    return text.lower()


def origins(text: str) -> tuple[str, ...]:
    """`https://a.example, https://b.example:8443`, or `*`."""
    given = tuple(dict.fromkeys(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip()))
    for origin in given:
        if origin != "*" and not re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", origin):
            raise ValueError("origins with commas between, as https://www.example.com, https://example.com:8443, or *")
    return given


def redis_url(text: str) -> str:
    try:
        _ = urlsplit(text).port
        known = re.match(r"unix:///.|rediss?://[^/]|\Z", text)
    except ValueError:  # `redis://[`, a port that is no number: its words hold a part of the URL
        known = None
    if not known:
        raise ValueError("unix:///run/redis/redis.sock, redis://127.0.0.1:6379/0 or rediss://user:password@host:6380/0, or empty")
    return text


def dsn(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^/@\s]+@[^/\s\[\]]+(/[^/\s]+)*/[0-9]+", text):
        raise ValueError("the DSN that Sentry shows for a project, as https://key@host/1, or empty")
    return text


def release(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._+@-]{0,100}", text):
        raise ValueError("letters, digits, `.`, `_`, `+`, `@` and `-`")
    return text
