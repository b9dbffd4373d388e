"""Settings: one table, and what is read from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from searchapi import config
from searchapi.config import SETTINGS, Settings, SettingsError
from searchapi.query.limits import Limits

ROOT = Path(config.__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No settings but those of a test."""
    for setting in SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    for module in (config.settings, config.safety):
        monkeypatch.setattr(module, "CHECKOUT", tmp_path / "code")
    monkeypatch.chdir(tmp_path)


def test_the_example_is_the_table():
    """`.env.example` and docs/settings.md are what the table prints."""
    assert (ROOT / ".env.example").read_text() == config.example()
    assert config.table() in (ROOT / "docs/settings.md").read_text()


def test_the_limits_of_requests_are_all_told():
    """docs/limits.md has each setting that a request can be refused by."""
    text = (ROOT / "docs/limits.md").read_text()
    capped = [s.name for s in SETTINGS if s.name.startswith(("MAX_", "RATE_")) or s.name == "BODY_TIMEOUT_MS"]
    assert len(capped) > 20 and [name for name in capped if f"`{name}`" not in text] == []


def test_printing():
    """`python -m searchapi.config env|docs` prints both; anything else is answered with how to use it."""

    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "searchapi.config", *arguments], cwd=ROOT, capture_output=True, text=True)

    assert run("env").stdout == config.example()
    assert run("docs").stdout == config.table()
    assert run("x").returncode == 2 and "usage" in run("x").stderr


def test_the_example_is_a_valid_file(tmp_path):
    """Uncommented, `.env.example` gives the defaults, also those that development would have otherwise."""
    file = tmp_path / "all"
    file.write_text(
        "\n".join(line.removeprefix("# ") for line in config.example().splitlines() if "=" in line and " " not in line[2:])
    )
    assert config.load() == Settings()
    strict = {s.name.lower(): s.cast(s.default) for s in SETTINGS if s.development is not None}
    assert config.load(file) == Settings(**strict) != Settings()


def test_every_setting_has_a_field():
    """The frozen dataclass has a field a row, with the default of its environment."""
    for environment in ("development", "staging", "production"):
        settings = Settings(environment=environment)
        values = {s.name: s.cast(s.default_in(environment)) for s in SETTINGS} | {"ENVIRONMENT": environment}
        assert values == {s.name: getattr(settings, s.name.lower()) for s in SETTINGS}
    with pytest.raises(AttributeError):
        settings.port = 1


def test_what_only_development_leaves_open(monkeypatch):
    """Searching without a key, and no proxy in front: the environment decides, and whoever sets them is heard."""
    assert (config.load().require_keys, config.load().proxy_hops) == (False, 0)
    monkeypatch.setenv("ENVIRONMENT", "staging")
    assert (config.load().require_keys, config.load().proxy_hops) == (True, 1)
    monkeypatch.setenv("ENVIRONMENT", "development")
    monkeypatch.setenv("REQUIRE_KEYS", "true")
    assert config.load().require_keys


def test_where_values_come_from(monkeypatch, tmp_path):
    """The environment wins over the credentials' file, which is read instead of `.env`."""
    (tmp_path / ".env").write_text("PORT=1001\nWORKERS=3\n")
    assert (config.load().port, config.load().workers) == (1001, 3)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/env").write_text("PORT='1002'\n# WORKERS=9\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert (config.load().port, config.load().workers) == (1002, 2)
    monkeypatch.setenv("PORT", "1003")
    assert config.load().port == 1003


def test_env_beside_the_package(tmp_path):
    """Without a file in the working directory, that of the checkout is read."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/.env").write_text("PORT=1004\n")
    assert config.load().port == 1004


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "http", "a whole number from 1 to 65535"),
        ("PORT", "70000", "a whole number from 1 to 65535"),
        ("PORT", "", "a whole number"),
        ("PORT", "-1", "a whole number"),
        ("WORKERS", "0", "a whole number from 1"),
        ("ENVIRONMENT", "prod", "one of development, staging, production"),
        ("LOG_LEVEL", "loud", "one of debug, info"),
        ("MAX_BODY_BYTES", "5MB", "a number of bytes"),
        ("MAX_BODY_BYTES", "10", "from 1024"),
        ("DATA_DIR", "", "the path of a folder"),
        ("HOST", "http://x", "an address or host name"),
        ("ENGINE_URL", "opensearch:", "begins with opensearch://"),
        ("ENGINE_URL", "mysql://", "`embedded:`"),
        ("REQUIRE_KEYS", "yes", "true or false"),
        ("RATE_LIMIT_PER_IP", "20", "a number per second, minute, hour or day"),
        ("RATE_LIMIT_PER_KEY", "0/minute", "or off"),
        ("LOG_SAMPLE", "2", "a fraction from 0 to 1"),
        ("SENTRY_TRACES", "nan", "a fraction from 0 to 1"),
        ("CORS_ORIGINS", "www.example.com", "origins with commas between"),
        ("CORS_ORIGINS", "https://a.example/page", "origins with commas between"),
        ("RELEASE", "1 2", "letters, digits"),
    ],
)
def test_bad_values(monkeypatch, name, value, expected):
    """An error names the setting, the value and what was expected."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        config.load()
    assert str(caught.value).startswith(f"{name} is {value!r}, but it must be ") and expected in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SECRET_KEY", "hunter2", "at least 32 random characters"),
        ("SECRET_KEY", "ab" * 20, "at least 32 random characters"),
        ("REDIS_URL", "//:hunter2@redis", "rediss://"),
        ("REDIS_URL", "redis://:hunter2@[::1", "rediss://"),
        ("REDIS_URL", "redis://:hunter/2@redis", "rediss://"),
        ("REDIS_URL", "redis://redis:hunter2", "rediss://"),
        ("SENTRY_DSN", "hunter2", "as https://key@host/1"),
        ("SENTRY_DSN", "https://hunter2@[x/1", "as https://key@host/1"),
    ],
)
def test_bad_secrets_are_not_shown(monkeypatch, name, value, expected):
    """What was expected is told, the value is not."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        config.load()
    assert str(caught.value).startswith(f"{name} is not usable, but it must be ") and expected in str(caught.value)
    assert value not in str(caught.value)


def test_several_bad_values(monkeypatch):
    """All of them are named at once, in the order of the table."""
    monkeypatch.setenv("WORKERS", "two")
    monkeypatch.setenv("ENVIRONMENT", "prod")
    with pytest.raises(SettingsError, match=r"^ENVIRONMENT is 'prod', .* WORKERS is 'two', "):
        config.load()


@pytest.mark.parametrize(("text", "size"), [("1024", 1024), ("4KiB", 4096), ("32 mib", 32 << 20), (" 1GiB ", 1 << 30)])
def test_sizes(monkeypatch, text, size):
    """Bytes with or without a unit."""
    monkeypatch.setenv("MAX_BODY_BYTES", text)
    assert config.load().max_body_bytes == size


def test_a_file_that_cannot_be_read(tmp_path):
    """A settings file that is no text is refused by its name."""
    (tmp_path / ".env").write_bytes(b"PORT=\xff\n")
    with pytest.raises(SettingsError, match=r"\.env cannot be read"):
        config.load()


def test_limits():
    """The bounds of requests are those of the settings; the rest keep their defaults."""
    limits = Settings(max_page=77, max_timeout_ms=5000).limits
    assert (limits.max_page, limits.max_timeout_ms, limits.max_clauses) == (77, 5000, Limits().max_clauses)


SECRET = "an unguessable secret of the tests 0123456789"


def errors(**values) -> set[str]:
    return {check.name for check in config.verdicts(Settings(**values)) if not check.ok}


def test_unsafe_settings():
    """What must not be served with, and what may."""
    live = {"environment": "production", "data_dir": Path("/var/lib/searchapi"), "secret_key": SECRET}
    assert errors() == set()
    assert errors(host="0.0.0.0") == {"HOST"}
    assert errors(host="0.0.0.0", require_keys=True) == set()
    assert errors(**live) == set()
    assert errors(**live | {"host": "203.0.113.5"}) == {"HOST"}
    assert errors(**live | {"data_dir": Path("var")}) == {"DATA_DIR"}
    assert errors(**live | {"data_dir": config.safety.CHECKOUT / "var"}) == {"DATA_DIR"}
    assert errors(**live | {"cors_origins": ("*",)}) == {"CORS_ORIGINS"}
    for environment in ("staging", "production"):
        assert errors(**live | {"environment": environment, "secret_key": ""}) == {"SECRET_KEY"}
        assert errors(**live | {"environment": environment, "require_keys": False}) == {"REQUIRE_KEYS"}
        assert errors(**live | {"environment": environment, "proxy_hops": 0}) == {"PROXY_HOPS"}
    assert errors(environment="staging", secret_key=SECRET, cors_origins=("*",)) == set()
    assert errors(default_limit=50, max_page=10) == {"DEFAULT_LIMIT"}
    assert errors(default_timeout_ms=50, max_timeout_ms=10) == {"DEFAULT_TIMEOUT_MS"}
    assert errors(max_document_bytes=5000, max_body_bytes=4000) == {"MAX_DOCUMENT_BYTES"}
    warned = config.verdicts(Settings(**live, log_queries="clear", log_level="debug"))
    assert [(check.name, check.level, check.ok) for check in warned] == [
        ("REDIS_URL", "warning", True),
        ("LOG_QUERIES", "warning", True),
        ("LOG_LEVEL", "warning", True),
    ]


def test_limits_that_each_worker_counts_for_itself():
    """A warning, but not where one worker counts all, or where nothing is counted."""

    def warned(**values) -> bool:
        found = config.verdicts(Settings(environment="staging", secret_key=SECRET, **values))
        return "REDIS_URL" in {check.name for check in found}

    assert warned()
    assert not warned(redis_url="unix:///run/redis/redis.sock")
    assert not warned(workers=1)
    assert not warned(rate_limit_per_key="off", rate_limit_per_ip="off")


def test_a_redis_elsewhere_is_spoken_to_encrypted():
    """Else a warning: what is sent holds the password. Not on this host, and not in development."""

    def warned(url, environment="production") -> bool:
        found = config.verdicts(Settings(environment=environment, secret_key=SECRET, data_dir=Path("/srv/x"), redis_url=url))
        return any(check.name == "REDIS_URL" and check.level == "warning" for check in found)

    assert warned("redis://:hunter2@10.0.0.5:6379/0")
    assert not warned("rediss://:hunter2@10.0.0.5:6379/0")
    assert not warned("redis://127.0.0.1:6379") and not warned("redis://[::1]:6379") and not warned("unix:///run/redis.sock")
    assert not warned("redis://10.0.0.5", "development")


def test_secrets_are_not_shown(tmp_path):
    """`check` says that they are set, and no more."""
    secrets = {"secret_key": SECRET, "redis_url": "redis://:hunter2@127.0.0.1", "sentry_dsn": "https://hunter2@sentry.example/1"}
    found = {check.name: check.detail for check in config.checks(Settings(data_dir=tmp_path, **secrets))}
    assert [found[name.upper()] for name in secrets] == ["is set"] * 3
    assert "hunter2" not in str(found) and SECRET not in str(found)


def test_require_safe():
    """Every error is told at once."""
    with pytest.raises(SettingsError, match=r"HOST .*DEFAULT_LIMIT"):
        config.require_safe(Settings(host="0.0.0.0", default_limit=50, max_page=10))


def test_checks(tmp_path):
    """Each setting has its verdict, in the table's order; then the folder and the disk."""
    found = config.checks(Settings(data_dir=tmp_path / "new/data", host="0.0.0.0", min_free_bytes=1 << 60))
    assert list(dict.fromkeys(check.name for check in found)) == [*(s.name for s in SETTINGS), "data folder", "disk space"]
    by_name = {check.name: check for check in found}
    assert by_name["PORT"].ok and by_name["PORT"].detail == "is 8000"
    assert by_name["MAX_BODY_BYTES"].detail == "is 32MiB" and by_name["RELEASE"].detail == "is empty"
    assert not by_name["HOST"].ok
    assert by_name["data folder"].ok and "will be made" in by_name["data folder"].detail
    assert by_name["disk space"].level == "warning"
    assert not (tmp_path / "new").exists()


def test_checks_of_a_folder_that_is_a_file(tmp_path):
    """A data folder that cannot be is an error."""
    (tmp_path / "file").write_text("")
    found = {check.name: check for check in config.checks(Settings(data_dir=tmp_path / "file/data"))}
    assert not found["data folder"].ok and "not a folder" in found["data folder"].detail


def test_misspelt_settings(tmp_path):
    """A name in the file that is nearly a setting's is warned of; others belong to somebody else."""
    (tmp_path / ".env").write_text("LOG_LEVLE=debug\nCOMPOSE_PROJECT=x\n")
    unknown = [check for check in config.checks(Settings(data_dir=tmp_path)) if check.name in ("LOG_LEVLE", "COMPOSE_PROJECT")]
    assert [(check.level, "LOG_LEVEL" in check.detail) for check in unknown] == [("warning", True)]
