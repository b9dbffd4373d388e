"""Nginx as a server has it: the files, by nginx -t and gixy, and what a real one does with them."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import web
from deploy.render import HERE, render
from searchapi import problems, requestlog

from .nginx import DOMAIN, HOST, Nginx, Refused, Upstream, ask, has_ipv6, installed, program, running, send

BOOKWORM, TRIXIE = web.DEBIAN["12"], web.DEBIAN["13"]
SECRET = "sk_4fJ0aZ71Qw2x_" + "R" * 38  # pragma: allowlist secret
MAX_BODY = 4096
SECURITY = {
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def small(text: str) -> str:
    """A burst, a number of connections and a time that a test can reach."""
    for long, short in (("burst=1200 ", "burst=20 "), ("rate=200r/s", "rate=1r/s")):
        text = text.replace(long, short)
    return text.replace("limit_conn searchapi_connections 100", "limit_conn searchapi_connections 3")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One server for all tests that leave it as it was: (Nginx, Upstream)."""
    with running(tmp_path_factory.mktemp("n"), settings={"MAX_BODY_BYTES": str(MAX_BODY)}) as both:
        yield both


@pytest.fixture
def limited(tmp_path):
    with running(tmp_path, edit=small) as both:
        yield both


# --------------------------------------------------------------------------------------------------------- files


VARIANTS = [
    pytest.param(replace(found, ipv6=ipv6, certificate=certificate), id=f"{version}-{ipv6}-{certificate}")
    for version, found in web.DEBIAN.items()
    for ipv6 in (True, False)
    for certificate in (True, False)
]


def active(text: str) -> str:
    """Without comments."""
    return "\n".join(row for row in text.splitlines() if not row.lstrip().startswith("#"))


@pytest.mark.parametrize("server", VARIANTS)
def test_what_is_written(server):
    """The site with TLS is there when there is a certificate, and else is named among what must not be. No value is left out."""
    files = web.files(HOST, server)
    https = "/etc/nginx/searchapi/sites/https.conf"
    assert (https in files) == server.certificate == (https not in web.left_over(HOST, server))
    assert not re.search(r"@[A-Z0-9_]+@", "".join(files.values()))
    assert {path for path in files if web.mode(path) == 0o755} == {
        f"/usr/local/lib/searchapi/{name}" for name in ("certificate-due", "certificate-renewed")
    }
    folders = {str(Path(path).parent) for path in files}
    assert folders <= {*web.FOLDERS, "/etc/nginx", "/etc/systemd/system"}
    text = active("".join(files.values()))
    assert ("[::]" in text) == server.ipv6


def test_by_versions():
    """Debian 12 and 13 have each what they understand."""
    old, new = ("".join(map(active, web.files(HOST, replace(s, certificate=True)).values())) for s in (BOOKWORM, TRIXIE))
    assert "ssl_ecdh_curve X25519:prime256v1:secp384r1;" in old and "?X25519MLKEM768:X25519:prime256v1:secp384r1;" in new
    assert "listen 443 ssl http2 default_server;" in old and "listen 443 ssl http2;" in old and "http2 on;" not in old
    assert "listen 443 ssl default_server;" in new and "listen 443 ssl;" in new and "http2 on;" in new


def test_versions_found():
    """What the programs print is read; with a foreign OpenSSL the one that runs counts; what is too old or strange is said."""
    said = (
        "nginx version: nginx/1.26.3\nbuilt with OpenSSL 3.5.0 8 Apr 2025 (running with OpenSSL 3.5.4 30 Sep 2025)\nTLS SNI enabled"
    )
    found = web.server(said, "certbot 4.0.0\n", ipv6=True, certificate=False)
    assert found == web.Server((1, 26, 3), (3, 5, 4), (4, 0, 0), True, False)
    with pytest.raises(ValueError, match=r"has nginx 1\.18\.0, but this needs 1\.19\.4"):
        web.server("nginx version: nginx/1.18.0\nbuilt with OpenSSL 1.1.1n", "certbot 1.12.0", True, False)
    with pytest.raises(ValueError, match="names no version of certbot"):
        web.server(said, "sh: certbot: not found", True, False)


@pytest.mark.parametrize(
    ("per_ip", "expected"),
    [
        ("1200/minute", (200, 1200)),
        ("off", (200, 1200)),
        ("30000/minute", (1000, 30000)),
        ("500/second", (1000, 1200)),
        ("1000000/day", (200, 1200)),
    ],
)
def test_limits_are_looser_than_the_application(per_ip, expected):
    """What the application lets an address do in a second or a minute, Nginx lets it do."""
    text = web.files(HOST, BOOKWORM, {"RATE_LIMIT_PER_IP": per_ip})["/etc/nginx/searchapi/http/limits.conf"]
    rate, burst = re.search(r"rate=(\d+)r/s", text), re.search(r"burst=(\d+) nodelay", text)
    assert (int(rate[1]), int(burst[1])) == expected


def test_sizes_and_times_are_the_applications():
    """A body that it takes is not refused here, and an answer that it may take long for is waited for."""
    files = web.files(HOST, BOOKWORM, {"MAX_BODY_BYTES": "64MiB", "MAX_TIMEOUT_MS": "300000"})
    assert f"client_max_body_size {64 << 20};" in files["/etc/nginx/searchapi/http/sizes.conf"]
    assert f"longer than {64 << 20} bytes" in files["/etc/nginx/searchapi/http/problems.conf"]
    assert "proxy_read_timeout 330s;" in files["/etc/nginx/searchapi/http/timeouts.conf"]
    files = web.files(HOST, BOOKWORM)
    assert f"client_max_body_size {32 << 20};" in files["/etc/nginx/searchapi/http/sizes.conf"]
    assert "proxy_read_timeout 120s;" in files["/etc/nginx/searchapi/http/timeouts.conf"]


@pytest.mark.parametrize("domain", ["a.example.com\n}", "a.example.com\x00", "a.example.com\r"])
def test_hostile_domains_are_not_rendered(domain):
    """The inventory refuses quotes, spaces and semicolons; a control character comes no further than here even so."""
    with pytest.raises(ValueError, match="control character"):
        web.files(replace(HOST, domain=domain), BOOKWORM)


def test_the_request_id_is_the_applications():
    """Nginx keeps and replaces the ids that the application keeps and replaces."""
    pattern = re.compile(re.search(r'^    "~(\^.+)" \$http_x_request_id;$', render("nginx/http/request-id.conf"), re.M)[1])
    kept = ["abcdefgh", "A-1._-xyz", "x" * 64, "sk_short_1", "eyJ12345"]
    replaced = [
        "short",
        "x" * 65,
        "with space",
        "semi;colon",
        'quo"te123',
        SECRET,
        SECRET[:40],
        "eyJhbGciOiJIUzI1NiJ9",
        "ünicode12",
        "",
        "a%0Ab1234",
    ]
    for given in (*kept, *replaced):
        assert bool(pattern.search(given)) == bool(requestlog._GIVEN.match(given)) == (given in kept), given


def test_problems_are_the_applications():
    """Nginx's own problems have the codes and words of the application, and the one shape."""
    rows = dict(
        re.findall(r"^    (\d{3}|default) '(.+)';$", web.files(HOST, BOOKWORM)["/etc/nginx/searchapi/http/problems.conf"], re.M)
    )
    own = {"bad_gateway", "gateway_timeout"}
    for status, row in rows.items():
        found = json.loads("{" + row + "}")
        code = found["code"]
        assert set(found) == {"type", "title", "code", "detail"}
        assert (found["type"], found["title"]) == (f"urn:searchapi:problem:{code}", code.replace("_", " ").capitalize())
        if code in problems.SERVER_CODES:
            assert problems.SERVER_CODES[code] == (int(status), found["detail"])
        elif code not in {*own, "refused", "rate_limited"}:
            assert problems.HTTP_CODES[int(status)] == code
    assert json.loads("{" + rows["404"] + "}")["detail"] == problems.HTTP_DETAILS[404]
    listed = re.search(r"^error_page ([\d ]+) /\.problem;$", render("nginx/http/problems.conf", MAX_BODY_BYTES=1), re.M)[1]
    assert set(rows) - {"default", "431"} <= set(listed.split())


def test_every_source_is_named():
    """A footnote's number is in the text and at the foot."""
    for path in (HERE / "nginx").rglob("*.conf"):
        text = path.read_text()
        foot = set(re.findall(r"^# (\[\d\]) \S", text, re.M))
        used = set(re.findall(r"(?<!^# )(\[\d\])", text, re.M))
        assert foot == used, path.name


# --------------------------------------------------------------------------------------------- nginx -t and gixy


@pytest.mark.parametrize("certificate", [True, False], ids=["certificate", "none yet"])
@pytest.mark.parametrize("ipv6", [True, False], ids=["ipv6", "ipv4"])
def test_nginx_understands_it(tmp_path, certificate, ipv6):
    """nginx -t, with the version of this machine, has nothing to say, warnings neither."""
    nginx = Nginx(tmp_path, server=replace(installed(), ipv6=ipv6 and has_ipv6(), certificate=certificate))
    tested = nginx.test()
    said = tested.stderr.splitlines()
    assert tested.returncode == 0 and len(said) == 2 and "is ok" in said[0] and "is successful" in said[1], tested.stderr


def test_the_longest_domain(tmp_path):
    """253 letters are a name like any other."""
    host = replace(HOST, domain=".".join(["a" * 62] * 3 + ["b" * 60, "de"])[-253:].lstrip("."))
    nginx = Nginx(tmp_path, server=replace(installed(), certificate=False))
    path = nginx.root / "etc/nginx/searchapi/sites/http.conf"
    path.write_text(path.read_text().replace(DOMAIN, host.domain))
    assert nginx.test().returncode == 0


@pytest.mark.parametrize("server", VARIANTS)
def test_gixy_finds_nothing(tmp_path, server):
    nginx = Nginx(tmp_path, server=server)
    (nginx.root / "etc/nginx/conf.d/test.conf").unlink()  # what only tests have
    gixy = Path(sys.executable).with_name("gixy")
    found = subprocess.run(
        [gixy if gixy.exists() else program("gixy"), "-f", "json", nginx.config], capture_output=True, text=True, timeout=120
    )
    assert json.loads(found.stdout) == [] and found.returncode == 0, found.stdout + found.stderr


# ---------------------------------------------------------------------------------------------------- the doors


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_is_redirected(site, method):
    nginx, _ = site
    answer = nginx.ask("/v1/indexes/x?q=1&y=%2F", method, tls=False)
    assert (answer.status, answer.header("location")) == (301, f"https://{DOMAIN}/v1/indexes/x?q=1&y=%2F")
    assert answer.header("strict-transport-security") is None and answer.header("server") == "nginx"


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(site):
    """The same doors."""
    nginx, upstream = site
    assert nginx.ask("/", tls=False, ipv6=True).status == 301
    assert nginx.ask("/v1/six", ipv6=True).status == 200
    assert upstream.asked[-1].headers["x-forwarded-for"] == "::1"


@pytest.mark.parametrize("host", ["other.example.com", "127.0.0.1", f"{DOMAIN}.evil.example"])
def test_unknown_hosts_are_refused(site, host):
    """Without TLS they get no answer; with it no handshake."""
    nginx, _ = site
    with pytest.raises(Refused):
        nginx.ask(headers={"Host": host}, tls=False)
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        nginx.ask(name=host)


def test_no_name_is_refused(site):
    """Whoever asks by address learns no name from a certificate."""
    nginx, _ = site
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", nginx.https), 30) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"),
    ):
        context.wrap_socket(plain)
    with nginx.connect(tls=False) as connection, pytest.raises(Refused):
        send(connection, b"GET / HTTP/1.0\r\n\r\n")


def test_another_host_behind_our_name(site):
    """A handshake as ours, then another Host: not for the application."""
    nginx, upstream = site
    before = len(upstream.asked)
    answer = nginx.ask(headers={"Host": "other.example.com"})
    assert (answer.status, answer.problem["code"]) == (421, "refused")
    assert len(upstream.asked) == before


def test_before_the_first_certificate(tmp_path):
    """The authority's question is answered, and no handshake; with a certificate a reload is enough, and no request fails."""
    with running(tmp_path, server=replace(installed(), certificate=False)) as (nginx, _):
        challenge = nginx.root / "acme/.well-known/acme-challenge/token"
        challenge.parent.mkdir(parents=True)
        challenge.write_text("token.thumbprint")
        assert nginx.ask("/.well-known/acme-challenge/token", tls=False).body == b"token.thumbprint"
        assert nginx.ask("/", tls=False).status == 301
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            nginx.ask()
        with nginx.connect(tls=False) as kept:
            assert ask(kept, "/").status == 301
            nginx.write(certificate=True)
            assert nginx.test().returncode == 0
            nginx.reload()
        assert nginx.ask().status == 200


def test_acme(site):
    """What certbot puts there is served as it is, to anybody who asks for the domain, and nothing else is."""
    nginx, _ = site
    folder = nginx.root / "acme/.well-known/acme-challenge"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tok-en_1").write_text("tok-en_1.thumbprint")
    (nginx.root / "acme/secret").write_text("no")
    (nginx.root / "acme/.well-known/secret").write_text("no")
    answer = nginx.ask("/.well-known/acme-challenge/tok-en_1", tls=False)
    assert (answer.status, answer.body, answer.header("content-type")) == (200, b"tok-en_1.thumbprint", "text/plain")
    assert nginx.ask("/.well-known/acme-challenge/missing", tls=False).problem["code"] == "no_such_address"
    for path in (
        "/secret",
        "/.well-known/secret",
        "/.well-known/acme-challenge/../secret",
        "/.well-known/acme-challenge/%2e%2e/secret",
    ):
        assert nginx.ask(path, tls=False).status == 301, path
    assert nginx.ask("/.well-known/acme-challenge/", tls=False).status == 403


def test_tls(site):
    """1.2 and 1.3, by Mozilla's ciphers; nothing without forward secrecy, and nothing older, also for a client that would."""
    nginx, _ = site

    def shake(*options: str) -> subprocess.CompletedProcess:
        command = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{nginx.https}", "-servername", DOMAIN, *options]
        return subprocess.run(command, input="", capture_output=True, text=True, timeout=30)

    for options in (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), ("-tls1", "-cipher", "ALL:@SECLEVEL=0")):
        assert "alert protocol version" in shake(*options).stderr, options
    for cipher in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"):
        assert "alert handshake failure" in shake("-tls1_2", "-cipher", cipher).stderr, cipher
    for version, options in (("TLSv1.2", ("-tls1_2",)), ("TLSv1.3", ("-tls1_3",))):
        said = shake(*options)
        assert said.returncode == 0 and f"New, {version}" in said.stdout
    assert "Server Temp Key: X25519" in shake("-tls1_3", "-groups", "secp521r1:X25519").stdout


def test_http2(site):
    nginx, _ = site
    command = [program("curl"), "-sS", "--http2", "--cacert", nginx.certificate, "--resolve", f"{DOMAIN}:{nginx.https}:127.0.0.1"]
    command += ["-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-H", "X-Request-ID: http2-001", "-X", "PUT"]
    command += [f"https://{DOMAIN}:{nginx.https}/v1/two?planted-words"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout == "2 200"
    row = nginx.lines("http2-001")[0]
    assert (row["protocol"], row["method"], row["path"]) == ("HTTP/2.0", "PUT", "/v1/two")


# ------------------------------------------------------------------------------------------- to the application


def test_what_the_application_is_told(site):
    """Who asks, how, and for what: nothing of that is what a client wrote."""
    nginx, upstream = site
    lies = {
        "X-Forwarded-For": '198.51.100.1, "',
        "X-Forwarded-Proto": "http",
        "X-Request-ID": "mine-0001",
        "Authorization": "Bearer x",
    }
    assert nginx.ask("/v1/told", headers=lies).header("x-request-id") == "mine-0001"
    headers = upstream.asked[-1].headers
    assert headers["x-forwarded-for"] == "127.0.0.1" and headers["x-forwarded-proto"] == "https"
    assert headers["host"] == DOMAIN and headers["x-request-id"] == "mine-0001" and headers["authorization"] == "Bearer x"
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    "target",
    [
        "/v1/indexes/b/documents/a%2Fb?filter=%22x%22",
        "/v1/indexes/b/documents/.hidden",
        "/v1//x/%2e%2e/y",
        "/v1/%C3%A4",
        "/v1/a+b%20c;d",
    ],
)
def test_paths_arrive_as_they_were_sent(site, target):
    """An id may hold any character, so nothing is decoded, merged or resolved on the way."""
    nginx, upstream = site
    assert nginx.ask(target).status == 200
    assert upstream.asked[-1].path == target


@pytest.mark.parametrize(
    "target", ["/metrics", "/metrics?x=1", "/%6detrics", "//metrics", "/metrics/", "/v1/../metrics", "/.env", "/.git/config"]
)
def test_closed_from_outside(site, target):
    nginx, upstream = site
    before = len(upstream.asked)
    answer = nginx.ask(target)
    assert (answer.status, answer.problem["code"]) == (404, "no_such_address")
    assert len(upstream.asked) == before


@pytest.mark.parametrize("id", ["%2e%2e%2f" * 5 + "x", "a%00b"])
def test_ids_that_nginx_refuses(site, id):
    """It resolves paths before it looks at them, and nothing stops it; docs/limits.md says so."""
    nginx, _ = site
    assert nginx.ask(f"/v1/indexes/b/documents/{id}").problem["code"] == "bad_request"
    assert nginx.ask("/v1/indexes/b/documents/%2e%2e%2fx").status == 200


def test_a_deploy_is_a_rename(tmp_path):
    """The next request goes to the other slot, also on a connection that was kept, and nothing is reloaded."""
    with running(tmp_path) as (nginx, blue):
        green = Upstream(tmp_path / "green.sock")
        try:
            with nginx.connect() as kept:
                assert ask(kept).status == 200 and blue.asked[-1].slot == "blue"
                (tmp_path / "new").symlink_to(green.path)
                (tmp_path / "new").rename(nginx.live)
                assert ask(kept).status == 200 and green.asked[-1].slot == "green"
            assert len(blue.asked) == len(green.asked) == 1
        finally:
            green.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_sent_twice(site, method):
    """The application takes a request and says nothing: whether it was done nobody knows, so it is not done again."""
    nginx, upstream = site
    answer = nginx.ask("/v1/dropped?twice", method, body=b"{}" if method == "POST" else None)
    assert (answer.status, answer.problem["code"]) == (502, "bad_gateway")
    assert [a.method for a in upstream.asked if a.path == "/v1/dropped?twice"].count(method) == 1


def test_an_answer_that_breaks_off_is_seen(site):
    """An export that ends before its end does not look like a complete one."""
    nginx, _ = site
    with pytest.raises(http.client.IncompleteRead):
        nginx.ask("/v1/broken")


def test_slow_bodies_are_collected_first(site):
    """The application sees a request when all of it is there, and then with a length."""
    nginx, upstream = site
    before = len(upstream.asked)
    with nginx.connect() as connection:
        connection.sendall(f"POST /v1/slowly HTTP/1.1\r\nHost: {DOMAIN}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n".encode())
        threading.Event().wait(0.2)
        assert len(upstream.asked) == before
        assert send(connection, b"1\r\n]\r\n0\r\n\r\n", "POST").status == 200
    assert upstream.asked[-1].body == 3 and "transfer-encoding" not in upstream.asked[-1].headers


# ----------------------------------------------------------------------------------------------------- problems


RAW = f"Host: {DOMAIN}\r\n"
REFUSALS = {
    "no http": (b"GET /v1\x01 HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "two lengths": (f"POST /v1 HTTP/1.1\r\n{RAW}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab".encode(), 400, "bad_request"),
    "a length and chunks": (
        f"POST /v1 HTTP/1.1\r\n{RAW}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        400,
        "bad_request",
    ),
    "no host": (b"GET /v1 HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "a method": (f"TRACE /v1 HTTP/1.1\r\n{RAW}\r\n".encode(), 405, "method_not_allowed"),
    "a long line": (f"GET /v1?q={'x' * 9000} HTTP/1.1\r\n{RAW}\r\n".encode(), 414, "request_line_too_long"),
    "a long header": (f"GET /v1 HTTP/1.1\r\n{RAW}X-Long: {'x' * 9000}\r\n\r\n".encode(), 431, "headers_too_large"),
    "a coding": (f"POST /v1 HTTP/1.1\r\n{RAW}Transfer-Encoding: gzip\r\n\r\n".encode(), 501, "unsupported_transfer_coding"),
    "a version": (f"GET /v1 HTTP/3.0\r\n{RAW}\r\n".encode(), 505, "http_version_not_supported"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_nginx_refuses_is_a_problem(site, case):
    """In the one shape, with the headers that every answer has, and with an id that the journal knows."""
    nginx, upstream = site
    data, status, code = REFUSALS[case]
    before = len(upstream.asked)
    with nginx.connect() as connection:
        answer = send(connection, data)
    problem = answer.problem
    assert (answer.status, problem["code"]) == (status, code)
    assert {name: answer.header(name) for name in SECURITY} == SECURITY
    assert len(upstream.asked) == before
    assert [row["status"] for row in nginx.journal(problem["request_id"])] == [status]


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large(site, chunked):
    """A body over MAX_BODY_BYTES is refused, before it is read where its length is known; one of just that is not."""
    nginx, upstream = site
    body = b"x" * (MAX_BODY + 1)
    before = len(upstream.asked)
    if chunked:
        sent, headers = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), {"Transfer-Encoding": "chunked", "Content-Length": None}
    else:
        sent, headers = body, {}
    answer = nginx.ask("/v1/indexes/b/documents", "POST", headers, sent)
    assert answer.status == 413 and answer.problem["code"] == "too_large" and f"{MAX_BODY} bytes" in answer.problem["detail"]
    assert len(upstream.asked) == before
    row = nginx.journal(answer.problem["request_id"])[0]
    assert (row["method"], row["path"], row["status"]) == ("POST", "/v1/indexes/b/documents", 413)
    assert nginx.ask("/v1/indexes/b/documents", "POST", body=body[1:]).status == 200


def test_while_the_application_is_away(tmp_path):
    """502, and good again as soon as it is back. No log says what was searched for."""
    with running(tmp_path) as (nginx, upstream):
        nginx.live.unlink()
        answer = nginx.ask("/v1/indexes/b/search?q=planted-words", headers={"Referer": "https://x/?planted-words"})
        assert (answer.status, answer.problem["code"]) == (502, "bad_gateway")
        assert {name: answer.header(name) for name in SECURITY} == SECURITY
        row = nginx.journal(answer.problem["request_id"])[0]
        assert (row["status"], row["path"], row["method"]) == (502, "/v1/indexes/b/search", "GET")
        nginx.live.symlink_to(tmp_path / "nobody.sock")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "nobody.sock"))
        assert nginx.ask("/v1/x?planted-words").status == 502
        nginx.live.unlink()
        nginx.live.symlink_to(upstream.path)
        assert nginx.ask("/v1/x?planted-words").status == 200
        assert nginx.lines(answer.problem["request_id"])
        assert "planted-words" not in nginx.logs()


def test_an_application_that_takes_too_long(tmp_path):
    with running(tmp_path, edit=lambda text: text.replace("proxy_read_timeout 120s", "proxy_read_timeout 300ms")) as (nginx, _):
        answer = nginx.ask("/v1/slow?planted-words")
        assert (answer.status, answer.problem["code"]) == (504, "gateway_timeout")
        assert nginx.journal(answer.problem["request_id"])[0]["upstream_seconds"] >= 0.3
        assert "planted-words" not in nginx.logs()


# ------------------------------------------------------------------------------------------------------- limits


def test_too_many_requests(limited):
    """Once the burst is spent: 429 as a problem, with Retry-After, and nothing of it reaches the application or names a search."""
    nginx, upstream = limited
    with nginx.connect() as connection:
        answers = [ask(connection, "/v1/x?planted-words") for _ in range(40)]
    statuses = [answer.status for answer in answers]
    assert statuses[:21] == [200] * 21 and statuses.count(429) >= 10 and len(upstream.asked) == statuses.count(200)
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.problem["code"] == "rate_limited" and refused.header("retry-after") == "1"
    assert {name: refused.header(name) for name in SECURITY} == SECURITY
    row = nginx.journal(refused.problem["request_id"])[0]
    assert (row["status"], row["address"], row["path"]) == (429, "127.0.0.1", "/v1/x")
    assert nginx.ask("/v1/x", headers={"X-Test-Address": "192.0.2.77", "X-Request-ID": "after-0001"}).status == 200
    assert nginx.lines("after-0001") and {row["status"] for row in nginx.lines()} == {200}  # a flood does not fill the disk
    assert "planted-words" not in nginx.logs()


def test_who_is_one_client(limited):
    """An IPv6 network of /64 is one, and so is an IPv4 address; the next of either is another."""
    nginx, _ = limited

    def refused(*addresses: str) -> bool:
        """Whether the last of them is, after the others have spent a burst."""
        with nginx.connect() as connection:
            for number in range(30):
                ask(connection, headers={"X-Test-Address": addresses[number % (len(addresses) - 1)]})
            return ask(connection, headers={"X-Test-Address": addresses[-1]}).status == 429

    assert refused("2001:db8:1:1::1", "2001:db8:1:1:ffff:ffff:ffff:ff0a", "2001:db8:1:1:a:b:c:d")
    assert not refused("2001:db8:1:1::1", "2001:db8:1:2::1")
    assert refused("2001:db8:a0a:a0a::a", "2001:db8:a0a:a0a:a0a:a0a:a0a:a0a")  # bytes that are line ends
    assert refused("192.0.2.1", "192.0.2.1") and not refused("192.0.2.1", "192.0.2.2")


def test_too_many_at_once(limited):
    """Requests in progress are counted, not connections that rest."""
    nginx, upstream = limited
    with ExitStack() as open_:
        resting = [open_.enter_context(nginx.connect()) for _ in range(6)]
        busy = resting[:3]
        for connection in busy:
            connection.sendall(f"GET /v1/slow HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
        while len(upstream.asked) < 3:
            threading.Event().wait(0.01)
        answer = ask(resting[3])
        assert (answer.status, answer.problem["code"], answer.header("retry-after")) == (429, "rate_limited", "1")
        upstream.release.set()
        assert [send(connection, b"").status for connection in busy] == [200] * 3
        assert ask(resting[4]).status == 200


def test_a_page_that_searches_with_every_letter(site):
    """A few hundred requests of one address within a second or two are nothing unusual."""
    nginx, _ = site
    with nginx.connect() as connection:
        assert {ask(connection).status for _ in range(300)} == {200}


# -------------------------------------------------------------------------------------------- answers and logs


@pytest.mark.parametrize("target", ["/v1/x", "/metrics"])
def test_headers_of_every_answer(site, target):
    nginx, _ = site
    answer = nginx.ask(target)
    assert {name: answer.header(name) for name in SECURITY} == SECURITY
    assert answer.header("server") == "nginx"


def test_compression(site):
    """Large JSON for those who take it, and caches are told; small answers as they are."""
    nginx, _ = site
    packed = nginx.ask("/v1/large", headers={"Accept-Encoding": "gzip"})
    assert (packed.header("content-encoding"), packed.header("vary")) == ("gzip", "Accept-Encoding")
    assert len(packed.body) < 1000 and json.loads(gzip.decompress(packed.body))["path"] == "/v1/large"
    through = nginx.ask("/v1/large", headers={"Accept-Encoding": "gzip", "Via": "1.1 cdn"})
    assert through.header("content-encoding") == "gzip"
    assert nginx.ask("/v1/large").header("content-encoding") is None
    assert nginx.ask("/v1/x", headers={"Accept-Encoding": "gzip"}).header("content-encoding") is None


def test_the_line_of_a_request(site):
    """Who, what, how long, without what was searched for. What the application answered is its own to tell the journal."""
    nginx, _ = site
    answer = nginx.ask("/v1/indexes/b/search?q=planted-words", headers={"X-Request-ID": "line-0001", "User-Agent": 'x"\\'})
    row = nginx.lines("line-0001")[0]
    assert row["seconds"] >= 0 and row["upstream_seconds"] >= 0  # each rounded in its own way
    expected = {"logger": "nginx", "request_id": "line-0001", "method": "GET", "path": "/v1/indexes/b/search", "status": 200}
    expected |= {"bytes": len(answer.body), "address": "127.0.0.1", "protocol": "HTTP/1.1", "tls": "TLSv1.3"}
    assert {name: row[name] for name in expected} == expected
    assert set(row) - set(expected) == {"time", "seconds", "upstream_seconds"}
    assert not nginx.told_the_journal("line-0001") and "planted-words" not in nginx.logs()


@pytest.mark.parametrize("given", [SECRET, "eyJhbGciOiJIUzI1NiJ9", 'a"b\\c{}1234', "x" * 65, "short", "\x80\x9b31m-red"])
def test_ids_that_are_replaced(site, given):
    """By one of ours, for everybody: the application, the answer, the log."""
    nginx, upstream = site
    answer = nginx.ask("/v1/id", headers={"X-Request-ID": given})
    made = answer.header("x-request-id")
    assert re.fullmatch(r"[0-9a-f]{32}", made) and upstream.asked[-1].headers["x-request-id"] == made
    assert nginx.lines(made) and given not in nginx.logs()


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (f"/v1/keys/{SECRET}?x=1", ""),
        (f"/v1/keys/{SECRET.replace('_', '%5F')}", ""),
        (f"/v1/x?key={SECRET}", "/v1/x"),
        ("/v1/%22%0a%7b?x", "/v1/%22%0a%7b"),
        ("/v1/\x9b31m?x", "/v1/"),
        ("/v1/" + "a" * 3000, "/v1/" + "a" * 996),
        ("https://search.example.com/v1/absolute?q=planted-words", "/v1/absolute"),
    ],
)
def test_paths_in_the_log(site, target, path):
    """As they were sent, bounded, in printable ASCII, without the query and without secrets."""
    nginx, _ = site
    assert nginx.ask(target, headers={"X-Request-ID": (mine := f"path-{abs(hash(target))}")}).status == 200
    assert nginx.lines(mine)[0]["path"] == path
    assert SECRET not in nginx.logs() and "planted-words" not in nginx.logs()


def test_redirects_are_not_written_down(site):
    """Every scanner has some, no limit counts them, and their clients come again."""
    nginx, _ = site
    nginx.ask("/v1/redirected?planted-words", headers={"X-Request-ID": "redirect-1"}, tls=False)
    nginx.ask("/v1/after", headers={"X-Request-ID": "redirect-2"})
    assert nginx.lines("redirect-2") and "redirect-1" not in nginx.logs() and "planted-words" not in nginx.logs()


def test_http_without_tls_where_tls_is_spoken(site):
    """What `http://…:443` sends is told so as everything else is, and logged without its query string."""
    nginx, upstream = site
    before = len(upstream.asked)
    with socket.create_connection(("127.0.0.1", nginx.https), 30) as plain:
        answer = send(plain, f"GET /v1/x?planted-words HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
    assert (answer.status, answer.problem["code"], len(upstream.asked)) == (400, "bad_request", before)
    assert nginx.journal(answer.problem["request_id"])[0]["status"] == 400 and "planted-words" not in nginx.logs()


def test_a_flood_leaves_the_journal():
    """journald's own limit, 10,000 lines in 30 s and more on large disks, would let one address push out days."""
    text = active(web.files(HOST, BOOKWORM)["/etc/systemd/system/nginx.service.d/searchapi.conf"])
    assert "\nLogRateLimitIntervalSec=30s\nLogRateLimitBurst=1000" in text


def test_a_client_that_leaves(site):
    """A request that ends without a status is still a line of JSON."""
    nginx, _ = site
    with nginx.connect() as connection:
        connection.sendall(
            f"POST /v1/left HTTP/1.1\r\nHost: {DOMAIN}\r\nX-Request-ID: left-0001\r\nContent-Length: 9\r\n\r\nab".encode()
        )
    assert nginx.lines("left-0001")[0]["path"] == "/v1/left"
