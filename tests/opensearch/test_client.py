"""What is asked of a real node: what its errors mean, what a bad network costs, and who is asked instead."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from searchapi.engines.opensearch.client import Blocked, Cluster, Conflict, NotThere
from searchapi.engines.opensearch.target import Target
from searchapi.exceptions import DeadlineExceeded, EngineError, EngineUnavailable, StorageFull
from tests.opensearch.proxy import Proxy
from tests.ports import free_port


@contextmanager
def cluster_of(target: Target | str, **options: object) -> Iterator[Cluster]:
    cluster = Cluster(Target.parse(target) if isinstance(target, str) else target, **{"threads": 4, **options})
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def target(opensearch_url) -> Target:
    return Target.parse(opensearch_url)


@pytest.fixture
def cluster(target) -> Iterator[Cluster]:
    with cluster_of(target) as cluster:
        yield cluster


@pytest.fixture
def index(cluster, target) -> str:
    """The path of one with a document."""
    path = f"/{target.prefix}.books"
    cluster.ask("PUT", path, {"settings": {"number_of_replicas": 0}})
    cluster.ask("PUT", f"{path}/_doc/1", {"title": "Rust"}, params={"refresh": "true"})
    return path


@pytest.fixture
def proxies(target) -> Iterator[Callable[[int], list[Proxy]]]:
    """Several hosts, as it seems, that are all the one node."""
    with ExitStack() as stack:
        yield lambda count: [stack.enter_context(Proxy(target.hosts[0][1])) for _ in range(count)]


def through(proxies: list[Proxy], **options: object):
    return cluster_of(f"opensearch://{','.join(f'127.0.0.1:{proxy.port}' for proxy in proxies)}", **options)


def eventually(done: Callable[[], bool], within: float = 15.0) -> None:
    end = time.monotonic() + within
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


# --------------------------------------------------------------------------------------------------------- answers


def test_answers(cluster, index):
    assert cluster.ask("GET", f"{index}/_doc/1")["_source"] == {"title": "Rust"}
    assert cluster.ask("HEAD", index) is None
    assert (
        cluster.ask("POST", f"{index}/_search", {"query": {"match_all": {}}}, params={"size": "0"})["hits"]["total"]["value"] == 1
    )


def test_bodies(cluster, index):
    """A list is NDJSON; bytes go as they are, NDJSON among them."""
    lines = [{"index": {"_id": "2"}}, {"title": "Größe 𝔘"}, {"index": {"_id": "3"}}, {"title": "b"}]
    assert not cluster.ask("POST", f"{index}/_bulk", lines)["errors"]
    assert not cluster.ask("POST", f"{index}/_bulk", b'{"delete": {"_id": "3"}}\n')["errors"]
    assert cluster.ask("GET", f"{index}/_doc/2")["_source"] == {"title": "Größe 𝔘"}
    assert cluster.ask("GET", f"{index}/_doc/3", missing=True) is None


def test_404(cluster, index, target):
    for path in (f"{index}/_doc/9", f"/{target.prefix}.nothing", f"/{target.prefix}.nothing/_search", f"{index}/_doc/%2E%2E"):
        with pytest.raises(NotThere):
            cluster.ask("GET", path)
        assert cluster.ask("GET", path, missing=True) is None


def test_409(cluster, index):
    """A version that differs, a document that exists, an index that exists."""
    for method, path, params in (
        ("PUT", f"{index}/_create/1", {}),
        ("PUT", f"{index}/_doc/1", {"if_seq_no": "7", "if_primary_term": "1"}),
        ("PUT", index, {}),
    ):
        with pytest.raises(Conflict):
            cluster.ask(method, path, {}, params=params)


def test_what_opensearch_does_not_understand(cluster, index):
    """It is our mistake; its text is for the log."""
    with pytest.raises(EngineError, match="unknown query") as caught:
        cluster.ask("POST", f"{index}/_search", {"query": {"no_such_query": {}}})
    assert type(caught.value) is EngineError
    with pytest.raises(EngineError, match="answered 405"):
        cluster.ask("PUT", f"{index}/_search", {})


@pytest.mark.parametrize(
    ("block", "expected"), [("write", Blocked), ("read_only", Blocked), ("read_only_allow_delete", StorageFull)]
)
def test_an_index_that_takes_no_writes(cluster, index, block, expected):
    """The last is what OpenSearch itself sets when a disk is full. Reads go on, and so do writes when it is taken away."""
    cluster.ask("PUT", f"{index}/_settings", {f"index.blocks.{block}": True})
    with pytest.raises(EngineUnavailable) as caught:
        cluster.ask("PUT", f"{index}/_doc/2", {})
    assert type(caught.value) is expected
    assert cluster.ask("GET", f"{index}/_doc/1")
    cluster.ask("PUT", f"{index}/_settings", {f"index.blocks.{block}": None})
    assert cluster.ask("PUT", f"{index}/_doc/2", {})["result"] == "created"


def test_what_is_no_json(proxies):
    """A proxy's own page, with whatever status."""
    (proxy,) = proxies(1)
    with through([proxy]) as cluster:
        proxy.answer(200, b"<html>Hello</html>", "text/html")
        with pytest.raises(EngineError, match="no JSON"):
            cluster.ask("GET", "/")
        proxy.answer(400, b"<html>Bad \xff request</html>", "text/html")
        with pytest.raises(EngineError, match="Bad"):
            cluster.ask("GET", "/")
        proxy.answer(302)
        with pytest.raises(EngineError, match="answered 302"):
            cluster.ask("GET", "/")


# ------------------------------------------------------------------------------------------------- time and retries


def test_a_slow_answer(proxies, index):
    """The time that was given is held to, and the node is used again."""
    (proxy,) = proxies(1)
    with through([proxy], timeout=0.3) as cluster:
        assert cluster.ask("GET", f"{index}/_doc/1")
        proxy.delay = 1.5
        for given, expected in ((0.2, DeadlineExceeded), (None, EngineUnavailable)):
            started = time.monotonic()
            with pytest.raises(EngineUnavailable) as caught:
                cluster.ask("GET", f"{index}/_doc/1", timeout=given, again=True)
            assert type(caught.value) is expected and 0.15 < time.monotonic() - started < 1.4
        proxy.delay = 0.0
        assert cluster.ask("GET", f"{index}/_doc/1", timeout=10)


def test_a_long_answer_that_comes_slowly(proxies, index, target):
    """The time is for all of it; and the connection's place is free again."""
    (proxy,) = proxies(1)
    with cluster_of(target) as cluster:
        cluster.ask("PUT", f"{index}/_doc/long", {"text": "x " * 500_000})
    with through([proxy], threads=1) as cluster:
        assert len(cluster.ask("GET", f"{index}/_doc/long")["_source"]["text"]) == 1_000_000
        proxy.delay = 0.2  # of each part
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                cluster.ask("GET", f"{index}/_doc/long", timeout=0.5)
            assert time.monotonic() - started < 2
        proxy.delay = 0.0
        assert len(cluster.ask("GET", f"{index}/_doc/long")["_source"]["text"]) == 1_000_000


def test_after_it_is_closed(target):
    """Who comes late is told."""
    with cluster_of(target) as cluster:
        assert cluster.ask("GET", "/")
    with pytest.raises(EngineUnavailable, match="closed"):
        cluster.ask("GET", "/")


def test_slow_questions_do_not_open_the_circuit(proxies, index):
    """While the node says that it is there, others are asked as before."""
    (proxy,) = proxies(1)
    with through([proxy]) as cluster:
        proxy.delay = 0.3
        for _ in range(15):
            with pytest.raises(DeadlineExceeded):
                cluster.ask("GET", f"{index}/_doc/1", timeout=0.02)
        assert cluster.ask("GET", f"{index}/_doc/1")


def test_a_node_that_hangs(proxies, index):
    """After some time nobody waits for it any more; when it answers again, all is well."""
    (proxy,) = proxies(1)
    with through([proxy]) as cluster:
        proxy.mode = "hang"
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                cluster.ask("GET", f"{index}/_doc/1", timeout=0.05)
        with pytest.raises(EngineUnavailable):
            cluster.ask("GET", f"{index}/_doc/1", timeout=0.05)
        assert quick(lambda: cluster.ask("GET", f"{index}/_doc/1"))
        proxy.mode = "pass"
        eventually(lambda: answered(cluster, index))


def test_only_what_is_safe_is_sent_again(proxies, index):
    """A connection that breaks after a request was sent: a read goes to another node, a write does not."""
    broken, good = proxies(2)
    with through([broken, good]) as cluster:
        broken.mode = "reset"
        assert all(cluster.ask("GET", f"{index}/_doc/1", again=True) for _ in range(6))
    with through([broken, broken_too := proxies(1)[0]]) as cluster:
        broken_too.mode = "reset"
        before = broken.requests + broken_too.requests
        with pytest.raises(EngineUnavailable):
            cluster.ask("PUT", f"{index}/_doc/5", {})
        assert broken.requests + broken_too.requests == before + 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_node_that_is_busy(proxies, index, status):
    """A read is sent to another; a write is told."""
    busy, good = proxies(2)
    with through([busy, good]) as cluster:
        busy.answer(status, b'{"error": {"type": "rejected_execution_exception", "reason": "full"}, "status": 429}')
        assert all(cluster.ask("GET", f"{index}/_doc/1", again=True) for _ in range(10))
        assert busy.requests
    with through([busy]) as cluster, pytest.raises(EngineUnavailable) as caught:
        cluster.ask("PUT", f"{index}/_doc/5", {})
    assert caught.value.retry_after >= 1


def test_retries_are_a_share_of_the_requests(proxies):
    """However bad it is: some at once, then one in five."""
    (busy,) = proxies(1)
    with through([busy], threads=2) as cluster:
        busy.answer(429)
        for _ in range(100):
            with pytest.raises(EngineUnavailable):
                cluster.ask("GET", "/", again=True)
        print(f"\n100 requests that were refused: {busy.requests} sent")
        assert 100 < busy.requests <= 100 + 10 + 20


def test_a_pool_is_as_large_as_was_said(proxies):
    """More threads wait for a connection, and all are answered."""
    (proxy,) = proxies(1)
    with through([proxy], threads=3) as cluster, ThreadPoolExecutor(12) as threads:
        proxy.delay = 0.02
        assert all(threads.map(lambda _: cluster.ask("GET", "/"), range(60)))
        assert proxy.most <= 3


def test_a_connection_that_was_closed_meanwhile(proxies, index):
    """By a proxy or firewall, as idle: the next request opens another, a write too."""
    (proxy,) = proxies(1)
    with through([proxy]) as cluster:
        for n in range(3):
            assert cluster.ask("PUT", f"{index}/_doc/7", {"n": n})
            proxy.refuse()
            eventually(lambda: proxy.open == 0)
            proxy.listen()


def test_ipv6(target, index):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Proxy(target.hosts[0][1], "::1") as proxy, cluster_of(f"opensearch://[::1]:{proxy.port}") as cluster:
        assert cluster.ask("GET", f"{index}/_doc/1") and proxy.requests == 1


# --------------------------------------------------------------------------------------------------- nodes that are away


def answered(cluster: Cluster, index: str) -> bool:
    try:
        return bool(cluster.ask("GET", f"{index}/_doc/1"))
    except EngineUnavailable:
        return False


def quick(refused: Callable[[], object], times: int = 20) -> bool:
    """Whether most of them are refused within 50 ms; the machine may be busy."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        with pytest.raises(EngineUnavailable) as caught:
            refused()
        took.append(time.perf_counter() - started)
        assert caught.value.retry_after >= 1
    print(f"\nrefused within {sorted(took)[times // 2] * 1e6:.0f} µs, at most {max(took) * 1e3:.1f} ms")
    return sorted(took)[times // 2] < 0.05


def test_the_other_node_is_asked(proxies, index):
    """One of two is away: nobody notices, not even who writes, for what has not reached a node has not happened. It is left out
    for a while, then used again."""
    away, there = proxies(2)
    with through([away, there]) as cluster:
        away.refuse()
        for n in range(30):
            assert cluster.ask("PUT", f"{index}/_doc/{n}", {"n": n}, timeout=5)
        away.listen()
        before = away.requests
        eventually(lambda: bool(cluster.ask("GET", f"{index}/_doc/1")) and away.requests > before + 5)


def test_a_node_of_two_that_hangs_is_left_out(proxies, index):
    """Two requests wait for it in vain, not every other one."""
    hung, there = proxies(2)
    with through([hung, there]) as cluster:
        hung.mode = "hang"
        late = 0
        for _ in range(60):
            try:
                cluster.ask("GET", f"{index}/_doc/1", timeout=0.7)
            except DeadlineExceeded:
                late += 1
        assert 1 <= late <= 4


def test_nobody_there():
    """The first requests are told at once too: a refusal takes no time. No host of the name is the same."""
    for host in (f"127.0.0.1:{free_port()}", "nowhere.invalid"):
        with cluster_of(f"opensearch://{host}") as cluster:
            for _ in range(3):
                with pytest.raises(EngineUnavailable):
                    cluster.ask("GET", "/")
            assert quick(lambda: cluster.ask("GET", "/"))


def test_one_request_looks_whether_it_is_back(proxies, index):
    """While the circuit is open the others do not even try."""
    (proxy,) = proxies(1)
    with through([proxy]) as cluster:
        proxy.mode = "reset"
        for _ in range(3):
            with pytest.raises(EngineUnavailable):
                cluster.ask("GET", f"{index}/_doc/1")
        before = proxy.requests
        end = time.monotonic() + 2.2
        tries = 0
        while time.monotonic() < end:
            tries += 1
            with pytest.raises(EngineUnavailable):
                cluster.ask("GET", f"{index}/_doc/1")
            time.sleep(0.001)
        print(f"\n{tries} requests in 2.2 s, of which {proxy.requests - before} looked")
        assert tries > 100 and 1 <= proxy.requests - before <= 4
        proxy.mode = "pass"
        eventually(lambda: answered(cluster, index))


def test_what_stands_before_the_cluster_says_that_it_is_away(proxies, index):
    """A proxy's 502 opens the circuit; 503 for one index, whose shards are away, does not."""
    (proxy,) = proxies(1)
    with through([proxy]) as cluster:
        proxy.answer(503, b'{"error": {"type": "no_shard_available_action_exception", "reason": "x"}, "status": 503}')
        for _ in range(10):
            with pytest.raises(EngineUnavailable):
                cluster.ask("GET", f"{index}/_doc/1")
        assert proxy.requests == 10
        proxy.answer(502, b"<html>Bad gateway</html>", "text/html")
        for _ in range(10):
            with pytest.raises(EngineUnavailable):
                cluster.ask("GET", f"{index}/_doc/1")
        assert proxy.requests < 16
        proxy.mode = "pass"
        eventually(lambda: answered(cluster, index))


def test_many_threads(proxies, index):
    """Nodes that come and go while sixteen threads ask: every answer is right, and no thread is stuck."""
    pair = proxies(2)
    stop = threading.Event()

    def trouble() -> None:
        while not stop.wait(0.15):
            for proxy in pair:
                proxy.mode = "reset"
                stop.wait(0.1)
                proxy.mode = "pass"

    with through(pair, threads=16) as cluster, ThreadPoolExecutor(17) as threads:
        troubled = threads.submit(trouble)

        def read(_: int) -> bool:
            try:
                assert cluster.ask("GET", f"{index}/_doc/1", again=True, timeout=5)["_source"] == {"title": "Rust"}
            except EngineUnavailable:
                return False
            return True

        good = sum(threads.map(read, range(2000)))
        stop.set()
        troubled.result(30)
        print(f"\n{good} of 2000 answered while one of two nodes was always about to go")
        eventually(lambda: answered(cluster, index))
    assert good > 1000
