"""What a server needs, apart from Nginx and its certificate: one function a topic, over a Machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import envfile, units, web
from .commands import Argv, shell
from .connection import CommandFailed, execute
from .guard import guarded
from .inventory import Host
from .machine import Machine
from .render import render

PACKAGES = (
    *("sudo", "ca-certificates", "python3", "python3-venv", "redis-server", "nftables", "unattended-upgrades"),
    *web.PACKAGES,
)
FOLDERS = {  # path: (owner, mode); the slots' and releases' contents are those of `fab deploy`
    "/etc/searchapi": ("root:root", 0o755),
    "/srv/searchapi": ("root:root", 0o755),
    "/srv/searchapi/releases": ("root:root", 0o755),
    "/srv/searchapi/venvs": ("root:root", 0o755),
    "/srv/searchapi/slots": ("root:root", 0o755),
    "/var/lib/searchapi": ("searchapi:searchapi", 0o700),
    "/var/lib/searchapi-deploy": ("root:root", 0o755),
    "/var/backups/searchapi": ("root:root", 0o711),  # the owner of the data writes a snapshot in a folder that is made for it
}
SSHD = "/etc/ssh/sshd_config.d/10-searchapi.conf"
SSHD_EFFECT = {  # what `sshd -T` must say with it
    "pubkeyauthentication yes",
    "passwordauthentication no",
    "kbdinteractiveauthentication no",
    "permitemptypasswords no",
}
FIREWALL = "/etc/searchapi/firewall.nft"
FIREWALL_UNIT = "/etc/systemd/system/searchapi-firewall.service"

USERADD: Argv = ["useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", "--"]
USERADD_SYSTEM: Argv = [
    *("useradd", "--system", "--user-group", "--home-dir", "/var/lib/searchapi", "--no-create-home"),
    *("--shell", "/usr/sbin/nologin", "--"),
]
_HAS_KEYS = 'home=$(getent passwd "$1" | cut -d: -f6); test -s "$home/.ssh/authorized_keys"'
_COPY_KEYS = """home=$(getent passwd "$1" | cut -d: -f6); group=$(id -gn -- "$1")
test -s /root/.ssh/authorized_keys || { echo "root has no /root/.ssh/authorized_keys to copy" >&2; exit 1; }
install -d -m 700 -o "$1" -g "$group" -- "$home/.ssh"
install -m 600 -o "$1" -g "$group" -- /root/.ssh/authorized_keys "$home/.ssh/authorized_keys\""""
# A server's first minutes. cloud-init's status is 2 where it has ended with something that it calls an error.
_BOOTED = """if command -v cloud-init >/dev/null; then
    timeout 600 cloud-init status --wait >/dev/null || test $? -ne 124 || { echo "cloud-init does not end" >&2; exit 1; }
fi"""
# The settings, and a new secret that leaves the server in no way.
_WITH_SECRET = """umask 077
{ cat; printf 'SECRET_KEY='; head -c 48 /dev/urandom | base64 -w0 | tr '+/' '-_'; echo; } >"$1.new"
chown root:root "$1.new"; mv -fT "$1.new" "$1\""""
# What would end with our Nginx and our Redis: a line each. $1 their folder. What Debian has in `default` is nobody's.
_OTHERS = """debian=$(dpkg-query -W -f '${Conffiles}' nginx nginx-common nginx-core 2>/dev/null) || :
if [ -e "$1/nginx/nginx.conf" ] && [ ! -e "$1/nginx/searchapi" ]; then
    for site in "$1"/nginx/sites-enabled/*; do
        [ -e "$site" ] || continue
        sum=$(md5sum <"$site"); sum=${sum%% *}
        case $debian in *"$sum"*) ;; *) echo "Nginx serves $site" ;; esac
    done
fi
if [ ! -e "$1/redis/searchapi.conf" ] && command -v redis-cli >/dev/null; then
    case $(timeout 5 redis-cli info keyspace 2>&1 || :) in *db[0-9]*:keys=* | *NOAUTH*) echo "Redis holds data" ;; esac
fi"""
_ETC = "/etc"
_RELOAD_SSHD = shell("sshd -t; systemctl try-reload-or-restart ssh.service")
_RELOAD_FIREWALL = shell(
    'systemctl daemon-reload; if [ -e "$1" ]; then systemctl reload-or-restart "$2"; else systemctl stop "$2"; fi',
    *(FIREWALL, "searchapi-firewall.service"),
)


class ProvisionFailed(Exception):
    """This server cannot be made what it should be: why, in one line."""


@dataclass
class Job:
    """settings: of /etc/searchapi/env as it will be. notes: what is left for the user to do, said at the end."""

    machine: Machine
    host: Host
    env: str
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        return envfile.parse(self.env)


def alone(job: Job) -> None:
    """Refuses a server that serves something else, rather than ending that. Nothing was touched yet."""
    others = job.machine.ask(shell(_OTHERS, _ETC)).out.splitlines()
    if others:
        raise ProvisionFailed(
            f"{' and '.join(others)}: this server is in use, and that would end. Take one that nothing else runs on; or, where "
            "it is no longer needed, remove it (the link in sites-enabled; `redis-cli flushall`) and run `fab provision` again."
        )


def packages(job: Job) -> None:
    if not job.machine.plan:
        job.machine.ask(shell(_BOOTED))
    listening = job.machine.ask(["ss", "-Hltnp", "sport = :80 or sport = :443"], check=False).out
    other = next((row for row in listening.splitlines() if "users:" in row and '"nginx"' not in row), None)
    if other is not None:
        port, name = other.split()[3].rpartition(":")[2], other.partition('(("')[2].partition('"')[0]
        raise ProvisionFailed(
            f"Port {port} is taken by {name}, but Nginx needs it; stop that first: systemctl disable --now {name}"
        )
    job.machine.packages(PACKAGES)


def users(job: Job) -> None:
    machine, user = job.machine, job.host.user
    machine.user("searchapi", [*USERADD_SYSTEM, "searchapi"], groups=["redis"])
    if user == "root":
        return
    machine.user(user, [*USERADD, user], groups=["systemd-journal"])
    sudoers = {"/etc/sudoers.d/searchapi": render("server/sudoers", USER=user)}
    machine.apply("sudo", sudoers, mode=lambda path: 0o440, test=["visudo", "-cq"])
    machine.unless(shell(_HAS_KEYS, user), f"copy root's authorized_keys to {user}", shell(_COPY_KEYS, user))


def folders(job: Job) -> None:
    job.machine.folders(FOLDERS)


def sshd(job: Job) -> None:
    def proof() -> None:
        missing = SSHD_EFFECT - set(job.machine.ask(["sshd", "-T"]).out.lower().splitlines())
        if missing:
            said = " / ".join(sorted(missing))
            raise CommandFailed(
                f"sshd does not keep to {SSHD} ({said}); is there a file that sorts before it, or no Include?", said
            )

    changed = guarded(job.machine, job.host, "sshd", SSHD, render("server/sshd.conf"), _RELOAD_SSHD, proof)
    if not changed and not job.machine.plan:
        proof()


def firewall(job: Job) -> None:
    machine = job.machine
    ports = ssh_ports(job.host, execute(machine.connection, shell('echo "${SSH_CONNECTION-}"')).out, _listening(machine))
    machine.apply("firewall-unit", {FIREWALL_UNIT: render("server/firewall.service")})
    text = render("server/firewall.nft", PORTS=", ".join(map(str, sorted({*ports, 80, 443}))))
    changed = guarded(machine, job.host, "firewall", FIREWALL, text, _RELOAD_FIREWALL)
    machine.units("searchapi-firewall.service")
    said = machine.ask(["ufw", "status"], check=False).out
    if not ufw_lets_in(said):
        job.notes.append("ufw is active too, and what it refuses stays refused; type on the server: ufw allow 80,443/tcp")
    if not changed:
        machine.unless(["nft", "list", "table", "inet", "searchapi"], "load the firewall again", _RELOAD_FIREWALL)


def ufw_lets_in(said: str) -> bool:
    """Whether Ubuntu's firewall is off or leaves the web open, by what `ufw status` says."""
    rows = [row.partition(" ALLOW")[0].split() for row in said.splitlines() if " ALLOW" in row]
    names = {" ".join(row) for row in rows}
    ports = {port for row in rows if row for port in row[0].removesuffix("/tcp").split(",")}
    return "Status: active" not in said or {"80", "443"} <= ports or not names.isdisjoint({"Nginx Full", "WWW Full", "Anywhere"})


def ssh_ports(host: Host, connection: str, listening: set[int]) -> set[int]:
    """Every port that sshd listens on, and that of our own connection: what comes in at host.port may have been sent on."""
    parts = connection.split()  # of SSH_CONNECTION: client address, client port, server address, server port
    return listening | ({int(parts[3])} if len(parts) == 4 else {host.port})


def _listening(machine: Machine) -> set[int]:
    rows = machine.ask(["sshd", "-T"]).out.splitlines()
    return {int(row.split()[1]) for row in rows if row.startswith("port ")}


def upgrades(job: Job) -> None:
    job.machine.file("/etc/apt/apt.conf.d/52searchapi", render("server/upgrades.conf"))


def redis(job: Job) -> None:
    job.machine.apply(
        "redis",
        {
            "/etc/redis/searchapi.conf": render("server/redis.conf"),
            "/etc/systemd/system/redis-server.service.d/searchapi.conf": render("server/redis.service.conf"),
        },
        ("restart Redis", ["systemctl", "restart", "redis-server.service"]),
    )


def settings(job: Job) -> None:
    machine, path = job.machine, envfile.PATH
    before = machine.read(path)[1]
    shown = envfile.changes(before, job.env)
    if "SECRET_KEY" in job.settings:
        changed = machine.file(path, job.env, mode=0o600, detail=shown)
    else:
        changed = True
        machine.do(
            f"write {path}, with a new SECRET_KEY",
            shell(_WITH_SECRET, path),
            job.env.encode(),
            f"{shown}\n  + SECRET_KEY (not shown)",
        )
    if changed and machine.look("/srv/searchapi/live.sock").kind:
        job.notes.append("what runs has its old settings until the next `fab deploy`.")


def services(job: Job) -> None:
    machine = job.machine
    found = units.version(machine.ask(["systemctl", "--version"]).out)
    network = units.network(job.settings)
    texts = units.files(job.host.environment, found, network)
    journald = {units.JOURNALD: texts.pop(units.JOURNALD)}
    temporary = ["systemd-tmpfiles", "--create", units.TMPFILES]
    machine.apply(
        "units",
        texts,
        ("make /run/searchapi", temporary),
        without=units.left_over(job.host.environment, found, network),
    )
    restart = ["systemctl", "restart", "systemd-journald.service"]
    machine.apply("journald", journald, ("restart journald", restart), ("keep its log on disk", ["journalctl", "--flush"]))
