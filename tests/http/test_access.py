"""Without a key: searching from this machine in development, and nothing anywhere else."""

from __future__ import annotations

import contextlib

import pytest

from searchapi.app import create_app
from searchapi.config import Settings, SettingsError
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase

from .conftest import API

SECRET = "an unguessable secret of the tests 0123456789"


@pytest.fixture(params=["staging", "production"])
def closed(request, tmp_path):
    system = SystemDatabase(tmp_path)
    engine = EmbeddedEngine(tmp_path, system)
    settings = Settings(environment=request.param, data_dir=tmp_path, secret_key=SECRET)
    return API(create_app(settings, engine, system).test_client())


@pytest.fixture
def keyless(app):
    """A client without a key, in development."""
    return API(app.test_client())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "[::1]"])
def test_loopback_hosts(keyless, host):
    """The loopback names are answered, with any port."""
    keyless.get("/v1/indexes", headers={"Host": host})


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "10.0.0.1", "", "[::2]"])
def test_other_hosts(keyless, host):
    """Another Host is refused: a page that rebinds its name to 127.0.0.1 gets nothing."""
    keyless.get("/v1/indexes", headers={"Host": host}, fails=403, code="not_local")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses(keyless, address):
    """Every form of the loopback address is answered."""
    keyless.get("/v1/indexes", environ_overrides={"REMOTE_ADDR": address})


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.2", "::2", "::ffff:10.0.0.1", "", "unix"])
def test_other_addresses(keyless, address):
    """Any other address is refused."""
    keyless.get("/v1/indexes", environ_overrides={"REMOTE_ADDR": address}, fails=403, code="not_local")


def test_web_pages(keyless, library):
    """A browser's page of another origin is refused, one of this machine is answered."""
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://[", "http://localhost@evil.example"):
        keyless.get(f"{library}/search", headers={"Origin": origin}, fails=403, code="not_local")
    keyless.get(f"{library}/search", headers={"Origin": "http://localhost:3000"})


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
@pytest.mark.parametrize("hops", [0, 1, 2])
def test_through_a_proxy(tmp_path, header, hops):
    """A tunnel or proxy on this machine calls from loopback, for anybody; and who may write its header may write 127.0.0.1."""
    system = SystemDatabase(tmp_path)
    with contextlib.closing(EmbeddedEngine(tmp_path, system)) as engine:
        api = API(create_app(Settings(data_dir=tmp_path, proxy_hops=hops), engine, system).test_client())
        api.get("/v1/indexes")
        for said in ("203.0.113.7", "127.0.0.1", "127.0.0.1, 127.0.0.1", "for=127.0.0.1", ""):
            api.get("/v1/indexes", headers={header: said}, fails=403, code="not_local")


def test_without_a_key_only_searching(keyless, library):
    """In development too, what changes or empties an index needs a key."""
    keyless.get(f"{library}/search?q=parsing")
    keyless.post(f"{library}/search", json={"q": "parsing"})
    keyless.get(f"{library}/suggest?q=pars")
    for method, path in [
        ("POST", "/v1/indexes"),
        ("DELETE", library),
        ("POST", f"{library}/documents"),
        ("GET", f"{library}/export"),
        ("GET", f"{library}/documents/a"),
        ("GET", "/v1/tasks"),
        ("PUT", "/v1/aliases/x"),
        ("GET", "/db-health"),
    ]:
        keyless.call(method, path, fails=401, code="unauthorized")


def test_a_key_works_from_anywhere(api, app):
    """The rules of loopback are for those without a key."""
    elsewhere = {"headers": {"Host": "search.example"}, "environ_overrides": {"REMOTE_ADDR": "10.0.0.1"}}
    api.get("/v1/indexes", **elsewhere)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "bearer x y", "Bearer sk_", "Token sk_x", "\u00ff"])
def test_what_is_no_key(keyless, library, header):
    """A header that holds no key is refused even where none is needed."""
    keyless.get(f"{library}/search", headers={"Authorization": header}, fails=401, code="invalid_key")


def test_health_is_open(keyless, closed):
    """Load balancers have no keys."""
    for one in (keyless, closed):
        one.get("/health", headers={"Host": "balancer.example"}, environ_overrides={"REMOTE_ADDR": "10.0.0.1"})
        one.get("/health/ready", environ_overrides={"REMOTE_ADDR": "10.0.0.1"})


def test_closed_outside_development(closed):
    """Staging and production refuse everything else that there is."""
    for path in ("/v1/indexes", "/v1/indexes/x/search?q=a", "/db-health"):
        closed.get(path, fails=401, code="unauthorized")
    for path in ("/nope", "/health/../v1/indexes", "/%68ealth/ready/x"):
        closed.get(path, fails=404, code="no_such_address")
    closed.post("/v1/indexes", json={"name": "x"}, fails=401)


def test_unsafe_settings_do_not_start(tmp_path):
    """An application with unsafe settings is not made."""
    with pytest.raises(SettingsError, match=r"HOST is 0\.0\.0\.0"):
        create_app(Settings(host="0.0.0.0", data_dir=tmp_path))
    with pytest.raises(SettingsError, match=r"SECRET_KEY is empty"):
        create_app(Settings(environment="production", data_dir=tmp_path))
    with pytest.raises(SettingsError, match=r"REQUIRE_KEYS is false"):
        create_app(Settings(environment="staging", data_dir=tmp_path, secret_key=SECRET, require_keys=False))
    with pytest.raises(SettingsError, match=r"DATA_DIR .* must be absolute"):
        create_app(Settings(environment="production", secret_key=SECRET))
