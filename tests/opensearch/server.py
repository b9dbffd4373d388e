"""A real OpenSearch on the loopback address: one node or more, for a test of its own (`OpenSearch`) or for all tests (`shared`)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.opensearch import jars
from tests.ports import free_port

START_SECONDS = 240.0  # 3 on an idle machine
LOG = """appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=[%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level=info
rootLogger.appenderRef.c.ref=c
"""
# A third of the CPU to start, and a slower peak: right for tests, wrong for a benchmark.
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
FULL = ()


class Node:
    """One process, in a folder of its own. Its data is kept from one `start` to the next."""

    def __init__(self, folder: Path, name: str, settings: dict, jvm: tuple[str, ...]):
        self.folder, self.name = folder, name
        self.port = settings["http.port"]
        self._settings, self._jvm = settings, jvm
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return (self.folder / "out.log").read_text(errors="replace")[-3000:]

    def start(self) -> None:
        """Returns at once; `OpenSearch.wait` waits."""
        version, java = jars.pick()
        dist = jars.laid_out(version)
        for name in ("config", "data", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        config = self.folder / "config"
        (config / "opensearch.yml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in self._settings.items()))
        (config / "log4j2.properties").write_text(LOG)
        (config / "jvm.options").write_text("")
        command = [*self._command(version, java, dist), "-cp", f"{dist}/lib/*", "org.opensearch.bootstrap.OpenSearch"]
        environment = {name: value for name, value in os.environ.items() if name not in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS")}
        with (self.folder / "out.log").open("ab") as out:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
            )

    def _command(self, version: str, java: Path, dist: Path) -> list[str]:
        old = version.startswith("2.")
        major = next(major for major, home in jars.javas() if home == java)
        command = [str(java / "bin/java"), "-Xms512m", "-Xmx512m", "-Xss1m", *self._jvm, "-Dfile.encoding=UTF-8"]
        command += [
            "-Djava.awt.headless=true",
            "-Djna.nosys=true",
            "-Dlog4j.shutdownHookEnabled=false",
            "-Dlog4j2.disable.jmx=true",
        ]
        command += [
            "-Dio.netty.noUnsafe=true",
            "-Dio.netty.noKeySetOptimization=true",
            "-Dio.netty.recycler.maxCapacityPerThread=0",
        ]
        command += [f"-Djava.locale.providers=SPI,{'COMPAT' if old else 'CLDR'}", f"-Djava.io.tmpdir={self.folder}/tmp"]
        command += [f"-Dopensearch.path.home={dist}", f"-Dopensearch.path.conf={self.folder}/config"]
        command += ["-Dopensearch.distribution.type=tar", "-Dopensearch.bundled_jdk=false"]
        if not old:
            command.append("--enable-native-access=ALL-UNNAMED")
        elif major >= 18:
            command.append("-Djava.security.manager=allow")
        if os.geteuid() == 0:  # OpenSearch refuses root where it can ask the C library who it is
            command.append("-Djna.noclasspath=true")
        if self._jvm == QUICK:  # classes as one archive: made at the first orderly end, and mapped by later starts
            archive = self._archive(java, dist)
            command.append(f"-XX:SharedArchiveFile={archive}" if archive.exists() else f"-XX:ArchiveClassesAtExit={self._made}")
        return command

    @property
    def _made(self) -> Path:
        return self.folder / "classes.jsa"

    @staticmethod
    def _archive(java: Path, dist: Path) -> Path:
        version = re.search(r'JAVA_VERSION="(.*?)"', (java / "release").read_text())[1]
        return dist / f"classes-{version}.jsa"

    def stop(self) -> None:
        """In order, as systemd would."""
        if not self.runs:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            return self.kill()
        if self._made.exists():
            version, java = jars.pick()
            shutil.move(self._made, self._archive(java, jars.laid_out(version)))

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    def hang(self) -> None:
        """It takes connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)


class OpenSearch:
    """A context manager: a cluster of its own in `folder`. settings: of every node, `{"http.max_content_length": "1mb"}`.
    Skips the test, or fails it where CI=true, when this machine cannot run one."""

    def __init__(self, folder: Path, nodes: int = 1, *, settings: dict | None = None, jvm: tuple[str, ...] = QUICK):
        folder = folder.absolute()
        transport = [free_port() for _ in range(nodes)]
        common = {
            "cluster.name": f"searchapi-tests-{transport[0]}",
            "network.host": "127.0.0.1",
            "path.repo": str(folder / "repository"),  # of snapshots; all nodes share it
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "bootstrap.system_call_filter": False,
            "cluster.max_shards_per_node": 5000,
        }
        if nodes == 1:
            common["discovery.type"] = "single-node"
        else:
            common["discovery.seed_hosts"] = [f"127.0.0.1:{port}" for port in transport]
            common["cluster.initial_cluster_manager_nodes"] = ["node-0"]
        self.nodes = []
        for i, port in enumerate(transport):
            here = folder / f"node-{i}"
            own = {"node.name": f"node-{i}", "http.port": free_port(), "transport.port": port, "path.data": str(here / "data")}
            own["path.logs"] = str(here / "logs")
            self.nodes.append(Node(here, f"node-{i}", common | own | (settings or {}), jvm))

    def engine_url(self, prefix: str = "searchapi") -> str:
        """As of the setting ENGINE_URL."""
        return f"opensearch://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}/{prefix}"

    def __enter__(self) -> OpenSearch:
        try:
            for node in self.nodes:
                node.start()
        except jars.Missing as error:
            refuse(str(error))
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()

    def wait(self, nodes: int | None = None) -> None:
        """Until as many nodes, by default all that run, have found each other and their indexes can be searched."""
        running = [node for node in self.nodes if node.runs]
        wanted = nodes or len(running)
        end = time.monotonic() + START_SECONDS
        while True:
            assert running and all(node.runs for node in running) and time.monotonic() < end, "\n".join(n.log() for n in running)
            with contextlib.suppress(OSError, ValueError, KeyError):
                found = [ask(node.url, "/_cluster/health") for node in running]
                if all(health["number_of_nodes"] == wanted and health["status"] != "red" for health in found):
                    return
            time.sleep(0.05)


def refuse(why: str) -> None:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


def ask(url: str, path: str, method: str = "GET", body: object = None) -> dict:
    """Straight to a node, by none of our code."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


@contextlib.contextmanager
def prefixed(url: str) -> Iterator[str]:
    """An ENGINE_URL with a prefix of its own on that node; what was made under it is deleted afterwards."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    yield f"{re.sub('^http', 'opensearch', url)}/{prefix}"
    with contextlib.suppress(urllib.error.HTTPError):
        ask(url, f"/{prefix}.*?expand_wildcards=all", "DELETE")


# ------------------------------------------------------------------------------------------------ one for all tests


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[str]:
    """The URL of one node for all processes of a test run, which share `folder`: http://127.0.0.1:PORT. The first that needs it
    starts it, in a process of its own, which ends it when the last has let go of it or is gone."""
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with jars.locked(folder / "starting"):
            place = folder / "url"
            if not place.exists():
                try:
                    version, _ = jars.pick()
                    jars.laid_out(version)
                except jars.Missing as error:
                    refuse(str(error))
                command = [sys.executable, "-m", "tests.opensearch.server", str(folder)]
                ran = subprocess.run(command, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, timeout=START_SECONDS + 60)
                assert ran.returncode == 0, "OpenSearch did not start"
        yield place.read_text()


def serve(folder: Path) -> None:
    """Start a node, note its URL in `folder`, and be left alone with it, until nobody holds `users`."""
    cluster = OpenSearch(folder / f"of-{os.getpid()}")
    node = cluster.nodes[0]
    ready, done = os.pipe()
    if os.fork():
        os.close(done)
        os._exit(0 if os.read(ready, 1) else 1)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        node.start()
        cluster.wait()
        (folder / "url").write_text(node.url)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.write(done, b"1")
        os.close(done)
        with (folder / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "url").unlink()  # before another may look: it starts the next
    finally:
        node.stop()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
