"""Rows to Markdown, and Markdown into a page between its markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .figures import Aim, Compared

HEADINGS = ("What", "Corpus", "Ours", "Reference", "Ratio", "Lowest – highest", "Aim", "Reached")


@dataclass(frozen=True, slots=True)
class Row:
    """One line. unit: of `ours` and `reference`, as `requests/s`."""

    what: str
    corpus: str
    unit: str
    figures: Compared
    aim: Aim | None = None

    def cells(self) -> tuple[str, ...]:
        f = self.figures
        reached = "" if self.aim is None else "yes" if self.aim.met(f.ratio) else "no"
        return (
            self.what,
            self.corpus,
            f"{shown(f.ours)} {self.unit}",
            f"{shown(f.reference)} {self.unit}",
            shown(f.ratio),
            f"{shown(f.low)} – {shown(f.high)}",
            "" if self.aim is None else str(self.aim),
            reached,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmark: its rows, and the lines that are to be known with them."""

    name: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        lines = list(self.notes)
        if self.rows:
            lines += ["", _line(HEADINGS), _line("---" for _ in HEADINGS), *(_line(row.cells()) for row in self.rows)]
        return "\n".join(lines).strip()


def _line(cells) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def shown(value: float) -> str:
    """Three significant digits, thousands with a comma: 0.412, 12.3, 1,340."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 and abs(value) >= 1 else f"{value:.3g}"


def put(page: str, name: str, text: str) -> str:
    """The page with `text` between `<!-- bench: name -->` and `<!-- /bench: name -->`. Raises ValueError where it lacks them."""
    begin, end = f"<!-- bench: {name} -->", f"<!-- /bench: {name} -->"
    pattern = re.compile(rf"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"expected the markers {begin} and {end} once in the page")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)


def write(path: Path, parts: Sequence[Part]) -> None:
    page = path.read_text(encoding="utf-8")
    for part in parts:
        page = put(page, part.name, part.markdown())
    path.write_text(page, encoding="utf-8")
