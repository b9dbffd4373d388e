"""Moving traffic to another release, and what repairs it where that was cut short.

What is meant is written to intent.json before anything changes, and removed after all is done. `live.sock` alone says which slot
has the traffic; `settle` brings everything else, what starts at a reboot and what cools down, to agree with it. So wherever a
power cut falls, either the old release has the traffic or the new one that had passed, and the next run, or `repair`, cleans up:

    intent written   packages, settings, snapshot       nothing of the service was touched
    slot emptied     slot linked, started, asked, soaked  the new slot is neither live nor enabled: a reboot starts the old one
    enabled          both slots start at a reboot         live.sock still points to the old one
    renamed          the new one is live                  `settle` disables the old one and lets it cool down
    recorded         in history.jsonl                     the intent goes
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import asking, copying, environment, tidying
from .asking import Instance
from .checks import Refused, preflight, require_formats
from .places import Places, Release, indexer, moment, parts, web
from .settling import clear, finish, settle, stay_warm, undo
from .system import Failed, Unit, descendants

SOAK = 10.0  # seconds of real searches before a new release has traffic
SOAK_BACK = 1.0  # the same of one that has had it before
ASIDE, LIVE = 20, 200  # CPUWeight of a web server that is being tried, and of one that has the traffic (deploy/systemd)
HANDED_OVER = 1.0  # seconds that the new indexer is watched when it works


class Interrupted(BaseException):
    """Told to stop by a signal. Like KeyboardInterrupt no Exception, so that no step takes it for its own failure."""


class Shift:
    """One deploy or rollback. say: a line for whoever watches."""

    def __init__(self, places: Places, run: str, by: str, say: Callable[[str], None]):
        self.places, self.system, self.say = places, places.system, say
        self.intent: dict[str, Any] = {"run": run, "by": by}
        self._processes: dict[str, Any] = {}

    # ------------------------------------------------------------------------------------------------------- actions

    def deploy(self, name: str, soak: float = SOAK) -> None:
        """Raises Failed after everything is as it was before, and Interrupted."""
        release = self.places.release(name)
        with self._meaning("deploy", release):
            preflight(self.places, release, self.intent["slot"])
            self.say(environment.prepare(self.places, release))
            self._check_settings(release)
            self._snapshot_before(release)
            self._bring_up(release, soak)
            self._switch()
        tidying.tidy(self.places, self.say)

    def rollback(self, to: str | None = None) -> None:
        """To the release that was live before this one, or to one that was live once. Raises as `deploy` does."""
        release = self._previous() if to is None else self._chosen(to)
        with self._meaning("rollback", release):
            require_formats(self.places, release)
            if not self._warm(release):
                self._environment_of(release)
                self._bring_up(release, SOAK_BACK)
            self._switch()

    def _environment_of(self, release: Release) -> None:
        """It was there when the release was live: where it cannot be made now, the release is not to blame."""
        try:
            environment.prepare(self.places, release)
        except Failed as error:
            raise Refused(str(error)) from None

    def _previous(self) -> Release:
        trail = self.places.trail()
        if not trail:
            raise Refused("nothing was deployed yet, so there is nothing to go back from")
        for name in reversed(trail[:-1]):
            release = self.places.release(name)
            if release.there and not self.places.why_bad(name):
                return release
        raise Refused(f"there is no release before {trail[-1]} to go back to; `fab releases` shows those that there are")

    def _chosen(self, name: str) -> Release:
        release, live = self.places.release(name), self.places.live_release()
        if not release.there:
            raise Refused(f"{name} is not here any more; `fab releases` shows those that there are")
        if (why := self.places.why_bad(name)) is not None:
            raise Refused(f"{name} is bad, and is not gone back to: {why}")
        if live is not None and live.name == name:
            raise Refused(f"{name} is live already")
        if not self.places.was_live(name):
            raise Refused(f"{name} was never live")
        return release

    # --------------------------------------------------------------------------------------------- what is meant, and undone

    @contextlib.contextmanager
    def _meaning(self, action: str, release: Release) -> Iterator[None]:
        """Everything between the intent and the record. What goes wrong inside is undone."""
        live, slot = self.places.live_release(), self.places.idle_slot()
        self.intent |= {"action": action, "to": release.name, "from": live.name if live else None, "slot": slot}
        self.intent |= {"old": self.places.live_slot(), "started": moment(), "phase": "preparing"}
        self._mean()
        self.say(f"{action} of {release.name} in {slot}, beside {live.name if live else 'nothing'}")
        try:
            yield
        except (Interrupted, Exception) as error:  # also a mistake of ours, or a full disk: nothing may stay half done
            if self.system.stopping():
                raise Interrupted from error  # what ends now is not to blame; repair takes it up after the reboot
            if isinstance(error, Interrupted):
                self._undo("interrupted", "it was told to stop")
                raise
            reason = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
            self._undo("refused" if isinstance(error, Refused) else "failed", reason)
            raise error if isinstance(error, Failed) else Failed(reason) from error
        finish(self.places, self.intent, "ok", None)

    def _mean(self, **more: Any) -> None:
        self.intent |= more
        self.system.write(self.places.intent, json.dumps(self.intent) + "\n")

    def _undo(self, outcome: str, reason: str) -> None:
        with contextlib.suppress(OSError):  # a full disk: this process goes on all the same
            self._mean(phase="undoing", outcome=outcome, reason=reason)
        undo(self.places, self.intent)

    # -------------------------------------------------------------------------------------------------------- looking

    def _check_settings(self, release: Release) -> None:
        try:
            said = self.system.administer(release.path, "check", "--quiet")
        except Failed as error:
            raise Failed(f"/etc/searchapi/env does not suit this release: {error}") from None
        for row in said.splitlines():
            self.say(f"settings: {row}")

    def _snapshot_before(self, release: Release) -> None:
        if (written := self.places.data_written()) is not None and release.formats.writes > written:
            self.say(f"the data will be written in the format {release.formats.writes}, {written} until now: a snapshot first")
            copying.snapshot(self.places, self.say)

    # ------------------------------------------------------------------------------------------------------- the new slot

    def _bring_up(self, release: Release, seconds: float) -> None:
        slot = self.intent["slot"]
        self._mean(phase="starting", touched=True)
        clear(self.places, slot)
        self.places.slots.mkdir(exist_ok=True)
        self.system.link(self.places.slots / slot, str(release.path))
        self.places.wrote(release.formats.writes)
        data, index, started = self.places.data, release.formats.index, time.time()
        there = tidying.formats(data)
        stuck = asking.BUILDING if there and index not in there else asking.STUCK
        # What is written meanwhile moves the figure too, also of a release that never gets ready: it counts up to here.
        goal = max((tidying.reached(data, each) for each in there), default=0)
        try:
            self.system.weigh(ASIDE, web(slot))  # to import a whole application takes a second of the processor
            self.system.start(*parts(slot))
            self._watch(slot)
            instance = Instance(self.places.socket(slot))
            asking.wait_ready(instance, self._look, lambda: min(tidying.reached(data, index), goal), self.say, stuck)
            self._watch(slot)
            self.say("ready")
            with internal_key(self.places, release, f"shipping {release.name}") as instance.key:
                indexes = asking.wait_caught_up(instance, self._look, self.say)
                paths = asking.search_all(instance, indexes, self._look)
                took = asking.soak(instance, paths, seconds, self._look)
                asking.require_speed(took, Instance(self.places.live, instance.key))
            self.say(f"soaked for {seconds:.0f} s: {len(took)} good answers over {len(indexes)} indexes, no process ended")
        except Failed as error:
            time.sleep(0.2)  # journald is a little behind
            said = dict.fromkeys(map(_shortened, self.system.errors_of(_services(slot), started)))  # the first is the cause
            raise Failed("; it said: ".join([str(error), *list(filter(None, said))[:2]])) from None

    def _warm(self, release: Release) -> bool:
        """Whether the slot still runs this release, and it can take traffic as it is."""
        slot = self.intent["slot"]
        if self.places.in_slot(slot) != release or not self.places.warm(slot):
            return False
        stay_warm(self.places, slot)
        if not self.places.warm(slot) or Instance(self.places.socket(slot)).ready() is not None:
            return False
        self._watch(slot)
        self.say(f"{release.name} is still warm")
        return True

    def _watch(self, slot: str) -> None:
        """Remember which processes the slot has now: from here on none of them may end."""
        self._processes = {unit.name: _processes(unit) for unit in self.system.units(*_services(slot))}

    def _look(self) -> None:
        """Raises Failed where a unit has ended, or a process that was there."""
        for unit in self.system.units(*self._processes):
            if unit.restarts or unit.state != "active":
                what = "was started again by systemd" if unit.restarts else f"is {unit.state}"
                raise Failed(f"{unit.name} {what}: it ended by itself")
            if not self._processes[unit.name] <= _processes(unit):
                raise Failed(f"a process of {unit.name} ended by itself")

    # ---------------------------------------------------------------------------------------------------------- switch

    def _switch(self) -> None:
        places, slot = self.places, self.intent["slot"]
        self._mean(phase="switching")
        self.system.enable(*parts(slot))
        self.system.weigh(LIVE, web(slot))
        self.system.sync()
        self.system.link(places.live, str(places.socket(slot)))
        if (why := Instance(places.live).ready()) is not None:
            raise Failed(f"it was switched to, and then could not search: {why}")
        self._hand_over()
        settle(places)
        self.say(f"{slot} is live")

    def _hand_over(self) -> None:
        """Where both releases write the same generations, one indexer works and the other waits. Now the new one works."""
        old = self.intent["old"]
        left = self.places.in_slot(old)
        if left is None or not left.there or left.formats.index != self.places.release(self.intent["to"]).formats.index:
            return
        with contextlib.suppress(Failed):  # the new one begins when the old one cools down
            self.system.restart(indexer(old))
        time.sleep(HANDED_OVER)
        self._look()


@contextlib.contextmanager
def internal_key(places: Places, release: Release, description: str) -> Iterator[str]:
    """A key that searches and reads figures, for a quarter of an hour at most."""
    scopes = ["--scope", "search", "--scope", "metrics"]
    made = places.system.administer(
        release.path, "keys", "create", *scopes, "--expires", "15m", "--rate-limit", "off", "--description", description, "--quiet"
    )
    key = made.strip()
    try:
        yield key
    finally:
        with contextlib.suppress(Failed):  # it ends by itself
            places.system.administer(release.path, "keys", "revoke", key.split("_")[1], waiting=False)


def _services(slot: str) -> list[str]:
    return [name for name in parts(slot) if name.endswith(".service")]


def _processes(unit: Unit) -> frozenset[int]:
    return descendants(unit.pid) | {unit.pid}


def _shortened(line: str) -> str:
    """The message of a line of JSON, and what a traceback ends with. Nothing of a line about a request: it has no message."""
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict):
            if "message" not in found:
                return ""
            ends = str(found.get("traceback", "")).strip().splitlines()[-1:]
            line = ": ".join([str(found["message"]), *ends])
    return line if len(line) < 300 else line[:300] + "…"
