"""fab provision, as far as it goes without a server of its own; tests/e2e makes a real one."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from dataclasses import replace

import pytest

from deploy import envfile, https, topics
from deploy.connection import ConnectionFailed, NotLetIn, connect
from deploy.inventory import InventoryError
from deploy.machine import Machine
from deploy.provision import first_connection, provision, supported
from deploy.render import render
from deploy.topics import Job, ProvisionFailed

WRITERS = (
    *("apt-get", "install", "useradd", "usermod", "chown", "chmod", "mv", "cp", "rm", "ln", "mkdir", "touch", "tee", "certbot"),
    *("systemd-run", "systemd-tmpfiles", "journalctl", "cloud-init", "sysctl", "sed"),
)
SECRET = "a secret of the tests, 0123456789 abcdef"


@pytest.fixture
def bare(sshd, tmp_path, monkeypatch):
    """A Debian 12 with nothing on it. What would write says so."""
    monkeypatch.setattr(topics, "_ETC", str(tmp_path / "etc"))
    log = sshd.folder / "written"
    for name in WRITERS:
        sshd.program(name, f'echo "{name} $*" >>{log}; exit 97')
    release = tmp_path / "os-release"
    release.write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n')
    sshd.program("cat", f'if [ "$*" = /etc/os-release ]; then set -- {release}; fi; exec /bin/cat "$@"')
    for name in ("dpkg-query", "getent", "id", "nft", "visudo", "grep", "ufw", "redis-cli"):
        sshd.program(name, "exit 1")
    for name in ("nginx", "certbot"):
        sshd.program(name, "exit 127")
    for name in ("ss", "base64"):
        sshd.program(name, "exit 0")
    sshd.program("stat", "echo")
    sshd.program("sshd", "echo port 22")
    state = r"ActiveState=inactive\nUnitFileState=\n"
    sshd.program(
        "systemctl",
        f"""case $1 in
    --version) echo "systemd 252 (252.39)" ;;
    show) shift 2; first=1; for unit do [ $first ] || echo; first=; printf '{state}'; done ;;
    *) echo "systemctl $*" >>{log}; exit 97 ;;
esac""",
    )
    sshd.written = log
    return sshd


def test_a_plan_of_a_bare_server_touches_nothing(bare):
    """Nothing that writes is even called, nothing is sent but commands, and everything is told."""
    said = []
    machine = provision(bare.host, plan=True, say=said.append)
    assert not bare.written.exists(), bare.written.read_text()
    assert not any(bare.inputs)
    text = "\n".join(said)
    for what in (
        "would install sudo, ca-certificates",
        "would make the user searchapi",
        "  useradd --system --user-group --home-dir /var/lib/searchapi --no-create-home --shell /usr/sbin/nologin -- searchapi",
        "+PasswordAuthentication no",
        f"+        tcp dport {{ 22, 80, 443, {bare.host.port} }} accept",
        "would write /etc/searchapi/env, with a new SECRET_KEY",
        "  + ENVIRONMENT=production",
        "would write /etc/systemd/system/searchapi@.service",
        "would restart Redis",
        "would get a certificate for search.example.com",
        "would write /etc/nginx/searchapi/sites/https.conf",
    ):
        assert what in text
    assert said[-1] == f"{len(machine.changes)} changes would be made, nothing was touched"
    again = ("have systemd read its units again", "reload Nginx")
    once = [change for change in machine.changes if change not in again]
    assert len(once) == len(set(once))


def test_bad_settings_never_reach_the_server(sshd, tmp_path):
    path = tmp_path / "production.env"
    path.write_text("WORKERS=many\n")
    with pytest.raises(InventoryError, match="WORKERS is 'many'"):
        provision(replace(sshd.host, env_file=path))
    with pytest.raises(InventoryError, match="acme_ca: there is no file"):
        provision(replace(sshd.host, acme_ca=tmp_path / "absent"))
    assert sshd.attempts == []


@pytest.mark.parametrize(
    ("system", "version", "good"),
    [
        ("debian", "12", True),
        ("debian", "13", True),
        ("ubuntu", "24.04", True),
        ("ubuntu", "26.04", True),
        ("ubuntu", "22.04", False),
        ("debian", "11", False),
        ("debian", "", False),
        ("fedora", "43", False),
        ("ubuntu", "rolling", False),
    ],
)
def test_other_systems_are_refused_by_name(system, version, good):
    release = {"ID": system, "VERSION_ID": version, "PRETTY_NAME": f"{system} {version}"}
    if good:
        supported(release)
    else:
        with pytest.raises(ProvisionFailed, match=f"The server runs {system} {version}; searchapi needs Debian 12 or 13"):
            supported(release)


def test_the_first_time_it_comes_as_root(sshd):
    """`deploy` is not there yet. Where it is but may not everything yet, root finishes what was begun."""
    with closing(first_connection(replace(sshd.host, user="deploy"))) as connection:
        assert connection.user == "root"
    sshd.users.add("deploy")
    sshd.program("sudo", "exit 1")
    with closing(first_connection(replace(sshd.host, user="deploy"))) as connection:
        assert connection.user == "root"
    sshd.program("sudo", "exit 0")
    with closing(first_connection(replace(sshd.host, user="deploy"))) as connection:
        assert connection.user == "deploy"


def test_who_is_let_in_as_nobody_is_told_what_to_do(sshd):
    sshd.users.clear()
    with pytest.raises(NotLetIn, match=r"for the user deploy, nor for root\. Add your public key"):
        first_connection(replace(sshd.host, user="deploy"))


def test_a_wrong_host_key_is_not_tried_again_as_root(sshd):
    with pytest.raises(ConnectionFailed, match="Nothing was sent"):
        first_connection(replace(sshd.host, user="deploy", host_key="SHA256:" + "A" * 43))
    assert sshd.attempts == []


@pytest.fixture
def job(sshd):
    with closing(connect(sshd.host)) as connection:
        yield Job(Machine(connection, say=lambda what: None), sshd.host, envfile.wanted(sshd.host, None, None))


def test_a_port_that_another_program_has_is_told(sshd, job):
    row = 'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("apache2",pid=812,fd=4))'
    sshd.program("ss", f"echo '{row}'")
    with pytest.raises(ProvisionFailed, match="Port 80 is taken by apache2"):
        topics.packages(job)


class TestAlone:
    """A server that something else runs on is refused before anything is touched, and that is named."""

    @pytest.fixture(autouse=True)
    def etc(self, sshd, tmp_path, monkeypatch):
        monkeypatch.setattr(topics, "_ETC", str(tmp_path))
        self.nginx, self.redis = tmp_path / "nginx", tmp_path / "redis"
        (self.nginx / "sites-enabled").mkdir(parents=True)
        (self.nginx / "nginx.conf").touch()
        (self.nginx / "sites-enabled" / "default").write_text("as Debian has it")
        known = hashlib.md5(b"as Debian has it").hexdigest()  # what dpkg keeps of its files
        sshd.program("dpkg-query", f"echo ' /etc/nginx/sites-available/default {known}'")
        sshd.program("redis-cli", "echo '# Keyspace'")

    def test_a_new_server_is_taken(self, job):
        topics.alone(job)

    @pytest.mark.parametrize("name", ["old site.conf", "default"])
    def test_a_site_of_somebody_is_not_ended(self, job, name):
        site = self.nginx / "sites-enabled" / name
        site.write_text("server { }")
        with pytest.raises(ProvisionFailed, match=f"^Nginx serves {site}: this server is in use"):
            topics.alone(job)
        (self.nginx / "searchapi").mkdir()  # ours, from an earlier run
        topics.alone(job)

    @pytest.mark.parametrize("said", ["# Keyspace; db0:keys=1,expires=0", "NOAUTH Authentication required."])
    def test_a_redis_with_data_is_not_ended(self, sshd, job, said):
        sshd.program("redis-cli", f"echo '{said}' | tr ';' '\\n'")
        with pytest.raises(ProvisionFailed, match=r"^Redis holds data: this server is in use"):
            topics.alone(job)
        self.redis.mkdir()
        (self.redis / "searchapi.conf").touch()
        topics.alone(job)


@pytest.mark.parametrize(
    ("rows", "good"),
    [
        (None, True),
        (["22/tcp                     ALLOW       Anywhere"], False),
        (["80/tcp                     ALLOW       Anywhere"], False),
        (["80/tcp                     ALLOW       Anywhere", "443                        ALLOW       Anywhere"], True),
        (["80/tcp                     DENY        Anywhere", "443                        ALLOW       Anywhere"], False),
        (["80,443/tcp                 ALLOW       Anywhere", "80,443/tcp (v6)            ALLOW       Anywhere (v6)"], True),
        (["Nginx Full                 ALLOW       Anywhere"], True),
    ],
)
def test_another_firewall_that_closes_the_web_is_told(rows, good):
    said = "Status: inactive\n" if rows is None else "\n".join(["Status: active", "", *rows, ""])
    assert topics.ufw_lets_in(said) is good and topics.ufw_lets_in("")


def test_the_port_that_we_came_by_stays_open(sshd):
    """sshd's own ports, and the one of this connection, which a router may have sent on from another."""
    host = replace(sshd.host, port=2222)
    assert topics.ssh_ports(host, "198.51.100.7 50000 10.0.0.5 22\n", set()) == {22}
    assert topics.ssh_ports(host, "2001:db8::1 50000 2001:db8::2 2200", {22}) == {22, 2200}
    assert topics.ssh_ports(host, "", {22}) == {22, 2222}


@pytest.mark.skipif(os.getuid() != 0, reason="makes files that belong to root")
class TestSettings:
    @pytest.fixture(autouse=True)
    def path(self, monkeypatch, tmp_path):
        self.path = tmp_path / "env"
        monkeypatch.setattr(envfile, "PATH", str(self.path))

    def test_a_secret_is_made_on_the_server_and_kept(self, sshd, job):
        """Readable by root alone; in no command; not made twice."""
        topics.settings(job)
        found = envfile.parse(self.path.read_text())
        assert len(found["SECRET_KEY"]) == 64 and len(set(found["SECRET_KEY"])) > 20
        assert self.path.stat().st_mode & 0o7777 == 0o600
        assert envfile.wanted(sshd.host, None, self.path.read_text()) == self.path.read_text()
        job.env = envfile.wanted(sshd.host, None, self.path.read_text())
        job.machine.changes.clear()
        topics.settings(job)
        assert job.machine.changes == []
        everything = "\n".join(sshd.commands) + b"\n".join(sshd.inputs).decode()
        assert found["SECRET_KEY"] not in everything

    def test_secrets_are_sent_as_input_alone_and_never_shown(self, sshd, job):
        said = []
        job.machine = Machine(job.machine.connection, say=said.append)
        job.env += f"SECRET_KEY={SECRET}\nSENTRY_DSN=https://planted@sentry.example.com/1\n"
        topics.settings(job)
        assert SECRET in self.path.read_text()
        for text in (*sshd.commands, *said):
            assert SECRET not in text and "planted" not in text
        planned = Machine(job.machine.connection, plan=True, say=said.append)
        topics.settings(Job(planned, sshd.host, job.env + "WORKERS=3\n"))
        assert "  + WORKERS=3" in said[-1] and "planted" not in said[-1] and SECRET not in said[-1]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Saving debug log to /x\n  Domain: a\n  Type:   dns\n  Detail: DNS problem: NXDOMAIN for a\n\nAsk for help",
            "DNS problem: NXDOMAIN for a.",
        ),
        ("Saving debug log to /x\nAn unexpected error occurred:\nToo many requests.\nAsk for help or", None),
    ],
)
def test_what_certbot_says_is_cut_to_the_reason(said, told):
    found = https._last_words(said)
    assert found == (told or "An unexpected error occurred: Too many requests.")


def test_a_domain_without_an_address_is_told_before_anybody_is_asked(sshd, job):
    """Let's Encrypt counts failures."""
    job.host = replace(sshd.host, domain="no-such-name.invalid")
    assert https.unreachable(job) == "no-such-name.invalid has no address."
    assert sshd.commands == []


def test_the_server_files_are_rendered_with_their_values_alone():
    with pytest.raises(KeyError, match=r"missing \['PORTS'\]"):
        render("server/firewall.nft")
    with pytest.raises(KeyError, match=r"not asked for \['OTHER'\]"):
        render("server/sshd.conf", OTHER="x")
    for bad in ("a\nb", "a\rb", "a\0b", "\x1b[0m", "a\x7fb"):
        with pytest.raises(ValueError, match="USER holds a control character"):
            render("server/sudoers", USER=bad)
    assert "@" not in render("server/firewall.nft", PORTS="22, 80").replace("@example", "")
