"""hosts.toml: every mistake says what to type."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from deploy import inventory
from deploy.inventory import HERE, Host, InventoryError

KEY = "SHA256:" + "a" * 43
GOOD = f"""
[production]
address = "203.0.113.10"
host_key = "{KEY}"
domain = "search.example.com"
email = "you@example.com"
"""


@pytest.fixture
def hosts(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "hosts.toml"
        path.write_text(text)
        return path

    return write


def test_the_only_server_needs_no_name(hosts):
    """Defaults are those of the field's documentation, and paths are beside the file."""
    path = hosts(GOOD + 'env_file = "production.env"\nidentity = "/keys/id"\n')
    assert inventory.host(path=path) == Host(
        name="production",
        address="203.0.113.10",
        host_key=KEY,
        domain="search.example.com",
        email="you@example.com",
        environment="production",
        env_file=path.parent / "production.env",
        identity=Path("/keys/id"),
        user="deploy",
        port=22,
    )


def test_a_table_named_staging_is_one(hosts):
    assert inventory.host(path=hosts(GOOD.replace("[production]", "[staging]"))).environment == "staging"


OTHER = GOOD.replace("[production]", "[staging]").replace("203.0.113.10", "203.0.113.11")


def test_two_tables_are_two_servers(hosts):
    """The second would make the first's server its own, with another domain and environment."""
    same = GOOD.replace("[production]", "[staging]")
    with pytest.raises(InventoryError, match=r"\[production\] and \[staging\] are one server, 203\.0\.113\.10"):
        inventory.hosts(hosts(GOOD + same))
    assert len(inventory.hosts(hosts(GOOD + same + "port = 2222\n"))) == 2  # behind a router


def test_a_service_may_not_become_root(hosts):
    """Who ships may do everything on the server."""
    with pytest.raises(InventoryError, match="'searchapi' is a service's"):
        inventory.hosts(hosts(GOOD + 'user = "searchapi"\n'))


def test_of_several_one_is_named(hosts):
    path = hosts(GOOD + OTHER)
    assert inventory.host("staging", path).name == "staging"
    with pytest.raises(InventoryError, match="has production, staging; say which, as --to production"):
        inventory.host(None, path)
    with pytest.raises(InventoryError, match=r"no \[stagin\]; did you mean staging\?"):
        inventory.host("stagin", path)
    with pytest.raises(InventoryError, match=r"no \[xyz\]; it has production, staging"):
        inventory.host("xyz", path)


def test_the_example_is_one_server_once_the_key_is_filled_in():
    """Every member that there is stands in it."""
    text = (HERE / "hosts.example.toml").read_text()
    assert inventory.hosts(HERE / "hosts.example.toml")["production"].domain == "search.example.com"
    shown = {match[1] for match in re.finditer(r"^#? ?([a-z_]+) = ", text, re.M)}
    assert shown == {name for name in Host.__dataclass_fields__ if name != "name"}
    tomllib.loads(re.sub(r"^# ([a-z_]+ = )", r"\1", text, flags=re.M))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('address = "203.0.113.10"\n', "", r"\[production\] lacks 'address'"),
        ('email = "you@example.com"\n', "", r"lacks 'email'"),
        ("address =", "adress =", r"has 'adress'; did you mean address\?"),
        ('email = "you', 'zzz = 1\nemail = "you', "'zzz', which means nothing"),
        ("203.0.113.10", "203.0.113.10; reboot", "must be an IP address or host name"),
        ("203.0.113.10", "-oProxyCommand=x", "must be an IP address or host name"),
        (KEY, "SHA256:short", "as `ssh-keygen -lf` prints it"),
        (KEY, "ssh-ed25519 AAAA", "as `ssh-keygen -lf` prints it"),
        ("search.example.com", "https://search.example.com/", "a domain in lower case"),
        ("search.example.com", "Search.example.com", "a domain in lower case"),
        ("search.example.com", "search", "a domain in lower case"),
        ("search.example.com", "a b.example.com", "a domain in lower case"),
        ("search.example.com", "x;}.example.com", "a domain in lower case"),
        ("search.example.com", "-x.example.com", "a domain in lower case"),
        ("you@example.com", "nobody", "an address that people read"),
        ('"you@example.com"', "7", "must be a text, not 7"),
        ('"you@example.com"', '""', "must be a text, not ''"),
        ('"you@example.com"', '"you@example.com"\nport = "22"', "must be a port, not '22'"),
        ('"you@example.com"', '"you@example.com"\nport = 0', "must be a port, not 0"),
        ('"you@example.com"', '"you@example.com"\nport = true', "must be a port, not True"),
        ('"you@example.com"', '"you@example.com"\nuser = "Bob X"', "the name of a Unix user"),
        ('"you@example.com"', '"you@example.com"\nenvironment = "prod"', "staging or production"),
        ('"you@example.com"', '"you@example.com"\nacme_directory = "http://x"', "an https:// address"),
        ("[production]", "x = 1\n[production]", "x stands outside of a table"),
        ("[production]", '["bad name"]', "letters, digits"),
        (GOOD, "", "names no server"),
        ("[production]", "[production", "cannot be read"),
        ("[production]", "[production]\nemail = 'twice@example.com'", "cannot be read"),
    ],
)
def test_mistakes_say_what_to_type(hosts, old, new, says):
    assert old in GOOD
    with pytest.raises(InventoryError, match=says) as caught:
        inventory.hosts(hosts(GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_without_a_file_it_says_how_to_make_one(tmp_path):
    with pytest.raises(InventoryError, match=r"copy hosts\.example\.toml to it"):
        inventory.host(path=tmp_path / "hosts.toml")


def test_what_is_no_text_is_told(tmp_path):
    path = tmp_path / "hosts.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InventoryError, match="cannot be read"):
        inventory.host(path=path)
