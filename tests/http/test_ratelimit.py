"""How much a client may ask for: by its key, by its address; what it is told, and what it is told when Redis is away."""

from __future__ import annotations

import gc
import gzip
import logging
import re
import time
import warnings

import pytest

from searchapi import leases, ratelimit
from searchapi.app import create_app
from searchapi.config import Settings, SettingsError
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.keystore import KeyStore
from searchapi.secretkey import secret_key
from tests.keys import CREATED, bearer
from tests.redis import LEAST_RIGHTS, Redis

from .conftest import API, assert_problem, chunked

PATH = "/v1/indexes"  # costs 1
FIELD = re.compile(r'"(key|address|bad_keys)";r=(\d+);t=(\d+)')
POLICY = re.compile(r'"(key|address|bad_keys)";q=(\d+);w=(\d+)')
UNLIMITED = {"rate_limit_per_key": "off", "rate_limit_per_ip": "off", "rate_limit_bad_keys": "off"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    system = SystemDatabase(data)
    engine = EmbeddedEngine(data, system)
    yield data, engine, system
    engine.close()


class Door(API):
    """`API` over an application with limits, with a key of its own for each `key()`."""

    def __init__(self, parts, **settings):
        data, engine, system = parts
        self.settings = Settings(data_dir=data, **{**UNLIMITED, **settings})
        self.app = create_app(self.settings, engine, system)
        self._keys = KeyStore(secret_key(self.settings), system)
        super().__init__(self.app.test_client(), self.new_key())

    def new_key(self, **more) -> str:
        return self._keys.create(("search", "documents:read", "documents:write", "indexes:admin"), ("*",), CREATED, **more)[1]

    def ask(self, path: str = PATH, method: str = "GET", **rest):
        address = rest.pop("address", "203.0.113.7")
        return self.raw(method, path, **{"environ_overrides": {"REMOTE_ADDR": address}, **rest})

    def statuses(self, count: int, *arguments, **rest) -> list[int]:
        return [self.ask(*arguments, **rest).status_code for _ in range(count)]

    def left(self, kind: str, **rest) -> int:
        """Before this request, which costs 1."""
        return fields(self.ask(**rest))[kind][0] + 1

    def state(self) -> dict:
        with self.app.app_context():
            return ratelimit.state()


def fields(response, name: str = "RateLimit", form: re.Pattern = FIELD) -> dict[str, tuple[int, int]]:
    """`{"key": (r, t)}`, and that the field is a list of such items."""
    text = response.headers[name]
    assert all(form.fullmatch(item) for item in text.split(", ")), text
    return {kind: (int(a), int(b)) for kind, a, b in form.findall(text)}


@pytest.fixture
def door(parts):
    return lambda **settings: Door(parts, **settings)


# -------------------------------------------------------------------------------------------------------- what is told


def test_fields(door):
    """Every counted answer says what the limits are, and what is left of them: draft-ietf-httpapi-ratelimit-headers-10."""
    api = door(rate_limit_per_key="6000/minute", rate_limit_per_ip="1200/hour")
    answer = api.ask()
    assert answer.headers["RateLimit-Policy"] == '"key";q=6000;w=60, "address";q=1200;w=3600'
    (left, seconds), (of_address, hour) = fields(answer)["key"], fields(answer)["address"]
    assert (left, of_address) == (5999, 1199)
    assert 0 < seconds <= 60 and 0 < hour <= 3600
    assert fields(api.ask())["address"][0] == 1198


def test_only_what_there_is(door):
    """A limit that is off is not mentioned, and where none is, there are no fields."""
    assert list(fields(door(rate_limit_per_key="10/hour").ask())) == ["key"]
    assert list(fields(door(rate_limit_per_ip="10/hour").ask())) == ["address"]
    assert not any(name.startswith("RateLimit") for name, _ in door().ask().headers)


@pytest.mark.parametrize("kind, said", [("key", "This key may cost 5/hour"), ("ip", "This address, 203.0.113.7, may cost 5/hour")])
def test_refused(door, kind, said):
    """429 says which limit it is, when to come again, and what is left: nothing."""
    api = door(**{f"rate_limit_per_{kind}": "5/hour"})
    assert api.statuses(5) == [200] * 5
    answer = api.ask()
    problem = assert_problem(answer, 429, "rate_limited")
    (left, seconds) = next(iter(fields(answer).values()))
    assert left == 0
    assert abs(int(answer.headers["Retry-After"]) - seconds) <= 1
    assert problem["detail"].startswith(said) and answer.headers["Retry-After"] in problem["detail"]
    assert "RateLimit-Policy" in answer.headers


def test_retry_after_is_true(door):
    """Who waits as long as it says gets in."""
    api = door(rate_limit_per_key="3/second", rate_limit_per_ip="4/second")
    refused = 0
    while refused < 2:
        answer = api.ask()
        if answer.status_code == 429:
            refused += 1
            assert answer.headers["Retry-After"] == "1"
            time.sleep(int(answer.headers["Retry-After"]))
            assert api.ask().status_code == 200


def test_the_longer_wait(door):
    """Where both limits are used up it is the later of the two that counts."""
    api = door(rate_limit_per_key="2/second", rate_limit_per_ip="2/hour")
    while api.ask().status_code == 200:
        pass
    assert int(api.ask().headers["Retry-After"]) >= fields(api.ask())["address"][1] - 1


# ------------------------------------------------------------------------------------------------------ who is counted


def test_keys_are_apart(door):
    """One key's use is not another's, from whatever address."""
    api = door(rate_limit_per_key="3/hour")
    assert [api.ask(address=f"203.0.113.{n}").status_code for n in range(4)] == [200, 200, 200, 429]
    assert api.ask(headers=bearer(api.new_key())).status_code == 200


def test_addresses_are_apart(door):
    """An IPv6 /64 is one, IPv4 as IPv6 is the same as IPv4, and a unix socket is one."""
    api = door(rate_limit_per_ip="2/hour")
    for group in [
        ("203.0.113.1", "::ffff:203.0.113.1", "203.0.113.1"),
        ("203.0.113.2",) * 3,
        ("2001:db8::1", "2001:db8::ffff:1", "2001:0DB8::2"),
        ("2001:db8:0:1::1",) * 3,
        ("",) * 3,
    ]:
        assert [api.ask(address=address, headers=bearer(api.new_key())).status_code for address in group] == [200, 200, 429]


def test_lies_about_the_address(door):
    """Behind one proxy a client cannot write itself another address."""
    api = door(rate_limit_per_ip="3/hour", proxy_hops=1)
    lies = [{"X-Forwarded-For": f"10.0.0.{n}, {n}.1.1.1, 203.0.113.7"} for n in range(4)]
    assert [api.ask(headers=lie, address="").status_code for lie in lies] == [200, 200, 200, 429]
    assert api.ask(headers={"X-Forwarded-For": "203.0.113.8"}, address="").status_code == 200


def test_limits_of_a_key(door):
    """A key's own limits are instead of the settings', and `off` is none."""
    api = door(rate_limit_per_key="100/hour", rate_limit_per_ip="2/hour")
    own = bearer(api.new_key(rate_limit="4/hour", rate_limit_per_ip="3/hour"))
    assert api.statuses(4, headers=own) == [200, 200, 200, 429]
    assert api.statuses(2, headers=own, address="203.0.113.9") == [200, 429]
    assert api.ask(headers=own).headers["RateLimit-Policy"] == '"key";q=4;w=3600, "address";q=3;w=3600'
    free = bearer(api.new_key(rate_limit="off", rate_limit_per_ip="off"))
    assert api.statuses(150, headers=free) == [200] * 150
    assert api.left("address") == 2  # what keys with limits of their own did is not counted for the address


def test_all_or_none(door):
    """What the address may not is not taken from the key."""
    api = door(rate_limit_per_key="100/hour", rate_limit_per_ip="2/hour")
    assert api.statuses(10) == [200] * 2 + [429] * 8
    assert api.left("key", address="203.0.113.8") == 98


def test_without_a_key(door):
    """In development who searches without a key is counted by address alone."""
    api = door(rate_limit_per_key="1/hour", rate_limit_per_ip="5/hour")
    api.key = None
    answer = api.ask(address="127.0.0.1")
    assert (answer.status_code, list(fields(answer))) == (200, ["address"])


# --------------------------------------------------------------------------------------------------- what things cost


def test_costs_of_routes(door, name):
    """What a route declares: health nothing, an export ten searches."""
    api = door(rate_limit_per_ip="1000/hour")
    for _ in range(3):
        assert "RateLimit" not in api.ask("/health").headers
    assert api.left("address") == 1000
    api.ask(f"/v1/indexes/{name}/export")
    assert api.left("address") == 1000 - 1 - 10


@pytest.mark.parametrize("method, path, status", [("GET", "/nope", 404), ("DELETE", "/health", 405), ("OPTIONS", PATH, 200)])
def test_what_no_route_answers(door, method, path, status):
    """Addresses and methods that there are not, and OPTIONS, cost the address 1, and need no key."""
    api = door(rate_limit_per_ip="5/hour", rate_limit_per_key="1/hour")
    api.key = None
    assert api.statuses(6, path, method) == [status] * 5 + [429]


@pytest.mark.parametrize("size, cost", [(2, 2), (64 << 10, 2), ((64 << 10) + 1, 3), (150_000, 4)])
def test_bodies(door, name, size, cost):
    """1 more for every 64 KiB that a body begins; one without a length or packed is charged when it has been read."""
    api = door(rate_limit_per_ip="1000/hour")
    body = b"[" + b" " * (size - 2) + b"]"
    path, kind = f"/v1/indexes/{name}/documents", {"Content-Type": "application/json"}

    def taken(**rest) -> int:
        before = api.left("address")
        api.ask(path, "POST", **rest)
        return before - 1 - api.left("address")

    assert taken(data=body, headers=kind) == cost
    streamed = chunked(iter([body]))
    streamed["environ_overrides"]["REMOTE_ADDR"] = "203.0.113.7"
    streamed["headers"] |= kind
    assert taken(**streamed) == cost
    assert taken(data=gzip.compress(body), headers={**kind, "Content-Encoding": "gzip"}) == cost


def test_too_costly(door, name):
    """What costs more than the whole limit is told so, not to come again; it costs 1, so that it has an end."""
    api = door(rate_limit_per_key="2/hour")
    path = f"/v1/indexes/{name}/documents"
    answer = api.ask(path, "POST", data=b" " * 150_000, headers={"Content-Type": "application/json"})
    problem = assert_problem(answer, 413, "too_costly")
    assert "costs 4" in problem["detail"] and "this key may cost 2/hour" in problem["detail"]
    assert "Retry-After" not in answer.headers and fields(answer)["key"][0] == 1
    assert api.ask(path, "POST", data=b" " * 150_000).status_code == 413
    assert_problem(api.ask(path, "POST", data=b" " * 150_000), 429, "rate_limited")


def test_too_costly_without_a_key(door):
    """An address that is nobody's cannot have it refused without end either."""
    api = door(rate_limit_per_ip="3/hour")
    costly = {"data": b" " * 500_000, "headers": {"Authorization": ""}}
    assert api.statuses(5, "/nowhere", "POST", **costly) == [413, 413, 413, 429, 429]


def test_too_long_is_too_long(door, name):
    """A body over MAX_BODY_BYTES is refused for that, whatever it would have cost."""
    api = door(rate_limit_per_key="2/hour", max_body_bytes=100_000, max_document_bytes=50_000)
    answer = api.ask(f"/v1/indexes/{name}/documents", "POST", data=b" " * 500_000, headers={"Content-Type": "application/json"})
    assert_problem(answer, 413, "too_large")


# --------------------------------------------------------------------------------------------------------- wrong keys


def test_refused_requests_cost(door):
    """A request without a key, without the scope, or for an index that the key is not for costs its address 1, and the key too."""
    api = door(rate_limit_per_ip="100/hour", rate_limit_per_key="100/hour")
    for path, headers, status in [
        ("/db-health", {"Authorization": ""}, 401),
        ("/db-health", {}, 403),
        ("/v1/indexes/other", bearer(api._keys.create(("search",), ("mine*",), CREATED)[1]), 404),
    ]:
        before = api.left("address")
        answer = api.ask(path, headers=headers)
        assert (answer.status_code, fields(answer)["address"][0]) == (status, before - 2)
        assert api.left("address") == before - 2


@pytest.mark.parametrize(("path", "status"), [("/db-health", 403), ("/v1/indexes/other", 404)])
def test_a_key_where_it_may_not(door, path, status):
    """A key's own limit counts what it is refused, where its addresses have none."""
    api = door(rate_limit_per_ip="off")
    key = api._keys.create(("search",), ("mine*",), CREATED, rate_limit="3/hour", rate_limit_per_ip="off")[1]
    assert api.statuses(5, path, headers=bearer(key)) == [status] * 3 + [429] * 2


def test_wrong_keys(door, caplog):
    """Who tries keys is told to wait, in one line of the log; valid keys from the same address go on, other addresses too."""
    api = door(rate_limit_bad_keys="5/hour")
    right = api.key
    wrong = right[:-8] + ("x" * 8 if right[-8:] != "x" * 8 else "y" * 8)
    caplog.set_level(logging.INFO, "searchapi.ratelimit")
    assert api.statuses(50, headers=bearer(wrong)) == [401] * 5 + [429] * 45
    answer = api.ask(headers=bearer("nonsense"))
    problem = assert_problem(answer, 429, "rate_limited")
    assert "5 wrong keys in one hour" in problem["detail"] and 0 < int(answer.headers["Retry-After"]) <= 3600
    assert api.ask().status_code == 200
    assert api.ask(headers=bearer(wrong), address="203.0.113.8").status_code == 401
    ours = [line for line in caplog.records if line.name == "searchapi.ratelimit"]
    lines = [(line.levelname, line.getMessage(), vars(line)) for line in ours]
    assert len(lines) == 5 + 1 + 1
    assert all(level == "WARNING" and "203.0.113." in text for level, text, _ in lines)
    assert lines[0][2]["key"] == right.split("_")[1]
    assert lines[5][1] == "5 wrong keys in one hour came from 203.0.113.7: more are answered 429"
    secret = right.split("_")[2]
    assert not any(secret[:12] in str(facts) for _, _, facts in lines)
    assert api.state()["refused"]["bad_keys"] == 46


def test_a_key_that_is_no_key(door, caplog):
    """What is not written as a key is logged without it."""
    api = door(rate_limit_bad_keys="5/hour")
    for text in ("Bearer hunter2hunter2", "Basic aHVudGVyMg==", "Bearer sk_hunter2", "Bearer sk_" + "h" * 12 + "unter2"):
        assert api.ask(headers={"Authorization": text}).status_code == 401
    assert [line.key for line in caplog.records if line.name == "searchapi.ratelimit"] == [None] * 4
    assert "hunter2" not in caplog.text


def test_state(door):
    """What /metrics is told."""
    api = door(rate_limit_per_key="2/hour", rate_limit_per_ip="4/hour")
    assert api.statuses(3) == [200, 200, 429]
    assert api.statuses(5, headers=bearer(api.new_key())) == [200, 200, 429, 429, 429]
    assert api.statuses(2, headers=bearer(api.new_key())) == [429, 429]
    assert api.state() == {"storage": "memory", "fallbacks": 0, "refused": {"key": 4, "address": 2, "bad_keys": 0}}


# -------------------------------------------------------------------------------------------------------------- Redis


@pytest.fixture
def redis(tmp_path):
    with Redis(tmp_path) as redis:
        yield redis


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a crowded machine a Redis that is well may take long to answer."""
    monkeypatch.setattr(ratelimit, "REDIS_TIMEOUT", 10.0)


@pytest.fixture
def quick(monkeypatch):
    """Redis is asked more often whether it is back."""
    monkeypatch.setattr(leases, "PAUSE", 0.05)


def until(true, what: str) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_shared(door, redis):
    """Two applications over one Redis share what a client may."""
    one, other = (door(rate_limit_per_ip="10/hour", rate_limit_bad_keys="4/hour", redis_url=redis.url) for _ in range(2))
    assert one.statuses(4) + other.statuses(4) + one.statuses(4) == [200] * 10 + [429] * 2
    assert other.ask().status_code == 429
    wrong = {"headers": bearer("nonsense"), "address": "203.0.113.9"}
    assert one.statuses(3, **wrong) + other.statuses(3, **wrong) == [401] * 4 + [429] * 2
    assert one.state()["storage"] == "redis"


def outage(api: Door, begin, end, caplog) -> None:
    """Through an outage of Redis nothing fails, limits hold in memory, and it comes back by itself; each with one line."""
    caplog.set_level(logging.INFO, "searchapi.ratelimit")
    key = [bearer(api.new_key()) for _ in range(4)]
    assert api.statuses(3, headers=key[0]) == [200] * 3
    begin()
    slowest = 0.0
    for _ in range(20):
        start = time.monotonic()
        assert api.ask(headers=key[1]).status_code in (200, 429)
        slowest = max(slowest, time.monotonic() - start)
    print(f"the slowest request took {slowest * 1000:.0f} ms")
    assert slowest < 5
    assert api.statuses(1, headers=key[1]) == [429]
    assert (api.state()["storage"], api.state()["fallbacks"]) == ("memory", 1)
    end()
    until(lambda: api.state()["storage"] == "redis", "Redis is used again")
    assert api.statuses(12, headers=key[2]) == [200] * 10 + [429] * 2
    lines = [line.getMessage() for line in caplog.records if line.name == "searchapi.ratelimit" and "Redis" in line.getMessage()]
    until(lambda: len(caplog.records) > 1, "the line is written")
    assert [line.startswith("Redis is away") for line in lines] == [True, False], lines
    print(lines[0])


def test_killed(door, redis, quick, caplog):
    """Killed, and started again with nothing in it."""
    outage(door(rate_limit_per_key="10/hour", redis_url=redis.url), redis.kill, redis.start, caplog)


def test_hanging(door, redis, quick, caplog, monkeypatch):
    """It takes connections but answers nothing: one request waits, once and shortly."""
    monkeypatch.undo()
    assert ratelimit.REDIS_TIMEOUT <= 0.05
    monkeypatch.setattr(ratelimit, "REDIS_TIMEOUT", 0.5)  # as above
    outage(door(rate_limit_per_key="10/hour", redis_url=redis.url), redis.hang, redis.resume, caplog)


def test_full(door, redis, quick, caplog):
    """Out of memory it refuses writes, while a ping is answered: it is not back until writes are taken."""

    def set_memory(size: str) -> None:
        with redis.client() as client:
            client.config_set("maxmemory", size)

    api = door(rate_limit_per_key="10/hour", redis_url=redis.url)
    outage(api, lambda: set_memory("1"), lambda: set_memory("0"), caplog)


def test_not_there_at_the_start(door, tmp_path, quick):
    """The server starts without it, and finds it when it comes."""
    redis = Redis(tmp_path)
    api = door(rate_limit_per_key="10/hour", redis_url=redis.url)
    assert api.statuses(12) == [200] * 10 + [429] * 2
    with redis:
        until(lambda: api.state()["storage"] == "redis", "Redis is used")


def test_emptied(door, redis):
    """Redis emptied under a running server: nothing fails, nothing is an outage."""
    api = door(rate_limit_per_key="1000/hour", redis_url=redis.url)
    assert set(api.statuses(50)) == {200}
    with redis.client() as client:
        client.flushall()
        client.script_flush()
    assert set(api.statuses(50)) == {200}
    assert api.state()["fallbacks"] == 0


def test_a_connection_that_was_closed(door, redis):
    """Connections that Redis closes for being idle are opened anew: that is no outage."""
    api = door(rate_limit_per_key="10/hour", redis_url=redis.url)
    for _ in range(3):
        assert api.ask().status_code == 200
        with redis.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
    assert api.state()["fallbacks"] == 0


def test_a_wrong_password(door, tmp_path, quick, caplog):
    """Limits go on in memory, and the log says why without the password."""
    with Redis(tmp_path, requirepass="the right password") as redis:
        api = door(rate_limit_per_key="10/hour", redis_url=f"{redis.url}&password=hunter2hunter2")
        assert api.statuses(12) == [200] * 10 + [429] * 2
        assert api.state()["storage"] == "memory"
    assert "Redis is away" in caplog.text and "AuthenticationError" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_user_with_the_least_rights(door, tmp_path, caplog):
    """Over TLS with an authority of one's own, as a user who may do nothing but count."""
    users = ("default off", f"searchapi on >hunter2hunter2 {LEAST_RIGHTS}", "reader on >hunter2hunter2 ~* +get")
    with Redis(tmp_path, tls=True, users=users) as redis:
        url = redis.tls_url("searchapi:hunter2hunter2")
        one, other = (door(rate_limit_per_key="10/hour", redis_url=url) for _ in range(2))
        key = bearer(one.new_key())
        assert one.statuses(6, headers=key) + other.statuses(6, headers=key) == [200] * 10 + [429] * 2, caplog.text
        assert one.state() == {"storage": "redis", "fallbacks": 0, "refused": {"key": 0, "address": 0, "bad_keys": 0}}
        assert "Redis" not in caplog.text
        reader = door(rate_limit_per_key="10/hour", redis_url=redis.tls_url("reader:hunter2hunter2"))
        assert reader.statuses(12) == [200] * 10 + [429] * 2
        untrusted = door(rate_limit_per_key="10/hour", redis_url=url.partition("?")[0])
        assert untrusted.statuses(12) == [200] * 10 + [429] * 2
    with warnings.catch_warnings():  # redis-py leaves a socket that shook no hands to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert caplog.text.count("Redis is away") == 2
    assert "NoPermission" in caplog.text and "certificate verify failed" in caplog.text.lower().replace("_", " ")
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("url", ["redis://:hunter2hunter2@127.0.0.1:1/0?ssl_ca_cert=x", "redis://:hunter2hunter2@127.0.0.1:port/0"])
def test_a_url_that_is_wrong(door, url):
    """It stops the start, without showing its password."""
    with pytest.raises(SettingsError, match="REDIS_URL") as failed:
        door(redis_url=url)
    assert "hunter2" not in str(failed.value) and failed.value.__cause__ is None
