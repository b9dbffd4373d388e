"""A server, made to be as it should: each step looks first and changes only what differs. With `plan`, nothing is touched and each
change is only told, a file as a diff."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import fabric

from .commands import Argv, as_root, line, shell
from .connection import Done, execute

_STAT = 'if [ -e "$1" ] || [ -L "$1" ]; then stat -c %F:%U:%G:%a -- "$1"; fi'
_READ = _STAT + '; if [ -f "$1" ]; then base64 -w0 -- "$1"; fi'
_WRITE = 'umask 077; cat >"$1.new"; chown "$2:$3" "$1.new"; chmod "$4" "$1.new"; mv -fT "$1.new" "$1"'


class Machine:
    """say: called with each change, as a line or a few. changes: all of them, in order."""

    def __init__(self, connection: fabric.Connection, plan: bool = False, say: Callable[[str], None] = print):
        self.connection, self.plan, self._say = connection, plan, say
        self.changes: list[str] = []

    # looking

    def ask(self, argv: Sequence[str], check: bool = True) -> Done:
        """A command that changes nothing, as root."""
        return execute(self.connection, as_root(argv, self.connection.user), check=check)

    def holds(self, argv: Sequence[str]) -> bool:
        """Whether a command that changes nothing succeeds."""
        return self.ask(argv, check=False).status == 0

    def read(self, path: str) -> tuple[str | None, str | None]:
        """(`user:group:mode`, text) of a file; None where there is none."""
        rows = self.ask(shell(_READ, path)).out.split("\n", 1)
        if not rows[0]:
            return None, None
        kind, _, owner = rows[0].partition(":")
        if kind not in ("regular file", "regular empty file"):
            return None, None
        return owner, base64.b64decode(rows[1]).decode(errors="replace") if len(rows) > 1 else ""

    @cached_property
    def release(self) -> dict[str, str]:
        """/etc/os-release: `ID`, `VERSION_ID`, `VERSION_CODENAME`."""
        pairs = (row.partition("=") for row in self.ask(["cat", "/etc/os-release"]).out.splitlines())
        return {name: value.strip('"') for name, _, value in pairs}

    # changing

    def changed(self, what: str, detail: str = "") -> None:
        self.changes.append(what)
        self._say(f"{'would ' if self.plan else ''}{what}" + (f"\n{detail}" if detail else ""))

    def do(self, what: str, argv: Argv, stdin: bytes = b"", detail: str | None = None) -> None:
        """One change. detail: shown in a plan instead of the command."""
        self.changed(what, (line(argv) if detail is None else detail) if self.plan else "")
        if not self.plan:
            execute(self.connection, as_root(argv, self.connection.user), stdin)

    def unless(self, check: Argv, what: str, argv: Argv, stdin: bytes = b"") -> bool:
        """The change, unless the check succeeds. Answers whether it was made."""
        if self.holds(check):
            return False
        self.do(what, argv, stdin)
        return True

    def file(self, path: str, text: str, owner: str = "root:root", mode: int = 0o644, secret: bool = False) -> bool:
        """A file with exactly this text. Answers whether it was another. secret: its text is never shown."""
        had, before = self.read(path)
        wanted = f"{owner}:{mode:o}"
        if before == text and had == wanted:
            return False
        diff = "" if secret else "".join(_diff(path, before, text))
        if before == text:
            diff = f"  owner and mode {had} -> {wanted}"
        user, group = owner.split(":")
        self.do(f"write {path}", shell(_WRITE, path, user, group, f"{mode:o}"), text.encode(), diff.rstrip("\n"))
        return True

    def folder(self, path: str, owner: str = "root:root", mode: int = 0o755) -> bool:
        had = self.ask(shell(_STAT, path)).out.strip()
        wanted = f"directory:{owner}:{mode:o}"
        if had == wanted:
            return False
        user, group = owner.split(":")
        self.do(
            f"make the folder {path}",
            ["install", "-d", "-o", user, "-g", group, "-m", f"{mode:o}", path],
            detail=f"  {had or 'nothing'} -> {wanted}",
        )
        return True

    def gone(self, path: str) -> bool:
        """No file or link at this path."""
        if not self.ask(shell(_STAT, path)).out.strip():
            return False
        self.do(f"remove {path}", ["rm", "-f", "--", path])
        return True

    def link(self, path: str, target: str) -> bool:
        """A symbolic link; one that points elsewhere is replaced in one step."""
        if self.ask(["readlink", "--", path], check=False).out.strip() == target:
            return False
        self.do(f"link {path} -> {target}", shell('ln -sfT -- "$2" "$1.new"; mv -fT "$1.new" "$1"', path, target))
        return True

    def packages(self, names: Iterable[str]) -> bool:
        """Debian's packages, without what they only recommend."""
        wanted = list(names)
        listed = self.ask(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", *wanted], check=False).out
        there = {row.split()[0] for row in listed.splitlines() if row.endswith(" installed")}
        missing = [name for name in wanted if name not in there]
        if not missing:
            return False
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        script = 'export DEBIAN_FRONTEND=noninteractive; "$@" || { apt-get update -q; "$@"; }'
        self.do(f"install {', '.join(missing)}", shell(script, *install), detail=f"  {line(install)}")
        return True


def _diff(path: str, before: str | None, after: str) -> Iterable[str]:
    old = [] if before is None else before.splitlines(keepends=True)
    for row in difflib.unified_diff(old, after.splitlines(keepends=True), path if old else "/dev/null", path, n=1):
        yield row if row.endswith("\n") else row + "\n"
