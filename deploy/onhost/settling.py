"""Bringing everything to agree with `live.sock`, which alone says which slot has the traffic. All of it may be done twice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from .places import SLOTS, Places, cooling, moment, parts
from .system import Failed


def repair(places: Places, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Bring to an end what was cut short, and everything to agree with live.sock. The record of what was cut short."""
    intent, record = places.under_way(), None
    if intent is not None:
        phase, switched = intent.get("phase"), places.live_slot() == intent.get("slot")
        if phase == "switching" and switched and places.in_slot(intent["slot"]) == places.release(intent["to"]):
            settle(places)
            record = finish(places, intent, "ok", "it was cut short after the switch")
        else:
            if phase != "undoing":
                intent |= {"phase": "undoing", "outcome": "interrupted", "reason": f"it was cut short while {phase}"}
                with contextlib.suppress(OSError):  # a full disk: what runs is stopped all the same
                    places.system.write(places.intent, json.dumps(intent) + "\n")
            record = undo(places, intent)
        say(f"{record['action']} of {record['to']}: {record['outcome']}, {record['reason']}")
    settle(places)
    return record


def undo(places: Places, intent: dict[str, Any]) -> dict[str, Any]:
    """Traffic to where it was, the new slot stopped where this run had started it, the reason kept. The record."""
    slot, old, system = intent["slot"], intent["old"], places.system
    if places.live_slot() == slot:
        if old is None:
            system.remove(places.live)
        else:
            system.start(*parts(old))
            system.link(places.live, str(places.socket(old)))
    if intent.get("touched") or intent["outcome"] == "failed":
        clear(places, slot)
    settle(places)
    if intent["outcome"] == "failed":  # last: on a full disk it is what cannot be done
        places.mark_bad(intent["to"], intent["reason"])
    return finish(places, intent, intent["outcome"], intent["reason"])


def clear(places: Places, slot: str) -> None:
    """Nothing of the slot runs any more."""
    stay_warm(places, slot)
    places.system.stop(*parts(slot))
    places.system.forget(*parts(slot))
    if left := [unit.name for unit in places.running(slot)]:
        raise Failed(f"{left[0]} does not stop")


def stay_warm(places: Places, slot: str) -> None:
    """Nothing stops the slot any more but we."""
    timer = cooling(slot)
    places.system.stop(timer, timer.replace(".timer", ".service"))


def settle(places: Places) -> None:
    """What is enabled, what runs and what cools down, as live.sock has it."""
    live, system = places.live_slot(), places.system
    for slot in SLOTS:
        enabled = system.enabled(*parts(slot))
        if slot != live:
            if any(enabled):
                system.disable(*parts(slot))
            if places.running(slot):
                system.start(cooling(slot))
            continue
        if not all(enabled):
            system.enable(*parts(slot))
        stay_warm(places, slot)
        if not places.warm(slot):
            with contextlib.suppress(Failed):  # systemd goes on trying, and `fab status` tells
                system.start(*parts(slot))


def finish(places: Places, intent: dict[str, Any], outcome: str, reason: str | None) -> dict[str, Any]:
    """The line of history.jsonl, then the intent goes. Cut short between the two, the line is there and not written again."""
    ended = moment()
    kept = {name: intent.get(name) for name in ("run", "action", "by", "from", "to", "slot", "started")}
    record = kept | {"ended": ended, "outcome": outcome, "reason": reason}
    last = places.records()[-1:]
    if not (last and last[0].get("run") == intent["run"]):
        places.system.append(places.history, json.dumps(record))
        places.system.record(json.dumps(record))
    places.system.remove(places.intent)
    return record
