"""Secrets in text: found however they are written, and taken out so that JSON stays JSON."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapi import keytext
from searchapi.config import SETTINGS, Settings
from searchapi.scrub import Scrubber, encoded, secrets_of

KEY = keytext.written("4fJ0aZ71Qw2x", "0123456789ABCDEFGHIJKLMNOPQRSTUV")
SECRET = KEY[16:]  # what nobody may read
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"  # pragma: allowlist secret
SECRET_KEY = 'a "quoted" \\ secret/key wörd 0123456789'
SETTINGS_WITH_SECRETS = Settings(
    secret_key=SECRET_KEY,
    redis_url="rediss://writer:p%40ss-of-redis@redis.example:6380/0",  # pragma: allowlist secret
    sentry_dsn="https://0123456789abcdef@o1.ingest.example/42",
)
scrubber = Scrubber(secrets_of(SETTINGS_WITH_SECRETS))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (KEY, "sk_4fJ0aZ71Qw2x_[redacted]"),
        (f"key={KEY}&x", "key=sk_4fJ0aZ71Qw2x_[redacted]&x"),
        (f"Bearer{KEY}", "Bearersk_4fJ0aZ71Qw2x_[redacted]"),
        (KEY[:30], "sk_4fJ0aZ71Qw2x_[redacted]"),
        (KEY.replace("_", "%5F"), "sk_4fJ0aZ71Qw2x_[redacted]"),
        (f"{KEY} {KEY}", "sk_4fJ0aZ71Qw2x_[redacted] sk_4fJ0aZ71Qw2x_[redacted]"),
        (JWT, "[redacted]"),
        (f"token={JWT};", "token=[redacted];"),
        (JWT[:40], "[redacted]"),
        # pragma: allowlist nextline secret
        ("redis://writer:p4ss-word@10.0.0.1:6379/0 is away", "redis://writer:[redacted]@10.0.0.1:6379/0 is away"),
        ("https://0a1b2c@sentry.example/4", "https://[redacted]@sentry.example/4"),
        ("rediss://writer:p%40ss-of-redis@redis.example", "rediss://writer:[redacted]@redis.example"),  # pragma: allowlist secret
        ("the password is p@ss-of-redis", "the password is [redacted]"),
        ("the project's key is 0123456789abcdef", "the project's key is [redacted]"),
        (f"it is {SECRET_KEY}!", "it is [redacted]!"),
        (repr({"Authorization": "Bearer abcdefgh", "Host": "h"}), "{'Authorization': '[redacted]', 'Host': 'h'}"),
        (repr([(b"Cookie", b"a=b; c=d")]), "[(b'Cookie', b'[redacted]')]"),
        ("AUTHORIZATION: Digest username=\"u\", response=\"r\"\nHost: h", "AUTHORIZATION: [redacted]\nHost: h"),
        ('Set-Cookie: a="b"; c=d', "Set-Cookie: [redacted]"),
        ("HTTP_COOKIE=a=b", "HTTP_COOKIE=[redacted]"),
        (json.dumps({"cookie": 'a="b"; c', "n": 1}), '{"cookie": "[redacted]", "n": 1}'),
        ("a bearer abcdefgh12345678.", "a bearer [redacted]"),
    ],
)  # fmt: skip
def test_secrets(text, left):
    """Whole, cut off, glued to something, encoded, in quotes of any kind."""
    assert scrubber.text(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "sk_learn_model",
        "/v1/indexes/sk_4fJ0aZ71Qw2x",
        "Send the key as Authorization: Bearer sk_…",
        "the cookie jar, the authorization of all",
        "cookie:",
        "https://example.com/a?b=c@d",
        "mail to someone@example.com",
        "https://example.com",
        "eyJ",
        "heyJude.mp3.eyJ",
        "bearer of news",
        "",
    ],
)
def test_what_is_no_secret(text):
    """Names, addresses and our own sentences stay as they are."""
    assert scrubber.text(text) == text


def test_members_of_json():
    """A header as a member of JSON, and JSON around it that is not text."""
    event = {"headers": {"authorization": f"Bearer {KEY}", "cookie": None, "x": [1, True]}, f"id {KEY}": 2}
    left = {"headers": {"authorization": "[redacted]", "cookie": None, "x": [1, True]}, "id sk_4fJ0aZ71Qw2x_[redacted]": 2}
    assert scrubber.tree(event) == left
    assert scrubber.tree({"a": "cookie", "b": "authorization", "c": ["cookie", "x"]}) == {
        "a": "cookie",
        "b": "authorization",
        "c": ["cookie", "x"],
    }


PIECES = [
    KEY,
    JWT,
    SECRET_KEY,
    "authorization",
    "Cookie: ",
    '"',
    "'",
    "\\",
    "\n",
    ":",
    "=",
    "://",
    "u:p@",
    "bearer ",
    "eyJ.",
    "x",
    "ü",
    "\x00",
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join), st.text(max_size=5))
def test_json_stays_json(text, other):
    """Whatever surrounds a secret: what is left is the same JSON but for that text, and the secret is gone."""
    line = encoded({"message": text, "other": other, "list": [text], "n": 1})
    left = json.loads(scrubber.line(line))
    assert left["n"] == 1 and set(left) == {"message", "other", "list", "n"}
    assert SECRET.encode() not in scrubber.line(line) and JWT.encode() not in scrubber.line(line)


def test_every_secret_setting():
    """A setting that is marked secret is looked for, whichever it is; short ones are not, for they are parts of words."""
    for setting in SETTINGS:
        if setting.secret:
            assert secrets_of(Settings(**{setting.name.lower(): "redis"})) == ["redis"]
            assert Scrubber(["redis"]).text("redis is away") == "redis is away"
            assert Scrubber(["redis-redis"]).text("redis-redis is away") == "[redacted] is away"


def test_passwords_in_urls():
    """Redis's is found where it may be: before the host, or as a parameter, as on a unix socket."""
    for url in ("redis://user:hunter2hunter2@h:1/0", "unix:///r.sock?db=1&password=hunter2hunter2"):  # pragma: allowlist secret
        assert secrets_of(Settings(redis_url=url)) == ["hunter2hunter2"]


def test_answers_confirm_no_guess():
    """A password that could be guessed is cut out of lines, but not out of answers, where a client may have put it."""
    scrubber = Scrubber(["searchapi", "k" * 32])
    assert scrubber.line(b'"urn:searchapi"') == b'"urn:[redacted]"'
    assert scrubber.answer(b'"urn:searchapi"') == b'"urn:searchapi"'
    assert scrubber.answer(b'"%b"' % (b"k" * 32)) == b'"[redacted]"'


@pytest.mark.parametrize(
    "piece", ["eyJ", "eyJ.", "://", "cookie='", 'cookie:\\"', "bearer ", "sk_", "a@b://", "sk%5", "Authorization: "]
)
def test_hostile_lines_cost_little(piece):
    """No pattern takes quadratic time: 100 kB of what nearly is one."""
    line = encoded({"path": piece * (100_000 // len(piece))})
    start = time.perf_counter()
    scrubber.line(line)
    took = time.perf_counter() - start
    print(f"{piece}: {took * 1000:.1f} ms")
    assert took < 1
