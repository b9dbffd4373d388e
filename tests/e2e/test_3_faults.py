"""What is killed comes back by itself, and what was asked meanwhile is answered as well as it can be."""

from __future__ import annotations

import json

import pytest

from .server import eventually
from .test_2_serving import live

BACK = 60.0  # seconds; generous


def test_nginx_is_killed(server, web, reach, deployed):
    """It is back within seconds."""
    before = server.pid("nginx")
    server.run("systemctl", "kill", "--kill-whom=all", "-s", "KILL", "nginx")
    reach.note("Nginx was killed: until it answers again", eventually(web.answers, "it answers again", BACK), "s")
    assert server.pid("nginx") not in (0, before)


def test_redis_is_killed(server, web, key, books):
    """It is back, and no request fails while it is not."""
    before, asked = server.pid("redis-server"), f"/v1/indexes/{books}/search?q=house"
    server.run("systemctl", "kill", "--kill-whom=all", "-s", "KILL", "redis-server")
    statuses = {web.get(asked, key).status for _ in range(30)}
    eventually(lambda: server.pid("redis-server") not in (0, before), "Redis is back", BACK)
    assert statuses | {web.get(asked, key).status} == {200}


def test_the_web_unit_is_killed(server, web, key, books, reach):
    """All of it, with its workers: systemd's socket holds what comes meanwhile, and it answers again."""
    slot = server.shell('basename "$(readlink /srv/searchapi/live.sock)" .sock').strip()
    unit, release = f"searchapi@{slot}.service", live(server)
    before = server.pid(unit)
    server.run("systemctl", "kill", "--kill-whom=all", "-s", "KILL", unit)
    took = eventually(lambda: web.get(f"/v1/indexes/{books}/search?q=house", key).status == 200, "it searches again", BACK)
    reach.note("the web unit was killed: until it searches again", took, "s")
    assert server.pid(unit) not in (0, before) and live(server) == release


def test_the_indexer_is_killed(server, web, key, books):
    """What is written after that is found, because another one comes."""
    slot = server.shell('basename "$(readlink /srv/searchapi/live.sock)" .sock').strip()
    before = server.pid(f"searchapi-indexer@{slot}")
    server.run("systemctl", "kill", "--kill-whom=all", "-s", "KILL", f"searchapi-indexer@{slot}")
    body = json.dumps({"id": "after-the-kill", "title": "Zanzibar", "year": 1999, "text": "written meanwhile"}).encode()
    assert web.ask("PUT", f"/v1/indexes/{books}/documents/after-the-kill", body, key).status == 201
    asked = f"/v1/indexes/{books}/search?q=zanzibar"
    eventually(lambda: json.loads(web.get(asked, key).body)["total"] == 1, "what was written is found", BACK)
    assert server.pid(f"searchapi-indexer@{slot}") not in (0, before)


@pytest.mark.parametrize("unit", ["nginx", "redis-server"])
def test_they_come_back_again_and_again(server, web, deployed, unit):
    """A second and third kill within seconds do not make systemd give up."""
    for _ in range(3):
        before = server.pid(unit)
        server.run("systemctl", "kill", "--kill-whom=all", "-s", "KILL", unit)
        eventually(lambda before=before: server.pid(unit) not in (0, before), f"{unit} is back", BACK)
    eventually(web.answers, "it answers", BACK)
