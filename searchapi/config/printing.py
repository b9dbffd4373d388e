"""`python -m searchapi.config env|docs`: the table of settings, as `.env.example` and for docs/settings.md."""

from __future__ import annotations

import sys

from .settings import SETTINGS, Setting


def example() -> str:
    """The text of `.env.example`: every setting with its default, commented out."""
    head = "# Settings of searchapi. Copy to .env and uncomment what should differ from its default.\n"
    return head + "".join(f"\n# {s.help}{_in_development(s)}\n# {s.name}={s.default}\n" for s in SETTINGS)


def table() -> str:
    """The table of docs/settings.md."""
    rows = "".join(f"| `{s.name}` | {_code(s.default)} | {s.help}{_in_development(s)} |\n" for s in SETTINGS)
    return f"| Setting | Default | |\n|---|---|---|\n{rows}"


def _in_development(setting: Setting) -> str:
    return "" if setting.development is None else f" In development: `{setting.development}`."


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def main(arguments: list[str]) -> int:
    printers = {"env": example, "docs": table}
    if len(arguments) != 1 or arguments[0] not in printers:
        print("usage: python -m searchapi.config env|docs", file=sys.stderr)
        return 2
    print(printers[arguments[0]](), end="")
    return 0
