"""A server, made to be as it should: each step looks first and changes only what differs. With `plan`, nothing is touched and each
change is only told, a file as a diff."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import fabric

from .commands import Argv, as_root, line, shell
from .connection import CommandFailed, Done, execute

# Two lines a path: what it is (empty: nothing), and its text as base64.
_LOOK = """export LC_ALL=C
for path do
    if [ -e "$path" ] || [ -L "$path" ]; then stat -c %F:%U:%G:%a -- "$path"; else echo; fi
    if [ -f "$path" ] && [ ! -L "$path" ]; then base64 -w0 -- "$path"; fi
    echo
done"""
# As a whole or not at all, and never readable by more than at the end.
_WRITE = 'umask 077; cat >"$1.new"; chown "$2:$3" "$1.new"; chmod "$4" "$1.new"; mv -fT "$1.new" "$1"'
_LINK = 'ln -sfT -- "$2" "$1.new"; mv -fT "$1.new" "$1"'
# A lock that somebody else holds for a while is waited for: on its first day a server updates itself.
_APT = """export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a LC_ALL=C
tries=0
until said=$(apt-get update -q 2>&1); do
    case $said in *'Could not get lock'*) ;; *) tries=60 ;; esac
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then printf '%s\n' "$said" >&2; exit 1; fi
    sleep 5
done
exec "$@\""""
INSTALL = [
    *("apt-get", "install", "-y", "-q", "--no-install-recommends"),
    *("-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
]
_UNITS = "/etc/systemd/system/"
_PENDING = (
    "/run/searchapi-pending"  # what was written and is not in effect yet, should we be interrupted; a reboot brings it into effect
)


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a path. kind: as stat calls it, empty for nothing. owner: `user:group:mode`. text: None for what is no file."""

    kind: str = ""
    owner: str = ""
    text: str | None = None


class Machine:
    """say: called with each change, as a line or a few. changes: all of them, in order."""

    def __init__(self, connection: fabric.Connection, plan: bool = False, say: Callable[[str], None] = print):
        self.connection, self.plan, self._say = connection, plan, say
        self.changes: list[str] = []
        self._seen: dict[str, Found] = {}

    # looking

    def ask(self, argv: Sequence[str], check: bool = True) -> Done:
        """A command that changes nothing, as root."""
        return execute(self.connection, as_root(argv, self.connection.user), check=check)

    def holds(self, argv: Sequence[str]) -> bool:
        """Whether a command that changes nothing succeeds."""
        return self.ask(argv, check=False).status == 0

    def look(self, *paths: str) -> Found:
        """What is at the first of these paths; the others are remembered for when they are looked at next, once each."""
        if paths[0] not in self._seen:
            rows = iter(self.ask(shell(_LOOK, *paths)).out.split("\n"))
            self._seen |= {path: _found(next(rows), next(rows)) for path in paths}
        return self._seen.pop(paths[0])

    def read(self, path: str) -> tuple[str | None, str | None]:
        """(`user:group:mode`, text) of a file; None where there is none."""
        found = self.look(path)
        return (None, None) if found.text is None else (found.owner, found.text)

    def same(self, path: str, text: str, owner: str = "root:root", mode: int = 0o644) -> bool:
        """Whether the file is as `file` would make it."""
        found = self.look(path)
        return found.text == text and found.owner == f"{owner}:{mode:o}"

    @cached_property
    def release(self) -> dict[str, str]:
        """/etc/os-release: `ID`, `VERSION_ID`, `PRETTY_NAME`."""
        pairs = (row.partition("=") for row in self.ask(["cat", "/etc/os-release"]).out.splitlines())
        return {name: value.strip('"') for name, _, value in pairs}

    # changing

    def tell(self, what: str) -> None:
        """Something that is no change."""
        self._say(what)

    def changed(self, what: str, detail: str = "") -> None:
        self.changes.append(what)
        self._say(f"{'would ' if self.plan else ''}{what}" + (f"\n{detail}" if detail else ""))

    def do(self, what: str, argv: Argv, stdin: bytes = b"", detail: str | None = None) -> None:
        """One change. detail: shown in a plan instead of the command. Raises CommandFailed."""
        self.changed(what, (f"  {line(argv)}" if detail is None else detail) if self.plan else "")
        if self.plan:
            return
        try:
            execute(self.connection, as_root(argv, self.connection.user), stdin)
        except CommandFailed as error:
            raise CommandFailed(f"Could not {what}: {error.said or error}", error.said) from None

    def unless(self, check: Argv, what: str, argv: Argv, stdin: bytes = b"") -> bool:
        """The change, unless the check succeeds. Answers whether it was made."""
        if self.holds(check):
            return False
        self.do(what, argv, stdin)
        return True

    # files

    def file(self, path: str, text: str, owner: str = "root:root", mode: int = 0o644, detail: str | None = None) -> bool:
        """A file with exactly this text. Answers whether it was another. detail: shown in a plan instead of the difference."""
        found, wanted = self.look(path), f"{owner}:{mode:o}"
        if found.text == text and found.owner == wanted:
            return False
        if detail is None:
            same = found.text == text
            detail = f"  owner and mode {found.owner} -> {wanted}" if same else diff(path, found.text, text).rstrip("\n")
        user, group = owner.split(":")
        self.do(f"write {path}", shell(_WRITE, path, user, group, f"{mode:o}"), text.encode(), detail)
        return True

    def files(self, texts: Mapping[str, str], mode: Callable[[str], int] = lambda path: 0o644) -> list[str]:
        """Files of root:root, looked at all at once. Answers which were others."""
        self._look_at(texts)
        return [path for path, text in texts.items() if self.file(path, text, mode=mode(path))]

    def folder(self, path: str, owner: str = "root:root", mode: int = 0o755) -> bool:
        found = self.look(path)
        had, wanted = f"{found.kind}:{found.owner}".strip(":"), f"directory:{owner}:{mode:o}"
        if had == wanted:
            return False
        if self.plan and f"make the folder {path}" in self.changes:
            return True
        user, group = owner.split(":")
        make = ["install", "-d", "-o", user, "-g", group, "-m", f"{mode:o}", "--", path]
        self.do(f"make the folder {path}", make, detail=f"  {had or 'nothing'} -> {wanted}")
        return True

    def folders(self, wanted: Mapping[str, tuple[str, int]]) -> None:
        """{path: (owner, mode)}, looked at all at once."""
        self._look_at(wanted)
        for path, (owner, mode) in wanted.items():
            self.folder(path, owner, mode)

    def gone(self, path: str) -> bool:
        """No file or link at this path."""
        if not self.look(path).kind:
            return False
        self.do(f"remove {path}", ["rm", "-f", "--", path])
        return True

    def link(self, path: str, target: str) -> bool:
        """A symbolic link; one that points elsewhere is replaced in one step."""
        if self.ask(["readlink", "--", path], check=False).out.strip() == target:
            return False
        self.do(f"link {path} -> {target}", shell(_LINK, path, target))
        return True

    def apply(
        self,
        name: str,
        texts: Mapping[str, str],
        *then: tuple[str, Argv],
        without: Iterable[str] = (),
        mode: Callable[[str], int] = lambda path: 0o644,
        test: Argv | None = None,
    ) -> bool:
        """Files of root:root that one service reads, and those that it must not find; then, where one was another, what brings them
        into effect: (what it is, command). Interrupted, the next run does that. test: succeeds, or all that was written is taken
        back and CommandFailed raised."""
        pending, without = f"{_PENDING}/{name}", list(without)
        paths = [pending, *texts, *without]
        if not self._look_all(paths, texts, without, mode):
            return False
        left = self.look(pending).kind != ""
        self._folders_of(texts)
        before = {path: self._seen[path] for path in paths[1:] if path in self._seen}
        if not self.plan:
            self._run(shell('mkdir -p "$1"; : >"$2"', _PENDING, pending))
        written = self.files(texts, mode)
        written += [path for path in without if self.gone(path)]
        if test is not None and not self.plan:
            self._tested(name, test, {path: before[path] for path in written})
        if any(path.startswith(_UNITS) for path in written) or left:
            self.do("have systemd read its units again", ["systemctl", "daemon-reload"])
        for what, argv in then:
            self.do(what, argv)
        if not self.plan:
            self._run(["rm", "-f", "--", pending])
        return True

    # packages, users, services

    def packages(self, names: Iterable[str]) -> bool:
        """Debian's packages, without what they only recommend."""
        wanted = list(names)
        listed = self.ask(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", *wanted], check=False).out
        there = {row.split()[0] for row in listed.splitlines() if row.endswith(" installed")}
        missing = [name for name in wanted if name not in there]
        if not missing:
            return False
        install = [*INSTALL, *missing]
        self.do(f"install {', '.join(missing)}", shell(_APT, *install), detail=f"  apt-get update\n  {line(install)}")
        return True

    def user(self, name: str, make: Argv, groups: Sequence[str] = ()) -> bool:
        """A Unix user, made by this command where there is none; and, whoever made it, in these groups."""
        made = self.unless(["getent", "passwd", name], f"make the user {name}", make)
        member = set() if made else set(self.ask(["id", "-nG", "--", name]).out.split())
        for group in [group for group in groups if group not in member]:
            self.do(f"put {name} into the group {group}", ["usermod", "-aG", group, "--", name])
            made = True
        return made

    def units(self, *names: str) -> None:
        """Services and timers that run, now and after a reboot."""
        asked = ["systemctl", "show", "--property=UnitFileState,ActiveState", *names]
        states = self.ask(asked, check=False).out.strip().split("\n\n")
        for name, state in zip(names, states, strict=True):
            if not {"UnitFileState=enabled", "ActiveState=active"} <= set(state.split()):
                self.do(f"enable and start {name}", ["systemctl", "enable", "--now", "--quiet", name])

    # within

    def _look_at(self, paths: Iterable[str]) -> None:
        """Remember what is at these paths."""
        unseen = [path for path in paths if path not in self._seen]
        if unseen:
            self._seen[unseen[0]] = self.look(*unseen)

    def _look_all(self, paths: list[str], texts: Mapping[str, str], without: list[str], mode: Callable[[str], int]) -> bool:
        """Remember what is at these paths, and answer whether any of it is not as it should be."""
        self._look_at(paths)
        seen = self._seen
        same = all(seen[p].text == text and seen[p].owner == f"root:root:{mode(p):o}" for p, text in texts.items())
        as_wanted = same and not any(seen[p].kind for p in (paths[0], *without))
        if as_wanted:
            for path in paths:
                del seen[path]
        return not as_wanted

    def _folders_of(self, texts: Mapping[str, str]) -> None:
        """The folders that a package may not have made: those of drop-ins, and ours."""
        wanted = sorted({str(PurePosixPath(path).parent) for path in texts})
        self._look_at(wanted)
        for path in wanted:
            if self._seen[path].kind:
                del self._seen[path]
            else:
                self.folder(path)

    def _tested(self, name: str, test: Argv, before: Mapping[str, Found]) -> None:
        """Raises CommandFailed where the test fails, and everything is again as it was before."""
        done = self.ask(test, check=False)
        if not done.status:
            return
        for path, found in before.items():
            if found.text is None:
                self._run(["rm", "-f", "--", path])
            else:
                user, group, mode = found.owner.split(":")
                self._run(shell(_WRITE, path, user, group, mode), found.text.encode())
        said = " / ".join((done.err or done.out).strip().splitlines()[-3:])
        raise CommandFailed(f"{name} would not take its new files, so the old ones are back: {said}", said)

    def _run(self, argv: Argv, stdin: bytes = b"") -> None:
        """What belongs to a change that was told already."""
        execute(self.connection, as_root(argv, self.connection.user), stdin)


def _found(stat: str, text: str) -> Found:
    kind, _, owner = stat.partition(":")
    if not kind.startswith("regular"):
        return Found(kind, owner)
    return Found(kind, owner, base64.b64decode(text).decode(errors="replace"))


def diff(path: str, before: str | None, after: str) -> str:
    """What would change in a file, as `diff -u` shows it. before: None where there is no file yet."""
    old = [] if before is None else before.splitlines(keepends=True)
    rows = difflib.unified_diff(old, after.splitlines(keepends=True), path if old else "/dev/null", path, n=1)
    return "".join(row if row.endswith("\n") else row + "\n" for row in rows)
