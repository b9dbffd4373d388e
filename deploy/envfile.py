"""/etc/searchapi/env, the settings of a server: checked here before it goes there. Pure.

`NAME=value` lines, as python-decouple reads them. The user's file is kept word for word; what a server needs beside is added.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Mapping

from searchapi.config import SETTINGS, Settings, SettingsError, verdicts

from .inventory import Host, InventoryError

PATH = "/etc/searchapi/env"
DATA_DIR = "/var/lib/searchapi"
REDIS_URL = "unix:///run/redis/redis-server.sock"

_ROWS = {row.name: row for row in SETTINGS}
_STAND_IN = "-the-server-makes-one-of-its-own-"  # not empty, and long enough


def given(host: Host) -> str | None:
    """The user's own file, checked; None where hosts.toml names none. Raises InventoryError."""
    if host.env_file is None:
        return None
    try:
        text = host.env_file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InventoryError(f"[{host.name}] env_file: {host.env_file} cannot be read: {reason}.") from None
    for number, line in enumerate(_lines(text), 1):
        if line.strip() and not line.lstrip().startswith("#") and _row(line) is None:
            raise InventoryError(f"{host.env_file.name}: line {number} is not NAME=value, nor a comment that begins with #.")
    _check(host.env_file.name, parse(_complete(host, text)), host)
    return text


def wanted(host: Host, own: str | None, server: str | None) -> str:
    """The text that the server's file should have, perhaps still without a SECRET_KEY: the server makes that. own: the user's file,
    None where the server's settings stay. server: its file as it is, None where there is none. Raises InventoryError."""
    secret = parse(server or "").get("SECRET_KEY")
    if own is None:
        text = server or ""
        if parse(text).get("ENVIRONMENT", "").lower() != host.environment:  # hosts.toml has changed
            text = _without(text, "ENVIRONMENT")
    else:
        text = own
        ours = parse(own).get("SECRET_KEY")
        if ours and secret and ours != secret:
            raise InventoryError(
                f"{host.env_file.name}: SECRET_KEY is not the one that {host.address} has, and with another one all its API keys "
                f"are useless. Leave it out; or, to change it all the same, remove that line from {PATH} on the server first."
            )
    if not parse(text).get("SECRET_KEY"):
        text = _without(text, "SECRET_KEY")
    text = _complete(host, text)
    if secret and "SECRET_KEY" not in parse(text):
        text += [line for line in _lines(server) if _named(line, "SECRET_KEY")][-1].rstrip("\n") + "\n"
    _check(PATH if own is None else host.env_file.name, parse(text), host)
    return text


def parse(text: str) -> dict[str, str]:
    """{name: value} as decouple's RepositoryEnv has it: the last of a name counts, a pair of quotes around a value does not."""
    found = {}
    for name, value in filter(None, map(_row, _lines(text))):
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name] = value
    return found


def changes(before: str | None, after: str) -> str:
    """What would change, one setting a line; of a secret one only that it does."""
    old, new = parse(before or ""), parse(after)
    rows = []
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        sign = "+" if name not in old else "-" if name not in new else "~"
        row = _ROWS.get(name)
        shown = None if row is None else row.visible(new.get(name, old.get(name)))
        rows.append(f"  {sign} {name} (not shown)" if shown is None else f"  {sign} {name}={shown}")
    return "\n".join(rows) or "  comments, order, owner or mode alone"


def _row(line: str) -> tuple[str, str] | None:
    line = line.strip()
    if not line or line.startswith("#") or "=" not in line:
        return None
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


def _lines(text: str) -> Iterator[str]:
    return io.StringIO(text, newline=None)


def _named(line: str, name: str) -> bool:
    row = _row(line)
    return row is not None and row[0] == name


def _without(text: str, name: str) -> str:
    return "".join(line for line in _lines(text) if not _named(line, name))


def _complete(host: Host, text: str) -> str:
    """With the settings that are the server's own, where the text does not have them."""
    there = parse(text)
    if text and not text.endswith("\n"):
        text += "\n"
    own = {"ENVIRONMENT": host.environment, "DATA_DIR": DATA_DIR, "REDIS_URL": REDIS_URL}
    return text + "".join(f"{name}={value}\n" for name, value in own.items() if name not in there)


def _check(where: str, values: Mapping[str, str], host: Host) -> None:
    faults = []
    read: dict[str, object] = {}
    for name in values:
        if name not in _ROWS:
            near = difflib.get_close_matches(name.upper(), _ROWS, 1)
            faults.append(f"{name[:40]!r} is not a setting{f'; did you mean {near[0]}?' if near else '.'}")
    for row in SETTINGS:
        text = values.get(row.name, row.default_in(host.environment))
        try:
            read[row.name.lower()] = row.read(text or _STAND_IN if row.name == "SECRET_KEY" else text)
        except SettingsError as error:
            faults.append(str(error))
    if not faults:
        faults += [f"{verdict.name} {verdict.detail}." for verdict in verdicts(Settings(**read)) if not verdict.ok]
    if values.get("ENVIRONMENT", host.environment).lower() != host.environment:
        faults.append(f"ENVIRONMENT is {values['ENVIRONMENT']}, but [{host.name}] in hosts.toml is {host.environment}.")
    if values.get("DATA_DIR", DATA_DIR) != DATA_DIR:
        faults.append(f"DATA_DIR is {values['DATA_DIR']}, but on a server it is always {DATA_DIR}; leave it out.")
    if faults:
        raise InventoryError(f"{where}: " + " ".join(faults))
