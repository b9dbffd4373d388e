"""Keys: how they are written, hashed, checked, changed; what one key may give to another; SECRET_KEY's file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi import keystore, keytext
from searchapi.config import Settings, SettingsError
from searchapi.engines.embedded import SystemDatabase
from searchapi.exceptions import Conflict, Invalid, KeyNotFound, NotAuthenticated, NotPermitted
from searchapi.keyinput import parse_key
from searchapi.keystore import EVERY_INDEX, OWNER, SCOPES, Grant, KeyStore, covers, moment
from searchapi.lastuse import LastUse
from searchapi.secretkey import derived, new_secret_key, secret_key

NOW = "2026-06-01T12:00:00.000Z"
SECRET = b"an unguessable secret of the tests"


def later(seconds: float) -> str:
    return moment(1780315200000 + int(seconds * 1000))


def earlier(seconds: float) -> str:
    return later(-seconds)


@pytest.fixture
def system(tmp_path):
    return SystemDatabase(tmp_path)


@pytest.fixture
def store(system):
    return KeyStore(SECRET, system)


def refused(store: KeyStore, text: str, now: str = NOW) -> str:
    """The code with which a key is refused."""
    with pytest.raises(NotAuthenticated) as error:
        store.verify(text, now)
    assert not text or text not in error.value.detail
    return error.value.code


def test_moments():
    """Times are of one length, and compare as text."""
    assert later(0) == NOW
    assert earlier(0.001) < NOW < later(0.001) < later(86_400 * 365 * 7000)


# ---------------------------------------------------------------------------------------------------------- text


def test_text_form(store):
    """A key is `sk_`, 12 public letters, 32 secret ones and 6 of checksum, each another one."""
    texts = [store.create(["search"], ["*"], NOW) for _ in range(50)]
    for key, text in texts:
        assert re.fullmatch(r"sk_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", text)
        assert text[3:15] == key.id
        assert keytext.is_key(text) and keytext.id_in(f" {text}\n") == keytext.id_in(key.id) == key.id
    assert len({text[3:15] for _, text in texts}) == len({text[16:48] for _, text in texts}) == 50


def test_checksum_is_a_fixed_function():
    """Scanners know it: CRC-32 in base 62 with six digits. (The CRC-32 of "123456789" is 0xCBF43926 = 3421780262.)"""
    assert keytext.checksum("123456789") == "3jZRME"
    value = 0
    for letter in "3jZRME":
        value = value * 62 + keytext._ALPHABET.index(letter)
    assert value == 3421780262


@given(st.integers(0, 53), st.sampled_from("0aZ_ é\n"))
def test_a_changed_letter_is_noticed(position, letter):
    """Any letter that is another one makes it no key."""
    text = keytext.written("a" * 12, "b" * 32)
    changed = text[:position] + letter + text[position + 1 :]
    assert keytext.is_key(changed) == (changed == text)


@given(st.text(max_size=80))
def test_any_text_is_refused(tmp_path_factory, text):
    """Whatever is sent as a key, the answer is that it is none."""
    store = KeyStore(SECRET, _shared(tmp_path_factory))
    assert refused(store, f"{text}\0") == "invalid_key"


def _shared(factory, made=[]) -> SystemDatabase:  # noqa: B006
    if not made:
        made.append(SystemDatabase(factory.mktemp("shared")))
    return made[0]


# -------------------------------------------------------------------------------------------------------- checks


def test_verify(store):
    """A key's grant is what it was made with."""
    _, text = store.create(
        ["search", "metrics"], ["books", "films-*"], NOW, rate_limit="5/second", rate_limit_per_ip="1/second", max_page_size=7
    )
    found = store.verify(text, NOW)
    assert found == Grant(text[3:15], frozenset(("search", "metrics")), ("books", "films-*"), "5/second", "1/second", 7)
    assert found.sees("books") and found.sees("films-2") and not found.sees("books-2") and not found.sees("film")


def test_wrong_secrets(store):
    """Another secret with a right checksum, another id, a wrong checksum: none is valid, nor told apart."""
    key, text = store.create(["search"], ["*"], NOW)
    other, _ = store.create(["search"], ["*"], NOW)
    secret = text[16:48]
    for wrong in (
        keytext.written(key.id, "x" * 32),
        keytext.written(other.id, secret),
        keytext.written("x" * 12, secret),
        text[:-1] + ("0" if text[-1] != "0" else "1"),
        text[:-1],
        text + "0",
        text.upper(),
        "",
    ):
        assert refused(store, wrong) == "invalid_key"


def test_only_a_keyed_hash_is_kept(store, system, tmp_path):
    """Nothing of the secret is on the disk, and a digest is useless under another SECRET_KEY or for another key."""
    key, text = store.create(["search"], ["*"], NOW)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.id.encode() in written
    assert text[16:48].encode() not in written
    assert refused(KeyStore(SECRET + b"2", system), text) == "invalid_key"
    assert store.digest(key.id, text[16:48]) == key.digest != store.digest("b" * 12, text[16:48])
    assert derived(SECRET, "key", "a") != derived(SECRET, "other", "a")


def test_compared_in_constant_time(store, monkeypatch):
    """Digests are compared by hmac.compare_digest alone: of the secret, and of the one before while it is valid."""
    key, text = store.create(["search"], ["*"], NOW)
    _, new = store.rotate(key.id, 60, NOW)
    compared = []
    monkeypatch.setattr(keystore.hmac, "compare_digest", lambda a, b: bool(compared.append((a, b))))
    for known, times in ((new, 2), (text, 2), (keytext.written(key.id, "x" * 32), 2), (keytext.written("x" * 12, "x" * 32), 0)):
        compared.clear()
        assert refused(store, known) == "invalid_key"
        assert len(compared) == times


def test_expiry(store):
    """A key is valid until its time, and says that it has expired to who knows its secret alone."""
    key, text = store.create(["search"], ["*"], NOW, expires_at=later(60))
    assert store.verify(text, later(59.999)).expires_at == later(60)
    assert refused(store, text, later(60)) == "expired_key"
    assert refused(store, keytext.written(key.id, "x" * 32), later(61)) == "invalid_key"
    store.change(key.id, {"expires_at": None})
    assert store.verify(text, later(61)).expires_at is None


def test_revoked(store):
    """At once and for good; the record stays, with its time."""
    key, text = store.create(["search"], ["*"], NOW)
    store.verify(text, NOW)
    assert store.revoke(key.id, later(1)).revoked_at == later(1)
    assert refused(store, text) == "revoked_key"
    assert refused(store, keytext.written(key.id, "x" * 32)) == "invalid_key"
    assert store.revoke(key.id, later(9)).revoked_at == later(1)
    assert [found.id for found in store.list()] == [key.id]
    for act in (lambda: store.change(key.id, {"description": "x"}), lambda: store.rotate(key.id, 0, NOW)):
        with pytest.raises(Conflict) as error:
            act()
        assert error.value.code == "already_revoked"
    with pytest.raises(KeyNotFound):
        store.revoke("nosuch", NOW)


def test_change(store):
    """What is given is replaced, the rest and the secret stay, and the next request knows it."""
    key, text = store.create(["search"], ["*"], NOW, description="a", max_page_size=5)
    store.verify(text, NOW)
    changed = store.change(key.id, {"scopes": ("metrics",), "max_page_size": None})
    assert (changed.description, changed.scopes, changed.max_page_size, changed.epoch) == ("a", ("metrics",), None, 1)
    assert store.verify(text, NOW).scopes == {"metrics"}


# ------------------------------------------------------------------------------------------------------ rotation


def test_rotate_without_overlap(store):
    """The old secret is invalid at once; id and members stay; the epoch counts."""
    key, old = store.create(["search"], ["books"], NOW, description="shop")
    rotated, new = store.rotate(key.id, 0, later(1))
    assert (rotated.id, rotated.description, rotated.epoch, rotated.previous_until) == (key.id, "shop", 2, None)
    assert refused(store, old, later(1)) == "invalid_key"
    assert store.verify(new, later(1)).key_id == key.id and new[:16] == old[:16]


def test_rotate_with_overlap(store):
    """Both secrets are valid until the time is over; revoking ends both."""
    key, old = store.create(["search"], ["*"], NOW)
    rotated, new = store.rotate(key.id, 60, NOW)
    assert rotated.previous_until == later(60)
    assert store.verify(old, later(59.999)) == store.verify(new, later(59.999))
    assert refused(store, old, later(60)) == "invalid_key"
    assert store.verify(new, later(60))
    store.revoke(key.id, later(1))
    assert refused(store, old, later(2)) == refused(store, new, later(2)) == "revoked_key"


def test_rotate_again_while_an_old_secret_is_valid(store):
    """It would cut off who still uses the first: refused, unless both are to end."""
    key, first = store.create(["search"], ["*"], NOW)
    _, second = store.rotate(key.id, 60, NOW)
    with pytest.raises(Conflict) as error:
        store.rotate(key.id, 60, later(30))
    assert error.value.code == "still_rotating"
    assert store.verify(first, later(30)) and store.verify(second, later(30))
    _, third = store.rotate(key.id, 0, later(30))
    assert refused(store, first, later(30)) == refused(store, second, later(30)) == "invalid_key"
    fourth = store.rotate(key.id, 60, later(90))[1]
    assert store.verify(third, later(91)) and store.verify(fourth, later(91))


@pytest.mark.parametrize("overlap", [-1, 30 * 86_400 + 1])
def test_overlap_is_bounded(store, overlap):
    """Nothing was changed by a refused rotation."""
    key, text = store.create(["search"], ["*"], NOW)
    with pytest.raises(Invalid) as error:
        store.rotate(key.id, overlap, NOW)
    assert error.value.errors[0].pointer == "/overlap"
    assert store.verify(text, NOW) and store.get(key.id).epoch == 1


def test_an_expired_key_is_not_rotated(store):
    """Its new secret would be useless; with a longer life it is rotated."""
    key, _ = store.create(["search"], ["*"], NOW, expires_at=later(1))
    with pytest.raises(Conflict) as error:
        store.rotate(key.id, 0, later(2))
    assert error.value.code == "already_expired"
    store.change(key.id, {"expires_at": later(60)})
    assert store.verify(store.rotate(key.id, 0, later(2))[1], later(2))


# ---------------------------------------------------------------------------------------------------- escalation


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("*", "*", True),
        ("*", "books", True),
        ("books", "books", True),
        ("books", "books-2", False),
        ("books", "books*", False),
        ("books", "*", False),
        ("books*", "books", True),
        ("books*", "books-*", True),
        ("books-*", "books*", False),
        ("books-*", "books-", True),
        ("books-*", "*", False),
        ("b", "bo", False),
    ],
)
def test_covers(pattern, name, covered):
    """A pattern covers the names that it takes in, and patterns that take in no more."""
    assert covers(pattern, name) is covered


LIMITED = Grant(
    "limited12345", frozenset(("search", "keys:admin")), ("books", "films-*"), "600/minute", "60/minute", 50, later(3600)
)
WITHIN = {
    "scopes": ("search",),
    "indexes": ("films-2", "books"),
    "rate_limit": "600/minute",
    "rate_limit_per_ip": "1/second",
    "max_page_size": 50,
    "expires_at": later(3600),
}
BEYOND = [
    ({"scopes": ("search", "metrics")}, "/scopes/1"),
    ({"indexes": ("books", "*")}, "/indexes/1"),
    ({"indexes": ("film*",)}, "/indexes/0"),
    ({"indexes": ("books*",)}, "/indexes/0"),
    ({"expires_at": None}, "/expires_at"),
    ({"expires_at": later(3600.001)}, "/expires_at"),
    ({"rate_limit": None}, "/rate_limit"),
    ({"rate_limit": "off"}, "/rate_limit"),
    ({"rate_limit": "601/minute"}, "/rate_limit"),
    ({"rate_limit": "11/second"}, "/rate_limit"),  # more a minute
    ({"rate_limit": "601/hour"}, "/rate_limit"),  # more at once
    ({"rate_limit_per_ip": "2/second"}, "/rate_limit_per_ip"),
    ({"max_page_size": None}, "/max_page_size"),
    ({"max_page_size": 51}, "/max_page_size"),
]


def test_what_is_within_ones_own_can_be_given(store):
    """All that one has oneself, and less."""
    key, _ = store.create(now=NOW, by=LIMITED, **WITHIN)
    assert (key.scopes, key.indexes, key.max_page_size) == (("search",), ("films-2", "books"), 50)
    for change in (
        {"rate_limit": "10/second"},
        {"rate_limit": "600/hour"},
        {"indexes": ("films-a*",)},
        {"scopes": ("keys:admin",)},
    ):
        store.change(key.id, change, LIMITED)
    assert store.rotate(key.id, 0, NOW, LIMITED)[0].epoch == 2


@pytest.mark.parametrize(("more", "pointer"), BEYOND)
def test_nobody_gives_more_than_they_have(store, system, more, pointer):
    """Neither to a new key nor to one that there is, and nothing is written."""
    key, _ = store.create(now=NOW, by=LIMITED, **WITHIN)
    for act in (
        lambda: store.create(now=NOW, by=LIMITED, **(WITHIN | more)),
        lambda: store.change(key.id, more, LIMITED),
    ):
        with pytest.raises(NotPermitted) as error:
            act()
        assert error.value.code == "forbidden_grant"
        assert [(fault.pointer, fault.code) for fault in error.value.errors] == [(pointer, "more_than_own")]
    assert list(system.keys().values()) == [key]


@pytest.mark.parametrize(("more", "pointer"), BEYOND)
def test_keys_beyond_ones_own(store, more, pointer):
    """One with other scopes or indexes is not there at all; of one with other limits nobody gets the secret, but may end it."""
    key, text = store.create(now=NOW, **(WITHIN | more))
    acts = [
        lambda: store.get(key.id, LIMITED),
        lambda: store.change(key.id, {"description": "mine"}, LIMITED),
        lambda: store.rotate(key.id, 0, NOW, LIMITED),
        lambda: store.revoke(key.id, NOW, LIMITED),
    ]
    if pointer.startswith(("/scopes", "/indexes")):
        assert store.list(LIMITED) == []
        for act in acts:
            with pytest.raises(KeyNotFound) as error:
                act()
            assert error.value.detail == KeyNotFound(key.id).detail
        assert store.verify(text, NOW) and store.get(key.id) == key
    else:
        assert store.list(LIMITED) == [key]
        with pytest.raises(NotPermitted) as error:
            acts[2]()
        assert pointer in [fault.pointer for fault in error.value.errors]
        assert store.verify(text, NOW)
        assert acts[1]().description == "mine" and acts[3]().revoked_at == NOW


def test_what_is_left_out_is_as_ones_own(store):
    """A limited key need not repeat its own bounds; the owner of the folder has none."""
    key, _ = store.create(["search"], None, NOW, LIMITED)
    assert store.verify(store.rotate(key.id, 0, NOW)[1], NOW) == Grant(
        key.id,
        frozenset(("search",)),
        LIMITED.indexes,
        LIMITED.rate_limit,
        LIMITED.rate_limit_per_ip,
        LIMITED.max_page_size,
        LIMITED.expires_at,
    )
    free, _ = store.create(["search"], None, NOW)
    assert (free.indexes, free.expires_at, free.rate_limit, free.max_page_size) == (EVERY_INDEX, None, None, None)


def test_a_key_without_limits_of_its_own_gives_any(store):
    """The defaults of the settings bound nobody: an importer may need more."""
    admin = Grant("a" * 12, frozenset(SCOPES), EVERY_INDEX)
    key, _ = store.create(["search"], ["*"], NOW, admin, rate_limit="off", max_page_size=10_000)
    assert key.rate_limit == "off"
    assert store.create(["search"], ["*"], NOW, Grant(None, frozenset(SCOPES), EVERY_INDEX, "off"), rate_limit="9/second")[0]


# ----------------------------------------------------------------------------------------------------- last use


def test_last_use_is_written_lazily(store, system):
    """Noted with the request, written when the store is closed; times never go back."""
    key, text = store.create(["search"], ["*"], NOW)
    store.verify(text, later(5))
    store.close()
    assert system.keys()[key.id].last_used_at == later(5)
    store.verify(text, later(3))
    store.close()
    assert system.keys()[key.id].last_used_at == later(5)


def test_a_refused_key_was_not_used(store, system):
    """Revoked, expired or wrong, it leaves no trace."""
    key, text = store.create(["search"], ["*"], NOW)
    store.revoke(key.id, NOW)
    refused(store, text)
    store.close()
    assert system.keys()[key.id].last_used_at is None


def wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_last_uses_are_written_by_a_thread():
    """Soon after the first, then not before the time has passed, and never by who notes them."""
    written, threads = [], set()

    def write(used):
        threads.add(threading.current_thread())
        written.append(dict(used))

    uses = LastUse(write, every=0.5, soon=0.01)
    for i in range(1000):
        uses.note("a", f"{i:04}")
    wait_for(lambda: written)
    first = time.monotonic()
    uses.note("b", "1")
    wait_for(lambda: len(written) == 2)
    assert time.monotonic() - first > 0.3
    assert written[0] | written[1] == {"a": "0999", "b": "1"}
    assert threading.current_thread() not in threads
    wait_for(lambda: all(not thread.is_alive() for thread in threads))  # none is left waiting for nothing


def test_last_use_that_cannot_be_written(tmp_path, caplog):
    """The folder is away: no request notices, one line is logged, and once it is back nothing was lost."""
    folder = tmp_path / "data"
    store = KeyStore(SECRET, SystemDatabase(folder))
    key, text = store.create(["search"], ["*"], NOW)
    store.verify(text, NOW)
    folder.rename(tmp_path / "away")

    def in_a_thread():  # its own connection, as the timer's
        thread = threading.Thread(target=store.close)
        thread.start()
        thread.join()

    in_a_thread()
    in_a_thread()
    assert [record.levelname for record in caplog.records if "last use" in record.message] == ["WARNING"]
    (tmp_path / "away").rename(folder)
    in_a_thread()
    assert SystemDatabase(folder).keys()[key.id].last_used_at == NOW


# ------------------------------------------------------------------------------------------------------- records


def test_records_of_other_releases(store, system):
    """An older one lacks members and has their defaults; what a newer one added is kept when the key is changed or used."""
    key, text = store.create(["search"], ["*"], NOW)
    with system._writing() as connection:
        record = {"id": "old", "digest": "d", "scopes": ["search"], "indexes": ["*"], "created_at": "2025"}
        connection.execute("INSERT INTO keys VALUES ('old', ?)", (orjson.dumps(record),))
        newer = orjson.loads(connection.execute("SELECT record FROM keys WHERE id = ?", (key.id,)).fetchone()[0])
        newer |= {"forced_filter": "tenant = 1", "scopes": ["search", "of-tomorrow"]}
        connection.execute("UPDATE keys SET record = ? WHERE id = ?", (orjson.dumps(newer), key.id))
    assert system.keys()["old"].epoch == 1 and system.keys()["old"].expires_at is None
    assert [found.id for found in store.list()] == ["old", key.id]
    assert store.verify(text, NOW).scopes == {"search", "of-tomorrow"}
    store.close()
    store.change(key.id, {"description": "x"})
    with system._writing() as connection:
        record = orjson.loads(connection.execute("SELECT record FROM keys WHERE id = ?", (key.id,)).fetchone()[0])
    assert (record["forced_filter"], record["last_used_at"], record["description"]) == ("tenant = 1", NOW, "x")


# --------------------------------------------------------------------------------------------------------- input


def test_input():
    """What is written in several ways is kept in one."""
    given = {
        "description": " the shop ",
        "scopes": ["search", "search", "metrics"],
        "indexes": ["*", "books-*", "books"],
        "expires_at": "2027-01-31T02:00:00+02:00",
        "rate_limit": "OFF",
        "rate_limit_per_ip": None,
        "max_page_size": 10_000,
    }
    assert parse_key(given, NOW) == {
        "description": "the shop",
        "scopes": ("search", "metrics"),
        "indexes": ("*", "books-*", "books"),
        "expires_at": "2027-01-31T00:00:00.000Z",
        "rate_limit": "off",
        "rate_limit_per_ip": None,
        "max_page_size": 10_000,
    }
    assert parse_key({}, NOW) == {}
    assert parse_key({"expires_at": None, "description": None}, NOW) == {"expires_at": None, "description": ""}


@pytest.mark.parametrize(
    ("member", "value", "pointer", "word"),
    [
        ("scopes", ["search", "serch"], "/scopes/1", "did you mean 'search'"),
        ("scopes", ["documents:wirte"], "/scopes/0", "did you mean 'documents:write'"),
        ("scopes", [None], "/scopes/0", "null"),
        ("scopes", [], "/scopes", "a list of 1"),
        ("scopes", "search", "/scopes", "a list of 1"),
        ("scopes", None, "/scopes", "null"),
        ("indexes", ["Books"], "/indexes/0", "lowercase"),
        ("indexes", ["books", "*-2"], "/indexes/1", "lowercase"),
        ("indexes", ["**"], "/indexes/0", "lowercase"),
        ("indexes", [""], "/indexes/0", "lowercase"),
        ("indexes", ["a" * 101], "/indexes/0", "lowercase"),
        ("indexes", [["a"]], "/indexes/0", "an array"),
        ("indexes", ["a"] * 101, "/indexes", "one of 101"),
        ("indexes", None, "/indexes", "null"),
        ("expires_at", "2026-06-01T12:00:00Z", "/expires_at", "has passed"),
        ("expires_at", "30d", "/expires_at", "RFC 3339"),
        ("expires_at", "2026-02-30", "/expires_at", "RFC 3339"),
        ("expires_at", 1900000000000, "/expires_at", "RFC 3339"),
        ("rate_limit", "600/fortnight", "/rate_limit", "600/minute"),
        ("rate_limit", "0/minute", "/rate_limit", "600/minute"),
        ("rate_limit", "600/minute\n", "/rate_limit", "600/minute"),
        ("rate_limit_per_ip", 600, "/rate_limit_per_ip", "600/minute"),
        ("max_page_size", 0, "/max_page_size", "from 1 to"),
        ("max_page_size", True, "/max_page_size", "true"),
        ("max_page_size", 1.5, "/max_page_size", "1.5"),
        ("max_page_size", 10_001, "/max_page_size", "from 1 to"),
        ("description", "x" * 201, "/description", "200"),
        ("description", "two\nlines", "/description", "one line"),
        ("description", "\x1b[31mred", "/description", "one line"),
        ("description", ["x"], "/description", "one line"),
    ],
)
def test_bad_input(member, value, pointer, word):
    """The fault is named, with its place and what was expected."""
    with pytest.raises(Invalid) as error:
        parse_key({member: value}, NOW)
    [fault] = error.value.errors
    assert fault.pointer == pointer and word in fault.detail
    assert fault.detail.isprintable()


def test_every_fault_is_told():
    """All at once, not one after the other."""
    with pytest.raises(Invalid) as error:
        parse_key({"scopes": ["x", "y"], "indexes": ["X"], "max_page_size": 0}, NOW)
    assert [fault.pointer for fault in error.value.errors] == ["/scopes/0", "/scopes/1", "/indexes/0", "/max_page_size"]


# ---------------------------------------------------------------------------------------------------- SECRET_KEY


def test_secret_key_of_the_settings(tmp_path):
    """It is taken as it is, and nothing is written."""
    settings = Settings(environment="production", data_dir=tmp_path / "data", secret_key="s" * 40)
    assert secret_key(settings) == b"s" * 40
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_no_secret_key_outside_development(tmp_path, environment):
    """None is made; the error says how to get one."""
    with pytest.raises(SettingsError, match=rf"SECRET_KEY is empty, but {environment} needs one; .*keys secret"):
        secret_key(Settings(environment=environment, data_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_secret_key_in_development(tmp_path):
    """Made once, with its folder, for this user alone; another time it is the same."""
    settings = Settings(data_dir=tmp_path / "a" / "b")
    made = secret_key(settings)
    assert len(made) >= 32 and secret_key(settings) == made
    [path] = settings.data_dir.iterdir()
    assert path.name == "secret_key" and path.stat().st_mode & 0o777 == 0o600
    assert Settings(secret_key=new_secret_key()).secret_key  # what `keys secret` prints can be used


def test_keys_of_another_secret_key(system, store, caplog):
    """They are refused as any wrong key is; the log says why, once a key; rotated, a key is usable again."""
    key, text = store.create(["search"], None, NOW)
    revoked, _ = store.create(["search"], None, NOW)
    store.revoke(revoked.id, NOW)
    other = KeyStore(b"another SECRET_KEY, 0123456789 0123456789", system)
    mine, _ = other.create(["search"], None, NOW)
    assert [found.id for found in other.foreign()] == [key.id] and [found.id for found in store.foreign()] == [mine.id]
    for _ in range(3):
        assert refused(other, text) == "invalid_key"
    assert [record.getMessage() for record in caplog.records if "SECRET_KEY" in record.getMessage()] == [
        f"key {key.id} is refused: it was made with another SECRET_KEY than is set here"
    ]
    _, new = other.rotate(key.id, 0, NOW)
    assert other.verify(new, NOW).key_id == key.id and other.foreign() == []


def test_a_key_of_an_older_release(system, store):
    """It does not know what it was made with: nothing is said of it."""
    key, text = store.create(["search"], None, NOW)
    system.update_key(key.id, lambda key: replace(key, made_with=""))
    assert store.foreign() == [] and store.verify(text, NOW).key_id == key.id


_MAKE = """
import sys, time
from pathlib import Path
from searchapi.config import Settings
from searchapi.secretkey import secret_key
print("ready", flush=True)
sys.stdin.readline()
print(secret_key(Settings(data_dir=Path(sys.argv[1]))).decode(), flush=True)
"""


def test_processes_that_start_at_once_agree(tmp_path):
    """Several processes that all come first, round after round: one key, never a part of one."""
    root = str(Path(keystore.__file__).parent.parent)
    for round in range(5):
        folder = tmp_path / str(round)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started = [
            subprocess.Popen([sys.executable, "-c", _MAKE, str(folder)], env={**os.environ, "PYTHONPATH": root}, **pipes)
            for _ in range(4)
        ]
        for process in started:
            assert process.stdout.readline() == "ready\n"
        for process in started:
            process.stdin.write("\n")
            process.stdin.flush()
        found = {process.communicate(timeout=60)[0] for process in started}
        assert len(found) == 1 and len(found.pop().strip()) == 64
        assert [path.name for path in folder.iterdir()] == ["secret_key"]


def test_threads_and_readers_never_see_a_part_of_it(tmp_path):
    """Who looks at the file while it is made finds none or all of it."""
    for round in range(20):
        settings, seen, stop = Settings(data_dir=tmp_path / str(round)), set(), threading.Event()

        def look(path=settings.data_dir / "secret_key", seen=seen, stop=stop):
            while not stop.is_set():
                try:
                    seen.add(path.read_bytes())
                except FileNotFoundError:
                    pass

        reader = threading.Thread(target=look)
        reader.start()
        made = set()
        makers = [threading.Thread(target=lambda made=made, s=settings: made.add(secret_key(s))) for _ in range(4)]
        for thread in makers:
            thread.start()
        for thread in makers:
            thread.join()
        stop.set()
        reader.join()
        assert len(made) == 1 and seen <= made


@pytest.mark.parametrize("left", [b"", b"half of"])
def test_a_damaged_file_is_told(tmp_path, left):
    """It is not replaced unasked, because every key would become useless."""
    (tmp_path / "secret_key").write_bytes(left)
    with pytest.raises(SettingsError, match=r"secret_key is damaged.*backup.*delete it"):
        secret_key(Settings(data_dir=tmp_path))
    assert (tmp_path / "secret_key").read_bytes() == left


def test_a_folder_that_cannot_be_used(tmp_path):
    """The error names the file, the reason and what to do."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(SettingsError, match=r"data/secret_key cannot be made or read: .*\. Set SECRET_KEY, or run as"):
        secret_key(Settings(data_dir=tmp_path / "data"))
    (tmp_path / "other" / "secret_key").mkdir(parents=True)
    with pytest.raises(SettingsError, match="Is a directory"):
        secret_key(Settings(data_dir=tmp_path / "other"))
    assert OWNER.key_id is None
