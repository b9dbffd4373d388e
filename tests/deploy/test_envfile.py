"""Settings of a server: a mistake is told here, before anything goes there; a secret stays where it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from decouple import RepositoryEnv
from hypothesis import given
from hypothesis import strategies as st

from deploy import envfile
from deploy.inventory import Host, InventoryError

SECRET = "a secret of the tests, 0123456789 abcdef"
OTHER = "another secret of the tests, 9876543210"
HOST = Host("production", "203.0.113.10", "SHA256:" + "a" * 43, "search.example.com", "you@example.com")
SERVER_OWN = "ENVIRONMENT=production\nDATA_DIR=/var/lib/searchapi\nREDIS_URL=unix:///run/redis/redis-server.sock\n"


@pytest.fixture
def host(tmp_path):
    def write(text: str) -> Host:
        path = tmp_path / "production.env"
        path.write_text(text)
        return replace(HOST, env_file=path)

    return write


def test_without_a_file_a_server_gets_what_it_needs():
    assert envfile.given(HOST) is None
    assert envfile.wanted(HOST, None, None) == SERVER_OWN


@pytest.mark.parametrize("line", ["LOG_LEVEL: info", "LOG_LEVEL info", SECRET])
def test_a_line_that_sets_nothing_is_told_by_its_number(host, line):
    """It would have been left out without a word. What is in it may be a secret."""
    with pytest.raises(InventoryError, match=r"production\.env: line 4 is not NAME=value") as caught:
        envfile.given(host(f"# mine\n\nWORKERS=3\n{line}\n"))
    assert line not in str(caught.value)


def test_the_mark_that_some_editors_begin_a_file_with_is_not_part_of_a_name(host):
    assert envfile.parse(envfile.given(host("\ufeffLOG_LEVEL=info\r\n"))) == {"LOG_LEVEL": "info"}


def test_what_is_there_stays_word_for_word(host):
    """Comments, quotes and order too; a secret that the server has is kept."""
    text = '# mine\nWORKERS="3"\n\n  LOG_LEVEL = warning'
    own = envfile.given(host(text))
    found = envfile.wanted(host(text), own, f"{SERVER_OWN}SECRET_KEY={SECRET}\n")
    assert found == f"{text}\n{SERVER_OWN}SECRET_KEY={SECRET}\n"
    assert envfile.wanted(host(text), own, found) == found


def test_without_a_file_what_the_server_has_stays():
    server = f"WORKERS=3\n{SERVER_OWN}SECRET_KEY={SECRET}\n"
    assert envfile.wanted(HOST, None, server) == server


def test_the_environment_follows_hosts_toml():
    """Where the user has no file of settings, hosts.toml alone says it."""
    found = envfile.wanted(replace(HOST, environment="staging"), None, f"{SERVER_OWN}SECRET_KEY={SECRET}\n")
    assert envfile.parse(found) == {**envfile.parse(SERVER_OWN), "ENVIRONMENT": "staging", "SECRET_KEY": SECRET}


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_secret_is_kept_as_it_was_written(host, quote):
    server = f"SECRET_KEY = {quote}{SECRET}{quote}\n"
    found = envfile.wanted(host(""), "", server)
    assert found.endswith(server) and envfile.parse(found)["SECRET_KEY"] == SECRET


def test_a_secret_of_the_users_own_goes_to_a_server_without_one(host):
    own = f"SECRET_KEY={SECRET}\n"
    assert envfile.parse(envfile.wanted(host(own), own, None))["SECRET_KEY"] == SECRET
    assert envfile.parse(envfile.wanted(host(own), own, own))["SECRET_KEY"] == SECRET


def test_another_secret_than_the_servers_is_refused(host):
    """All keys would be useless. Neither of the two is shown."""
    own = f"SECRET_KEY={OTHER}\n"
    with pytest.raises(InventoryError, match="all its API keys are useless") as caught:
        envfile.wanted(host(own), own, f"SECRET_KEY={SECRET}\n")
    assert SECRET not in str(caught.value) and OTHER not in str(caught.value)


def test_an_empty_secret_is_none(host):
    """The server makes one, and there are never two lines of it."""
    assert "SECRET_KEY" not in envfile.parse(envfile.wanted(host("SECRET_KEY=\n"), "SECRET_KEY=\n", None))
    found = envfile.wanted(host("SECRET_KEY=\n"), "SECRET_KEY=\n", f"SECRET_KEY={SECRET}\n")
    assert found.count("SECRET_KEY") == 1 and envfile.parse(found)["SECRET_KEY"] == SECRET
    assert "SECRET_KEY" not in envfile.wanted(HOST, None, f"{SERVER_OWN}SECRET_KEY=\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("WORKERS=many", "WORKERS is 'many', but it must be a whole number from 1 to 64"),
        ("WORKERZ=3", r"'WORKERZ' is not a setting; did you mean WORKERS\?"),
        ("workers=3", r"'workers' is not a setting; did you mean WORKERS\?"),
        ("QQQQ=3", r"'QQQQ' is not a setting\."),
        ("ENVIRONMENT=staging", r"ENVIRONMENT is staging, but \[production\] in hosts.toml is production"),
        ("DATA_DIR=/srv/data", "on a server it is always /var/lib/searchapi; leave it out"),
        ("REQUIRE_KEYS=false", "REQUIRE_KEYS is false, but production never answers without a key"),
        ("CORS_ORIGINS=*", r"CORS_ORIGINS is \*, but in production"),
        (
            "ENGINE_URL=https://search:9200",
            "ENGINE_URL is not usable, but it must be .* for OpenSearch opensearch://host:9200/prefix",
        ),
        ("ENGINE_URL=opensearchs://h1,h2/shop?cafile=/ca.pem", "after . it knows ca, cert and key, not 'cafile'"),
        ("MAX_BODY_BYTES=1MiB\nMAX_DOCUMENT_BYTES=2MiB", "above MAX_BODY_BYTES"),
        ("WORKERS=x\nTHREADS=y", "WORKERS is .* THREADS is "),
    ],
)
def test_a_mistake_names_the_file_and_what_was_expected(host, text, says):
    with pytest.raises(InventoryError, match=says) as caught:
        envfile.given(host(text))
    assert str(caught.value).startswith("production.env: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "SECRET_KEY=planted-short",
        "SENTRY_DSN=planted",
        "REDIS_URL=redis:planted",
        "SENTRY_DSN=https://planted@host",
        "ENGINE_URL=opensearch://u:planted/x@h",
        "ENGINE_URL=opensearch://u:planted",
    ],
)
def test_a_mistake_in_a_secret_does_not_show_it(host, text):
    with pytest.raises(InventoryError, match="is not usable, but it must be") as caught:
        envfile.given(host(text))
    assert "planted" not in str(caught.value)


def test_an_engine_elsewhere_is_taken(host):
    """And what changes of it is shown without the password."""
    line = "ENGINE_URL=opensearchs://shop:planted@s1,s2:9201/shop?ca=/etc/searchapi/opensearch.pem\n"  # pragma: allowlist secret
    assert envfile.given(host(line)) == line
    assert envfile.parse(envfile.wanted(host(line), line, None))["ENGINE_URL"] == line.partition("=")[2].rstrip()
    assert envfile.changes("", line) == "  + ENGINE_URL=opensearchs://s1:9200,s2:9201/shop"
    assert envfile.changes("ENGINE_URL=opensearch://u:planted/x\n", "") == "  - ENGINE_URL (not shown)"


def test_the_environment_of_this_machine_plays_no_part(host, monkeypatch):
    monkeypatch.setenv("WORKERS", "nonsense")
    assert envfile.given(host("WORKERS=3\n")) == "WORKERS=3\n"


def test_a_file_that_cannot_be_read_is_told(host, tmp_path):
    with pytest.raises(InventoryError, match=r"env_file: .*absent\.env cannot be read: No such file"):
        envfile.given(replace(HOST, env_file=tmp_path / "absent.env"))
    (tmp_path / "latin.env").write_bytes(b"# \xff\n")
    with pytest.raises(InventoryError, match="it is not UTF-8"):
        envfile.given(replace(HOST, env_file=tmp_path / "latin.env"))


def test_what_changes_is_shown_without_secrets():
    before = f"WORKERS=2\nTHREADS=4\nSECRET_KEY={SECRET}\nSENTRY_DSN=https://planted@sentry.example.com/1\nUNKNOWN=planted\n"
    after = f"WORKERS=3\nLOG_LEVEL=debug\nSECRET_KEY={OTHER}\n# planted\n"
    shown = envfile.changes(before, after)
    assert shown.splitlines() == [
        "  + LOG_LEVEL=debug",
        "  ~ SECRET_KEY (not shown)",
        "  - SENTRY_DSN (not shown)",
        "  - THREADS=4",
        "  - UNKNOWN (not shown)",
        "  ~ WORKERS=3",
    ]
    assert "planted" not in envfile.changes("# a\n", "# planted\n")


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=#'\"\n\r \t\\ABC_"), max_size=80))
def test_it_is_read_as_the_application_reads_it(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("env") / "env"
    path.write_bytes(text.encode())
    assert envfile.parse(path.read_text()) == RepositoryEnv(str(path)).data
    assert envfile.parse(text) == RepositoryEnv(str(path)).data
