"""Whose request it is: behind no proxy, one, two, and where somebody lies about it."""

from __future__ import annotations

import pytest
from flask import Flask

from searchapi import address


def seen(hops: int, forwarded: str | None = None, peer: str = "") -> str:
    """Whom a request is counted for."""
    app = Flask("test", static_folder=None)
    found = []
    app.before_request(lambda: found.append(address.of_request()))
    address.init_app(app, hops)
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    app.test_client().get("/", headers=headers, environ_overrides={"REMOTE_ADDR": peer})
    return found[0]


def test_no_proxy():
    """With PROXY_HOPS=0 nothing that a client writes counts."""
    assert seen(0, None, "203.0.113.7") == "203.0.113.7"
    assert seen(0, "198.51.100.1", "203.0.113.7") == "203.0.113.7"
    assert seen(0, "198.51.100.1", "") == address.LOCAL


def test_behind_nginx():
    """Nginx sets the header to the client's address; on a unix socket there is no other."""
    assert seen(1, "203.0.113.7") == "203.0.113.7"
    assert seen(1, "203.0.113.7", "127.0.0.1") == "203.0.113.7"


def test_behind_a_balancer_and_nginx():
    """Each adds the address that it was called from; the client's is the second from the end."""
    assert seen(2, "203.0.113.7, 10.0.0.5") == "203.0.113.7"
    assert seen(2, "203.0.113.7,10.0.0.5", "127.0.0.1") == "203.0.113.7"


@pytest.mark.parametrize(
    "lies",
    [
        "1.2.3.4",
        '"1.2.3.4',
        '"1.2.3.4\\',
        '1"2"3"',
        "1.2.3.4, 5.6.7.8",
        "::1, , ,",
        "unknown",
        '"',
        "x" * 4000,
        ", " * 300,
        '"1.2.3.4, 9.9.9.9',
    ],
)
@pytest.mark.parametrize("truth", ["203.0.113.7", "203.0.113.7, 10.0.0.5"])
def test_lies_do_not_move_a_client(lies, truth):
    """What a client writes comes before what the proxies add, and is not looked at; nor can it hide that by a quote."""
    assert seen(truth.count(",") + 1, f"{lies}, {truth}") == "203.0.113.7"


def test_a_missing_header():
    """A request that no proxy forwarded (or too few) is its peer's."""
    assert seen(1, None, "") == address.LOCAL
    assert seen(1, None, "127.0.0.1") == "127.0.0.1"
    assert seen(1, "", "127.0.0.1") == "127.0.0.1"
    assert seen(2, "203.0.113.7", "127.0.0.1") == "127.0.0.1"
    assert seen(2, "203.0.113.7", "") == address.LOCAL


@pytest.mark.parametrize(
    "text, bucket",
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("::FFFF:CB00:7107", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:0db8:0001:0002:0000:0000:0000:0001", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_forms_of_an_address(text, bucket):
    """All that is one client's is one bucket, however it is written."""
    assert seen(1, text) == bucket
    assert seen(0, None, text) == bucket


@pytest.mark.parametrize(
    "text",
    ["garbage", "1.2.3", "1.2.3.4.5", "999.1.1.1", "010.1.1.1", "[::1", "::1]:80", "unix:", "\u00ff", "[]", ":80", "9" * 5000],
)
def test_garbage(text):
    """What is no address is one bucket for all of it, so that inventing more wins nothing."""
    assert seen(0, None, text) == address.UNKNOWN
