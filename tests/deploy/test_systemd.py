"""The units, as systemd itself reads them: `systemd-analyze verify` and `systemd-analyze security`, offline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy import units
from deploy.units import Network

NONE, BOTH = Network(), Network(web=True, indexer=True)
SYSTEM = Path("/lib/systemd/system")  # what the units depend on: sysinit.target and others
WEB, INDEXER = "/etc/systemd/system/searchapi@.service", "/etc/systemd/system/searchapi-indexer@.service"
PLAIN = {
    "/etc/systemd/journald.conf.d/searchapi.conf",
    "/etc/systemd/system/searchapi-cool@.service",
    "/etc/systemd/system/searchapi-cool@.timer",
    "/etc/systemd/system/searchapi.slice",
    "/etc/systemd/system/searchapi@.socket",
    "/etc/tmpfiles.d/searchapi.conf",
    WEB,
    f"{WEB}.d/hardening.conf",
    INDEXER,
    f"{INDEXER}.d/hardening.conf",
}
STARTED = [*units.parts("blue"), units.cooling("green"), "searchapi-cool@green.service", "searchapi.slice"]


@pytest.fixture(scope="module")
def analyze() -> str:
    path = shutil.which("systemd-analyze")
    if path is None or not SYSTEM.is_dir():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs the program systemd-analyze")
    return path


def here(analyze: str) -> int:
    return units.version(run(analyze, "--version").stdout)


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C"})


def server(root: Path, files: Mapping[str, str]) -> Path:
    """The root of a server with these files, and what they run."""
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    for program in ("bin/sh", "bin/systemctl", "srv/searchapi/slots/blue/.venv/bin/python"):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).write_text("#!/bin/true\n")
        (root / program).chmod(0o755)
    shutil.copytree(SYSTEM, root / "usr/lib/systemd/system", symlinks=True)
    (root / "lib").symlink_to("usr/lib")
    return root


def settings(text: str) -> dict[str, list[str]]:
    """{`Section.Name`: values} of a unit, in the order in which they stand."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(f"{section}.{name}", []).append(value)
    return found


def exposure(analyze: str, root: Path, unit: str, threshold: float) -> float:
    """What systemd makes of it, which must be within the threshold."""
    argv = ["security", "--offline=true", f"--root={root}", f"--threshold={threshold * 10:.0f}", "--no-pager", unit]
    done = run(analyze, *argv)
    level = float(re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)[1])
    print(f"{unit}: {level}")
    assert done.returncode == 0 and level <= threshold, "\n".join(row for row in done.stdout.splitlines() if "✓" not in row)
    return level


# ----------------------------------------------------------------------------------------------------------- files


def test_the_files():
    """What is written where, and nothing else."""
    opened = {f"{WEB}.d/network.conf", f"{INDEXER}.d/network.conf"}
    backoff = {f"{WEB}.d/restart.conf", f"{INDEXER}.d/restart.conf"}
    assert units.files("production", 252, NONE).keys() == PLAIN
    assert units.files("production", 252, BOTH).keys() == PLAIN | opened
    assert units.files("staging", 257, NONE).keys() == PLAIN | backoff
    assert units.files("staging", 257, Network(web=True)).keys() == PLAIN | backoff | {f"{WEB}.d/network.conf"}
    assert set(units.left_over("production", 252, NONE)) == opened | backoff
    assert units.left_over("production", 257, BOTH) == []


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_programs(environment: str):
    """They run through the slot, with the environment of the inventory and the secrets as a credential."""
    files = units.files(environment, 252, NONE)
    web, indexer = settings(files[WEB]), settings(files[INDEXER])
    python = "/srv/searchapi/slots/%i/.venv/bin/python"
    assert web["Service.ExecStart"] == [f"{python} -m gunicorn --config python:searchapi.gunicorn_conf searchapi.wsgi:app"]
    assert indexer["Service.ExecStart"] == [f"{python} -m searchapi indexer"]
    for unit in (web, indexer):
        assert unit["Service.User"] == unit["Service.Group"] == ["searchapi"]
        assert unit["Service.WorkingDirectory"] == ["/srv/searchapi/slots/%i"]
        assert unit["Service.LoadCredential"] == ["env:/etc/searchapi/env"]
        assert unit["Service.Environment"] == [f"ENVIRONMENT={environment} DATA_DIR=/var/lib/searchapi"]
        assert unit["Service.Restart"] == ["always"] and "Unit.StartLimitBurst" in unit
    assert web["Service.RuntimeDirectory"] == ["searchapi-%i"]
    assert "@" not in re.sub(r"searchapi(-indexer)?@(%i)?\.", "", files[WEB] + files[INDEXER]), "a value is left to be filled in"


def test_what_can_be_written():
    """The data, temporary files and the web server's own folder; and nothing there can be run."""
    files = units.files("production", 252, NONE)
    shared, web = settings(files[f"{WEB}.d/hardening.conf"]), settings(files[WEB])
    assert files[f"{WEB}.d/hardening.conf"] == files[f"{INDEXER}.d/hardening.conf"]
    assert shared["Service.ProtectSystem"] == ["strict"] and shared["Service.ReadWritePaths"] == ["/var/lib/searchapi"]
    assert shared["Service.ReadOnlyPaths"] == ["/run"], "systemd 252 leaves it writable"
    assert shared["Service.NoExecPaths"] == ["/var/lib/searchapi /tmp /var/tmp /dev/shm"]
    assert web["Service.NoExecPaths"] == ["/run/searchapi-%i"] and "Service.ExecPaths" not in web | shared


def test_gunicorn_has_time_to_drain():
    """systemd kills what is left later than Gunicorn does."""
    web = settings(units.files("production", 252, NONE)[WEB])
    text = (Path(units.__file__).parent.parent / "searchapi/gunicorn_conf.py").read_text()
    graceful = int(re.search(r"^graceful_timeout = ([0-9]+)$", text, re.MULTILINE)[1])
    assert int(web["Service.TimeoutStopSec"][0].removesuffix("s")) >= graceful + 10
    assert web["Service.KillMode"] == ["mixed"] and web["Service.Type"] == ["notify"]


def test_the_sockets():
    """One for each slot, that Nginx may connect to and the application cannot move."""
    files = units.files("production", 252, NONE)
    socket = settings(files["/etc/systemd/system/searchapi@.socket"])
    assert socket["Socket.ListenStream"] == ["/run/searchapi/%i.sock"]
    assert (socket["Socket.SocketUser"], socket["Socket.SocketGroup"]) == (["searchapi"], ["www-data"])
    assert socket["Socket.SocketMode"] == ["0660"]
    assert files["/etc/tmpfiles.d/searchapi.conf"].splitlines()[-1] == "d /run/searchapi 0750 root www-data -"


def test_names():
    """A slot's parts, in the order in which they are started; nothing else is a slot."""
    assert units.parts("green") == ["searchapi-indexer@green.service", "searchapi@green.socket", "searchapi@green.service"]
    assert units.cooling("blue") == "searchapi-cool@blue.timer"
    for slot in ("red", "", "blue.service nginx", "../blue", "blue\n", "-blue"):
        for name in (units.web, units.socket, units.indexer, units.cooling, units.parts):
            with pytest.raises(ValueError):
                name(slot)


@pytest.mark.parametrize(
    "environment",
    ["", "development", "Production", "production\nExecStartPre=+/bin/sh", "production ADMIN=1", "%n", "production\0"],
)
def test_hostile_values(environment: str):
    """No environment but the two: what is not one of them never comes into a unit."""
    with pytest.raises(ValueError, match="staging, production"):
        units.files(environment, 252, NONE)


def test_too_old_a_systemd():
    """It would ignore what it does not know, also what hardens."""
    with pytest.raises(ValueError, match="Debian 12"):
        units.files("production", 247, NONE)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("systemd 252 (252.39-1~deb12u2)\n+PAM +AUDIT\n", 252),
        ("systemd 257 (257.9-1~deb13u1)\n", 257),
        ("systemd 261~rc1\n", 261),
    ],
)
def test_versions(said: str, version: int):
    """As `systemctl --version` prints them."""
    assert units.version(said) == version


@pytest.mark.parametrize("said", ["", "bash: systemctl: command not found", "systemd \n", "Systemd 252"])
def test_no_version(said: str):
    with pytest.raises(ValueError, match="names no version"):
        units.version(said)


@pytest.mark.parametrize(
    ("env", "network"),
    [
        ({}, NONE),
        ({"SENTRY_DSN": "", "REDIS_URL": ""}, NONE),
        ({"REDIS_URL": "unix:///run/redis/redis-server.sock"}, NONE),
        ({"REDIS_URL": "redis://10.0.0.2:6379/0"}, Network(web=True)),
        ({"REDIS_URL": "rediss://u:p@redis.example.com:6380/0"}, Network(web=True)),
        ({"SENTRY_DSN": "https://key@sentry.example.com/1"}, BOTH),
        ({"ENGINE_URL": "embedded:"}, NONE),
        ({"ENGINE_URL": "opensearch://10.0.0.3/shop", "REDIS_URL": "unix:///run/redis/redis-server.sock"}, BOTH),
        ({"ENGINE_URL": "opensearchs://u:p@s1,s2/shop"}, BOTH),
        ({"SENTRY_DSN": "https://key@sentry.example.com/1", "REDIS_URL": "unix:///run/redis/redis-server.sock"}, BOTH),
    ],
)
def test_who_needs_a_network(env: dict[str, str], network: Network):
    """Nobody, unless a setting names something that is reached through one; Redis is asked by the web server alone, OpenSearch
    by the indexer too."""
    assert units.network(env) == network


# ------------------------------------------------------------------------------------------------------ by systemd


@pytest.mark.parametrize("network", [NONE, BOTH], ids=["closed", "open"])
@pytest.mark.parametrize("version", [252, 257])
def test_verify(analyze: str, tmp_path: Path, version: int, network: Network):
    """systemd has nothing to say about them: no unknown setting, no missing program, no unit that cannot start."""
    root = server(tmp_path, units.files("production", version, network))
    done = run(analyze, "verify", "--man=no", "--recursive-errors=yes", f"--root={root}", *STARTED)
    said = done.stderr.splitlines()
    if here(analyze) < units.BACKOFF <= version:  # this systemd cannot know them
        newer = [row for row in said if re.search(r"restart\.conf:\d+: Unknown key 'Restart(Steps|MaxDelaySec)'", row)]
        assert len(newer) == 4
        said = [row for row in said if row not in newer]
    assert said == []


def test_verify_sees_mistakes(analyze: str, tmp_path: Path):
    """A setting that is misspelt, and one whose value is wrong: the test above would fail."""
    files = units.files("production", 252, NONE)
    files[WEB] = files[WEB].replace("TasksMax=", "TaskMax=").replace("KillMode=mixed", "KillMode=some")
    done = run(analyze, "verify", "--man=no", f"--root={server(tmp_path, files)}", *STARTED)
    assert "TaskMax" in done.stderr and "kill mode" in done.stderr.lower()


@pytest.mark.parametrize("version", [252, 257])
def test_security(analyze: str, tmp_path: Path, version: int):
    """As hardened as was promised."""
    root = server(tmp_path, units.files("production", version, NONE))
    exposure(analyze, root, units.web("blue"), 0.5)
    exposure(analyze, root, units.indexer("blue"), 0.5)


def test_security_with_a_network(analyze: str, tmp_path: Path):
    """Sentry and a Redis elsewhere cost something; link-local addresses, where providers tell secrets, stay out of reach."""
    files = units.files("production", 252, BOTH)
    root = server(tmp_path, files)
    exposure(analyze, root, units.web("blue"), 1.0)
    exposure(analyze, root, units.indexer("blue"), 1.0)


def test_the_network_that_is_open():
    """Every address but link-local ones and multicast."""
    import ipaddress

    lines = settings(units.files("production", 252, BOTH)[f"{WEB}.d/network.conf"])["Service.IPAddressAllow"]
    allowed = [ipaddress.ip_network(text) for line in lines for text in line.split()]

    def reached(address: str) -> bool:
        given = ipaddress.ip_address(address)
        return any(given in network for network in allowed if network.version == given.version)

    for address in ("127.0.0.53", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.253.255.255", "169.255.0.0", "8.8.8.8", "::1"):
        assert reached(address), address
    for address in ("2606:4700::1", "fd12::1", "0.0.0.1", "223.255.255.255"):
        assert reached(address), address
    for address in ("169.254.169.254", "169.254.0.0", "169.254.255.255", "224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1"):
        assert not reached(address), address


def test_enabling(analyze: str, tmp_path: Path):
    """What is enabled for one slot starts at a reboot, and nothing of the other."""
    if shutil.which("systemctl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs the program systemctl")
    root = server(tmp_path, units.files("production", 252, NONE))
    wants = root / "etc/systemd/system"
    run("systemctl", f"--root={root}", "enable", *units.parts("blue"))
    found = {path.relative_to(wants).as_posix() for path in wants.glob("*.wants/searchapi*")}
    assert found == {
        "sockets.target.wants/searchapi@blue.socket",
        "multi-user.target.wants/searchapi@blue.service",
        "multi-user.target.wants/searchapi-indexer@blue.service",
    }
    run("systemctl", f"--root={root}", "disable", *units.parts("blue"))
    assert not list(wants.glob("*.wants/searchapi*"))


def test_who_is_stopped_for_being_cold():
    """The slot that was left, all of it, and never the live one."""
    files = units.files("production", 252, NONE)
    service = settings(files["/etc/systemd/system/searchapi-cool@.service"])
    stopped = service["Service.ExecStart"][0].split()
    assert stopped[:2] == ["/bin/systemctl", "stop"]
    assert {name.replace("%i", "blue") for name in stopped[2:]} == set(units.parts("blue"))
    timer = settings(files["/etc/systemd/system/searchapi-cool@.timer"])
    assert timer["Timer.OnActiveSec"] == ["10min"] and timer["Timer.RemainAfterElapse"] == ["no"]
