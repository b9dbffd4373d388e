"""How a key is written: `sk_<id>_<secret><checksum>`, 12, 32 and 6 letters and digits.

The id is public: it is what the log names. The secret has 190 random bits. The checksum (CRC-32 of all before it, as GitHub's
tokens have one: https://github.blog/engineering/behind-githubs-new-authentication-token-formats/) lets a scanner for leaked
secrets tell a key from noise without asking the server.
"""

from __future__ import annotations

import re
import secrets
import zlib

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID, _SECRET, _CHECKSUM = 12, 32, 6  # letters
PATTERN = re.compile(rf"sk_([0-9A-Za-z]{{{_ID}}})_([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})")
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_id() -> str:
    return _random(_ID)


def new_secret() -> str:
    return _random(_SECRET)


def written(id: str, secret: str) -> str:
    """The key as it is shown once."""
    text = f"sk_{id}_{secret}"
    return text + checksum(text)


def _random(letters: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(letters))


def checksum(text: str) -> str:
    """CRC-32 in base 62, the most significant digit first."""
    high, low = divmod(zlib.crc32(text.encode()), len(_PAIRS) ** 2)
    middle, low = divmod(low, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]  # two digits at a time: each request pays for this


def is_key(text: str) -> bool:
    """Whether a text is written as a key is, its checksum included."""
    return PATTERN.fullmatch(text) is not None and checksum(text[:-_CHECKSUM]) == text[-_CHECKSUM:]


def id_in(text: str) -> str:
    """The id of a key, from the whole key or from the id itself: people paste what they have."""
    match = PATTERN.fullmatch(text.strip())
    return match[1] if match else text.strip()
