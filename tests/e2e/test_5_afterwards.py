"""At the end: the secrets of all that are nowhere but where they belong, and a last power cut."""

from __future__ import annotations

import re

from .server import eventually
from .test_2_serving import live


def test_secrets_are_nowhere(server, web, user, key, planted, books, watched):
    """Not in the journal, not in a log, not in what was called or set in an environment meanwhile, not in what any task printed; in
    files only where they belong."""
    assert web.get(f"/v1/indexes/{books}/search?q=house", planted.wrong_key).status == 401
    web.get(f"/v1/indexes/{books}/search?q=house&key={planted.wrong_key}")
    secret_key = re.search(r"^SECRET_KEY=(.{32,})$", server.run("cat", "/etc/searchapi/env").out, re.MULTILINE)[1]
    secrets = {"SECRET_KEY": secret_key, "a wrong key": planted.wrong_key}
    secrets |= {f"API key {n}": text for n, text in enumerate(planted.keys)}
    assert len(secrets) >= 4
    seen = {
        "the journal": server.journal("-o", "export"),
        "the processes": server.run("cat", watched).out,
        "the tasks' output": "\n".join(user.said),
    }
    for what, text in seen.items():
        assert len(text) > 1000, what
        for name, secret in secrets.items():
            assert secret not in text, f"{name} is in {what}"
    for name, secret in secrets.items():
        # The pattern goes through stdin: an argument would be in the list of processes.
        script = (
            "cat >/dev/shm/wanted; grep -rlFf /dev/shm/wanted /etc /var /srv /root /home /tmp /run /usr/local 2>/dev/null || true"
        )
        found = server.run("sh", "-ceu", script, stdin=secret).out.split()
        belongs = r"/etc/searchapi/env|/run/credentials/.*" if name == "SECRET_KEY" else r"(?!)"
        assert not [path for path in found if not re.fullmatch(belongs, path)], f"{name}: {found}"


def test_nothing_failed(server, web, user, deployed):
    """No unit is in a failed state."""
    failed = server.run("systemctl", "--failed", "--no-legend", "--plain").out
    assert not failed.strip(), failed


def test_the_last_reboot(server, web, key, books):
    """After many deploys, some of them broken, what is live is live again."""
    before = live(server)
    server.reboot()
    eventually(web.answers, "it answers", 60)
    eventually(lambda: web.get(f"/v1/indexes/{books}/search?q=house", key).status == 200, "it searches", 60)
    assert live(server) == before
