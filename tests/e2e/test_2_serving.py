"""What the world sees after `fab deploy`: HTTPS and nothing else, limits, ids that can be found again, a certificate that renews
itself."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .server import DOMAIN, eventually


def live(server) -> str:
    """The name of the release that has the traffic."""
    script = 'slot=$(basename "$(readlink /srv/searchapi/live.sock)" .sock); basename "$(readlink "/srv/searchapi/slots/$slot")"'
    return server.shell(script).strip()


def test_deploy(server, user, deployed):
    """The last commit is live."""
    head = user.types("git rev-parse HEAD").said.strip()
    assert live(server).endswith(head[:12]), deployed.said[-2000:]


def test_the_page_leads_to_https(used):
    """What docs/deploy.md has after the first deploy works, word for word: HTTPS, a first key, documents, a search."""
    said = "".join(ran.said for ran in used)
    assert '"status":"ok"' in said.replace(" ", "") and "The Dispossessed" in said, said


def test_reboot_after_an_odd_number_of_deploys(server, web, books, key, deployed, reach):
    """One deploy, then the power goes: what was live is live again, with its documents, and nothing has to be typed."""
    release, asked = live(server), f"/v1/indexes/{books}/search?q=tempest"
    before = json.loads(web.get(asked, key).body)["total"]
    began = time.monotonic()
    server.reboot()
    eventually(web.answers, "it answers after a reboot", 60)
    reach.note("reboot, from the command to the first answer", time.monotonic() - began, "s", 20)
    assert live(server) == release
    eventually(lambda: web.get(asked, key).status == 200, "it searches after a reboot", 60)
    assert json.loads(web.get(asked, key).body)["total"] == before > 0
    failed = server.run("systemctl", "--failed", "--no-legend", "--plain").out
    assert not failed.strip(), failed


def test_certificate(web):
    """It comes from the authority that was asked, for the domain, and browsers are told to stay with TLS."""
    answer = web.get("/health")
    assert answer.status == 200
    assert ("DNS", DOMAIN) in answer.certificate["subjectAltName"]
    assert "Pebble" in str(answer.certificate["issuer"])
    assert int(re.search(r"max-age=(\d+)", answer.headers["strict-transport-security"])[1]) >= 63_072_000


def test_redirect(web):
    """HTTP leads to HTTPS, path and query with it."""
    answer = web.plain("/v1/indexes/books/search?q=a+b")
    assert answer.status in (301, 308)
    assert answer.headers["location"] == f"https://{DOMAIN}/v1/indexes/books/search?q=a+b"


def test_old_tls_is_refused(web):
    """TLS 1.2 and 1.3 are spoken, 1.1 and 1.0 are not, by the server's own decision."""
    for version, spoken in (("-tls1_3", True), ("-tls1_2", True), ("-tls1_1", False), ("-tls1", False)):
        command = ["openssl", "s_client", "-connect", f"{web.address}:443", "-servername", DOMAIN, version]
        command += [] if spoken else ["-cipher", "ALL:@SECLEVEL=0"]  # else openssl itself would not ask
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
        said = done.stdout + done.stderr
        assert ("BEGIN CERTIFICATE" in said) == spoken, f"{version}: {said}"
        assert spoken or "alert protocol version" in said, said


def test_unknown_hosts_learn_nothing(web):
    """Who asks for another name gets no certificate over TLS, and no answer without."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name in (None, "other.example.com"):
        with socket.create_connection((web.address, 443), 10, (web.source, 0)) as plain:
            try:
                context.wrap_socket(plain, server_hostname=name)
            except ssl.SSLError as error:
                assert "UNRECOGNIZED_NAME" in str(error).upper(), error
            else:
                raise AssertionError(f"{name} was shaken hands with")
    with socket.create_connection((web.address, 80), 10, (web.source, 0)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n")
        assert plain.recv(100) == b""


def test_what_is_closed(web, key):
    """/metrics is for the inside, and scanners find nothing."""
    for path in ("/metrics", "/.env", "/.git/config"):
        answer = web.get(path, key)
        assert answer.status == 404 and answer.headers["content-type"] == "application/problem+json", path


def test_limits_per_address(server, web):
    """A flood from one address is answered 429 by Nginx, as a problem; another address is not touched by it."""
    flood = replace(web, source=server.clients[6])

    def ask(_: int) -> list[tuple[int, bytes, str]]:
        connection, found = flood.connect(), []
        try:
            for _ in range(400):
                connection.request("GET", "/health")
                answer = connection.getresponse()
                found.append((answer.status, answer.read(), answer.headers.get("Content-Type", "")))
                if answer.status != 200:
                    break
                if answer.will_close:
                    connection.close()
        finally:
            connection.close()
        return found

    with ThreadPoolExecutor(8) as pool:  # 3,200 requests at most
        found = [row for rows in pool.map(ask, range(8)) for row in rows]
    assert {status for status, *_ in found} == {200, 429}, f"{len(found)} answers"
    _, body, kind = next(row for row in found if row[0] == 429)
    assert kind == "application/problem+json" and json.loads(body)["code"] == "rate_limited"
    assert web.get("/health").status == 200


def test_limits_per_key(web, key, books, planted):
    """A key's own limit answers 429 and says when to come back."""
    body = json.dumps({"scopes": ["search"], "rate_limit": "5/minute", "description": "slow"}).encode()
    slow = json.loads(web.ask("POST", "/v1/keys", body, key).body)["key"]
    planted.keys.append(slow)
    answers = [web.get(f"/v1/indexes/{books}/search?q=house", slow) for _ in range(12)]
    assert [answer.status for answer in answers][:3] == [200] * 3
    refused = answers[-1]
    assert refused.status == 429 and 1 <= int(refused.headers["retry-after"]) <= 60


def test_the_request_id_is_in_the_journal(server, web, user, key, books):
    """The id that a client saw, its own or ours, finds its line: in journald, and by `fab logs`."""
    ours = web.get(f"/v1/indexes/{books}/search?q=letter", key).headers["x-request-id"]
    theirs = "from-the-client.1"
    assert web.get(f"/v1/indexes/{books}/search?q=letter", key, X_Request_ID=theirs).headers["x-request-id"] == theirs
    for identity in (ours, theirs):
        eventually(lambda identity=identity: identity in server.journal("-u", "searchapi@*"), "journald has the id", 10)
        rows = [json.loads(row) for row in server.journal("-u", "searchapi@*", "--grep", identity).splitlines()]
        assert [row["route"] for row in rows] == ["/v1/indexes/<segment:index>/search"]
        assert rows[0]["status"] == 200 and rows[0]["key"] == key.split("_")[1]
        assert identity in user.fab("logs", "--request", identity).said


def test_status_is_one_screen(server, user, deployed):
    """Release, slots, units, certificate, disk, lag, errors."""
    said = user.fab("status").said
    assert live(server) in said and len(said.splitlines()) <= 40, said
    for word in ("nginx", "redis", "days", "disk", "errors", "index"):
        assert word in said.lower(), f"{word}\n{said}"


def test_snapshot(server, user, books):
    """`fab snapshot` leaves a copy on the server that SQLite finds whole, with all documents."""
    user.fab("snapshot")
    script = """
import pathlib, sqlite3
newest = max(pathlib.Path("/var/backups/searchapi").iterdir())
files = list(newest.rglob("*.db"))
for file in files:
    with sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True) as found:
        print(file.name, *found.execute("PRAGMA integrity_check").fetchone(), end=";")
        if file.name == "documents.db":
            print(*found.execute("SELECT count(*) FROM documents").fetchone(), end=";")
"""
    said = server.run("python3", "-c", script).out
    assert "system.db ok" in said and ";2000;" in said, said


def test_certificate_renews_itself(server, web, past):
    """By the service that its own timer starts: a fresh certificate is left alone, one that runs out is replaced and served."""
    timer = server.run("systemctl", "show", "certbot.timer", "-p", "Unit", "-p", "ActiveState", "--value").out.split()
    assert sorted(timer) == ["active", "certbot.service"]
    first = web.get("/health").certificate["serialNumber"]
    server.run("systemctl", "start", "certbot.service", timeout=300)
    assert web.get("/health").certificate["serialNumber"] == first
    old = past.age(server)
    eventually(lambda: web.get("/health").certificate["serialNumber"] == old, "the old one is served", 10)
    server.run("systemctl", "start", "certbot.service", timeout=300)
    eventually(lambda: web.get("/health").certificate["serialNumber"] not in (first, old), "a new certificate is served", 10)
    assert "Pebble" in str(web.get("/health").certificate["issuer"])
