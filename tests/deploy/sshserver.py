"""An SSH server on the loopback address that runs what it is told by a real shell, as the user of the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import paramiko

from deploy.connection import fingerprint
from deploy.inventory import Host

ANSWERED = 0.03  # seconds


class SshServer:
    """A context manager. host: what hosts.toml would say of it. users: who is let in. commands, inputs: what it was told. attempts:
    the users that somebody tried to be. path: where programs are looked for before the usual places."""

    def __init__(self, folder: Path, user: str = "root"):
        self.folder, self.users = folder, {user}
        self.key, self.client_key = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
        self.commands: list[str] = []
        self.inputs: list[bytes] = []
        self.attempts: list[str] = []
        self.path = folder / "bin"
        self.path.mkdir()
        self.identity = folder / "id"
        self.client_key.write_private_key_file(str(self.identity))
        self._transports: list[paramiko.Transport] = []
        self.user = user

    @property
    def host(self) -> Host:
        return Host(
            name="test",
            address="127.0.0.1",
            port=self._listener.getsockname()[1],
            host_key=fingerprint(self.key),
            domain="search.example.com",
            email="you@example.com",
            user=self.user,
            identity=self.identity,
        )

    def program(self, name: str, script: str) -> None:
        """A program that is found before the real one."""
        file = self.path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def cut(self) -> None:
        """End all connections, as a network does."""
        for transport in self._transports:
            transport.close()

    def __enter__(self) -> SshServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        for transport in self._transports:
            transport.close()
            transport.join(10)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transport.add_server_key(self.key)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Session(self))
            except (paramiko.SSHException, EOFError, OSError):
                transport.close()


class _Session(paramiko.ServerInterface):
    def __init__(self, server: SshServer):
        self.server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.server.attempts.append(username)
        known = username in self.server.users and key == self.server.client_key
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        # The answer to this request goes out when this returns; a command that has ended by then would close the channel before.
        later = threading.Timer(ANSWERED, self._run, (channel, command))
        later.daemon = True
        later.start()
        return True

    def _run(self, channel: paramiko.Channel, command: bytes) -> None:
        self.server.commands.append(command.decode())
        env = {"PATH": f"{self.server.path}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.server.folder), "LANG": "C.UTF-8"}
        pipe = subprocess.PIPE
        with subprocess.Popen(["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
            senders = [
                threading.Thread(target=_pass_on, args=(process.stdout.fileno(), channel.sendall), daemon=True),
                threading.Thread(target=_pass_on, args=(process.stderr.fileno(), channel.sendall_stderr), daemon=True),
            ]
            feeder = threading.Thread(target=lambda: self.server.inputs.append(_feed(channel, process)), daemon=True)
            for thread in (*senders, feeder):
                thread.start()
            for sender in senders:
                sender.join()
            process.wait()
            if channel.eof_received:  # else whoever asked keeps the input open for as long as the answer comes
                feeder.join()
        if process.returncode >= 0:
            channel.send_exit_status(process.returncode)
        channel.close()


def _feed(channel: paramiko.Channel, process: subprocess.Popen) -> bytes:
    came = b""
    while piece := channel.recv(65536):
        came += piece
        try:
            process.stdin.write(piece)
            process.stdin.flush()
        except (BrokenPipeError, ValueError):  # it has ended
            break
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    return came


def _pass_on(descriptor: int, send) -> None:
    while piece := os.read(descriptor, 65536):
        try:
            send(piece)
        except OSError:
            return
