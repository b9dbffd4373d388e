"""Connections: to the server that is meant, or not at all; commands arrive word for word."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.commands import as_root, line, shell
from deploy.connection import CommandFailed, ConnectionFailed, NotLetIn, connect, execute, fingerprint

HOSTILE = [
    "",
    " ",
    "a b",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "a\nb",
    "\\",
    "\\'",
    "*",
    "~root",
    "-rf",
    "--",
    "$HOME",
    "é🙂",
    "\x01\x7f",
    "!!",
    "a\tb\r",
]
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@pytest.fixture
def connection(sshd):
    with closing(connect(sshd.host)) as connection:
        yield connection


def test_a_server_with_the_pinned_key_is_talked_to(connection):
    done = execute(connection, ["echo", "hello"])
    assert (done.status, done.out, done.err) == (0, "hello\n", "")


def test_another_host_key_is_refused_and_nothing_is_sent(sshd):
    """No user, no key, no command: the server learns nothing of us. The message has both fingerprints."""
    pinned = "SHA256:" + "A" * 43
    with pytest.raises(ConnectionFailed, match="another server, or somebody stands in between") as caught:
        connect(replace(sshd.host, host_key=pinned))
    assert fingerprint(sshd.key) in str(caught.value) and pinned in str(caught.value)
    assert sshd.attempts == [] and sshd.commands == []


def test_a_key_that_known_hosts_has_is_refused_all_the_same(sshd, tmp_path, monkeypatch):
    """What somebody accepted once by hand does not count."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    known = f"[127.0.0.1]:{sshd.host.port} {sshd.key.get_name()} {sshd.key.get_base64()}\n"
    (tmp_path / ".ssh" / "known_hosts").write_text(known)
    with pytest.raises(ConnectionFailed, match="Nothing was sent"):
        connect(replace(sshd.host, host_key="SHA256:" + "A" * 43))
    assert sshd.attempts == []


def test_the_fingerprint_is_that_of_ssh_keygen():
    """Base64 of SHA-256 over the public key's blob, without padding: RFC 4253 6.6, and `ssh-keygen -lf`."""
    key = paramiko.ECDSAKey.generate()
    assert len(fingerprint(key)) == len("SHA256:") + 43
    assert hashlib.sha256(key.asbytes()).digest()[:3] in __import__("base64").b64decode(fingerprint(key)[7:] + "=")


def test_who_is_not_let_in_is_told_as_whom(sshd):
    with pytest.raises(NotLetIn, match=r"takes none of your SSH keys for the user nobody\."):
        connect(sshd.host, "nobody")


def test_an_identity_that_cannot_be_used_is_one_line(sshd, tmp_path, monkeypatch):
    """Missing, no key at all, and with a passphrase while no agent has it."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    absent, wrong, locked = (replace(sshd.host, identity=tmp_path / name) for name in ("absent", "wrong", "locked"))
    wrong.identity.write_text("not a key")
    paramiko.ECDSAKey.generate().write_private_key_file(str(locked.identity), password="of the tests")
    for host, says in (
        (absent, "identity: .* cannot be read"),
        (wrong, "no private key"),
        (locked, "One has a passphrase: `ssh-add`"),
    ):
        with pytest.raises(ConnectionFailed, match=says):
            connect(host)
    assert sshd.commands == []


def test_a_server_that_is_not_there_is_one_line(sshd):
    host = sshd.host
    sshd.__exit__()
    with pytest.raises(ConnectionFailed, match=rf"port {host.port}, cannot be reached as root: .*\.$") as caught:
        connect(host)
    assert "\n" not in str(caught.value) and "None" not in str(caught.value)
    sshd.__enter__()


def test_a_key_of_the_home_folder_with_a_passphrase_is_named(sshd, tmp_path, monkeypatch):
    """Without an agent nobody can unlock it; ssh would ask, we say so."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / ".ssh" / "id_ecdsa"), password="of the tests")
    with pytest.raises(NotLetIn, match="One has a passphrase: `ssh-add`"):
        connect(replace(sshd.host, identity=None))


def test_what_answers_but_is_no_ssh_server_is_one_line():
    """A web server's port, a proxy: paramiko's own traceback is not printed."""
    script = f"""
from deploy.connection import ConnectionFailed, connect
from deploy.inventory import Host
import socket, threading
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
try:
    port = listener.getsockname()[1]
    connect(Host("x", "127.0.0.1", "SHA256:{"A" * 43}", "search.example.com", "you@example.com", port=port))
except ConnectionFailed as error:
    print(error)
listener.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "cannot be reached as deploy: what answers is no SSH server" in done.stdout and done.stderr == "", done.stderr


def test_what_fails_says_the_end_of_what_it_said(connection):
    with pytest.raises(CommandFailed, match=r"ended with 3: no room / at all") as caught:
        execute(connection, shell("echo no room >&2; echo at all >&2; exit 3"))
    assert caught.value.said == "no room / at all"
    assert execute(connection, ["false"], check=False).status == 1


def test_both_streams_and_the_input_may_be_large(connection):
    """None of the three waits for another: 3 MB each."""
    script = "head -c 3000000 /dev/zero >&2; tee /dev/stderr | head -c 3000000; cat >/dev/null"
    done = execute(connection, shell(script), b"x" * 3_000_000)
    assert len(done.out) == 3_000_000 and len(done.err) == 6_000_000


def test_a_command_that_does_not_read_its_input_still_has_a_status(connection):
    with pytest.raises(CommandFailed, match="ended with 4"):
        execute(connection, shell("exit 4"), b"x" * 5_000_000)


def test_a_connection_that_is_cut_is_one_line(sshd, connection):
    cut = threading.Timer(0.5, sshd.cut)
    cut.start()
    began = time.monotonic()
    with pytest.raises(ConnectionFailed, match="was lost"):
        execute(connection, ["sleep", "3"])
    cut.join()
    assert time.monotonic() - began < 3
    with pytest.raises(ConnectionFailed, match="was lost"):
        execute(connection, ["true"])


def test_a_command_that_is_killed_has_failed(connection):
    with pytest.raises(CommandFailed, match="ended with -1: it said nothing"):
        execute(connection, ["exec", "sh", "-c", "kill -9 $$"])


def test_hostile_values_arrive_as_they_are(sshd, connection):
    """Through the protocol and a real shell; nothing of them is run."""
    done = execute(connection, ["printf", r"%s\0", *HOSTILE])
    assert done.out.split("\0")[:-1] == HOSTILE
    done = execute(connection, shell(r'for value do printf "%s\0" "$value"; done', *HOSTILE))
    assert done.out.split("\0")[:-1] == HOSTILE
    assert not list(sshd.folder.rglob("pwned"))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(texts, min_size=1, max_size=5))
def test_any_value_arrives_as_it_is(connection, values):
    assert execute(connection, ["printf", r"%s\0", *values]).out.split("\0")[:-1] == values


def test_what_no_shell_can_be_given_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        line(["echo", "a\0b"])


def test_argv_with_root_rights():
    assert as_root(["id", "-u"], "root") == ["id", "-u"]
    assert as_root(["id", "-u"], "deploy") == ["sudo", "-n", "--", "id", "-u"]
    assert shell('echo "$1"', "a b") == ["sh", "-ceu", 'echo "$1"', "sh", "a b"]
