"""ENGINE_URL of an OpenSearch cluster: what is understood, what is refused, and that no password is shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi import config, scrub
from searchapi.config import Settings, SettingsError
from searchapi.engines.opensearch.target import Target

PLANTED = "planted-engine-password"


@pytest.mark.parametrize(
    ("url", "hosts", "prefix", "tls"),
    [
        ("opensearch://search1", (("search1", 9200),), "searchapi", False),
        ("opensearch://search1/", (("search1", 9200),), "searchapi", False),
        ("opensearch://Search1:9201,10.0.0.2/shop", (("search1", 9201), ("10.0.0.2", 9200)), "shop", False),
        ("opensearchs://[2001:DB8:0::1],[::1]:9300,h3/a-b_9/", (("2001:db8::1", 9200), ("::1", 9300), ("h3", 9200)), "a-b_9", True),
        ("opensearchs://search.example.com:443/x", (("search.example.com", 443),), "x", True),
    ],
)
def test_hosts_and_prefix(url, hosts, prefix, tls):
    """Several hosts, IPv6 in brackets; a port and a prefix where none is given."""
    target = Target.parse(url)
    assert (target.hosts, target.prefix, target.tls) == (hosts, prefix, tls)
    assert (target.user, target.password, target.authorization, target.ca) == (None, None, None, None)
    assert Target.parse(str(target)) == target


def test_user_and_files():
    """User and password are percent-encoded; the files are paths."""
    target = Target.parse("opensearchs://se%40rch:p%2F%3A%40%25ß%C3%9F@h/x?ca=/etc/a%20b.pem&cert=/c.pem&key=/k.pem")
    assert (target.user, target.password) == ("se@rch", "p/:@%ßß")
    assert (target.ca, target.cert, target.key) == (Path("/etc/a b.pem"), Path("/c.pem"), Path("/k.pem"))
    assert target.authorization == "Basic c2VAcmNoOnAvOkAlw5/Dnw=="


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("opensearch:h", "begins with opensearch://"),
        ("opensearch://", "names a host"),
        ("opensearch://h1,,h2", "names a host"),
        ("opensearch://h1,H1:9200", "each host once"),
        ("opensearch://-h", "names a host"),
        ("opensearch://h:0", "1 to 65535"),
        ("opensearch://h:65536", "1 to 65535"),
        ("opensearch://h:", "1 to 65535"),
        ("opensearch://h:٣", "1 to 65535"),
        ("opensearch://::1", "in brackets"),
        ("opensearch://[::1", "in brackets"),
        ("opensearch://[::g]", "in brackets"),
        ("opensearch://[::1]9200", "in brackets"),
        ("opensearch://h/Shop", "prefix"),
        ("opensearch://h/_shop", "prefix"),
        ("opensearch://h/a.b", "prefix"),
        ("opensearch://h/a/b", "prefix"),
        ("opensearch://h/a*", "prefix"),
        ("opensearch://h/" + "a" * 65, "prefix"),
        ("opensearch://h h", "no spaces"),
        ("opensearch://h/#x", "no #"),
        ("opensearch://user@h", "a user and a password"),
        ("opensearch://:x@h", "a user and a password"),
        ("opensearch://u:@h", "a user and a password"),
        ("opensearch://u:a@b@h", "percent-encoded"),
        ("opensearch://u:50%@h", "percent-encoded"),
        ("opensearch://u:%ff@h", "UTF-8"),  # pragma: allowlist secret
        ("opensearch://a%3Ab:x@h", "no colon"),
        ("opensearch://h?ca=/a", "are for opensearchs://"),
        ("opensearchs://h?cert", "of the form"),
        ("opensearchs://h?cafile=/a", "not 'cafile'"),
        ("opensearchs://h?crt=/a", "did you mean cert"),
        ("opensearchs://h?ca=/a&ca=/b", "names ca once"),
        ("opensearchs://h?ca=a.pem", "absolute path"),
        ("opensearchs://h?ca=", "absolute path"),
        ("opensearchs://h?key=/k", "belongs to a cert"),
    ],
)
def test_what_is_refused(url, says):
    """With what is wrong."""
    with pytest.raises(ValueError, match=says):
        Target.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        f"opensearch://u:{PLANTED}",
        f"opensearch://u:{PLANTED}/x@h",
        f"opensearch://u:{PLANTED}#x@h",
        f"opensearch://u:{PLANTED} @h",
        f"opensearch://u:{PLANTED}%@h",  # pragma: allowlist secret
        f"opensearch://u:{PLANTED}@h:x",
        f"opensearch://u:{PLANTED}@h/UP",
        f"opensearch://u:{PLANTED}@h?x=y",
        f"opensearch://{PLANTED}@h",
        f"opensearch:/u:{PLANTED}@h",
        f"https://u:{PLANTED}@h:9200",
        f"u:{PLANTED}@h",
    ],
)
def test_no_fault_shows_a_password(monkeypatch, tmp_path, url):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGINE_URL", url)
    with pytest.raises(SettingsError, match=r"^ENGINE_URL is not usable, but it must be ") as caught:
        config.load()
    assert PLANTED not in str(caught.value) and "opensearch://" in str(caught.value)


@given(st.text(alphabet=st.one_of(st.sampled_from(":/@,?#%[]=&.-ah19"), st.characters()), max_size=40))
def test_any_text(rest):
    """Is understood or refused."""
    try:
        target = Target.parse(f"opensearchs://{rest}")
    except ValueError:
        return
    assert target.hosts and Target.parse(str(target)).hosts == target.hosts


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: ":" not in text), st.text(min_size=1))
def test_any_user_and_password(user, password):
    """Once they are percent-encoded."""
    try:
        url = f"opensearch://{quote(user, safe='')}:{quote(password, safe='')}@h"
    except UnicodeEncodeError:  # half a surrogate pair
        return
    target = Target.parse(url)
    assert (target.user, target.password) == (user, password)


def test_what_check_and_logs_show(tmp_path):
    """The URL without user and password, also where it stands in a line of the log, percent-encoded or as the header has it."""
    url = "opensearch://shopper:planted%2Fpassword@127.0.0.1/shop"  # pragma: allowlist secret
    settings = Settings(engine_url=url, data_dir=tmp_path)
    shown = {check.name: check.detail for check in config.checks(settings)}["ENGINE_URL"]
    assert shown == "is opensearch://127.0.0.1:9200/shop"
    assert "planted" not in repr(Target.parse(url))
    scrubber = scrub.Scrubber(scrub.secrets_of(settings))
    for text in ("planted/password", "planted%2Fpassword", url, Target.parse(url).authorization, f"say '{url}'"):
        left = scrubber.text(f"it says {text} here")
        assert "planted" not in left and "cGxhbnRlZC9" not in left and left.startswith("it says ")


def test_what_speaks_against_it():
    """Other hosts without TLS, where it is live; it serves anyway."""
    live = {"environment": "staging", "secret_key": "an unguessable secret of the tests 0123456789", "workers": 1}

    def warned(url: str, **values) -> bool:
        return "ENGINE_URL" in {check.name for check in config.verdicts(Settings(engine_url=url, **values)) if check.ok}

    assert warned("opensearch://10.0.0.1,127.0.0.1", **live)
    assert not warned("opensearchs://10.0.0.1", **live)
    assert not warned("opensearch://127.0.0.1,[::1],localhost", **live)
    assert not warned("opensearch://10.0.0.1")
