"""Shipping under load: from outside, through TLS, nobody notices. Then a connection that breaks in the middle."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .load import Load, Plan, figures, load
from .server import eventually
from .test_2_serving import live

LASTS = 900.0  # seconds: the load ends by itself
DEPLOYS, ROLLBACKS = 10, 3
SLOWER = 5.0  # seconds that a request may take more than usual before a test fails; what is to be reached is printed


@pytest.fixture(scope="module")
def loaded(server, web, user, key, books, planted, tmp_path_factory) -> Iterator[Load]:
    """The load, for all tests here that use it."""
    body = json.dumps(
        {"scopes": ["search", "documents:write"], "indexes": [books], "rate_limit": "off", "rate_limit_per_ip": "off"}
    )
    made = json.loads(web.ask("POST", "/v1/keys", body.encode(), key).body)["key"]
    planted.keys.append(made)
    folder = tmp_path_factory.mktemp("load")
    plan = Plan(
        address=web.address,
        domain=web.domain,
        authority=str(web.authority),
        sources=server.clients[:6],
        key=made,
        index=books,
        seconds=LASTS,
        events=str(folder / "events"),
        acknowledged=str(folder / "acknowledged"),
    )
    with load(plan, folder) as running:
        with running.during("nothing else"):
            time.sleep(15)
        yield running


def test_deploys(server, user, loaded, reach):
    """Ten, one after another: each is live at its end."""
    took = []
    for n in range(DEPLOYS):
        commit = user.commits(f"release {n}")
        with loaded.during("deploys"):
            ran = user.fab("deploy")
        assert live(server).endswith(commit[:12]), ran.said[-2000:]
        took.append(ran.seconds)
    reach.note(f"deploy with unchanged requirements, worst of {DEPLOYS}", max(took), "s", 45)
    kept = server.run("ls", "/srv/searchapi/releases").out.split()
    assert len(kept) == 5 and len(server.run("ls", "/srv/searchapi/venvs").out.split()) == 1


def test_memory(server, loaded, reach):
    """Two slots, their indexers, Redis and Nginx, while they are asked: what they hold in memory, shared pages counted once."""
    script = """
import pathlib, re
total = 0
for cgroup in pathlib.Path("/proc").glob("[0-9]*/cgroup"):
    try:
        if re.search(r"searchapi|redis-server|nginx", cgroup.read_text()):
            rows = cgroup.with_name("smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\\s+(\\d+)", rows, re.M)[1])
    except (OSError, TypeError):
        pass
print(total)
"""
    megabytes = int(server.run("python3", "-c", script).out) / 1024
    reach.note("memory of two slots, indexers, Redis and Nginx", megabytes, "MB", 700)
    assert 50 < megabytes < 1400


def test_rollbacks(server, user, loaded, reach):
    """Three, each to the release before: the first is warm, the others are started again."""
    trail = [release(server, n) for n in range(DEPLOYS - 1, DEPLOYS - 2 - ROLLBACKS, -1)]
    assert live(server) == trail[0]
    for n, wanted in enumerate(trail[1:]):
        with loaded.during("rollbacks"):
            ran = user.fab("rollback")
        assert live(server) == wanted, ran.said[-2000:]
        reach.note(f"rollback {'cold' if n else 'warm'}", ran.seconds, "s", 15 if n else 5)


def release(server, n: int) -> str:
    """The name of the release whose commit is `release n`."""
    found = server.shell('grep -l -F -- "\\"$1\\"" /srv/searchapi/releases/*/REVISION || true', f"release {n}").split()
    assert len(found) == 1, f"release {n}: {found}"
    return Path(found[0]).parent.name


def fails_to_import(checkout: Path) -> None:
    path = checkout / "searchapi" / "wsgi.py"
    path.write_text(path.read_text() + "\nimport there_is_no_such_module  # noqa\n")


def fails_readiness(checkout: Path) -> None:
    path = checkout / "searchapi" / "routes" / "health.py"
    text = path.read_text()
    asked = '    state = current_app.extensions["readiness"].health()\n'
    assert asked in text
    path.write_text(text.replace(asked, asked + '    raise EngineUnavailable("Broken on purpose.", code="not_ready")\n'))


def crashes_after_5_seconds(checkout: Path) -> None:
    path = checkout / "searchapi" / "wsgi.py"
    crash = "end = threading.Timer(5, os.kill, [os.getpid(), signal.SIGSEGV])\nend.daemon = True\nend.start()\n"
    path.write_text(f"{path.read_text()}\nimport os, signal, threading\n{crash}")


@pytest.mark.parametrize("broken", [fails_to_import, fails_readiness, crashes_after_5_seconds], ids=lambda f: f.__name__)
def test_broken_releases(server, user, loaded, reach, broken):
    """It never takes traffic, the user is told why, it is marked as bad, and rolling back does not choose it."""
    before = live(server)
    commit = user.commits(broken.__name__, broken)
    try:
        with loaded.during("broken releases"):
            ran = user.fab("deploy", check=False)
        reach.note(f"a release that {broken.__name__.replace('_', ' ')}", ran.seconds, "s")
        assert ran.status != 0 and "Traceback (most recent call last)" not in ran.said, ran.said[-3000:]
        assert live(server) == before
        [row] = [row for row in user.fab("releases").said.splitlines() if commit[:12] in row]
        assert "bad" in row, row
        name = re.search(r"\S+", row)[0]
        refused = user.fab("rollback", "--release", name, check=False)
        assert refused.status != 0 and live(server) == before, refused.said
    finally:
        user.takes_back()


def test_renewal_under_load(server, web, past, loaded):
    """The service of certbot's timer replaces a certificate that runs out, while everybody is asking."""
    old = past.age(server)
    with loaded.during("renewal"):
        server.run("systemctl", "start", "certbot.service", timeout=300)
        eventually(lambda: web.get("/health").certificate["serialNumber"] != old, "a new certificate is served", 10)


def test_reload_under_load(server, loaded):
    """Nginx reads its configuration again."""
    with loaded.during("reload"):
        for _ in range(3):
            server.run("systemctl", "reload", "nginx")
            time.sleep(1)


def test_a_deploy_after_all_that(server, user, loaded):
    """Works."""
    commit = user.commits("after all that")
    with loaded.during("deploys"):
        user.fab("deploy")
    assert live(server).endswith(commit[:12])


def test_nobody_noticed(web, key, books, loaded, reach):
    """No request failed, none waited long, and every write that was acknowledged is there."""
    loaded.stop()
    usual = figures(loaded.within("nothing else"))
    for what in ("nothing else", "deploys", "rollbacks", "broken releases", "renewal", "reload"):
        reach.say(f"load during {what}: {figures(loaded.within(what))}")
    everything = figures(loaded.events())
    reach.say(f"load in all: {everything}")
    reach.note("a deploy: worst latency over the usual", figures(loaded.within("deploys")).worst - usual.median, "s", 0.35)
    assert everything.requests > 1000 and not everything.failures, everything.failures[:20]
    assert everything.worst - usual.median < SLOWER

    wanted = loaded.acknowledged()
    text = web.ask("GET", f"/v1/indexes/{books}/export", key=key, timeout=60).body.decode()
    found = {document["id"]: document for document in map(json.loads, text.splitlines())}
    lost = [name for name, turn in wanted.items() if found.get(name, {}).get("turn") != turn]
    reach.note("documents written under load, acknowledged", len(wanted), "")
    assert len(wanted) > 100 and not lost, lost[:20]


# --------------------------------------------------------------------------------------------- a connection that breaks


def begun(running) -> None:
    """Wait until the new release is being asked."""
    eventually(lambda: "ready" in running.said or running.process.poll() is not None, "the new release is asked", 120)
    assert running.process.poll() is None, running.said


def test_the_connection_breaks(server, user, deployed):
    """In the middle of a deploy: it goes on, and the user, connected again by itself, sees its end."""
    commit = user.commits("cut off")
    running = user.starts("deploy")
    begun(running)
    with server.cut():
        eventually(lambda: "connecting again" in running.said, "the broken connection is noticed", 60)
        time.sleep(5)
    assert running.ends(120) == 0, running.said
    assert live(server).endswith(commit[:12]) and "== ok" in running.said, running.said


def test_the_laptop_dies(server, user, web, deployed):
    """In the middle of a deploy: it ends on the server by itself, one way or the other, and the next one works."""
    commit, before = user.commits("nobody looks"), live(server)
    running = user.starts("deploy")
    begun(running)
    with server.cut():
        running.dies()
        eventually(lambda: not server.active("searchapi-deploy"), "the deploy ends on the server", 120)
    assert live(server).endswith(commit[:12]) or live(server) == before
    assert web.get("/health").status == 200 and live(server) in user.fab("status").said
    commit = user.commits("after that")
    user.fab("deploy")
    assert live(server).endswith(commit[:12])


def test_two_at_once(server, user, deployed):
    """The second is told that another one is under way, and changes nothing of it."""
    commit = user.commits("the first of two")
    first = user.starts("deploy")
    begun(first)
    second = user.fab("deploy", check=False)
    assert second.status != 0 and "under way" in second.said, second.said
    assert first.ends(120) == 0, first.said
    assert live(server).endswith(commit[:12])


def test_unlock_stops_a_hung_deploy(server, user, web, deployed):
    """One that hangs is stopped, what it has begun is taken back, and the next one works."""
    before = live(server)
    user.commits("hangs", hangs)
    running = user.starts("deploy")
    try:
        eventually(lambda: server.active("searchapi-deploy") or running.process.poll() is not None, "it is under way", 120)
        time.sleep(5)
        user.fab("unlock")
        assert running.ends(60) != 0
    finally:
        user.takes_back()
    assert live(server) == before and web.get("/health").status == 200 and not server.active("searchapi-deploy")
    commit = user.commits("after the one that hung")
    user.fab("deploy")
    assert live(server).endswith(commit[:12])


def hangs(checkout: Path) -> None:
    path = checkout / "searchapi" / "wsgi.py"
    path.write_text("import time\ntime.sleep(3600)\n" + path.read_text().replace("from __future__ import annotations\n", ""))
