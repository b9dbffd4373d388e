"""User and password, TLS and client certificates: the published jars lack these, so a real Nginx in front of the node does them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from searchapi.cli.check import engine_check
from searchapi.config import Settings
from searchapi.engines.opensearch.client import Cluster
from searchapi.engines.opensearch.target import Target
from searchapi.exceptions import EngineUnavailable, Invalid
from tests.deploy.nginx import STARTS_WITHIN, program
from tests.ports import free_port

USER, PASSWORD = "shöp", "p@ss/wörd:%#"

CONFIG = """
{user}
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    keepalive_timeout 1s;
    client_max_body_size 1m;
    ssl_certificate {root}/server.pem;
    ssl_certificate_key {root}/server.key;
    server {{
        listen 127.0.0.1:{plain};
        auth_basic "cluster";
        auth_basic_user_file {root}/users;
        location / {{ proxy_pass http://127.0.0.1:{node}; }}
    }}
    server {{
        listen 127.0.0.1:{tls} ssl;
        location / {{ proxy_pass http://127.0.0.1:{node}; }}
    }}
    server {{
        listen 127.0.0.1:{mutual} ssl;
        ssl_client_certificate {root}/ca.pem;
        ssl_verify_client on;
        auth_basic "cluster";
        auth_basic_user_file {root}/users;
        location / {{ proxy_pass http://127.0.0.1:{node}; }}
    }}
    server {{
        listen 127.0.0.1:{orphan};
        location / {{ proxy_pass http://127.0.0.1:{nothing}; }}
    }}
}}
"""


def openssl(folder: Path, *arguments: str, given: str | None = None) -> str:
    done = subprocess.run(
        [program("openssl"), *arguments], cwd=folder, input=given, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def certify(folder: Path, name: str, subject: str, authority: str = "ca") -> None:
    """name.pem and name.key, signed by an authority of the test's own, which is made where it is missing."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    if not (folder / f"{authority}.pem").exists():
        made = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        openssl(folder, "req", "-x509", *key, "-days", "2", "-subj", f"/CN={authority} of a test", *made)
    openssl(folder, "req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "ext").write_text(f"subjectAltName={subject}\n")
    signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-days", "2", "-extfile", "ext", "-out", f"{name}.pem")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed)


class Front:
    """Ports: plain (user and password), tls, mutual (a certificate, and user and password), orphan (nothing is behind it)."""

    def __init__(self, root: Path, node: int):
        self.root = root
        names = ("plain", "tls", "mutual", "orphan", "nothing")
        ports = {name: free_port() for name in names}
        self.plain, self.tls, self.mutual, self.orphan, _ = ports.values()
        certify(root, "server", "IP:127.0.0.1")
        certify(root, "client", "DNS:client")
        certify(root, "stranger", "DNS:stranger", "another")
        openssl(root, "ec", "-in", "client.key", "-aes256", "-passout", "pass:x", "-out", "locked.key")
        (root / "users").write_text(f"{USER}:{openssl(root, 'passwd', '-apr1', '-stdin', given=PASSWORD).strip()}\n")
        user = "user root;" if os.geteuid() == 0 else ""
        (root / "nginx.conf").write_text(CONFIG.format(root=root, node=node, user=user, **ports))
        command = [program("nginx"), "-c", str(root / "nginx.conf"), "-e", str(root / "error.log"), "-g", "daemon off;"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + STARTS_WITHIN
        while not self._listens():
            assert self._process.poll() is None and time.monotonic() < end, (root / "error.log").read_text()
            time.sleep(0.02)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.orphan), 5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def url(self, port: int, login: str = "", **files: str) -> str:
        tls = "s" * (port in (self.tls, self.mutual))
        query = "&".join(f"{name}={self.root / file}" for name, file in files.items())
        return f"opensearch{tls}://{login}{'@' * bool(login)}127.0.0.1:{port}/x{'?' * bool(query)}{query}"


LOGIN = f"{quote(USER)}:{quote(PASSWORD, safe='')}"


@pytest.fixture(scope="module")
def front(opensearch_node, tmp_path_factory) -> Iterator[Front]:
    started = Front(tmp_path_factory.mktemp("nginx"), int(opensearch_node.rpartition(":")[2]))
    yield started
    started.stop()


def version(url: str) -> str:
    cluster = Cluster(Target.parse(url), threads=2)
    try:
        return cluster.ask("GET", "/", timeout=20)["version"]["number"]
    finally:
        cluster.close()


def checked(url: str) -> list[tuple[str, str]]:
    """What `check` says."""
    return [(check.level, check.detail) for check in engine_check(Settings(engine_url=url))]


def test_user_and_password(front):
    """Whatever letters they have."""
    assert version(front.url(front.plain, LOGIN))
    assert checked(front.url(front.plain, LOGIN))[0][0] == "ok"


@pytest.mark.parametrize("login", ["", "shop:wrong", f"other:{quote(PASSWORD, safe='')}"])
def test_a_wrong_password(front, login, caplog):
    """The service cannot search, and says nothing to its clients of why; the log does, and `check`."""
    with pytest.raises(EngineUnavailable, match="refuses this service"):
        version(front.url(front.plain, login))
    assert "refused the user of ENGINE_URL with 401" in caplog.text and "wrong" not in caplog.text
    ((level, detail),) = checked(front.url(front.plain, login))
    assert level == "error" and "refuses the user and password" in detail


def test_tls(front):
    assert version(front.url(front.tls, ca="ca.pem"))
    assert checked(front.url(front.tls, ca="ca.pem"))[0][0] == "ok"


def test_a_certificate_that_is_not_trusted(front):
    """Neither by the machine's authorities nor by another one; and one of another host."""
    for url in (front.url(front.tls), front.url(front.tls, ca="another.pem")):
        with pytest.raises(EngineUnavailable, match="does not answer"):
            version(url)
        ((level, detail),) = checked(url)
        assert level == "warning" and "certificate verify failed" in detail
    elsewhere = front.url(front.tls, ca="ca.pem").replace("127.0.0.1", "localhost")
    with pytest.raises(EngineUnavailable):
        version(elsewhere)
    assert "mismatch" in checked(elsewhere)[0][1] or "not valid for" in checked(elsewhere)[0][1]


def test_a_clients_certificate(front):
    """With its key in a file of its own, or in the same one."""
    assert version(front.url(front.mutual, LOGIN, ca="ca.pem", cert="client.pem", key="client.key"))
    both = front.root / "both.pem"
    both.write_text((front.root / "client.key").read_text() + (front.root / "client.pem").read_text())
    assert version(front.url(front.mutual, LOGIN, ca="ca.pem", cert="both.pem"))


@pytest.mark.parametrize("files", [{}, {"cert": "stranger.pem", "key": "stranger.key"}])
def test_a_client_who_is_not_known(front, files):
    """Nginx says 400, whichever it is: the node is not reached."""
    with pytest.raises(Exception, match=r"400|does not answer"):
        version(front.url(front.mutual, LOGIN, ca="ca.pem", **files))
    assert checked(front.url(front.mutual, LOGIN, ca="ca.pem", **files))[0][0] == "warning"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"ca": "absent.pem"}, "its ca, .*absent.pem, cannot be used: No such file"),
        ({"ca": "users"}, "its ca, .*users, cannot be used"),
        ({"ca": "ca.pem", "cert": "client.pem"}, "its cert, .*client.pem, cannot be used"),
        ({"ca": "ca.pem", "cert": "client.pem", "key": "stranger.key"}, "cannot be used"),
        ({"ca": "ca.pem", "cert": "client.pem", "key": "locked.key"}, "cannot be used"),
    ],
)
def test_files_that_cannot_be_used(front, files, says):
    """Are told when it is opened, and by `check`; nobody is asked for the password of a key."""
    url = front.url(front.mutual, LOGIN, **files)
    with pytest.raises(Invalid, match=says) as caught:
        Cluster(Target.parse(url), threads=1)
    assert PASSWORD not in str(caught.value)
    ((level, detail),) = checked(url)
    assert level == "error" and detail.startswith("ENGINE_URL: its ")


def test_tls_where_there_is_none_and_none_where_there_is(front):
    plain = replace(Target.parse(front.url(front.tls)), tls=False)
    for url in (str(plain), f"opensearchs://127.0.0.1:{front.plain}"):
        with pytest.raises(Exception, match=r"400|does not answer"):
            version(url)
        assert checked(url)[0][0] == "warning"


def test_nothing_behind_it(front):
    """Its 502 is nobody's answer: the circuit opens."""
    cluster = Cluster(Target.parse(front.url(front.orphan)), threads=1)
    for _ in range(3):
        with pytest.raises(EngineUnavailable):
            cluster.ask("GET", "/")
    assert cluster._breaker.open
    cluster.close()
    assert checked(front.url(front.orphan)) == [("warning", f"answers 502: 127.0.0.1:{front.orphan}")]


def test_connections_that_it_closes(front):
    """Idle ones, after a second here: no request fails for it, a write neither, which is not sent twice."""
    cluster = Cluster(Target.parse(front.url(front.plain, LOGIN)), threads=1)
    for pause in (0.0, 0.5, 1.1, 1.5, 0.9):
        time.sleep(pause)
        assert cluster.ask("POST", "/_analyze", {"text": "two words"})["tokens"]
    cluster.close()


def test_a_body_that_is_too_long_for_it(front):
    """Is our mistake, and told."""
    cluster = Cluster(Target.parse(front.url(front.plain, LOGIN)), threads=1)
    with pytest.raises(Exception, match=r"413|does not answer"):
        cluster.ask("POST", "/_analyze", {"text": "x" * (2 << 20)})
    assert cluster.ask("GET", "/")
    cluster.close()
