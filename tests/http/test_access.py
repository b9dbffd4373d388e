"""Without keys: this machine alone in development, nobody elsewhere."""

from __future__ import annotations

import pytest

from searchapi.app import create_app
from searchapi.config import Settings, SettingsError
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase

from .conftest import API


@pytest.fixture(params=["staging", "production"])
def closed(request, tmp_path):
    system = SystemDatabase(tmp_path)
    engine = EmbeddedEngine(tmp_path, system)
    return API(create_app(Settings(environment=request.param, data_dir=tmp_path), engine, system).test_client())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "[::1]"])
def test_loopback_hosts(api, host):
    """The loopback names are answered, with any port."""
    api.get("/v1/indexes", headers={"Host": host})


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "10.0.0.1", "", "[::2]"])
def test_other_hosts(api, host):
    """Another Host is refused: a page that rebinds its name to 127.0.0.1 gets nothing."""
    api.get("/v1/indexes", headers={"Host": host}, fails=403, code="forbidden")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses(api, address):
    """Every form of the loopback address is answered."""
    api.get("/v1/indexes", environ_overrides={"REMOTE_ADDR": address})


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.2", "::2", "::ffff:10.0.0.1", "", "unix"])
def test_other_addresses(api, address):
    """Any other address is refused."""
    api.get("/v1/indexes", environ_overrides={"REMOTE_ADDR": address}, fails=403, code="forbidden")


def test_web_pages(api):
    """A browser's page of another origin is refused, one of this machine is answered."""
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        api.post("/v1/indexes", json={"name": "x"}, headers={"Origin": origin}, fails=403, code="forbidden")
    api.get("/v1/indexes", headers={"Origin": "http://localhost:3000"})


def test_health_is_open(api, closed):
    """Load balancers have no keys."""
    for one in (api, closed):
        one.get("/health", headers={"Host": "balancer.example"}, environ_overrides={"REMOTE_ADDR": "10.0.0.1"})
        one.get("/health/ready", environ_overrides={"REMOTE_ADDR": "10.0.0.1"})


def test_closed_outside_development(closed):
    """Staging and production refuse everything else, known or not."""
    for path in ("/v1/indexes", "/v1/indexes/x/search?q=a", "/db-health", "/nope", "/health/../v1/indexes", "/%68ealth/ready/x"):
        closed.get(path, fails=401, code="unauthorized")
    closed.post("/v1/indexes", json={"name": "x"}, fails=401)


def test_unsafe_settings_do_not_start(tmp_path):
    """An application with unsafe settings is not made."""
    with pytest.raises(SettingsError, match=r"HOST is 0\.0\.0\.0"):
        create_app(Settings(host="0.0.0.0", data_dir=tmp_path))
    with pytest.raises(SettingsError, match=r"DATA_DIR .* must be absolute"):
        create_app(Settings(environment="production"))
