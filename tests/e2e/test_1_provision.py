"""`fab provision`: a bare server becomes one that serves, once; and no other server is ever touched in its place."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable

from .server import Server, eventually
from .user import User

GUARD = 8  # seconds for which an unproved change stays here, instead of three minutes
STATE = """
find /etc /usr/local /srv /var/lib/dpkg/status -xdev -type f -exec sha256sum {} + 2>/dev/null | sort -k2
systemctl list-unit-files --no-pager
"""


def test_plan_touches_nothing(server, named, watched):
    """On a bare server it shows files as diffs and commands as they would run, and leaves everything as it was."""
    before = server.shell(STATE)
    said = named.fab("provision", "--plan").said
    assert "+++ /etc/" in said and "apt-get install" in said, said[-2000:]
    assert server.shell(STATE) == before


def test_provision(server, provisioned):
    """The user's command makes the server: its units are there, and only SSH and the web listen."""
    assert re.search(r"\b[1-9]\d* changes?\b", provisioned.said), provisioned.said[-2000:]
    for unit in ("nginx", "redis-server", "certbot.timer"):
        assert server.active(unit), unit
    rows = server.run("ss", "-Hltun").out.splitlines()
    open_ports = {row.split()[4].rsplit(":", 1)[1] for row in rows if not re.search(r"\s(127\.|\[::1\]|127\.0\.0\.5[34]%lo)", row)}
    assert open_ports <= {"22", "80", "443"}, rows


def test_again_changes_nothing(named, provisioned, reach):
    """The second run finds everything as it should be, and so does a plan."""
    ran = named.fab("provision")
    reach.note("provision again", ran.seconds, "s")
    assert re.search(r"\b0 changes\b", ran.said), ran.said[-3000:]
    assert re.search(r"\b0 changes\b", named.fab("provision", "--plan").said)


def lets_in(server: Server) -> bool:
    """Whether the firewall lets us in, now. Not asked of sshd: OpenSSH 10 shuts out who comes often and does not log in."""
    try:
        with socket.create_connection((server.address, 80), timeout=1):
            return True
    except OSError:
        return False


def edits(user: User, name: str, edit: Callable[[str], str]) -> None:
    """Changes a file of the user's checkout."""
    path = user.checkout / "deploy" / name
    before = path.read_text()
    path.write_text(edit(before))
    assert path.read_text() != before, name


def test_what_locks_us_out_is_taken_back(server, named, provisioned, reach):
    """The laptop dies in the middle of a change of the firewall that lets nobody in: the server takes it back by itself, in the
    time that was said. One of sshd that lets nobody in is taken back at once. Then nothing is left of either."""
    edits(named, "guard.py", lambda text: text.replace("SECONDS = 180", f"SECONDS = {GUARD}"))
    try:
        edits(named, "server/firewall.nft", lambda text: text.replace("tcp dport { @PORTS@ } accept", "tcp dport { @PORTS@ } drop"))
        running = named.starts("provision")
        eventually(lambda: running.process.poll() is not None or not lets_in(server), "the firewall closes", 30)
        running.dies()
        assert "} drop" in server.shell("nft list table inet searchapi; cat /etc/searchapi/firewall.nft"), running.said
        took = eventually(lambda: lets_in(server), "it takes it back", 30)
        reach.note("locked out, until the server lets in again", took, "s", GUARD + 5)
        named.types("git checkout -q -- deploy/server")
        edits(named, "server/sshd.conf", lambda text: f"{text}AllowUsers nobody\n")
        ran = named.fab("provision", check=False)
        assert ran.status == 1 and "10-searchapi.conf was taken back, nothing has changed" in ran.said, ran.said
    finally:
        named.types("git checkout -q -- deploy")
    ran = named.fab("provision")
    assert re.search(r"\b0 changes\b", ran.said), ran.said
    assert server.shell("ls /var/lib/searchapi-guard /etc/systemd/system | grep searchapi-guard- || true") == ""


def test_a_swapped_host_key_is_refused(server, named, provisioned):
    """A server with another host key is not spoken to: no task logs in, and the user is told both fingerprints."""
    known, logins = server.fingerprint(), "journalctl -o cat -t sshd -t sshd-session | grep -c Accepted || true"
    server.shell("mkdir /root/kept; mv /etc/ssh/ssh_host_* /root/kept; ssh-keygen -q -A; systemctl restart ssh")
    try:
        before = server.shell(logins)
        for task in ("status", "deploy", "provision"):
            ran = named.fab(task, check=False)
            assert ran.status != 0 and known in ran.said and server.fingerprint() in ran.said, ran.said
            assert "Traceback" not in ran.said and len(ran.said.splitlines()) < 6, ran.said
        assert server.shell(logins) == before
    finally:
        server.shell("mv /root/kept/ssh_host_* /etc/ssh; rmdir /root/kept; systemctl restart ssh")
    named.fab("provision", "--plan")


def test_mistakes_in_hosts_toml_are_told(named, provisioned):
    """What is wrong with the file is said in a line or two, with what to type."""
    hosts = named.checkout / "deploy" / "hosts.toml"
    shutil.copy(hosts, named.folder / "hosts.toml")
    try:
        hosts.write_text(hosts.read_text().replace("host_key", "hostkey", 1))
        ran = named.fab("status", check=False)
        assert ran.status != 0 and "host_key" in ran.said and "Traceback" not in ran.said, ran.said
        hosts.unlink()
        ran = named.fab("status", check=False)
        assert ran.status != 0 and "hosts.example.toml" in ran.said and "Traceback" not in ran.said, ran.said
    finally:
        shutil.copy(named.folder / "hosts.toml", hosts)
