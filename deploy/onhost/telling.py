"""What a person sees: one screen about the server, and its releases."""

from __future__ import annotations

import re
import shutil
import ssl
import time
from collections.abc import Iterable, Iterator

from .asking import Instance
from .copying import snapshots
from .places import SLOTS, Places, folders, parts
from .shift import internal_key
from .system import UNIT, Failed, Unit, memory

OTHERS = ("nginx.service", "redis-server.service", "certbot.timer")
LATEST = 5  # deploys and rollbacks that are shown
REASON = 120  # characters of why a release is bad; `fab status` has all of the latest
_ROW = re.compile(r"(\w+)(?:\{([^}]*)\})? (\S+)")


def status(places: Places) -> Iterator[str]:
    """One screen."""
    live, slot = places.live_release(), places.live_slot()
    since = next((r for r in reversed(places.records()) if live and r.get("to") == live.name and r.get("outcome") == "ok"), {})
    yield f"release      {_described(live) if live else 'none yet: fab deploy'}"
    if since:
        yield f"             live since {since['ended']} ({_ago(since['ended'])}), by {since['by']}"
    for each in SLOTS:
        yield f"{each:<12} {_slot(places, each, slot)}"
    yield "units        " + ", ".join(
        f"{unit.name.partition('.')[0]} {unit.state}" for unit in places.system.units(*OTHERS) if unit.loaded
    )
    yield "certificate  " + (", ".join(_certificates(places)) or "none yet")
    yield f"disk         {_disk(places)}"
    yield f"memory       {memory() >> 20} MiB free"
    if slot is not None and live is not None:
        yield from _figures(places, slot)
    newest = snapshots(places)[:1]
    yield f"snapshot     {newest[0].name if newest else 'none yet: fab snapshot'}"
    if (intent := places.under_way()) is not None:
        running = any(unit.active for unit in places.system.units(f"{UNIT}.service"))
        what = f"{intent.get('action')} of {intent.get('to')}, {intent.get('phase')}"
        began = f"{what}, by {intent.get('by')} since {intent.get('started')}"
        yield f"under way    {began}" if running else f"cut short    {began}; the next deploy cleans up, or `fab unlock`"
    for at, record in enumerate(reversed(places.records()[-LATEST:])):
        yield f"{'' if at else 'lately':<12} {_told(record)}"


def releases(places: Places) -> Iterator[str]:
    """A line each, the newest first."""
    there = places.all_releases()
    if not there:
        yield "No releases yet: fab deploy"
    live, trail = places.live_release(), places.trail()
    slots = {found.name: slot for slot in SLOTS if (found := places.in_slot(slot)) is not None}
    for release in there:
        name = release.name
        why = places.why_bad(name)
        if live is not None and name == live.name:
            state = f"live ({slots[name]})"
        elif why is not None:
            state = f"bad: {why if len(why) <= REASON else why[:REASON] + '…'}"
        elif name in slots and places.warm(slots[name]):
            state = f"warm ({slots[name]})"
        else:
            state = "was live" if name in trail else "left by a rollback" if places.was_live(name) else "never live"
        yield f"{name}  {state:<22}  {release.revision.get('subject', '')[:70]}"


def span(places: Places, name: str) -> dict[str, str | None] | None:
    """{slot, since, until} of a release's last time in a slot, for journalctl; until is None while it is there. None where it never
    was in one."""
    records = [record for record in places.records() if record.get("slot")]
    for at in reversed(range(len(records))):
        if records[at]["to"] == name:
            slot = records[at]["slot"]
            until = next((later["started"] for later in records[at + 1 :] if later["slot"] == slot), None)
            return {"slot": slot, "since": _clock(records[at]["started"]), "until": until and _clock(until)}
    return None


def _clock(moment: str) -> str:
    """`2026-11-23 12:00:00 UTC`, as journalctl reads a time."""
    return moment.replace("T", " ").replace("Z", " UTC")


def _described(release) -> str:
    return f"{release.name}  {release.revision.get('subject', '')[:80]}".rstrip()


def _slot(places: Places, slot: str, live: str | None) -> str:
    release, units = places.in_slot(slot), places.system.units(*parts(slot))
    if release is None:
        return "empty"
    running = [unit for unit in units if unit.active]
    what = "live" if slot == live else "warm" if len(running) == len(units) else "cold" if not running else "running in part"
    told = f"{what}, {release.name}"
    if slot != live and places.why_bad(release.name) is not None:
        told += ", bad"
    if running:
        told += ": " + ", ".join(_unit(unit) for unit in units)
    return told


def _unit(unit: Unit) -> str:
    kind = "indexer" if "indexer" in unit.name else "socket" if unit.name.endswith(".socket") else "web"
    told = f"{kind} {unit.state}"
    if unit.memory:
        told += f" {unit.memory >> 20} MiB"
    if unit.restarts:
        told += f", {unit.restarts} restarts"
    return told


def _certificates(places: Places) -> Iterator[str]:
    """Of each its days, and where Nginx does not serve this one, which it does: a renewed file is no use before it is loaded."""
    for path in folders(places.certificates):
        if (path / "cert.pem").exists():
            try:
                kept = (path / "cert.pem").read_text()
                told = f"{path.name}: {_left(places, kept)}"
                served = places.system.served(path.name)
                if served is None:
                    told += " (Nginx serves none for it)"
                elif ssl.PEM_cert_to_DER_cert(served) != ssl.PEM_cert_to_DER_cert(kept):
                    told += f" (but Nginx serves another: {_left(places, served)}; `systemctl reload nginx` loads it)"
                yield told
            except (Failed, OSError, ValueError):
                yield f"{path.name}: cannot be read"


def _left(places: Places, certificate: str) -> str:
    said = places.system.run(["openssl", "x509", "-noout", "-enddate"], input=certificate)
    left = (ssl.cert_time_to_seconds(said.strip().removeprefix("notAfter=")) - time.time()) / 86400
    return f"{left:.0f} days left" if left > 0 else f"expired {-left:.0f} days ago"


def _disk(places: Places) -> str:
    told = []
    for path in (places.data, places.backups.parent):
        if path.exists():
            usage = shutil.disk_usage(path)
            told.append(f"{path}: {usage.free >> 20:,} of {usage.total >> 20:,} MiB free")
    return "; ".join(told)


def _figures(places: Places, slot: str) -> Iterator[str]:
    release = places.in_slot(slot)
    try:
        with internal_key(places, release, "status") as key:
            answer = Instance(places.socket(slot), key).get("/metrics")
    except (Failed, OSError) as error:
        yield f"figures      the live slot does not answer: {error}"
        return
    if answer.status != 200:
        yield f"figures      /metrics answers {answer.said}"
        return
    yield from figures(answer.body.decode(errors="replace"))


def figures(text: str) -> Iterator[str]:
    """Lag and error rate out of Prometheus's text."""
    rows = [match.groups() for line in text.splitlines() if not line.startswith("#") and (match := _ROW.match(line))]
    lag, oldest = _numbers(rows, "searchapi_index_lag_documents"), _numbers(rows, "searchapi_index_lag_seconds")
    yield f"index        {len(lag)} indexes, {sum(lag):,.0f} writes behind" + (
        f", the oldest {max(oldest):.1f} s" if sum(lag) else ""
    )
    count = "searchapi_request_duration_seconds_count"
    all_, failed = sum(_numbers(rows, count)), sum(_numbers(rows, count, 'status="5xx"'))
    since = _numbers(rows, "searchapi_start_time_seconds")
    of = f" in {_duration(time.time() - since[0])}" if since else ""
    yield f"errors       {failed:,.0f} of {all_:,.0f} requests failed{of} ({failed / all_ if all_ else 0:.3%})"


def _numbers(rows: Iterable[tuple[str, str | None, str]], name: str, label: str = "") -> list[float]:
    return [float(value) for found, labels, value in rows if found == name and label in (labels or "")]


def _told(record: dict) -> str:
    reason = f": {record['reason']}" if record.get("reason") else ""
    what = f" of {record['to']}" if record.get("to") else ""
    return f"{record.get('ended')}  {record.get('action')}{what}  {record.get('outcome')}{reason}  (by {record.get('by')})"


def _ago(time_text: str) -> str:
    try:
        return f"{_duration(time.time() - time.mktime(time.strptime(time_text, '%Y-%m-%dT%H:%M:%SZ')) + time.timezone)} ago"
    except (ValueError, TypeError):
        return "at an unknown time"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
